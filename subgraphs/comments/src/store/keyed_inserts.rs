//! The transactions of requests with an idempotency key, for all but the request that wrote the key.

use bson::{RawDocument, doc};
use changefeed::SendAction;
use mongodb::ClientSession;
use subgraph::readable;
use subgraph::transaction::Attempt;

use super::Collections;
use super::idempotency::{Idempotency, KeyedComment};
use crate::Error;
use crate::comment::{Comment, CommentId, CommentStatus};
use crate::moderation::{ModerationEntry, comment_in};

/// A visible comment, as the first one of a key; none if it cannot be read.
pub(super) fn read_visible(
    collections: &Collections,
    document: &RawDocument,
    idempotency: &Idempotency,
) -> Result<Option<Comment>, Error> {
    idempotency.require_same_input(document)?;
    Ok(readable::one(document, &collections.unreadables))
}

/// The comment in an entry, as the first one of a key; none if there is none, or it cannot be read.
pub(super) fn read_kept(
    collections: &Collections,
    document: &RawDocument,
    idempotency: &Idempotency,
) -> Result<Option<Comment>, Error> {
    let Some(comment) = comment_in(document) else {
        return Ok(None);
    };
    idempotency.require_same_input(comment)?;
    let entry: Option<ModerationEntry> = readable::one(document, &collections.unreadables);
    Ok(entry.and_then(|entry| entry.comment))
}

/// Inserts a comment unless it is among the visible ones, or held or hidden, at one snapshot. Another transaction that
/// inserts or moves it since the snapshot has written the same `_id`, and the server refuses this one.
pub(super) struct InsertOnce {
    pub comment: Comment,
    pub idempotency: Idempotency,
}

impl Attempt<Collections> for InsertOnce {
    /// The comment, or the first one; none when something that cannot be read has its id.
    type Output = Option<Comment>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let of_id = || doc! { "_id": self.comment.id };
        let visible = collections
            .comments
            .find_one(of_id())
            .session(&mut *session);
        if let Some(document) = visible.send().await? {
            return read_visible(collections, &document, &self.idempotency);
        }
        let mut is_left = false;
        let entry = collections.entries.find_one(of_id()).session(&mut *session);
        if let Some(entry) = entry.send().await? {
            if comment_in(&entry).is_some() {
                return read_kept(collections, &entry, &self.idempotency);
            }
            is_left = true;
        }
        // Only now: all who find the comment would be in each other's way.
        let id = self.comment.id;
        collections.lock_key(&self.idempotency, id, session).await?;
        if is_left {
            // Left of a comment that was deleted without its reports.
            collections.remove_entry(id, session).await?;
        }
        let comment = self.comment.clone().created_now();
        let keyed = KeyedComment::new(&comment, &self.idempotency);
        collections.insert(&comment, &keyed, session).await?;
        Ok(Some(comment))
    }
}

/// Takes a comment back that was just inserted, should there be another one with its id, and returns that one.
pub(super) struct Confirm {
    pub comment: Comment,
    pub idempotency: Idempotency,
}

impl Attempt<Collections> for Confirm {
    type Output = Comment;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Comment, Error> {
        let id = self.comment.id;
        collections.lock_key(&self.idempotency, id, session).await?;
        let located = collections.locate_all(id, session).await?;
        let (Some((_, visible)), Some(kept)) = (&located.visible, located.kept()) else {
            return Ok(located.comment().unwrap_or(&self.comment).clone());
        };
        if self.comment.status == CommentStatus::Visible {
            let copy = collections.comments.delete_one(doc! { "_id": id });
            copy.session(session).await?;
            Ok(kept.clone())
        } else {
            collections.remove_entry(id, session).await?;
            Ok(visible.clone())
        }
    }
}

/// Finds a comment that seems to be in both places, and leaves it in one.
pub(super) struct Settle {
    pub id: CommentId,
}

impl Attempt<Collections> for Settle {
    /// None if it is in neither by now.
    type Output = Option<Comment>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let located = collections.locate(self.id, session).await?;
        Ok(located.comment().cloned())
    }
}
