//! The projection of comments into their posts: how many there are, and the newest of them.
//!
//! The state of a post is `{ count, lastAt, latest }`, stored in the post's field `discussion`.
//! `latest` is a set keyed by comment id, newest first, capped: so an insert, an edit and a delete
//! are the same step (take the changed ones out, put what is left of them in, sort, cut). When a
//! cut list loses a comment, what moves up is only in the comments' collection: the state is then
//! computed anew.

use std::cmp::Reverse;

use bson::{Bson, Document, doc};
use changefeed::{NetChange, Projection, Slot, Unfoldable};
use futures_util::TryStreamExt;
use mongodb::{ClientSession, Collection, Database};
use serde::Deserialize;
use subgraph::DateTime;
use subgraph::absent::null_as_default;

use crate::comment::CommentId;
use crate::discussion::LATEST_COMMENTS_MAX;
use crate::post::{ANONYMOUS, PostId, anonymous, null_as_anonymous};

/// The field of a post in which the state is kept.
pub const FIELD: &str = "discussion";

const LATEST_MAX: i32 = LATEST_COMMENTS_MAX as i32;

/// Folds comments into their posts.
pub struct CommentProjection {
    comments: Collection<Document>,
    posts: Collection<Document>,
}

/// A comment, as the comments subgraph reads it: what that one cannot show is not counted here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredComment {
    #[serde(rename = "_id")]
    id: CommentId,
    #[serde(deserialize_with = "subgraph::id::from_object_id_or_text")]
    post_id: PostId,
    #[serde(default, deserialize_with = "null_as_default")]
    text: String,
    #[serde(default = "anonymous", deserialize_with = "null_as_anonymous")]
    author: String,
    created_at: Option<DateTime>,
    #[expect(dead_code, reason = "a comment with another type here cannot be shown")]
    updated_at: Option<DateTime>,
    #[expect(dead_code, reason = "a comment with another type here cannot be shown")]
    edited: Option<bool>,
}

impl StoredComment {
    /// When the comment was created; when its id was made, where its document does not tell.
    fn created_at(&self) -> DateTime {
        self.created_at.unwrap_or_else(|| self.id.created_at())
    }
}

impl CommentProjection {
    /// The projection in a database.
    pub fn new(database: &Database) -> Self {
        Self {
            comments: database.collection("comments"),
            posts: database.collection("posts"),
        }
    }
}

impl Projection for CommentProjection {
    type Source = StoredComment;

    fn name(&self) -> &str {
        "comments-of-posts"
    }

    fn target(&self) -> &str {
        "posts"
    }

    fn field(&self) -> &str {
        FIELD
    }

    fn target_of(&self, comment: &StoredComment) -> Bson {
        comment.post_id.into()
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

    async fn compute(
        &self,
        posts: &[Bson],
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Vec<(Bson, Document)>> {
        // Mongoose stores references as ObjectIds or as texts, as its schema says.
        let texts = posts
            .iter()
            .filter_map(Bson::as_object_id)
            .map(|id| Bson::from(id.to_hex()));
        let references: Vec<Bson> = posts.iter().cloned().chain(texts).collect();
        let newest_first = doc! { "createdAt": -1, "_id": -1 };
        let stages = [
            doc! { "$match": {
                "postId": { "$in": references },
                "$jsonSchema": readable(),
            } },
            doc! { "$set": {
                "createdAt": { "$ifNull": ["$createdAt", { "$toDate": "$_id" }] },
            } },
            doc! { "$group": {
                "_id": { "$toObjectId": "$postId" },
                "count": { "$sum": 1 },
                "latest": { "$topN": { "n": LATEST_MAX, "sortBy": newest_first, "output": {
                    "_id": "$_id",
                    "text": { "$ifNull": ["$text", ""] },
                    "author": { "$ifNull": ["$author", ANONYMOUS] },
                    "createdAt": "$createdAt",
                } } },
            } },
            doc! { "$project": {
                "count": 1,
                "lastAt": { "$first": "$latest.createdAt" },
                "latest": 1,
            } },
        ];
        let mut states = self
            .comments
            .aggregate(stages)
            .session(&mut *session)
            .await?;
        let states: Vec<Document> = states.stream(session).try_collect().await?;
        Ok(states
            .into_iter()
            .filter_map(|mut state| Some((state.remove("_id")?, state)))
            .collect())
    }

    async fn locate(&self, slot: &Slot, comment: &Bson) -> mongodb::error::Result<Option<Bson>> {
        let post = self
            .posts
            .find_one(doc! { slot.path("latest._id"): comment })
            .projection(doc! { "_id": 1 })
            .await?;
        Ok(post.and_then(|mut post| post.remove("_id")))
    }
}

/// What a [`StoredComment`] can be read from, as the server checks it.
fn readable() -> Document {
    doc! { "properties": {
        "_id": { "bsonType": "objectId" },
        "text": { "bsonType": ["string", "null"] },
        "author": { "bsonType": ["string", "null"] },
        "createdAt": { "bsonType": ["date", "null"] },
        "updatedAt": { "bsonType": ["date", "null"] },
        "edited": { "bsonType": ["bool", "null"] },
    } }
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
    present.sort_unstable_by_key(|comment| Reverse((comment.created_at(), comment.id.object_id())));
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

/// What orders comments.
fn rank(comment: &str) -> Document {
    doc! { "at": format!("{comment}.createdAt"), "id": format!("{comment}._id") }
}
