//! Edits and deletions. Most are one write to a visible comment, whose filter has the owner. Where that finds nothing,
//! and for moderators, whose acts leave a line, a transaction looks at one snapshot where the comment is.

use bson::{Document, doc};
use changefeed::{SendAction, WithCauses};
use mongodb::ClientSession;
use mongodb::options::ReturnDocument;
use subgraph::unchanged::{next_version, unchanged_since};
use subgraph::viewer::exact;
use subgraph::{DateTime, Owner, Viewer, readable};

use super::moderated::{Located, StoredEntry};
use super::moderation_acts::line_about;
use super::transaction::Attempt;
use super::{Collections, Store, WRITE_TIME_MAX, readable_comment};
use crate::Error;
use crate::comment::{Comment, CommentId, CommentStatus};
use crate::moderation::Moderator;
use crate::written::Written;

impl Store {
    /// Makes an edit and returns the changed comment; none if it does not exist.
    ///
    /// # Errors
    /// [`Error::Access`] when the viewer may not change it, [`Error::CommentChanged`] when its `updatedAt` is another
    /// than `if_updated_at`, [`Error::CommentHidden`] when a moderator has hidden it.
    pub async fn update_comment(&self, edit: Edit) -> Result<Written<Option<Comment>>, Error> {
        let one_write = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            let edited = collections.edit_visible(&edit, &mut session).await?;
            let edited = edited.map(|comment| Written::in_session(Some(comment), &session));
            Ok::<_, Error>((edit, session, edited))
        });
        match one_write.await? {
            (_, _, Some(edited)) => Ok(edited),
            (edit, session, None) => self.in_transaction_of(Some(session), edit).await,
        }
    }

    /// Deletes a comment and returns whether it existed.
    ///
    /// # Errors
    /// [`Error::Access`] when the viewer may not delete it.
    pub async fn delete_comment(
        &self,
        id: CommentId,
        viewer: Viewer,
    ) -> Result<Written<bool>, Error> {
        let one_write = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            let is_deleted = collections.delete_visible(id, &viewer, &mut session);
            let is_deleted = is_deleted.await?;
            Ok::<_, Error>((viewer, session, is_deleted))
        });
        match one_write.await? {
            (_, session, true) => Ok(Written::in_session(true, &session)),
            (viewer, session, false) => {
                let delete = Delete { id, viewer };
                self.in_transaction_of(Some(session), delete).await
            }
        }
    }
}

/// An edit of a comment.
pub struct Edit {
    pub id: CommentId,
    pub text: String,
    pub viewer: Viewer,
    /// When it is made.
    pub now: DateTime,
    /// The `updatedAt` of the text that the viewer edited.
    pub if_updated_at: Option<DateTime>,
    /// Whether a moderator has to see the new text first.
    pub is_held: bool,
}

struct Delete {
    id: CommentId,
    viewer: Viewer,
}

impl Collections {
    /// One write; none if the viewer is a moderator, the new text is held, or there is no visible comment that the edit
    /// may change.
    async fn edit_visible(
        &self,
        edit: &Edit,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Option<Comment>> {
        if edit.viewer.is_moderator() || edit.is_held {
            return Ok(None);
        }
        let mut filter = readable_comment(edit.id);
        edit.viewer.limit_to_changeable(&mut filter);
        if let Some(seen) = edit.if_updated_at {
            unchanged_since(&mut filter, seen, edit.id.created_at());
        }
        let comment = self
            .comments
            .find_one_and_update(filter, edit.set("", edit.if_updated_at))
            .collation(exact())
            .max_time(WRITE_TIME_MAX)
            .return_document(ReturnDocument::After)
            .session(session)
            .send()
            .await?;
        Ok(comment.and_then(|comment| readable::one(&comment, &self.unreadables)))
    }

    /// One write, and one more for its reports; false if the viewer is a moderator, or there is no visible comment that
    /// the viewer may delete.
    async fn delete_visible(
        &self,
        id: CommentId,
        viewer: &Viewer,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<bool> {
        if viewer.is_moderator() {
            return Ok(false);
        }
        let mut filter = readable_comment(id);
        viewer.limit_to_changeable(&mut filter);
        let delete = self.comments.find_one_and_delete(filter);
        let delete = delete.collation(exact()).projection(doc! { "_id": 1 });
        let delete = delete.max_time(WRITE_TIME_MAX).session(&mut *session);
        if delete.send().await?.is_none() {
            return Ok(false);
        }
        // The comment is gone, whatever becomes of its reports: moderators never see them without it.
        if let Err(error) = self.remove_entry(id, session).await {
            tracing::warn!(error = %WithCauses(&error), comment.id = %id, "the reports of a deleted comment could not be deleted: the queue leaves them out");
        }
        Ok(true)
    }

    /// Leaves a line if the viewer changes, as a moderator, what belongs to somebody else.
    async fn leave_line_about(
        &self,
        comment: &Comment,
        act: &'static str,
        viewer: &Viewer,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        match viewer.require_moderator() {
            Ok(person) if !viewer.is_author(&comment.owner) => {
                let line = line_about(comment, act, &Moderator::from(person), None);
                self.leave_line(line, session).await
            }
            _ => Ok(()),
        }
    }
}

/// Whether a viewer may know of a comment that is held or hidden, and change it: its author and moderators may. What
/// guests wrote is nobody's then, whatever the settings are.
fn may_know(viewer: &Viewer, owner: &Owner) -> bool {
    viewer.is_moderator() || viewer.is_author(owner)
}

impl Edit {
    /// The update of the fields below a path, of what was last changed at `seen`.
    fn set(&self, path: &str, seen: Option<DateTime>) -> Document {
        doc! { "$set": {
            format!("{path}text"): &self.text,
            format!("{path}edited"): true,
            format!("{path}updatedAt"): next_version(self.now, seen),
        } }
    }

    /// Moves a visible comment to where its new text waits for a moderator. Its old text goes there first: what other
    /// programs keep in the document is not lost.
    async fn hold(
        &self,
        located: &Located,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        let Some((document, comment)) = &located.visible else {
            return Ok(());
        };
        let delete = collections.comments.delete_one(doc! { "_id": self.id });
        delete.session(&mut *session).await?;
        let entry = StoredEntry::held_again(comment, document, located.known());
        collections.put_entry(&entry, session).await
    }
}

impl Attempt for Edit {
    type Output = Option<Comment>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let located = collections.locate(self.id, session).await?;
        let Some(comment) = located.comment() else {
            return Ok(None);
        };
        let status = match comment.status {
            CommentStatus::Visible if !self.viewer.may_change(&comment.owner) => {
                return Err(self.viewer.refusal().into());
            }
            CommentStatus::Held | CommentStatus::Hidden
                if !may_know(&self.viewer, &comment.owner) =>
            {
                return Ok(None);
            }
            CommentStatus::Hidden => return Err(Error::CommentHidden(self.id)),
            CommentStatus::Visible if self.is_held => CommentStatus::Held,
            status => status,
        };
        comment.require_unchanged(self.if_updated_at)?;
        if status != comment.status {
            self.hold(&located, collections, session).await?;
        }
        let (of_id, seen) = (doc! { "_id": self.id }, Some(comment.version()));
        let update = match status {
            CommentStatus::Visible => collections.comments.update_one(of_id, self.set("", seen)),
            _ => {
                let set = self.set("comment.", seen);
                collections.entries.update_one(of_id, set)
            }
        };
        update.session(&mut *session).await?;
        let line = collections.leave_line_about(comment, "EDIT", &self.viewer, session);
        line.await?;
        Ok(Some(Comment {
            text: self.text.clone(),
            edited: true,
            updated_at: Some(next_version(self.now, seen)),
            status,
            ..comment.clone()
        }))
    }
}

impl Attempt for Delete {
    type Output = bool;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<bool, Error> {
        // Others must not be in the way of an author by deletions that are refused.
        let located = match self.viewer.is_moderator() {
            true => collections.take(self.id, session).await?,
            false => collections.locate(self.id, session).await?,
        };
        let Some(comment) = located.comment() else {
            return Ok(false);
        };
        let owner = &comment.owner;
        match comment.status {
            CommentStatus::Visible if !self.viewer.may_change(owner) => {
                return Err(self.viewer.refusal().into());
            }
            CommentStatus::Visible => {
                let delete = collections.comments.delete_one(doc! { "_id": self.id });
                delete.session(&mut *session).await?;
            }
            CommentStatus::Held | CommentStatus::Hidden if !may_know(&self.viewer, owner) => {
                return Ok(false);
            }
            CommentStatus::Held | CommentStatus::Hidden => {}
        }
        if located.known().is_some() {
            collections.remove_entry(self.id, session).await?;
        }
        let line = collections.leave_line_about(comment, "DELETE", &self.viewer, session);
        line.await?;
        Ok(true)
    }
}
