//! The collections, indexes and queries of the comments subgraph. `subgraph::undated` writes missing dates.
//!
//! | file | the queries of |
//! |---|---|
//! | this one | lists and look-ups, and new comments without a key |
//! | `comment_keys`, `keyed_requests`, `keyed_inserts`, `idempotency` | new comments with an idempotency key |
//! | `changes` | edits and deletions |
//! | `writers`, `verdicts`, `authors` | what writers wrote of late, and whether they wrote before |
//! | `moderated` | where a comment is, and how it moves |
//! | `moderation_acts`, `moderation_queue`, `blocks` | what moderators do, see, and whom they block |
//! | `deletion_marks` | the marks of deleted posts |

mod authors;
mod blocks;
mod changes;
mod comment_keys;
mod deletion_marks;
mod idempotency;
mod keyed_inserts;
mod keyed_requests;
mod moderated;
mod moderation_acts;
mod moderation_queue;
mod verdicts;
mod writers;

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Bson, Document, RawDocumentBuf, doc};
use changefeed::{SendAction, Unreadables, read_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::options::IndexOptions;
use mongodb::{Client, ClientSession, Collection, Database, IndexModel};
use subgraph::blocks::BLOCKED_AUTHORS;
use subgraph::collections::exists;
use subgraph::moderation_acts::ACTS;
use subgraph::stored_comment::{self, SHAPE, of_posts};
use subgraph::transaction::Transactional;
use subgraph::{
    BeyondCursors, DatabaseCalls, ModerationActs, Page, PageRequest, Written, readable,
};

use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::post::PostId;

pub use changes::{Delete, Edit};
pub use comment_keys::KEPT_FOR;
pub use deletion_marks::{DeletedPost, MarksPage};
pub use idempotency::Idempotency;
pub use moderation_queue::Report;
pub use writers::{Writing, WritingLimits};

/// The collections that need an index or pre-images. If one of them is new, these are created again.
pub const COLLECTIONS: [&str; 8] = [
    "comments",
    "commentKeys",
    "commentWriters",
    "deletedPosts",
    MODERATED_COMMENTS,
    ACTS,
    BLOCKED_AUTHORS,
    "changefeed_keys",
];
/// The collection of the comments in moderation.
pub const MODERATED_COMMENTS: &str = "moderatedComments";
/// Posts whose pages one query reads: each is a branch of it.
const POSTS_IN_A_QUERY_MAX: usize = 100;
/// Calls that one look-up of many posts makes at the same time.
const CALLS_AT_ONCE: usize = 4;

/// The subgraph's access to MongoDB. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    calls: DatabaseCalls<Arc<Collections>>,
}

/// The collections that queries use.
struct Collections {
    comments: Collection<RawDocumentBuf>,
    /// Owned by the posts subgraph: we only look whether a post is there.
    posts: Collection<Document>,
    /// Marks of posts that are being deleted, written by the posts subgraph.
    deleted_posts: Collection<RawDocumentBuf>,
    /// Comments that were reported, and, whole, those that are held or hidden.
    entries: Collection<RawDocumentBuf>,
    acts: ModerationActs,
    /// Authors who may not write.
    blocks: Collection<RawDocumentBuf>,
    unreadables: Unreadables,
}

impl Store {
    /// The store in a database; `unreadables` logs and counts the documents that cannot be read.
    pub fn new(calls: &DatabaseCalls<Database>, unreadables: Unreadables) -> Self {
        let collections = |database: &Database| Collections {
            comments: database.collection("comments"),
            posts: database.collection("posts"),
            deleted_posts: database.collection("deletedPosts"),
            entries: database.collection(MODERATED_COMMENTS),
            acts: ModerationActs::new(database),
            blocks: database.collection(BLOCKED_AUTHORS),
            unreadables,
        };
        Self {
            calls: calls.map(|database| Arc::new(collections(database))),
        }
    }

    /// The comments with these ids, in no particular order.
    pub async fn comments_by_id(&self, ids: &[CommentId]) -> Result<Vec<Comment>, Error> {
        let ids: Vec<_> = ids.iter().map(|id| id.object_id()).collect();
        let read = self.calls.run(|collections| async move {
            let found = collections.comments.find(doc! { "_id": { "$in": ids } });
            Ok(readable::all(found.send().await?, &collections.unreadables).await?)
        });
        read.await
    }

    /// The same page of several posts' comments.
    pub async fn comments_of_posts(
        &self,
        posts: &[PostId],
        request: &PageRequest,
    ) -> Result<HashMap<PostId, Page<Comment>>, Error> {
        let chunks = posts.chunks(POSTS_IN_A_QUERY_MAX).map(<[PostId]>::to_vec);
        let chunks: Vec<_> = chunks.collect();
        let read = stream::iter(chunks)
            .map(|posts| self.lists_of_posts(posts, *request))
            .buffer_unordered(CALLS_AT_ONCE)
            .try_concat();
        // Whether a cursor cut something off is one more look for each post; a query with a cursor
        // asks for one post in practice.
        let behind = posts
            .iter()
            .map(|post| request.filter_behind(|| readable_of_post(*post)));
        let ahead = posts
            .iter()
            .map(|post| request.filter_ahead(|| readable_of_post(*post)));
        let (comments, behind, ahead) = tokio::try_join!(
            read,
            self.any_of_each(behind.collect()),
            self.any_of_each(ahead.collect())
        )?;

        let mut lists: HashMap<PostId, Vec<Comment>> = HashMap::with_capacity(posts.len());
        for comment in comments {
            lists.entry(comment.post_id).or_default().push(comment);
        }
        let beyond = behind.into_iter().zip(ahead);
        let beyond = beyond.map(|(behind, ahead)| BeyondCursors { behind, ahead });
        let pages = posts.iter().zip(beyond).map(|(post, beyond)| {
            let comments = lists.remove(post).unwrap_or_default();
            (*post, request.page(comments, beyond))
        });
        Ok(pages.collect())
    }

    /// The comments of a page of each post, in one query: each post is a branch of its own, which
    /// reads no more of the index than its page has.
    async fn lists_of_posts(
        &self,
        posts: Vec<PostId>,
        request: PageRequest,
    ) -> Result<Vec<Comment>, Error> {
        let read = self.calls.run(|collections| async move {
            let Some((first, others)) = posts.split_first() else {
                return Ok(Vec::new());
            };
            let comments = &collections.comments;
            let name = comments.name();
            let unreadables = &collections.unreadables;
            let read = readable::within_limit(
                || SHAPE.filter(),
                unreadables,
                async |readable| {
                    let readable = readable.unwrap_or_default();
                    let mut stages = page_stages(*first, &request, &readable);
                    stages.extend(others.iter().map(|post| {
                        let branch = page_stages(*post, &request, &readable);
                        doc! { "$unionWith": { "coll": name, "pipeline": branch } }
                    }));
                    let found = comments.aggregate(stages);
                    found.with_type::<RawDocumentBuf>().send().await
                },
            );
            Ok(read.await?)
        });
        read.await
    }

    /// Adds a comment, as its status is, and returns it; or the first one, when its idempotency key was used before.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when the key came with another input; [`Error::TooManyComments`] and
    /// [`Error::RepeatedComment`] when the writer's limits, which are in `writing`, are reached.
    pub async fn insert_comment(
        &self,
        comment: Comment,
        idempotency: Option<Idempotency>,
        writing: Option<Writing>,
    ) -> Result<Written<Comment>, Error> {
        if let Some(idempotency) = idempotency {
            let insert = self.insert_comment_once(comment, idempotency, writing);
            return insert.await;
        }
        // Both in one call, which runs to its end: an overload, or a client that leaves, cannot come between them.
        let insert = self.calls.run(|collections| async move {
            let note = collections.note(writing).await?;
            let inserted = collections.insert_new(comment).await;
            if let (Some(note), Err(failure)) = (note, &inserted) {
                collections.give_back(note, failure).await;
            }
            inserted
        });
        insert.await
    }

    /// Those of the posts that exist.
    pub async fn existing_posts(&self, posts: &[PostId]) -> Result<Vec<PostId>, Error> {
        let ids: Vec<_> = posts.iter().map(|id| id.object_id()).collect();
        let read = self.calls.run(|collections| async move {
            let posts = collections.posts.clone_with_type::<RawDocumentBuf>();
            let found = posts
                .find(doc! { "_id": { "$in": ids } })
                .projection(doc! { "_id": 1 });
            let found = read_all(found.send().await?).await?;
            let ids = found
                .iter()
                .filter_map(|post| post.get_object_id("_id").ok());
            Ok(ids.map(PostId::from).collect())
        });
        read.await
    }

    /// Deletes all comments of some posts, at most a page of them, whether they can be seen or not, and their
    /// reports; returns how many documents these were. One that moves meanwhile is found by the next call.
    pub async fn delete_comments_of(&self, posts: &[PostId]) -> Result<u64, Error> {
        let of_posts = of_posts_alone(posts);
        let delete = self.calls.run(|collections| async move {
            let deleted = collections.comments.delete_many(of_posts.clone()).await?;
            let kept = collections.entries.delete_many(of_posts).await?;
            Ok(deleted.deleted_count + kept.deleted_count)
        });
        delete.await
    }

    /// For each filter, whether it matches any comment; no filter matches none.
    async fn any_of_each(&self, filters: Vec<Option<Document>>) -> Result<Vec<bool>, Error> {
        stream::iter(filters)
            .map(|filter| self.any(filter))
            .buffered(CALLS_AT_ONCE)
            .try_collect()
            .await
    }

    async fn any(&self, filter: Option<Document>) -> Result<bool, Error> {
        let Some(filter) = filter else {
            return Ok(false);
        };
        let look = self
            .calls
            .run(|collections| async move { Ok(exists(&collections.comments, filter).await?) });
        look.await
    }
}

impl Transactional for Collections {
    type Error = Error;

    fn client(&self) -> &Client {
        self.comments.client()
    }
}

impl Collections {
    /// A session, which knows the time of the writes in it.
    async fn session(&self) -> mongodb::error::Result<ClientSession> {
        self.client().start_session().await
    }

    async fn insert_new(&self, comment: Comment) -> Result<Written<Comment>, Error> {
        let mut session = self.session().await?;
        self.insert(&comment, &comment, &mut session).await?;
        Ok(Written::in_session(comment, &session))
    }
}

/// The indexes that only some settings need.
#[derive(Clone, Copy, Debug)]
pub struct OptionalIndexes {
    /// By which a person's comments are found.
    pub authors: bool,
    /// By which documents of `commentWriters` go when their time is over.
    pub writers: bool,
}

/// Creates the indexes that the queries of this crate need, and the collection of the keys.
///
/// # Errors
/// When MongoDB cannot be reached, or has an index of the same keys and another shape.
pub async fn create_indexes(
    database: Database,
    optional: OptionalIndexes,
) -> mongodb::error::Result<()> {
    // A failure of one must not prevent the others.
    let marks = deletion_marks::prepare(&database).await;
    let entries = moderation_queue::prepare(&database).await;
    let acts = subgraph::moderation_acts::prepare(&database).await;
    let blocks = blocks::prepare(&database).await;
    let authors = match optional.authors {
        true => authors::prepare(&database).await,
        false => Ok(()),
    };
    let writers = match optional.writers {
        true => writers::prepare(&database).await,
        false => Ok(()),
    };
    let comments = create_comment_indexes(&database).await;
    comments
        .and(marks)
        .and(entries)
        .and(acts)
        .and(blocks)
        .and(authors)
        .and(writers)
}

async fn create_comment_indexes(database: &Database) -> mongodb::error::Result<()> {
    // First, because no document can make it fail.
    comment_keys::prepare(database).await?;
    let comments = database.collection::<Document>("comments");
    // A partial index: it has only the comments without a date, which are few or none.
    let undated = IndexModel::builder()
        .keys(doc! { "createdAt": 1 })
        .options(
            IndexOptions::builder()
                .name("undated".to_owned())
                .partial_filter_expression(doc! { "createdAt": Bson::Null })
                .build(),
        )
        .build();
    comments.create_index(undated).await?;
    stored_comment::create_index(database).await
}

/// The comments of a post that can be read.
fn readable_of_post(post: PostId) -> Document {
    let mut filter = of_posts([post.object_id()]);
    filter.extend(SHAPE.filter());
    filter
}

/// The comments of some posts, whether they can be read or not, without those that name one in a list of
/// several.
fn of_posts_alone(posts: &[PostId]) -> Document {
    let mut filter = of_posts(posts.iter().map(|post| post.object_id()));
    filter.insert("$nor", [doc! { "postId": { "$type": "array" } }]);
    filter
}

/// The filter of one comment. A document that cannot be read as a comment does not match.
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
