//! Edits and deletions. Most are one write to a visible comment, whose filter has the owner. Where that finds nothing,
//! a transaction looks at one snapshot where the comment is. So it does for moderators: what they do to comments of
//! others leaves a line.

use bson::{Document, doc};
use changefeed::{SendAction, WithCauses};
use mongodb::ClientSession;
use mongodb::options::ReturnDocument;
use subgraph::database_error::WRITE_TIME_MAX;
use subgraph::transaction::Attempt;
use subgraph::unchanged::{next_version, unchanged_since};
use subgraph::viewer::exact;
use subgraph::{DateTime, Moderator, Viewer, Written, WrittenIn, readable, written_in};

use super::moderated::{Located, StoredEntry};
use super::moderation_acts::line_about;
use super::reactions::without_reactions;
use super::{Collections, Store, readable_comment};
use crate::Error;
use crate::comment::{Comment, CommentId, CommentStatus};
use crate::post::PostId;

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
            (edit, session, None) => self.calls.in_transaction_of(Some(session), edit).await,
        }
    }

    /// Fails as an edit by the viewer would, whatever its text is.
    pub async fn require_editable(&self, id: CommentId, viewer: Viewer) -> Result<(), Error> {
        let look = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            // Reads alone: to take a copy away belongs into a transaction.
            let located = collections.locate_all(id, &mut session).await?;
            let Some(comment) = located.kept().or(located.comment()) else {
                return Err(Error::CommentNotFound(id));
            };
            comment.require_editable(&viewer)
        });
        look.await
    }

    /// Deletes a comment and returns the post that it was about; none if it did not exist.
    ///
    /// # Errors
    /// [`Error::Access`] when the viewer may not delete it.
    pub async fn delete_comment(&self, delete: Delete) -> Result<Written<Option<PostId>>, Error> {
        let one_write = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            let deleted = collections.delete_visible(&delete, &mut session).await?;
            Ok::<_, Error>((delete, session, deleted))
        });
        match one_write.await? {
            (_, _, Some(deleted)) => Ok(deleted),
            (delete, session, None) => self.calls.in_transaction_of(Some(session), delete).await,
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
    /// Why, if the viewer makes it as a moderator.
    pub reason: Option<String>,
}

/// A deletion of a comment.
pub struct Delete {
    pub id: CommentId,
    pub viewer: Viewer,
    /// Why, if the viewer makes it as a moderator.
    pub reason: Option<String>,
}

impl Collections {
    /// One write; none if the new text is held, or there is no visible comment that the viewer may change without
    /// moderating.
    async fn edit_visible(
        &self,
        edit: &Edit,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Option<Comment>> {
        if edit.is_held {
            return Ok(None);
        }
        let mut filter = readable_comment(edit.id);
        edit.viewer.limit_to_unmoderated(&mut filter);
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

    /// One write, and one more for its reports; none if there is no visible comment that the viewer may delete without
    /// moderating, or people have reacted to it: then the reactions have to go at the same moment.
    async fn delete_visible(
        &self,
        delete: &Delete,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Option<Written<Option<PostId>>>> {
        let id = delete.id;
        let mut filter = readable_comment(id);
        delete.viewer.limit_to_unmoderated(&mut filter);
        without_reactions(&mut filter);
        let delete = self.comments.find_one_and_delete(filter);
        let delete = delete.collation(exact()).max_time(WRITE_TIME_MAX);
        let Some(deleted) = delete.session(&mut *session).send().await? else {
            return Ok(None);
        };
        // Before its reports go: nobody needs to wait for that, or for what other programs wrote until then.
        let deleted = Written::in_session(deleted, session);
        // The comment is gone, whatever becomes of its reports: moderators never see them without it.
        if let Err(error) = self.remove_entry(id, session).await {
            tracing::warn!(error = %WithCauses(&error), comment.id = %id, "the reports of a deleted comment could not be deleted: the queue leaves them out");
        }
        // The filter finds none that cannot be read.
        let comment = readable::one::<Comment>(&deleted.value, &self.unreadables);
        Ok(comment.map(|comment| Written {
            value: Some(comment.post_id),
            operation_time: deleted.operation_time,
        }))
    }

    /// Leaves a line if the viewer changes the comment as a moderator.
    async fn leave_line_about(
        &self,
        comment: &Comment,
        (act, reason): (&'static str, Option<&str>),
        viewer: &Viewer,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        let Some(person) = viewer.moderates(&comment.owner) else {
            return Ok(());
        };
        let line = line_about(comment, act, &Moderator::from(person), reason);
        self.acts.leave(line, session).await
    }
}

impl Edit {
    /// The update of the fields below a path, of what was last changed at `seen`.
    fn set(&self, path: &str, seen: Option<DateTime>) -> Document {
        let mut set = doc! {
            format!("{path}text"): &self.text,
            format!("{path}edited"): true,
            format!("{path}updatedAt"): next_version(self.now, seen),
        };
        if let Some(trace) = WrittenIn::now().text() {
            set.insert(format!("{path}{}", written_in::FIELD), trace);
        }
        doc! { "$set": set }
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

impl Attempt<Collections> for Edit {
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
        if !comment.is_known_to(&self.viewer) {
            return Ok(None);
        }
        comment.require_editable(&self.viewer)?;
        comment.require_unchanged(self.if_updated_at)?;
        // An act that was done already, by a request that is sent again.
        if comment.text == self.text && self.viewer.moderates(&comment.owner).is_some() {
            return Ok(Some(comment.clone()));
        }
        let status = match comment.status {
            CommentStatus::Visible if self.is_held => CommentStatus::Held,
            status => status,
        };
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
        let act = ("EDIT", self.reason.as_deref());
        let line = collections.leave_line_about(comment, act, &self.viewer, session);
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

impl Attempt<Collections> for Delete {
    type Output = Option<PostId>;

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<PostId>, Error> {
        // Others must not be in the way of an author by deletions that are refused.
        let located = match self.viewer.is_moderator() {
            true => collections.take(self.id, session).await?,
            false => collections.locate(self.id, session).await?,
        };
        let Some(comment) = located.comment() else {
            return Ok(None);
        };
        if !comment.is_known_to(&self.viewer) {
            return Ok(None);
        }
        comment.require_deletable(&self.viewer)?;
        if comment.status == CommentStatus::Visible {
            let delete = collections.comments.delete_one(doc! { "_id": self.id });
            delete.session(&mut *session).await?;
        }
        if located.known().is_some() {
            collections.remove_entry(self.id, session).await?;
        }
        collections.remove_reactions(self.id, session).await?;
        let act = ("DELETE", self.reason.as_deref());
        let line = collections.leave_line_about(comment, act, &self.viewer, session);
        line.await?;
        Ok(Some(comment.post_id))
    }
}
