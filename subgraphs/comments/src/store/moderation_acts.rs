//! What moderators do to comments. Each act is one transaction, which also leaves a line in `moderationActs`. An act
//! that finds everything as it would leave it changes nothing and leaves no line.

use bson::doc;
use changefeed::SendAction;
use mongodb::ClientSession;
use subgraph::moderation_acts::Line;
use subgraph::transaction::Attempt;
use subgraph::{DateTime, Moderator, Written};

use super::moderated::{Located, StoredEntry, all_reporters};
use super::{Collections, Store};
use crate::Error;
use crate::comment::{Comment, CommentId, CommentStatus};

impl Store {
    /// Moves a comment out of sight and returns it; none if it does not exist.
    pub async fn hide_comment(
        &self,
        id: CommentId,
        by: Moderator,
        reason: String,
    ) -> Result<Written<Option<Comment>>, Error> {
        self.calls.in_transaction(Hide { id, by, reason }).await
    }

    /// Shows a held or hidden comment, or settles the reports of a visible one, and returns it; none if it does not
    /// exist.
    ///
    /// # Errors
    /// [`Error::PostNotFound`] when its post is gone, [`Error::CommentChanged`] when its `updatedAt` is another than
    /// `if_updated_at`.
    pub async fn restore_comment(
        &self,
        id: CommentId,
        by: Moderator,
        reason: Option<String>,
        if_updated_at: Option<DateTime>,
    ) -> Result<Written<Option<Comment>>, Error> {
        let restore = Restore {
            id,
            by,
            reason,
            if_updated_at,
        };
        self.calls.in_transaction(restore).await
    }
}

/// The line of an act on a comment.
pub(super) fn line_about(
    comment: &Comment,
    act: &'static str,
    by: &Moderator,
    reason: Option<&str>,
) -> Line {
    Line::new(act, by, reason)
        .about("commentId", comment.id)
        .about("postId", comment.post_id)
        .of_owner(&comment.owner)
}

struct Hide {
    id: CommentId,
    by: Moderator,
    reason: String,
}

impl Attempt<Collections> for Hide {
    type Output = Option<Comment>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let located = collections.take(self.id, session).await?;
        let Some(comment) = located.comment() else {
            remove_orphan(collections, &located, session).await?;
            return Ok(None);
        };
        if comment.status == CommentStatus::Hidden {
            return Ok(Some(comment.clone()));
        }
        let visible = located.visible.as_ref();
        let visible = visible.map(|(document, _)| document.as_ref());
        let Some(document) = visible.or(located.kept_document()) else {
            return Ok(None);
        };
        let why = (self.by.name.as_str(), self.reason.as_str());
        let entry = StoredEntry::hidden(comment, document, located.known(), why);
        collections.put_entry(&entry, session).await?;
        let line = line_about(comment, "HIDE", &self.by, Some(&self.reason));
        collections.acts.leave(line, session).await?;
        Ok(Some(Comment {
            status: CommentStatus::Hidden,
            ..comment.clone()
        }))
    }
}

struct Restore {
    id: CommentId,
    by: Moderator,
    reason: Option<String>,
    if_updated_at: Option<DateTime>,
}

impl Attempt<Collections> for Restore {
    type Output = Option<Comment>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let located = collections.locate(self.id, session).await?;
        let Some(comment) = located.comment() else {
            remove_orphan(collections, &located, session).await?;
            return Ok(None);
        };
        comment.require_unchanged(self.if_updated_at)?;
        let Some(entry) = located.known() else {
            return Ok(Some(comment.clone()));
        };
        let act = match comment.status {
            CommentStatus::Visible if entry.is_open() => "SETTLE_REPORTS",
            CommentStatus::Visible => return Ok(Some(comment.clone())),
            CommentStatus::Held => "APPROVE",
            CommentStatus::Hidden => "RESTORE",
        };
        if let (None, Some(document)) = (&located.visible, located.kept_document()) {
            collections.require_post(comment, session).await?;
            // In the place of a copy, should another program have written one.
            let put = collections
                .comments
                .replace_one(doc! { "_id": self.id }, document.to_owned());
            put.upsert(true).session(&mut *session).await?;
        }
        match all_reporters(entry) {
            reporters if reporters.is_empty() => {
                collections.remove_entry(self.id, session).await?;
            }
            reporters => {
                let entry = StoredEntry::settled(comment, &reporters);
                collections.put_entry(&entry, session).await?;
            }
        }
        let line = line_about(comment, act, &self.by, self.reason.as_deref());
        collections.acts.leave(line, session).await?;
        Ok(Some(Comment {
            status: CommentStatus::Visible,
            ..comment.clone()
        }))
    }
}

impl Collections {
    /// Makes sure that the comment's post exists.
    async fn require_post(
        &self,
        comment: &Comment,
        session: &mut ClientSession,
    ) -> Result<(), Error> {
        let post = self.posts.find_one(doc! { "_id": comment.post_id });
        match post.session(session).send().await? {
            Some(_) => Ok(()),
            None => Err(Error::PostNotFound(comment.post_id)),
        }
    }
}

/// Removes the entry of a visible comment that another program, or a crash, has deleted without it.
async fn remove_orphan(
    collections: &Collections,
    located: &Located,
    session: &mut ClientSession,
) -> Result<(), Error> {
    if let Some(entry) = located.known() {
        collections.remove_entry(entry.id, session).await?;
    }
    Ok(())
}
