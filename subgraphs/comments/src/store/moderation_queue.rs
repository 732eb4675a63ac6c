//! The lists of moderators, and the reports that bring comments there.

use std::collections::HashMap;

use async_graphql::ID;
use bson::{Bson, Document, RawDocumentBuf, doc};
use changefeed::SendAction;
use mongodb::action::FindOneAndUpdate;
use mongodb::options::{IndexOptions, WriteConcern};
use mongodb::{ClientSession, Database, IndexModel};
use subgraph::collections::exists;
use subgraph::database_error::{DUPLICATE_KEY, WRITE_TIME_MAX, code};
use subgraph::transaction::Attempt;
use subgraph::{BeyondCursors, Page, PageRequest};

use super::{Collections, MODERATED_COMMENTS, Store, readable_comment};
use crate::Error;
use crate::comment::{Comment, CommentId, CommentStatus};
use crate::moderation::{ModerationEntry, ModerationList, REPORTS_MAX, readable, stored_status};

/// How often a page is read again whose comments are all gone.
const PAGE_ROUNDS_MAX: usize = 10;

impl Store {
    /// One page of a list of moderators, each entry with its comment.
    pub async fn moderation_list(
        &self,
        list: ModerationList,
        request: &PageRequest,
    ) -> Result<Page<ModerationEntry>, Error> {
        let mut rounds = 0..PAGE_ROUNDS_MAX;
        loop {
            let (items, behind, ahead) = tokio::try_join!(
                self.entries_of(list, *request),
                self.any_entry(request.filter_behind(|| readable_of(list))),
                self.any_entry(request.filter_ahead(|| readable_of(list))),
            )?;
            let mut page = request.page(items, BeyondCursors { behind, ahead });
            let is_empty = page.items.is_empty();
            page.items = self.with_comments(page.items).await?;
            // A page without an entry has no cursor to go on from. Those that were on it are removed now.
            if is_empty || !page.items.is_empty() || rounds.next().is_none() {
                return Ok(page);
            }
        }
    }

    /// What moderation knows of a comment.
    pub async fn moderation_entry(&self, id: CommentId) -> Result<Option<ModerationEntry>, Error> {
        let read = self.calls.run(|collections| async move {
            let found = collections.entries.find_one(doc! { "_id": id });
            let found = found.send().await?;
            Ok(found.and_then(|found| subgraph::readable::one(&found, &collections.unreadables)))
        });
        read.await
    }

    /// Keeps a person's report of a visible comment, unless there is one, and returns the comment; none if it does
    /// not exist.
    pub async fn report_comment(&self, report: Report) -> Result<Option<Comment>, Error> {
        let one_write = self.calls.run(|collections| async move {
            let Some(comment) = collections.visible_comment(report.id).await? else {
                return Ok::<_, Error>((report, Reported::Nowhere));
            };
            let reported = match collections.add_report(&comment, &report).await {
                Ok(false) => Reported::Kept(comment),
                // Its author may have deleted it before there was a report to delete with it.
                Ok(true) => match collections.visible_comment(report.id).await? {
                    Some(comment) => Reported::Kept(comment),
                    None => Reported::TooLate,
                },
                Err(error) if code(&error) == Some(DUPLICATE_KEY) => Reported::Refused,
                Err(error) => return Err(error.into()),
            };
            Ok((report, reported))
        });
        match one_write.await? {
            (_, Reported::Nowhere) => Ok(None),
            (_, Reported::Kept(comment)) => Ok(Some(comment)),
            (report, Reported::TooLate) => {
                let ids = vec![report.id];
                self.calls.in_transaction(RemoveOrphans { ids }).await?;
                Ok(None)
            }
            // Somebody else made the entry at the same moment, a moderator has just hidden the comment, or what has its
            // id cannot be used.
            (report, Reported::Refused) => Ok(self.calls.in_transaction(report).await?.value),
        }
    }

    async fn entries_of(
        &self,
        list: ModerationList,
        request: PageRequest,
    ) -> Result<Vec<ModerationEntry>, Error> {
        let read = self.calls.run(move |collections| async move {
            let read = subgraph::readable::within_limit(
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
        let mut ids = Vec::new();
        let entries = entries.into_iter().filter_map(|mut entry| {
            if entry.comment.is_none() {
                entry.comment = comments.remove(&entry.id);
            }
            if entry.comment.is_none() {
                ids.push(entry.id);
                return None;
            }
            Some(entry)
        });
        let entries = entries.collect();
        if !ids.is_empty() {
            self.calls.in_transaction(RemoveOrphans { ids }).await?;
        }
        Ok(entries)
    }
}

/// A person's report of a comment.
pub struct Report {
    pub id: CommentId,
    pub by: ID,
    pub reason: String,
}

/// What became of a report.
enum Reported {
    Kept(Comment),
    /// There is no such comment.
    Nowhere,
    /// There is none any more, and now there is a report of it.
    TooLate,
    /// The entry is not that of a visible comment.
    Refused,
}

impl Attempt<Collections> for Report {
    type Output = Option<Comment>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let located = collections.locate(self.id, session).await?;
        let Some((_, comment)) = &located.visible else {
            return Ok(None);
        };
        if located.known().is_none() {
            // What has its id is no entry, if anything has.
            collections.remove_entry(self.id, session).await?;
        }
        let add = self.addition(collections, comment).session(session);
        add.send().await?;
        Ok(Some(comment.clone()))
    }
}

/// Removes the reports of comments that are in neither place.
struct RemoveOrphans {
    ids: Vec<CommentId>,
}

impl Attempt<Collections> for RemoveOrphans {
    type Output = ();

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<(), Error> {
        for id in &self.ids {
            let located = collections.locate(*id, session).await?;
            if located.comment().is_none() && located.known().is_some() {
                collections.remove_entry(*id, session).await?;
            }
        }
        Ok(())
    }
}

impl Collections {
    async fn visible_comment(&self, id: CommentId) -> mongodb::error::Result<Option<Comment>> {
        let found = self.comments.find_one(readable_comment(id)).send().await?;
        Ok(found.and_then(|found| subgraph::readable::one(&found, &self.unreadables)))
    }

    /// Adds a report in one write, unless the person has reported the comment before, or there are enough reports;
    /// returns whether it is the entry's first.
    async fn add_report(&self, comment: &Comment, report: &Report) -> mongodb::error::Result<bool> {
        let add = report.addition(self, comment);
        // Whatever the client's is: who has reported is not asked again.
        let add = add.write_concern(WriteConcern::majority());
        Ok(add.max_time(WRITE_TIME_MAX).send().await?.is_none())
    }
}

impl Report {
    /// The write that adds it. It finds the entry as it was before.
    fn addition<'c>(
        &self,
        collections: &'c Collections,
        comment: &Comment,
    ) -> FindOneAndUpdate<'c, RawDocumentBuf> {
        let of_it = doc! { "_id": comment.id, "state": stored_status(CommentStatus::Visible) };
        let add = reported(comment, self.by.as_str(), &self.reason);
        let add = collections.entries.find_one_and_update(of_it, add);
        add.upsert(true).projection(doc! { "_id": 1 })
    }
}

/// The update that adds a report. It changes nothing where the report is one too many.
fn reported(comment: &Comment, by: &str, reason: &str) -> Vec<Document> {
    // Whatever another program has written there: the server's operators fail at what is no list.
    let or_none =
        |field: &str| doc! { "$cond": [{ "$isArray": field }, field, Vec::<Bson>::new()] };
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
    let is_date = doc! { "$in": [{ "$type": "$createdAt" }, ["date", "missing", "null"]] };
    let keeps_date = doc! { "$and": [keeps_date, is_date] };
    vec![
        doc! { "$set": {
            "postId": comment.post_id,
            "reports": reports,
            "reporters": or_none("$reporters"),
        } },
        doc! { "$set": {
            "createdAt": { "$cond": [keeps_date, "$createdAt", "$$NOW"] },
            "list": { "$cond": [waits, open, "$$REMOVE"] },
            // Of visible comments there is neither.
            "reason": "$$REMOVE",
            "moderator": "$$REMOVE",
        } },
    ]
}

/// The entries of a list that can be read.
fn readable_of(list: ModerationList) -> Document {
    doc! { "list": list.stored(), "$expr": readable() }
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
