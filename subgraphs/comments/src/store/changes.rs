//! Edits and deletions. Most are one write to a visible comment, whose filter has the owner. Where that finds nothing,
//! and for moderators, whose acts leave a line, a transaction looks at one snapshot where the comment is.

use bson::{Document, doc};
use changefeed::{SendAction, WithCauses};
use mongodb::ClientSession;
use mongodb::options::ReturnDocument;
use subgraph::unchanged::{next_version, unchanged_since};
use subgraph::viewer::exact;
use subgraph::{DateTime, Owner, Viewer, readable};

use super::moderation_acts::line_about;
use super::transaction::Attempt;
use super::{Collections, Store, readable_comment};
use crate::Error;
use crate::comment::{Comment, CommentId, CommentStatus};
use crate::moderation::Moderator;
use crate::written::Written;

impl Store {
    /// Sets a comment's text and returns the changed comment; none if it does not exist.
    ///
    /// # Errors
    /// [`Error::Access`] when the viewer may not change it, [`Error::CommentChanged`] when its `updatedAt` is another
    /// than `if_updated_at`, [`Error::CommentHidden`] when a moderator has hidden it.
    pub async fn update_comment(
        &self,
        id: CommentId,
        text: String,
        viewer: Viewer,
        now: DateTime,
        if_updated_at: Option<DateTime>,
    ) -> Result<Written<Option<Comment>>, Error> {
        let edit = Edit {
            id,
            text,
            viewer,
            updated_at: next_version(now, if_updated_at),
            if_updated_at,
        };
        let update = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            if let Some(comment) = collections.edit_visible(&edit, &mut session).await? {
                return Ok(Written::in_session(Some(comment), &session));
            }
            collections.in_transaction(&mut session, &edit).await
        });
        update.await
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
        let delete = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            if collections
                .delete_visible(id, &viewer, &mut session)
                .await?
            {
                return Ok(Written::in_session(true, &session));
            }
            let delete = Delete { id, viewer };
            collections.in_transaction(&mut session, &delete).await
        });
        delete.await
    }
}

struct Edit {
    id: CommentId,
    text: String,
    viewer: Viewer,
    updated_at: DateTime,
    if_updated_at: Option<DateTime>,
}

struct Delete {
    id: CommentId,
    viewer: Viewer,
}

impl Collections {
    /// One write; none if the viewer is a moderator, or there is no visible comment that the edit may change.
    async fn edit_visible(
        &self,
        edit: &Edit,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Option<Comment>> {
        if edit.viewer.is_moderator() {
            return Ok(None);
        }
        let mut filter = readable_comment(edit.id);
        edit.viewer.limit_to_changeable(&mut filter);
        if let Some(seen) = edit.if_updated_at {
            unchanged_since(&mut filter, seen, edit.id.created_at());
        }
        let comment = self
            .comments
            .find_one_and_update(filter, edit.set(""))
            .collation(exact())
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
        let delete = self.comments.delete_one(filter).collation(exact());
        if delete.session(&mut *session).await?.deleted_count == 0 {
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
    /// The update of the fields below a path.
    fn set(&self, path: &str) -> Document {
        doc! { "$set": {
            format!("{path}text"): &self.text,
            format!("{path}edited"): true,
            format!("{path}updatedAt"): self.updated_at,
        } }
    }

    fn require_unchanged(&self, comment: &Comment) -> Result<(), Error> {
        match self.if_updated_at {
            Some(seen) if seen != comment.version() => Err(Error::CommentChanged(self.id)),
            _ => Ok(()),
        }
    }
}

impl Attempt for Edit {
    type Output = Option<Comment>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let of_id = doc! { "_id": self.id };
        let located = collections.locate(self.id, session).await?;
        let Some(comment) = located.comment() else {
            return Ok(None);
        };
        let update = match comment.status {
            CommentStatus::Visible if !self.viewer.may_change(&comment.owner) => {
                return Err(self.viewer.refusal().into());
            }
            CommentStatus::Held | CommentStatus::Hidden
                if !may_know(&self.viewer, &comment.owner) =>
            {
                return Ok(None);
            }
            CommentStatus::Hidden => return Err(Error::CommentHidden(self.id)),
            CommentStatus::Visible => collections.comments.update_one(of_id, self.set("")),
            CommentStatus::Held => collections.entries.update_one(of_id, self.set("comment.")),
        };
        self.require_unchanged(comment)?;
        update.session(&mut *session).await?;
        let line = collections.leave_line_about(comment, "EDIT", &self.viewer, session);
        line.await?;
        Ok(Some(Comment {
            text: self.text.clone(),
            edited: true,
            updated_at: Some(self.updated_at),
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
        let located = collections.locate(self.id, session).await?;
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
