//! The lists of moderators, and the reports that bring comments there.

use std::collections::HashMap;

use async_graphql::ID;
use bson::{Bson, Document, RawDocumentBuf, doc};
use changefeed::SendAction;
use mongodb::options::{IndexOptions, WriteConcern};
use mongodb::{Database, IndexModel};
use subgraph::collections::exists;
use subgraph::{BeyondCursors, Page, PageRequest, readable};

use super::comment_keys::{DUPLICATE_KEY, code};
use super::{Collections, MODERATED_COMMENTS, Store, readable_comment};
use crate::Error;
use crate::comment::{Comment, CommentId, CommentStatus};
use crate::moderation::{
    ModerationEntry, ModerationList, REPORTS_MAX, SHAPE, STATES, stored_status,
};

/// How often a report is written again when another request made the entry at the same moment.
const REPORT_TRIES: u32 = 5;

impl Store {
    /// One page of a list of moderators, each entry with its comment.
    pub async fn moderation_list(
        &self,
        list: ModerationList,
        request: &PageRequest,
    ) -> Result<Page<ModerationEntry>, Error> {
        let (items, behind, ahead) = tokio::try_join!(
            self.entries_of(list, *request),
            self.any_entry(request.filter_behind(|| readable_of(list))),
            self.any_entry(request.filter_ahead(|| readable_of(list))),
        )?;
        let mut page = request.page(items, BeyondCursors { behind, ahead });
        page.items = self.with_comments(page.items).await?;
        Ok(page)
    }

    /// What moderation knows of a comment.
    pub async fn moderation_entry(&self, id: CommentId) -> Result<Option<ModerationEntry>, Error> {
        let read = self.calls.run(|collections| async move {
            let found = collections.entries.find_one(doc! { "_id": id });
            let found = found.send().await?;
            Ok(found.and_then(|found| readable::one(&found, &collections.unreadables)))
        });
        read.await
    }

    /// Keeps a person's report of a visible comment, unless there is one, and returns the comment; none if it does
    /// not exist.
    pub async fn report_comment(
        &self,
        id: CommentId,
        by: ID,
        reason: String,
    ) -> Result<Option<Comment>, Error> {
        let report = self.calls.run(|collections| async move {
            for _ in 1..REPORT_TRIES {
                let Some(comment) = collections.visible_comment(id).await? else {
                    return Ok(None);
                };
                match collections.add_report(&comment, &by, &reason).await {
                    // Somebody else made the entry at the same moment, or a moderator has just hidden the comment.
                    Err(error) if code(&error) == Some(DUPLICATE_KEY) => continue,
                    added => added?,
                }
                return Ok(Some(comment));
            }
            let failure = "the entry of a reported comment cannot be used";
            Err(mongodb::error::Error::custom(failure).into())
        });
        report.await
    }

    async fn entries_of(
        &self,
        list: ModerationList,
        request: PageRequest,
    ) -> Result<Vec<ModerationEntry>, Error> {
        let read = self.calls.run(move |collections| async move {
            let read = readable::within_limit(
                || readable_of(list),
                &collections.unreadables,
                async |readable| {
                    let filter = readable.unwrap_or_else(|| doc! { "list": list.stored() });
                    collections
                        .entries
                        .find(request.filter(filter))
                        .sort(request.sort())
                        .limit(request.limit())
                        .send()
                        .await
                },
            );
            Ok(read.await?)
        });
        read.await
    }

    async fn any_entry(&self, filter: Option<Document>) -> Result<bool, Error> {
        let Some(filter) = filter else {
            return Ok(false);
        };
        let look = self
            .calls
            .run(|collections| async move { Ok(exists(&collections.entries, filter).await?) });
        look.await
    }

    /// The entries with their comments. One whose comment is gone is removed: another program has deleted it, or a
    /// service that stopped before it deleted the entry too.
    async fn with_comments(
        &self,
        entries: Vec<ModerationEntry>,
    ) -> Result<Vec<ModerationEntry>, Error> {
        let visible = entries.iter().filter(|entry| entry.comment.is_none());
        let visible: Vec<_> = visible.map(|entry| entry.id).collect();
        if visible.is_empty() {
            return Ok(entries);
        }
        let comments = self.comments_by_id(&visible).await?.into_iter();
        let mut comments: HashMap<_, _> = comments.map(|it| (it.id, it)).collect();
        let mut orphans = Vec::new();
        let entries = entries.into_iter().filter_map(|mut entry| {
            if entry.comment.is_none() {
                entry.comment = comments.remove(&entry.id);
            }
            if entry.comment.is_none() {
                orphans.push(entry.id);
                return None;
            }
            Some(entry)
        });
        let entries = entries.collect();
        if !orphans.is_empty() {
            let remove = self.calls.run(|collections| async move {
                // Not one that was hidden after it was read here.
                let orphans = doc! {
                    "_id": { "$in": orphans },
                    "state": stored_status(CommentStatus::Visible),
                    "list": ModerationList::Open.stored(),
                };
                collections.entries.delete_many(orphans).await?;
                Ok::<_, Error>(())
            });
            remove.await?;
        }
        Ok(entries)
    }
}

impl Collections {
    async fn visible_comment(&self, id: CommentId) -> mongodb::error::Result<Option<Comment>> {
        let found = self.comments.find_one(readable_comment(id)).send().await?;
        Ok(found.and_then(|found| readable::one(&found, &self.unreadables)))
    }

    /// Adds a report in one write, unless the person has reported the comment before, or there are enough reports.
    async fn add_report(
        &self,
        comment: &Comment,
        by: &ID,
        reason: &str,
    ) -> mongodb::error::Result<()> {
        let of_it = doc! { "_id": comment.id, "state": stored_status(CommentStatus::Visible) };
        let add = self
            .entries
            .update_one(of_it, reported(comment, by.as_str(), reason));
        // Whatever the client's is: who has reported is not asked again.
        let add = add.upsert(true).write_concern(WriteConcern::majority());
        add.await.map(drop)
    }
}

/// The update that adds a report. It changes nothing where the report is one too many.
fn reported(comment: &Comment, by: &str, reason: &str) -> Vec<Document> {
    let or_none = |field: &str| doc! { "$ifNull": [field, Vec::<Bson>::new()] };
    let by = doc! { "$literal": by };
    let reports = or_none("$reports");
    let report = doc! { "by": by.clone(), "reason": { "$literal": reason }, "at": "$$NOW" };
    let max = i64::try_from(REPORTS_MAX).unwrap_or(i64::MAX);
    let is_too_many = doc! { "$or": [
        { "$in": [by.clone(), or_none("$reporters")] },
        { "$in": [by, or_none("$reports.by")] },
        { "$gte": [{ "$size": reports.clone() }, max] },
    ] };
    let reports = doc! { "$cond": [
        is_too_many, reports.clone(), { "$concatArrays": [reports, [report]] },
    ] };
    let open = ModerationList::Open.stored();
    let waits = doc! { "$gt": [{ "$size": "$reports" }, 0] };
    // It entered the queue before, or does not enter it.
    let keeps_date = doc! { "$or": [{ "$eq": ["$list", open] }, { "$not": [&waits] }] };
    vec![
        doc! { "$set": {
            "postId": comment.post_id,
            "reports": reports,
            "reporters": or_none("$reporters"),
        } },
        doc! { "$set": {
            "createdAt": { "$cond": [keeps_date, "$createdAt", "$$NOW"] },
            "list": { "$cond": [waits, open, "$$REMOVE"] },
        } },
    ]
}

/// The entries of a list that can be read.
fn readable_of(list: ModerationList) -> Document {
    let mut filter = SHAPE.filter();
    filter.insert("list", list.stored());
    filter.insert("state", doc! { "$in": STATES.to_vec() });
    filter
}

/// Creates the indexes of the lists, and of the entries of a post that is deleted.
pub(super) async fn prepare(database: &Database) -> mongodb::error::Result<()> {
    let listed = doc! { "list": { "$exists": true } };
    let by_list = IndexModel::builder()
        .keys(doc! { "list": 1, "createdAt": -1, "_id": -1 })
        .options(
            IndexOptions::builder()
                .partial_filter_expression(listed)
                .build(),
        )
        .build();
    let by_post = IndexModel::builder().keys(doc! { "postId": 1 }).build();
    let entries = database.collection::<RawDocumentBuf>(MODERATED_COMMENTS);
    entries.create_indexes([by_list, by_post]).await.map(drop)
}
