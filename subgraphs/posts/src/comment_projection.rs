//! The projection of comments into their posts: how many there are, and the newest of them.
//!
//! The state of a post is `{ count, lastAt, latest }`, stored in the post's field `discussion`.
//! `latest` has the newest comments, newest first, at most 20, each once. So an insert, an edit and a delete
//! are the same step: take the changed comments out, put those that still exist in, sort, cut. When a cut
//! list loses a comment, the next one is only in the comments' collection, so the state is computed
//! again.

use std::cmp::Reverse;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawArray, RawDocument, RawDocumentBuf, doc};
use changefeed::{
    AppliedBatch, NetChange, Projection, SendAction, Slot, Source, Unfoldable, Unreadable,
    Unreadables, for_each_in_session,
};
use mongodb::{Client, ClientSession, Collection, Database};
use subgraph::author::ANONYMOUS;
use subgraph::stored_comment::{SHAPE, of_posts};
use subgraph::{StoredComment, WrittenIn, reference};
use traces::{Kind, Tracer};

use crate::comment::Comment;
use crate::discussion::LATEST_COMMENTS_MAX;

/// The field of a post in which the state is kept.
pub const FIELD: &str = "discussion";
/// What its checkpoints and leases are named by.
pub const NAME: &str = "comments-of-posts";

/// Links of the span of one batch.
const LINKS_MAX: usize = 128;

const LATEST_MAX: i32 = LATEST_COMMENTS_MAX as i32;

/// How many unreadable comments of one computation are logged.
const UNREADABLE_LOGGED_MAX: i32 = 100;
/// The fields that tell whether a comment is one, and of which post. Those of a comment that is too
/// large for the change stream come through it.
const TELLING_FIELDS: [&str; 6] = [
    "postId",
    "text",
    "author",
    "createdAt",
    "updatedAt",
    "edited",
];

/// The comments, as the projection follows them; `streams` is a client for change streams alone.
pub fn source(streams: Client, database: &Database) -> Source {
    Source::new(streams, database.clone(), "comments").keeping(TELLING_FIELDS)
}

/// Folds comments into their posts.
pub struct CommentProjection {
    comments: Collection<RawDocumentBuf>,
    posts: Collection<Document>,
    unreadables: Unreadables,
    tracer: Tracer,
}

impl CommentProjection {
    /// The projection in a database. `unreadables` logs and counts the comments that cannot be read.
    pub fn new(database: &Database, unreadables: Unreadables) -> Self {
        Self {
            comments: database.collection("comments"),
            posts: database.collection("posts"),
            unreadables,
            tracer: Tracer::off(),
        }
    }

    /// The projection with a span for each batch.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Logs the comments of these posts that cannot be read.
    async fn log_unreadable(
        &self,
        posts: Vec<ObjectId>,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        let mut unreadable = of_posts(posts);
        unreadable.insert("$expr", doc! { "$not": [SHAPE.expression()] });
        let stages = [
            doc! { "$match": unreadable },
            doc! { "$limit": UNREADABLE_LOGGED_MAX },
            doc! { "$project": { "field": SHAPE.blamed() } },
        ];
        let found = self
            .comments
            .aggregate(stages)
            .session(&mut *session)
            .with_type::<RawDocumentBuf>()
            .send()
            .await?;
        let mut report = |found: &RawDocument| {
            let id = found.get("_id").ok().flatten();
            let id = id
                .and_then(|id| Bson::try_from(id).ok())
                .unwrap_or_default();
            let field = found.get_str("field").unwrap_or_default().to_owned();
            let reason = format!("the field {field} is missing or has an invalid value");
            let unreadable = Unreadable {
                field: field.into(),
                reason,
            };
            self.unreadables.report(&id, &unreadable);
        };
        for_each_in_session(found, session, &mut report).await
    }
}

impl Projection for CommentProjection {
    type SourceDocument = StoredComment;

    fn name(&self) -> &str {
        NAME
    }

    fn target(&self) -> &str {
        "posts"
    }

    fn targets(&self) -> Document {
        doc! { "_id": { "$type": "objectId" } }
    }

    fn field(&self) -> &str {
        FIELD
    }

    fn target_of(&self, comment: &StoredComment) -> Bson {
        Bson::from(comment.post_id)
    }

    /// Reactions, for example, are not part of a post.
    fn is_same(&self, before: &StoredComment, after: &StoredComment) -> bool {
        embedded(before) == embedded(after)
    }

    fn empty(&self) -> Document {
        doc! { "count": 0, "lastAt": null, "latest": [] }
    }

    fn fold(
        &self,
        slot: &Slot,
        changes: &[NetChange<'_, StoredComment>],
    ) -> Result<Vec<Document>, Unfoldable> {
        let (latest, count) = (slot.value("latest"), slot.value("count"));
        let difference: i32 = changes.iter().map(NetChange::count).sum();
        let kept = without_changed(&latest, changes);
        let merged = match newest_of(changes).as_slice() {
            [] => kept,
            [present @ .., oldest] => Bson::from(merge(kept, present, oldest, &latest, &count)),
        };
        Ok(vec![
            doc! {
                "latest": { "$slice": [merged, LATEST_MAX] },
                "count": { "$add": [&count, difference] },
            },
            doc! {
                "lastAt": { "$ifNull": [{ "$first": slot.value("latest.createdAt") }, null] },
                "stale": { "$lt": [{ "$size": &latest }, { "$min": [&count, LATEST_MAX] }] },
            },
        ])
    }

    /// New comments alone, as nearly all changes are. The list stays as full as it was: no state is short after them
    /// that was not so before.
    fn modify(&self, slot: &Slot, changes: &[NetChange<'_, StoredComment>]) -> Option<Document> {
        if changes.iter().any(|change| change.existed) {
            return None;
        }
        let newest = newest_of(changes);
        let last_at = newest.first()?.created_at();
        let count = i32::try_from(changes.len()).ok()?;
        let present: Vec<Document> = newest.into_iter().map(embedded).collect();
        Some(doc! {
            "$push": { slot.path("latest"): {
                "$each": present,
                "$sort": { "createdAt": -1, "_id": -1 },
                "$slice": LATEST_MAX,
            } },
            "$inc": { slot.path("count"): count },
            "$max": { slot.path("lastAt"): last_at },
        })
    }

    /// The span of a batch is in the trace of the first mutation in it that was recorded, and has links to all of them.
    fn applied(&self, batch: &AppliedBatch<'_>) {
        if !self.tracer.is_on() {
            return;
        }
        let mut contexts = batch.documents().filter_map(|(before, after)| {
            WrittenIn::of(after?).since(before.map(WrittenIn::of).as_ref())
        });
        let first = contexts.next();
        let span = self.tracer.root(first, "apply comments", Kind::Consumer);
        let mut span = span.begun_at(batch.began());
        span.set("messaging.batch.message_count", batch.changes());
        for context in first.into_iter().chain(contexts).take(LINKS_MAX) {
            span.link(&context);
        }
    }

    async fn compute(
        &self,
        posts: &[Bson],
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Vec<(Bson, Document)>> {
        let ids = posts.iter().filter_map(Bson::as_object_id);
        let newest_first = doc! { "readable": -1, "createdAt": -1, "_id": -1 };
        let if_readable = |value: Bson| doc! { "$cond": ["$readable", value, null] };
        // Comments that cannot be read are left out of the count and the list, and counted apart: which
        // ones they are is asked only where there are any.
        let stages = [
            doc! { "$match": of_posts(ids) },
            doc! { "$set": { "readable": SHAPE.expression() } },
            doc! { "$set": { "createdAt": if_readable(
                doc! { "$ifNull": ["$createdAt", { "$toDate": "$_id" }] }.into(),
            ) } },
            doc! { "$group": {
                "_id": reference::expression("postId"),
                "count": { "$sum": { "$cond": ["$readable", 1, 0] } },
                "unreadable": { "$sum": { "$cond": ["$readable", 0, 1] } },
                "latest": { "$topN": {
                    "n": LATEST_MAX,
                    "sortBy": newest_first,
                    "output": if_readable(doc! {
                        "_id": "$_id",
                        "text": { "$ifNull": ["$text", ""] },
                        "author": { "$ifNull": ["$author", ANONYMOUS] },
                        "createdAt": "$createdAt",
                    }.into()),
                } },
            } },
        ];
        let groups = self
            .comments
            .aggregate(stages)
            .session(&mut *session)
            .with_type::<RawDocumentBuf>()
            .send()
            .await?;
        let (mut states, mut with_unreadable) = (Vec::new(), Vec::new());
        let mut take = |group: &RawDocument| {
            // Without a post, where a list names one, say.
            let Ok(post) = group.get_object_id("_id") else {
                return;
            };
            states.push((Bson::from(post), state(group)));
            if number(group, "unreadable") > 0 {
                with_unreadable.push(post);
            }
        };
        for_each_in_session(groups, session, &mut take).await?;
        if !with_unreadable.is_empty() {
            self.log_unreadable(with_unreadable, session).await?;
        }
        Ok(states)
    }

    async fn locate(&self, slot: &Slot, comment: &Bson) -> mongodb::error::Result<Option<Bson>> {
        let post = self
            .posts
            .find_one(doc! { slot.path("latest._id"): comment })
            .projection(doc! { "_id": 1 })
            .send()
            .await?;
        Ok(post.and_then(|mut post| post.remove("_id")))
    }
}

/// The state that a group of comments makes. Texts are read as everywhere: what is not UTF-8 in them is
/// replaced.
fn state(group: &RawDocument) -> Document {
    let latest = group.get_array("latest").map(latest_of).unwrap_or_default();
    let last_at = latest.first().map(|newest| newest.created_at);
    let latest: Vec<Document> = latest.iter().map(Comment::to_document).collect();
    let count = i32::try_from(number(group, "count")).unwrap_or(i32::MAX);
    doc! { "count": count, "lastAt": last_at, "latest": latest }
}

fn latest_of(latest: &RawArray) -> Vec<Comment<'_>> {
    let documents = latest
        .into_iter()
        .filter_map(|comment| comment.ok()?.as_document());
    documents.filter_map(Comment::read).collect()
}

fn number(group: &RawDocument, field: &str) -> i64 {
    match group.get(field) {
        Ok(Some(bson::RawBsonRef::Int32(number))) => i64::from(number),
        Ok(Some(bson::RawBsonRef::Int64(number))) => number,
        _ => 0,
    }
}

/// The list without the comments that a batch changes. Only comments that were there before can be
/// in it: most batches have none, and spare the server the search.
fn without_changed(latest: &str, changes: &[NetChange<'_, StoredComment>]) -> Bson {
    let known = changes.iter().filter(|change| change.existed);
    let known: Vec<&Bson> = known.map(|change| change.key).collect();
    if known.is_empty() {
        return Bson::from(latest);
    }
    Bson::from(doc! { "$filter": {
        "input": latest,
        "cond": { "$not": { "$in": ["$$this._id", { "$literal": known }] } },
    } })
}

/// A comment in the shape in which a post embeds it.
fn embedded(comment: &StoredComment) -> Document {
    let StoredComment {
        id, text, author, ..
    } = comment;
    doc! { "_id": *id, "text": text, "author": author, "createdAt": comment.created_at() }
}

/// The comments that a batch leaves in the collection, newest first: as many as the list can take.
fn newest_of<'a>(changes: &[NetChange<'a, StoredComment>]) -> Vec<&'a StoredComment> {
    let mut present: Vec<_> = changes.iter().filter_map(|change| change.after).collect();
    present.sort_unstable_by_key(|comment| Reverse((comment.created_at(), comment.id)));
    present.truncate(LATEST_COMMENTS_MAX);
    present
}

/// The list with the present comments in it, of which `oldest` is the last.
///
/// Most batches bring comments that are newer than all in the list: these go in front of it, and
/// the server is spared the sorting, about two fifths of the update's cost. As many as the list can
/// take are the list.
fn merge(
    kept: Bson,
    newer: &[&StoredComment],
    oldest: &StoredComment,
    latest: &str,
    count: &str,
) -> Document {
    let present: Vec<Document> = newer
        .iter()
        .copied()
        .chain([oldest])
        .map(embedded)
        .collect();
    let in_front = match present.len() {
        LATEST_COMMENTS_MAX => Bson::from("$$present"),
        _ => Bson::from(doc! { "$concatArrays": ["$$present", &kept] }),
    };
    let oldest = doc! { "at": oldest.created_at(), "id": oldest.id };
    doc! { "$let": {
        "vars": {
            "present": { "$literal": present },
            "first": { "$first": latest },
            "end": { "$last": latest },
        },
        "in": { "$cond": [
            { "$lte": [rank("$$first"), { "$literal": oldest }] },
            in_front,
            { "$sortArray": {
                "input": { "$concatArrays": [kept, admissible("$$present", "$$end", latest, count)] },
                "sortBy": { "createdAt": -1, "_id": -1 },
            } },
        ] },
    } }
}

/// Those of the present comments that may enter the list. While the list has all the post's
/// comments, each may. Of a cut list we know only what lies above its end: an edited comment from
/// below must not take a place that belongs to another one.
fn admissible(present: &str, end: &str, latest: &str, count: &str) -> Document {
    doc! { "$filter": {
        "input": present,
        "cond": { "$or": [
            { "$lte": [count, { "$size": latest }] },
            { "$gte": [rank("$$this"), rank(end)] },
        ] },
    } }
}

/// The key that comments are ordered by: the time of creation, then the id.
fn rank(comment: &str) -> Document {
    doc! { "at": format!("{comment}.createdAt"), "id": format!("{comment}._id") }
}
