//! Edits and deletions. Most are one write, whose filter has the owner. What a moderator does to a post of somebody
//! else is an act: a transaction, in which it leaves its line.

use bson::{Document, RawDocument, RawDocumentBuf, doc};
use changefeed::SendAction;
use mongodb::ClientSession;
use mongodb::options::ReturnDocument;
use subgraph::database_error::WRITE_TIME_MAX;
use subgraph::moderation_acts::Line;
use subgraph::owner::{AUTHOR_ID, GUEST};
use subgraph::transaction::Attempt;
use subgraph::unchanged::{next_version, unchanged_since};
use subgraph::viewer::exact;
use subgraph::{DateTime, Moderator, Owner, Viewer, readable};

use super::{Collections, Store, readable_post};
use crate::Error;
use crate::post::{Post, PostId};

impl Store {
    /// Sets what is given and returns the changed post; none if it does not exist.
    ///
    /// # Errors
    /// [`Error::Access`] when the viewer may not change it, [`Error::PostChanged`] when its `updatedAt` is another than
    /// `if_updated_at`.
    pub async fn update_post(&self, edit: Edit) -> Result<Option<Post>, Error> {
        let edit = EditAndRead {
            edit,
            fields: self.fields(),
        };
        let one_write = self.calls.run(|collections| async move {
            let EditAndRead { edit: it, fields } = &edit;
            if let Some(post) = collections.edit_unmoderated(it, fields).await? {
                return Ok(Step::Done(readable::one(&post, &collections.unreadables)));
            }
            if it.viewer.is_moderator() {
                return Ok(Step::IsAct(edit));
            }
            let refusal = collections.refusal(it.id, &it.viewer, it.if_updated_at);
            refusal.await?.map_or(Ok(Step::Done(None)), Err)
        });
        match one_write.await? {
            Step::Done(post) => Ok(post),
            Step::IsAct(edit) => Ok(self.calls.in_transaction(edit).await?.value),
        }
    }

    /// Deletes a post and returns whether it existed. The mark for its comments is written first, or in the same
    /// transaction, so that a deleted post always has its mark, even if the process dies in between.
    ///
    /// # Errors
    /// [`Error::Access`] when the viewer may not delete it.
    pub async fn delete_post(&self, delete: Delete) -> Result<bool, Error> {
        let one_write = self.calls.run(|collections| async move {
            let Delete { id, viewer, .. } = &delete;
            // The post of a mark is deleted only by the filter below; a mark alone does nothing.
            match collections.owner(*id).await? {
                None => return Ok(Step::Done(false)),
                Some(owner) if viewer.moderates(&owner).is_some() => {
                    return Ok(Step::IsAct(delete));
                }
                Some(owner) if viewer.may_change(&owner) => {}
                Some(_) => return Err(viewer.refusal().into()),
            }
            collections.mark(*id, None).await?;
            if collections.delete_unmoderated(&delete).await? {
                return Ok(Step::Done(true));
            }
            // It belongs to somebody else since, or is gone.
            if viewer.is_moderator() {
                return Ok(Step::IsAct(delete));
            }
            let refusal = collections.refusal(*id, viewer, None).await?;
            refusal.map_or(Ok(Step::Done(false)), Err)
        });
        match one_write.await? {
            Step::Done(existed) => Ok(existed),
            Step::IsAct(delete) => Ok(self.calls.in_transaction(delete).await?.value),
        }
    }
}

/// An edit of a post. A text that is not given stays.
pub struct Edit {
    pub id: PostId,
    pub title: Option<String>,
    pub content: Option<String>,
    pub viewer: Viewer,
    /// When it is made.
    pub now: DateTime,
    /// The `updatedAt` of the texts that the viewer edited.
    pub if_updated_at: Option<DateTime>,
    /// Why, if the viewer makes it as a moderator.
    pub reason: Option<String>,
}

/// A deletion of a post.
pub struct Delete {
    pub id: PostId,
    pub viewer: Viewer,
    /// Why, if the viewer makes it as a moderator.
    pub reason: Option<String>,
}

/// An edit, and what is read of the post after it.
struct EditAndRead {
    edit: Edit,
    fields: Document,
}

/// What has become of a change without a transaction.
enum Step<T, A> {
    Done(T),
    /// Nothing yet: the viewer moderates.
    IsAct(A),
}

impl Edit {
    /// The posts that it may change, as far as the viewer does not matter.
    fn filter(&self) -> Document {
        let mut filter = readable_post(self.id);
        if let Some(seen) = self.if_updated_at {
            unchanged_since(&mut filter, seen, self.id.created_at());
        }
        filter
    }

    /// The texts that it writes.
    fn texts(&self) -> Document {
        let title = self.title.as_ref().map(|title| ("title", title));
        let content = self.content.as_ref().map(|content| ("content", content));
        let texts = title.into_iter().chain(content);
        texts
            .map(|(field, text)| (field.to_owned(), text.into()))
            .collect()
    }

    fn update(&self) -> Document {
        let mut set = self.texts();
        set.insert("updatedAt", next_version(self.now, self.if_updated_at));
        doc! { "$set": set }
    }
}

impl Collections {
    /// One write; none if there is no post that the viewer may change without moderating.
    async fn edit_unmoderated(
        &self,
        edit: &Edit,
        fields: &Document,
    ) -> mongodb::error::Result<Option<RawDocumentBuf>> {
        let mut filter = edit.filter();
        edit.viewer.limit_to_unmoderated(&mut filter);
        let update = self.posts.find_one_and_update(filter, edit.update());
        let update = update.collation(exact()).max_time(WRITE_TIME_MAX);
        let update = update.return_document(ReturnDocument::After);
        update.projection(fields.clone()).send().await
    }

    /// One write; false if there is no post that the viewer may delete without moderating.
    async fn delete_unmoderated(&self, delete: &Delete) -> mongodb::error::Result<bool> {
        let mut filter = doc! { "_id": delete.id };
        delete.viewer.limit_to_unmoderated(&mut filter);
        let delete = self.posts.find_one_and_delete(filter).collation(exact());
        let delete = delete.projection(doc! { "_id": 1 });
        Ok(delete.max_time(WRITE_TIME_MAX).send().await?.is_some())
    }

    /// Marks a post whose comments have to be deleted.
    async fn mark(
        &self,
        id: PostId,
        session: Option<&mut ClientSession>,
    ) -> mongodb::error::Result<()> {
        let mark = doc! { "$set": { "markedAt": DateTime::now() } };
        let mark = self.deleted_posts.update_one(doc! { "_id": id }, mark);
        let mark = mark.upsert(true);
        match session {
            Some(session) => mark.session(session).await.map(drop),
            None => mark.await.map(drop),
        }
    }

    /// Whom a post belongs to; none if there is no such post.
    async fn owner(&self, id: PostId) -> mongodb::error::Result<Option<Owner>> {
        let found = self.posts.find_one(readable_post(id));
        let post = found.projection(owner_fields()).send().await?;
        let post = post.and_then(|post| readable::one::<Post>(&post, &self.unreadables));
        Ok(post.map(|post| post.owner))
    }

    /// Why a write has found no post that it may change; none if there is no such post.
    async fn refusal(
        &self,
        id: PostId,
        viewer: &Viewer,
        if_updated_at: Option<DateTime>,
    ) -> mongodb::error::Result<Option<Error>> {
        Ok(self
            .owner(id)
            .await?
            .and_then(|owner| match viewer.may_change(&owner) {
                false => Some(viewer.refusal().into()),
                true => if_updated_at.map(|_| Error::PostChanged(id)),
            }))
    }

    /// A post that the server has just changed or deleted in a transaction, which has to end without a trace if nobody
    /// can say whose it was.
    fn read_changed(&self, post: &RawDocument) -> mongodb::error::Result<Post> {
        let unreadable =
            || mongodb::error::Error::custom("a post cannot be read that the server can");
        readable::one(post, &self.unreadables).ok_or_else(unreadable)
    }

    /// Leaves a line if the viewer changes the post as a moderator.
    async fn leave_line_about(
        &self,
        post: &Post,
        (act, reason): (&'static str, Option<&str>),
        viewer: &Viewer,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        let Some(person) = viewer.moderates(&post.owner) else {
            return Ok(());
        };
        let line = Line::new(act, &Moderator::from(person), reason);
        let line = line.about("postId", post.id).of_owner(&post.owner);
        self.acts.leave(line, session).await
    }
}

/// The fields that say whose a post is.
fn owner_fields() -> Document {
    doc! { AUTHOR_ID.0: 1, GUEST.0: 1 }
}

impl Attempt<Collections> for EditAndRead {
    type Output = Option<Post>;

    /// It begins with the write, so that nobody else's write is in its way.
    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Post>, Error> {
        let edit = &self.edit;
        let mut filter = edit.filter();
        // An act that was done already, by a request that is sent again, is none.
        filter.insert("$nor", [edit.texts()]);
        let update = collections.posts.find_one_and_update(filter, edit.update());
        let update = update.collation(exact()).session(&mut *session);
        let update = update.return_document(ReturnDocument::After);
        if let Some(post) = update.projection(self.fields.clone()).send().await? {
            let post = collections.read_changed(&post)?;
            let act = ("EDIT_POST", edit.reason.as_deref());
            let line = collections.leave_line_about(&post, act, &edit.viewer, session);
            line.await?;
            return Ok(Some(post));
        }
        let found = collections.posts.find_one(readable_post(edit.id));
        let found = found.projection(self.fields.clone()).session(session);
        let found = found.send().await?;
        let post = found.and_then(|post| readable::one::<Post>(&post, &collections.unreadables));
        match post {
            Some(post)
                if edit
                    .if_updated_at
                    .is_some_and(|seen| seen != post.version()) =>
            {
                Err(Error::PostChanged(edit.id))
            }
            post => Ok(post),
        }
    }
}

impl Attempt<Collections> for Delete {
    type Output = bool;

    /// It begins with the deletion, so that nobody else's write is in its way.
    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<bool, Error> {
        let delete = collections
            .posts
            .find_one_and_delete(readable_post(self.id));
        let delete = delete.projection(owner_fields()).session(&mut *session);
        let Some(post) = delete.send().await? else {
            return Ok(false);
        };
        let post = collections.read_changed(&post)?;
        collections.mark(self.id, Some(&mut *session)).await?;
        let act = ("DELETE_POST", self.reason.as_deref());
        let line = collections.leave_line_about(&post, act, &self.viewer, session);
        line.await?;
        Ok(true)
    }
}
