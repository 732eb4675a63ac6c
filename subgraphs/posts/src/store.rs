//! All collections, indexes and queries of the posts subgraph.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database, IndexModel};
use subgraph::{DateTime, Page, PageRequest};

use crate::Error;
use crate::post::{Post, PostId};

/// The subgraph's access to MongoDB. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    posts: Collection<Post>,
}

impl Store {
    /// The store in a database.
    pub fn new(database: &Database) -> Self {
        Self { posts: database.collection("posts") }
    }

    /// Creates the indexes that the queries below need.
    ///
    /// # Errors
    /// When MongoDB cannot be reached, or has an index of the same name and another shape.
    pub async fn create_indexes(&self) -> Result<(), Error> {
        let by_creation = IndexModel::builder().keys(doc! { "createdAt": -1, "_id": -1 }).build();
        self.posts.create_index(by_creation).await?;
        Ok(())
    }

    /// The posts with these ids, in no particular order.
    pub async fn posts_by_id(&self, ids: &[PostId]) -> Result<Vec<Post>, Error> {
        let ids: Vec<_> = ids.iter().map(|id| id.object_id()).collect();
        Ok(self.posts.find(doc! { "_id": { "$in": ids } }).await?.try_collect().await?)
    }

    /// One page of all posts.
    pub async fn posts(&self, request: &PageRequest) -> Result<Page<Post>, Error> {
        let read = async {
            let cursor = self
                .posts
                .find(request.filter(Document::new()))
                .sort(request.sort())
                .limit(request.limit())
                .await?;
            cursor.try_collect::<Vec<_>>().await
        };
        let (items, behind, ahead) = tokio::try_join!(
            read,
            self.any(request.filter_behind(Document::new())),
            self.any(request.filter_ahead(Document::new())),
        )?;
        Ok(request.page(items, behind, ahead))
    }

    /// Adds a post.
    pub async fn insert_post(&self, post: &Post) -> Result<(), Error> {
        self.posts.insert_one(post).await?;
        Ok(())
    }

    /// Changes what is given; returns the post after the change, none when there is no such post.
    pub async fn update_post(
        &self,
        id: PostId,
        title: Option<String>,
        content: Option<String>,
        now: DateTime,
    ) -> Result<Option<Post>, Error> {
        let mut set = doc! { "updatedAt": now };
        if let Some(title) = title {
            set.insert("title", title);
        }
        if let Some(content) = content {
            set.insert("content", content);
        }
        let post = self
            .posts
            .find_one_and_update(doc! { "_id": id }, doc! { "$set": set })
            .return_document(ReturnDocument::After)
            .await?;
        Ok(post)
    }

    /// Deletes a post; tells whether there was one.
    pub async fn delete_post(&self, id: PostId) -> Result<bool, Error> {
        Ok(self.posts.delete_one(doc! { "_id": id }).await?.deleted_count == 1)
    }

    /// Whether a filter matches any post; no filter matches none.
    async fn any(&self, filter: Option<Document>) -> mongodb::error::Result<bool> {
        let Some(filter) = filter else { return Ok(false) };
        let ids = self.posts.clone_with_type::<Document>();
        Ok(ids.find_one(filter).projection(doc! { "_id": 1 }).await?.is_some())
    }
}
