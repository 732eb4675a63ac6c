//! The collections and indexes of the posts subgraph, and the queries of requests; those of edits and deletions are in
//! `changes`, those of searches in `search`. The queries of the projection are in `comment_projection` and `new_posts`; `subgraph::undated` writes
//! missing dates.

mod changes;
mod search;

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, doc};
use changefeed::{Projector, SendAction, Unreadables};
use mongodb::{Client, Collection, Database, IndexModel};
use subgraph::collections::exists;
use subgraph::database_error::{NAMESPACE_EXISTS, code};
use subgraph::moderation_acts::ACTS;
use subgraph::owner::{AUTHOR_ID, GUEST};
use subgraph::transaction::Transactional;
use subgraph::turns::Turns;
use subgraph::{
    BeyondCursors, DatabaseCalls, DateTime, ModerationActs, Page, PageRequest, moderation_acts,
    readable, stored_comment,
};

use crate::Error;
use crate::post::{Post, PostId, SHAPE};

pub use changes::{Delete, Edit};

/// How long a query waits until the posts show the change of its `operationTime`.
const SHOWN_TIME_LIMIT: Duration = Duration::from_secs(5);

/// The collections that need an index or pre-images. If one of them is new, these are created again.
pub const COLLECTIONS: [&str; 10] = [
    "posts",
    "comments",
    DELETED_POSTS,
    ACTS,
    "changefeed_checkpoints",
    "changefeed_leases",
    "changefeed_dead_letters",
    "changefeed_repairs",
    "changefeed_requests",
    "changefeed_partitions",
];

/// The collection of the marks of deleted posts.
const DELETED_POSTS: &str = "deletedPosts";

/// The subgraph's access to MongoDB. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    calls: DatabaseCalls<Arc<Collections>>,
    projector: Projector,
    /// The turns of searches.
    searches: Turns,
}

/// The collections that queries use.
struct Collections {
    posts: Collection<RawDocumentBuf>,
    /// Posts that are being deleted: the comments subgraph reads them and deletes the comments.
    deleted_posts: Collection<Document>,
    acts: ModerationActs,
    unreadables: Unreadables,
}

impl Store {
    /// The store in a database; the projector knows where in the posts the comments are, and `unreadables`
    /// logs and counts the posts that cannot be read.
    pub fn new(
        calls: &DatabaseCalls<Database>,
        projector: Projector,
        unreadables: Unreadables,
    ) -> Self {
        let collections = |database: &Database| Collections {
            posts: database.collection("posts"),
            deleted_posts: database.collection(DELETED_POSTS),
            acts: ModerationActs::new(database),
            unreadables,
        };
        Self {
            calls: calls.map(|database| Arc::new(collections(database))),
            projector,
            searches: search::turns(),
        }
    }

    /// Waits until this post, or all posts, show all changes of comments up to `operation_time`. Returns at once if there
    /// is none.
    ///
    /// # Errors
    /// [`Error::ProjectionBehind`] when that takes too long.
    pub async fn wait_until_shown(
        &self,
        post: Option<PostId>,
        operation_time: Option<&str>,
    ) -> Result<(), Error> {
        let Some(time) = operation_time else {
            return Ok(());
        };
        let time = time.parse().map_err(|_| Error::OperationTime)?;
        let passed = match post.map(|post| Bson::from(post.object_id())) {
            Some(post) => {
                let passed = self
                    .projector
                    .wait_until_passed_for(&post, time, SHOWN_TIME_LIMIT);
                passed.await
            }
            None => {
                self.projector
                    .wait_until_passed(time, SHOWN_TIME_LIMIT)
                    .await
            }
        };
        passed.map(drop).map_err(|_| Error::ProjectionBehind)
    }

    /// The posts with these ids, in no particular order.
    pub async fn posts_by_id(&self, ids: &[PostId]) -> Result<Vec<Post>, Error> {
        let ids: Vec<_> = ids.iter().map(|id| id.object_id()).collect();
        let fields = self.fields();
        let read = self.calls.run(|collections| async move {
            let cursor = collections
                .posts
                .find(doc! { "_id": { "$in": ids } })
                .projection(fields);
            Ok(readable::all(cursor.send().await?, &collections.unreadables).await?)
        });
        read.await
    }

    /// One page of all posts.
    pub async fn posts(&self, request: &PageRequest) -> Result<Page<Post>, Error> {
        let (asked, fields) = (*request, self.fields());
        let read = self.calls.run(|collections| async move {
            let unreadables = &collections.unreadables;
            let read = readable::within_limit(
                || SHAPE.filter(),
                unreadables,
                async |readable| {
                    collections
                        .posts
                        .find(asked.filter(readable.unwrap_or_default()))
                        .projection(fields.clone())
                        .sort(asked.sort())
                        .limit(asked.limit())
                        .send()
                        .await
                },
            );
            Ok(read.await?)
        });
        let (items, behind, ahead) = tokio::try_join!(
            read,
            self.any(request.filter_behind(|| SHAPE.filter())),
            self.any(request.filter_ahead(|| SHAPE.filter())),
        )?;
        Ok(request.page(items, BeyondCursors { behind, ahead }))
    }

    /// Dates a post, adds it and returns it. The date is taken right before the insert: lists are ordered by it, and
    /// live events by the time of the insert.
    pub async fn insert_post(&self, post: Post) -> Result<Post, Error> {
        let insert = self.calls.run(|collections| async move {
            let posts = collections.posts.clone_with_type::<Post>();
            let now = Some(DateTime::now());
            let post = Post {
                created_at: now,
                updated_at: now,
                ..post
            };
            posts.insert_one(&post).await?;
            Ok(post)
        });
        insert.await
    }

    /// The fields of a post that we read: of the comments' projection the serving generation, and
    /// nothing of what other programs keep in the document.
    fn fields(&self) -> Document {
        let mut fields = doc! {
            "title": 1, "content": 1, "author": 1, AUTHOR_ID.0: 1, GUEST.0: 1, "createdAt": 1, "updatedAt": 1,
        };
        if let Some(slot) = self.projector.serving() {
            fields.insert(slot.as_path(), 1);
        }
        fields
    }

    /// Whether a filter matches any post; no filter matches none.
    async fn any(&self, filter: Option<Document>) -> Result<bool, Error> {
        let Some(filter) = filter else {
            return Ok(false);
        };
        let look = self
            .calls
            .run(|collections| async move { Ok(exists(&collections.posts, filter).await?) });
        look.await
    }
}

impl Transactional for Collections {
    type Error = Error;

    fn client(&self) -> &Client {
        self.posts.client()
    }
}

/// The filter of one post. A document that cannot be read as a post does not match.
fn readable_post(id: PostId) -> Document {
    let mut filter = SHAPE.filter();
    filter.insert("_id", id);
    filter
}

/// Creates the indexes that the queries of this crate need, and the collections that its transactions write.
///
/// # Errors
/// When MongoDB cannot be reached, or has an index of the same keys and another shape.
pub async fn create_indexes(database: &Database) -> mongodb::error::Result<()> {
    // A failure of one must not prevent the others.
    let posts = create_post_index(database).await;
    let marks = create_marks(database).await;
    let acts = moderation_acts::prepare(database).await;
    let comments = stored_comment::create_index(database).await;
    posts.and(marks).and(acts).and(comments)
}

async fn create_post_index(database: &Database) -> mongodb::error::Result<()> {
    let posts = database.collection::<Document>("posts");
    let by_creation = IndexModel::builder()
        .keys(doc! { "createdAt": -1, "_id": -1 })
        .build();
    posts.create_index(by_creation).await.map(drop)
}

/// In a transaction over several shards MongoDB makes no collection.
async fn create_marks(database: &Database) -> mongodb::error::Result<()> {
    match database.create_collection(DELETED_POSTS).await {
        Err(error) if code(&error) == Some(NAMESPACE_EXISTS) => Ok(()),
        created => created,
    }
}
