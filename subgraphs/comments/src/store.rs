//! All collections, indexes and queries of the comments subgraph.

use std::collections::HashMap;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::error::{ErrorKind, WriteFailure};
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{ClientSession, Collection, Database, IndexModel};
use serde::Deserialize;
use subgraph::{DateTime, Page, PageRequest};

use crate::Error;
use crate::comment::{Comment, CommentId, Idempotency};
use crate::post::PostId;
use crate::written::Written;

/// MongoDB's code for a value that a unique index has already.
const DUPLICATE_KEY: i32 = 11_000;

/// The subgraph's access to MongoDB. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    comments: Collection<Comment>,
    /// Owned by the posts subgraph: we only look whether a post is there.
    posts: Collection<Document>,
    /// Marks of posts that are being deleted, written by the posts subgraph.
    deleted_posts: Collection<DeletedPost>,
}

/// The mark of a post that is being deleted, or was.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedPost {
    /// The post.
    #[serde(rename = "_id")]
    pub id: PostId,
    /// When its deletion was asked for.
    pub marked_at: DateTime,
}

impl Store {
    /// The store in a database.
    pub fn new(database: &Database) -> Self {
        Self {
            comments: database.collection("comments"),
            posts: database.collection("posts"),
            deleted_posts: database.collection("deletedPosts"),
        }
    }

    /// The comments with these ids, in no particular order.
    pub async fn comments_by_id(&self, ids: &[CommentId]) -> Result<Vec<Comment>, Error> {
        let ids: Vec<_> = ids.iter().map(|id| id.object_id()).collect();
        Ok(self
            .comments
            .find(doc! { "_id": { "$in": ids } })
            .await?
            .try_collect()
            .await?)
    }

    /// The same page of several posts' comments, in one query: each post is a branch of its own,
    /// which reads no more of the index than its page has.
    pub async fn comments_of_posts(
        &self,
        posts: &[PostId],
        request: &PageRequest,
    ) -> Result<HashMap<PostId, Page<Comment>>, Error> {
        let mut branches = posts.iter().map(|post| page_stages(*post, request));
        let Some(mut stages) = branches.next() else {
            return Ok(HashMap::new());
        };
        let name = self.comments.name();
        stages.extend(
            branches.map(|branch| doc! { "$unionWith": { "coll": name, "pipeline": branch } }),
        );
        let read = async {
            let comments = self
                .comments
                .aggregate(stages)
                .with_type::<Comment>()
                .await?;
            comments.try_collect::<Vec<_>>().await
        };
        // Whether a cursor cut something off is one more look for each post; a query with a cursor
        // asks for one post in practice.
        let behind = posts
            .iter()
            .map(|post| self.any(request.filter_behind(of_post(*post))));
        let ahead = posts
            .iter()
            .map(|post| self.any(request.filter_ahead(of_post(*post))));
        let (comments, behind, ahead) =
            tokio::try_join!(read, try_join_all(behind), try_join_all(ahead))?;

        let mut lists: HashMap<PostId, Vec<Comment>> = HashMap::with_capacity(posts.len());
        for comment in comments {
            lists.entry(comment.post_id).or_default().push(comment);
        }
        let sides = behind.into_iter().zip(ahead);
        let pages = posts.iter().zip(sides).map(|(post, (behind, ahead))| {
            (
                *post,
                request.page(lists.remove(post).unwrap_or_default(), behind, ahead),
            )
        });
        Ok(pages.collect())
    }

    /// Adds a comment and returns it; or the first one, when its idempotency key was used before.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when the key came with another input.
    pub async fn insert_comment(&self, comment: Comment) -> Result<Written<Comment>, Error> {
        let mut session = self.session().await?;
        let inserted = self
            .comments
            .insert_one(&comment)
            .session(&mut session)
            .await;
        let comment = match (inserted, &comment.idempotency) {
            (Ok(_), _) => comment,
            (Err(error), Some(idempotency)) if is_duplicate(&error) => {
                self.first_with_key(idempotency, &mut session).await?
            }
            (Err(error), _) => return Err(error.into()),
        };
        Ok(Written::in_session(comment, &session))
    }

    /// Changes a comment's text; returns the comment after the change, none when there is no such
    /// comment.
    pub async fn update_comment(
        &self,
        id: CommentId,
        text: String,
        now: DateTime,
    ) -> Result<Option<Written<Comment>>, Error> {
        let mut session = self.session().await?;
        let set = doc! { "$set": { "text": text, "edited": true, "updatedAt": now } };
        let comment = self
            .comments
            .find_one_and_update(doc! { "_id": id }, set)
            .return_document(ReturnDocument::After)
            .session(&mut session)
            .await?;
        Ok(comment.map(|comment| Written::in_session(comment, &session)))
    }

    /// Deletes a comment; none when there is no such comment.
    pub async fn delete_comment(&self, id: CommentId) -> Result<Option<Written<()>>, Error> {
        let mut session = self.session().await?;
        let deleted = self
            .comments
            .delete_one(doc! { "_id": id })
            .session(&mut session)
            .await?;
        Ok((deleted.deleted_count == 1).then(|| Written::in_session((), &session)))
    }

    /// Those of the posts that exist.
    pub async fn existing_posts(&self, posts: &[PostId]) -> Result<Vec<PostId>, Error> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(rename = "_id")]
            id: PostId,
        }
        let ids: Vec<_> = posts.iter().map(|id| id.object_id()).collect();
        let found = self.posts.clone_with_type::<Found>();
        let found = found
            .find(doc! { "_id": { "$in": ids } })
            .projection(doc! { "_id": 1 });
        Ok(found.await?.map_ok(|found| found.id).try_collect().await?)
    }

    /// The marks of posts that are being deleted.
    pub async fn deleted_posts(&self) -> Result<Vec<DeletedPost>, Error> {
        Ok(self
            .deleted_posts
            .find(doc! {})
            .await?
            .try_collect()
            .await?)
    }

    /// Removes the mark of a post whose comments are all gone.
    pub async fn forget_deleted_post(&self, id: PostId) -> Result<(), Error> {
        self.deleted_posts.delete_one(doc! { "_id": id }).await?;
        Ok(())
    }

    /// Deletes all comments of a post; returns how many there were.
    pub async fn delete_comments_of(&self, post: PostId) -> Result<u64, Error> {
        Ok(self
            .comments
            .delete_many(of_post(post))
            .await?
            .deleted_count)
    }

    async fn first_with_key(
        &self,
        idempotency: &Idempotency,
        session: &mut ClientSession,
    ) -> Result<Comment, Error> {
        let by_key = doc! { "idempotency.key": &idempotency.key };
        let first = self.comments.find_one(by_key).session(session).await?;
        first
            .filter(|first| first.idempotency.as_ref() == Some(idempotency))
            .ok_or(Error::IdempotencyKeyReused)
    }

    /// A session tells the time of what was written in it.
    async fn session(&self) -> mongodb::error::Result<ClientSession> {
        self.comments.client().start_session().await
    }

    /// Whether a filter matches any comment; no filter matches none.
    async fn any(&self, filter: Option<Document>) -> mongodb::error::Result<bool> {
        let Some(filter) = filter else {
            return Ok(false);
        };
        let ids = self.comments.clone_with_type::<Document>();
        Ok(ids
            .find_one(filter)
            .projection(doc! { "_id": 1 })
            .await?
            .is_some())
    }
}

/// Creates the indexes that the queries of this crate need.
///
/// # Errors
/// When MongoDB cannot be reached, or has an index of the same keys and another shape.
pub async fn create_indexes(database: &Database) -> mongodb::error::Result<()> {
    let by_post = IndexModel::builder()
        .keys(doc! { "postId": 1, "createdAt": -1, "_id": -1 })
        .build();
    let with_key = doc! { "idempotency.key": { "$exists": true } };
    let by_key = IndexModel::builder()
        .keys(doc! { "idempotency.key": 1 })
        .options(
            IndexOptions::builder()
                .unique(true)
                .partial_filter_expression(with_key)
                .build(),
        )
        .build();
    database
        .collection::<Document>("comments")
        .create_indexes([by_post, by_key])
        .await?;
    Ok(())
}

/// The comments of a post. Mongoose stores references as ObjectIds or as texts, as its schema
/// says; we store ObjectIds.
fn of_post(post: PostId) -> Document {
    doc! { "postId": { "$in": [Bson::from(post), Bson::from(post.to_string())] } }
}

fn page_stages(post: PostId, request: &PageRequest) -> Vec<Document> {
    vec![
        doc! { "$match": request.filter(of_post(post)) },
        doc! { "$sort": request.sort() },
        doc! { "$limit": request.limit() },
    ]
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}
