//! Where a comment is, and how it moves: among the visible ones in `comments`, or whole in its entry of
//! `moderatedComments`. Each move is one transaction, so a comment is always in exactly one of them.

use bson::{RawDocument, RawDocumentBuf, doc, serialize_to_raw_document_buf};
use changefeed::{FromDocument, SendAction};
use mongodb::error::{Error, Result};
use mongodb::{ClientSession, Collection};
use serde::Serialize;
use subgraph::database_error::WRITE_TIME_MAX;
use subgraph::{DateTime, readable};

use super::{Collections, readable_comment};
use crate::comment::{Comment, CommentId, CommentStatus};
use crate::moderation::{
    ModerationEntry, ModerationList, REPORTERS_MAX, Report, comment_in, stored_status,
};

/// A comment and what moderation knows of it, at one snapshot.
pub(super) struct Located {
    /// Its document and what it says, if it is visible.
    pub visible: Option<(RawDocumentBuf, Comment)>,
    /// Its entry and the entry's document, if there is one.
    pub entry: Option<(RawDocumentBuf, ModerationEntry)>,
}

/// An entry as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredEntry<'a> {
    #[serde(rename = "_id")]
    id: bson::oid::ObjectId,
    post_id: bson::oid::ObjectId,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<&'static str>,
    /// Since when it is in its list, by which lists are sorted.
    created_at: DateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moderator: Option<&'a str>,
    reports: &'a [Report],
    reporters: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a RawDocument>,
}

impl<'a> StoredEntry<'a> {
    /// The entry of a new comment that is held.
    pub fn held(comment: &Comment, document: &'a RawDocument) -> Self {
        Self {
            list: Some(ModerationList::Open.stored()),
            comment: Some(document),
            ..Self::new(comment, CommentStatus::Held)
        }
    }

    /// The entry of a comment that was visible, and is held. Its reports stay, for moderators to read.
    pub fn held_again(
        comment: &Comment,
        document: &'a RawDocument,
        known: Option<&'a ModerationEntry>,
    ) -> Self {
        Self {
            reports: known.map_or(&[], |known| &known.reports),
            reporters: known.map_or(&[], |known| &known.reporters),
            ..Self::held(comment, document)
        }
    }

    /// The entry of a comment that is being hidden. Its reports stay, for moderators to read.
    pub fn hidden(
        comment: &Comment,
        document: &'a RawDocument,
        known: Option<&'a ModerationEntry>,
        (moderator, reason): (&'a str, &'a str),
    ) -> Self {
        Self {
            list: Some(ModerationList::Hidden.stored()),
            comment: Some(document),
            reason: Some(reason),
            moderator: Some(moderator),
            reports: known.map_or(&[], |known| &known.reports),
            reporters: known.map_or(&[], |known| &known.reporters),
            ..Self::new(comment, CommentStatus::Hidden)
        }
    }

    /// The entry of a visible comment whose reports are settled: who reported it before cannot do so again.
    pub fn settled(comment: &Comment, reporters: &'a [String]) -> Self {
        Self {
            reporters,
            ..Self::new(comment, CommentStatus::Visible)
        }
    }

    fn new(comment: &Comment, status: CommentStatus) -> Self {
        Self {
            id: comment.id.object_id(),
            post_id: comment.post_id.object_id(),
            state: stored_status(status),
            list: None,
            created_at: DateTime::now(),
            reason: None,
            moderator: None,
            reports: &[],
            reporters: &[],
            comment: None,
        }
    }
}

/// Whose reports are settled when a moderator has decided: those of before, and those of now.
pub(super) fn all_reporters(entry: &ModerationEntry) -> Vec<String> {
    let reported = entry.reports.iter().map(|report| &report.by);
    let all: Vec<_> = entry.reporters.iter().chain(reported).cloned().collect();
    all[all.len().saturating_sub(REPORTERS_MAX)..].to_vec()
}

impl Located {
    /// The comment, wherever it is.
    pub fn comment(&self) -> Option<&Comment> {
        let visible = self.visible.as_ref().map(|(_, comment)| comment);
        visible.or(self.kept())
    }

    /// The comment, if it is in its entry.
    pub fn kept(&self) -> Option<&Comment> {
        self.entry.as_ref()?.1.comment.as_ref()
    }

    /// The comment's entry.
    pub fn known(&self) -> Option<&ModerationEntry> {
        Some(&self.entry.as_ref()?.1)
    }

    /// The document of the comment in its entry.
    pub fn kept_document(&self) -> Option<&RawDocument> {
        comment_in(&self.entry.as_ref()?.0)
    }
}

impl Collections {
    /// Where a comment is, read in a transaction, at one snapshot. One that is in both places stays in moderation
    /// alone: a request with a key that was overtaken has left its copy (see `comment_keys`).
    pub(super) async fn locate(
        &self,
        id: CommentId,
        session: &mut ClientSession,
    ) -> Result<Located> {
        let mut located = self.locate_all(id, session).await?;
        if located.visible.is_some() && located.kept().is_some() {
            let copy = self.comments.delete_one(doc! { "_id": id });
            copy.session(session).await?;
            located.visible = None;
        }
        Ok(located)
    }

    /// The same, of which nothing is visible afterwards: it begins with the deletion. So an author who edits all the
    /// time is hardly ever in the way.
    pub(super) async fn take(&self, id: CommentId, session: &mut ClientSession) -> Result<Located> {
        let taken = self.comments.find_one_and_delete(readable_comment(id));
        let taken = taken.session(&mut *session).send().await?;
        let visible = taken.map(|document| {
            // So that the transaction ends without a trace: the filter finds readable ones alone.
            let unreadable = || Error::custom("a comment cannot be read that the server can");
            self.read(document).ok_or_else(unreadable)
        });
        let mut located = Located {
            visible: visible.transpose()?,
            entry: self.entry(id, session).await?,
        };
        if located.kept().is_some() {
            located.visible = None;
        }
        Ok(located)
    }

    /// Where a comment is: perhaps in both places.
    pub(super) async fn locate_all(
        &self,
        id: CommentId,
        session: &mut ClientSession,
    ) -> Result<Located> {
        let comment = self.comments.find_one(doc! { "_id": id });
        let comment = comment.session(&mut *session).send().await?;
        Ok(Located {
            visible: comment.and_then(|document| self.read(document)),
            entry: self.entry(id, session).await?,
        })
    }

    async fn entry(
        &self,
        id: CommentId,
        session: &mut ClientSession,
    ) -> Result<Option<(RawDocumentBuf, ModerationEntry)>> {
        let entry = self.entries.find_one(doc! { "_id": id }).session(session);
        Ok(entry.send().await?.and_then(|entry| self.read(entry)))
    }

    fn read<T: FromDocument>(&self, document: RawDocumentBuf) -> Option<(RawDocumentBuf, T)> {
        let read = readable::one(&document, &self.unreadables)?;
        Some((document, read))
    }

    /// Inserts a new comment whose `_id` others may know, by its key, in a single write, in the place that its status
    /// says. `document` is what is stored of it.
    ///
    /// # Errors
    /// Among others when something has its `_id` already. After [`WRITE_TIME_MAX`] nobody knows whether it is inserted:
    /// it may have waited for a transaction that keeps the `_id`, or on a sharded cluster for anything.
    pub(super) async fn insert_of_key<T: Serialize + Sync>(
        &self,
        comment: &Comment,
        document: &T,
        session: &mut ClientSession,
    ) -> Result<()> {
        let (collection, document) = self.place(comment, document)?;
        // An insert would wait for the transaction without a limit. What the filter finds is nothing, whatever is
        // there. It has the post because a collection may be sharded by it.
        let nothing = doc! { "_id": comment.id, "postId": comment.post_id, "$nor": [{}] };
        let insert = collection.find_one_and_replace(nothing, document);
        let insert = insert.upsert(true).projection(doc! { "_id": 1 });
        let insert = insert.max_time(WRITE_TIME_MAX).session(session);
        insert.send().await.map(drop)
    }

    /// The same with an `_id` that nobody else knows, or in a transaction: both wait for no other transaction.
    pub(super) async fn insert<T: Serialize + Sync>(
        &self,
        comment: &Comment,
        document: &T,
        session: &mut ClientSession,
    ) -> Result<()> {
        let (collection, document) = self.place(comment, document)?;
        let insert = collection.insert_one(document);
        insert.session(session).await.map(drop)
    }

    /// Where a new comment belongs, and its document there.
    fn place<T: Serialize>(
        &self,
        comment: &Comment,
        document: &T,
    ) -> Result<(&Collection<RawDocumentBuf>, RawDocumentBuf)> {
        let document = serialize_to_raw_document_buf(document)?;
        if comment.status == CommentStatus::Visible {
            return Ok((&self.comments, document));
        }
        let entry = StoredEntry::held(comment, &document);
        Ok((&self.entries, serialize_to_raw_document_buf(&entry)?))
    }

    /// Writes an entry, in the place of the one before.
    pub(super) async fn put_entry(
        &self,
        entry: &StoredEntry<'_>,
        session: &mut ClientSession,
    ) -> Result<()> {
        let entries = self.entries.clone_with_type::<StoredEntry<'_>>();
        let put = entries.replace_one(doc! { "_id": entry.id }, entry);
        put.upsert(true).session(session).await.map(drop)
    }

    /// Removes an entry.
    pub(super) async fn remove_entry(
        &self,
        id: CommentId,
        session: &mut ClientSession,
    ) -> Result<()> {
        let remove = self.entries.find_one_and_delete(doc! { "_id": id });
        let remove = remove.projection(doc! { "_id": 1 });
        let remove = remove.max_time(WRITE_TIME_MAX).session(session);
        remove.send().await.map(drop)
    }
}
