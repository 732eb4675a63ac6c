//! All collections, indexes and queries of the comments subgraph.

use std::collections::HashMap;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use changefeed::{FromDocument, Unreadable, Unreadables};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use mongodb::error::{ErrorKind, WriteFailure};
use mongodb::options::{IndexOptions, ReturnDocument};
use mongodb::{ClientSession, Collection, Database, IndexModel};
use serde::Deserialize;
use subgraph::readable::{Kind, Shape};
use subgraph::stored_comment::{SHAPE, of_posts};
use subgraph::{DateTime, Page, PageRequest, readable};

use crate::Error;
use crate::comment::{Comment, CommentId, Idempotency};
use crate::post::PostId;
use crate::written::Written;

/// MongoDB's code for a value that a unique index has already.
const DUPLICATE_KEY: i32 = 11_000;
/// MongoDB's code for an index that the collection cannot have.
const CANNOT_CREATE_INDEX: i32 = 67;
/// How often an insert is tried whose idempotency key is taken by a comment that is gone by the
/// time it is looked at.
const INSERT_ATTEMPTS_MAX: u32 = 3;

/// The subgraph's access to MongoDB. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    comments: Collection<RawDocumentBuf>,
    /// Owned by the posts subgraph: we only look whether a post is there.
    posts: Collection<Document>,
    /// Marks of posts that are being deleted, written by the posts subgraph.
    deleted_posts: Collection<RawDocumentBuf>,
    unreadables: Unreadables,
}

/// The mark of a post that is being deleted, or was.
#[derive(Clone, Copy, Debug)]
pub struct DeletedPost {
    /// The post.
    pub id: PostId,
    /// When its deletion was asked for.
    pub marked_at: DateTime,
}

impl FromDocument for DeletedPost {
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        const MARK: Shape<2> = Shape([("_id", Kind::Id), ("markedAt", Kind::Date)]);
        let [id, marked_at] = MARK.read(document)?;
        Ok(Self {
            // The shape demands it.
            id: id.id().unwrap_or_default().into(),
            // One without a date is followed from its id's time on.
            marked_at: marked_at
                .date()
                .unwrap_or_else(|| DateTime::of_id(id.id().unwrap_or_default())),
        })
    }
}

impl Store {
    /// The store in a database; `unreadables` logs and counts the documents that cannot be read.
    pub fn new(database: &Database, unreadables: Unreadables) -> Self {
        Self {
            comments: database.collection("comments"),
            posts: database.collection("posts"),
            deleted_posts: database.collection("deletedPosts"),
            unreadables,
        }
    }

    /// The comments with these ids, in no particular order.
    pub async fn comments_by_id(&self, ids: &[CommentId]) -> Result<Vec<Comment>, Error> {
        let ids: Vec<_> = ids.iter().map(|id| id.object_id()).collect();
        let found = self.comments.find(doc! { "_id": { "$in": ids } });
        Ok(readable::all(found.await?, &self.unreadables).await?)
    }

    /// The same page of several posts' comments, in one query: each post is a branch of its own,
    /// which reads no more of the index than its page has.
    pub async fn comments_of_posts(
        &self,
        posts: &[PostId],
        request: &PageRequest,
    ) -> Result<HashMap<PostId, Page<Comment>>, Error> {
        let Some((first, others)) = posts.split_first() else {
            return Ok(HashMap::new());
        };
        let name = self.comments.name();
        let read = readable::within_limit(SHAPE.filter(), &self.unreadables, async |readable| {
            let readable = readable.unwrap_or_default();
            let mut stages = page_stages(*first, request, &readable);
            stages.extend(others.iter().map(|post| {
                let branch = page_stages(*post, request, &readable);
                doc! { "$unionWith": { "coll": name, "pipeline": branch } }
            }));
            let found = self.comments.aggregate(stages);
            found.with_type::<RawDocumentBuf>().await
        });
        // Whether a cursor cut something off is one more look for each post; a query with a cursor
        // asks for one post in practice.
        let behind = posts
            .iter()
            .map(|post| self.any(request.filter_behind(readable_of_post(*post))));
        let ahead = posts
            .iter()
            .map(|post| self.any(request.filter_ahead(readable_of_post(*post))));
        let (comments, behind, ahead): (Vec<Comment>, _, _) =
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
        let mut attempts = 0;
        loop {
            let inserted = self
                .comments
                .clone_with_type::<Comment>()
                .insert_one(&comment)
                .session(&mut session)
                .await;
            attempts += 1;
            match (inserted, &comment.idempotency) {
                (Ok(_), _) => return Ok(Written::in_session(comment, &session)),
                (Err(error), Some(idempotency)) if is_duplicate(&error) => {
                    let first = self.first_with_key(idempotency, &mut session).await?;
                    match first {
                        Some(first) => return Ok(Written::in_session(first, &session)),
                        // It was deleted since, and its key is free again.
                        None if attempts < INSERT_ATTEMPTS_MAX => {}
                        None => return Err(error.into()),
                    }
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
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
            .find_one_and_update(readable_comment(id), set)
            .return_document(ReturnDocument::After)
            .session(&mut session)
            .await?;
        let comment = comment.and_then(|comment| readable::one(&comment, &self.unreadables));
        Ok(comment.map(|comment| Written::in_session(comment, &session)))
    }

    /// Deletes a comment; none when there is no such comment.
    pub async fn delete_comment(&self, id: CommentId) -> Result<Option<Written<()>>, Error> {
        let mut session = self.session().await?;
        let deleted = self
            .comments
            .delete_one(readable_comment(id))
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
        let found = self.deleted_posts.find(doc! {}).await?;
        Ok(readable::all(found, &self.unreadables).await?)
    }

    /// Removes the mark of a post whose comments are all gone; one that was renewed since it was
    /// read stays.
    pub async fn forget_deleted_post(&self, mark: DeletedPost) -> Result<(), Error> {
        let as_read = doc! { "_id": mark.id, "markedAt": mark.marked_at };
        self.deleted_posts.delete_one(as_read).await?;
        Ok(())
    }

    /// Deletes all comments of a post; returns how many there were.
    pub async fn delete_comments_of(&self, post: PostId) -> Result<u64, Error> {
        Ok(self
            .comments
            .delete_many(of_post_alone(post))
            .await?
            .deleted_count)
    }

    /// The comment that was created with a key; none when it is gone.
    async fn first_with_key(
        &self,
        idempotency: &Idempotency,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let by_key = doc! { "idempotency.key": &idempotency.key };
        let Some(first) = self.comments.find_one(by_key).session(session).await? else {
            return Ok(None);
        };
        let kept = first.get_document("idempotency").ok();
        let kept = kept.and_then(|kept| bson::deserialize_from_slice(kept.as_bytes()).ok());
        match Comment::from_document(&first) {
            Ok(comment) if kept.as_ref() == Some(idempotency) => Ok(Some(comment)),
            _ => Err(Error::IdempotencyKeyReused),
        }
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
    let comments = database.collection::<Document>("comments");
    let by_post = IndexModel::builder()
        .keys(doc! { "postId": 1, "createdAt": -1, "_id": -1 })
        .build();
    // Of those without a date alone, which are few or none: it makes them quick to find.
    let undated = IndexModel::builder()
        .keys(doc! { "createdAt": 1 })
        .options(
            IndexOptions::builder()
                .name("undated".to_owned())
                .partial_filter_expression(doc! { "createdAt": Bson::Null })
                .build(),
        )
        .build();
    comments.create_indexes([by_post, undated]).await?;
    create_key_index(&comments).await
}

/// Creates the index that tells a repeated request. A sharded collection can have none, because a
/// unique index there has to begin with the shard key: the service is of use without it.
async fn create_key_index(comments: &Collection<Document>) -> mongodb::error::Result<()> {
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
    match comments.create_index(by_key).await {
        Err(error) if is_refused_for_sharding(&error) => {
            tracing::warn!(
                %error,
                "the comments are sharded, so an idempotency key does not keep a repeated request from writing a second comment"
            );
            Ok(())
        }
        created => created.map(drop),
    }
}

/// The comments of a post that can be read.
fn readable_of_post(post: PostId) -> Document {
    let mut filter = of_posts([post.object_id()]);
    filter.extend(SHAPE.filter());
    filter
}

/// The comments of a post, whether they can be read or not, without those that name it in a list of several.
fn of_post_alone(post: PostId) -> Document {
    let mut filter = of_posts([post.object_id()]);
    filter.insert("$nor", [doc! { "postId": { "$type": "array" } }]);
    filter
}

/// One comment, if it can be read: what cannot is as if it were not there.
fn readable_comment(id: CommentId) -> Document {
    let mut filter = SHAPE.filter();
    filter.insert("_id", id);
    filter
}

fn page_stages(post: PostId, request: &PageRequest, readable: &Document) -> Vec<Document> {
    let mut comments = of_posts([post.object_id()]);
    comments.extend(readable.clone());
    vec![
        doc! { "$match": request.filter(comments) },
        doc! { "$sort": request.sort() },
        doc! { "$limit": request.limit() },
    ]
}

fn is_refused_for_sharding(error: &mongodb::error::Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => {
            error.code == CANNOT_CREATE_INDEX && error.message.contains("shard key")
        }
        _ => false,
    }
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}
