//! The collections, indexes and queries of the comments subgraph. `subgraph::undated` writes missing dates.
//!
//! | file | the queries of |
//! |---|---|
//! | this one | look-ups, and new comments without a key |
//! | `comment_lists`, `most_replied`, `replies` | lists of comments, their order by replies, and what is asked about replies |
//! | `newest` | the newest comments of posts, from a snapshot |
//! | `in_session` | how lists are read with everything up to a time |
//! | `reactions` | reactions |
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
mod comment_lists;
mod deletion_marks;
mod idempotency;
mod in_session;
mod keyed_inserts;
mod keyed_requests;
mod moderated;
mod moderation_acts;
mod moderation_queue;
mod most_replied;
mod newest;
mod reactions;
mod replies;
mod verdicts;
mod writers;

use std::sync::Arc;

use bson::{Bson, Document, RawDocumentBuf, doc};
use changefeed::{SendAction, Unreadables, read_all};
use mongodb::options::IndexOptions;
use mongodb::{Client, ClientSession, Collection, Database, IndexModel};
use subgraph::blocks::BLOCKED_AUTHORS;
use subgraph::moderation_acts::ACTS;
use subgraph::stored_comment::{self, SHAPE, of_posts};
use subgraph::transaction::Transactional;
use subgraph::turns::{KeyedTurns, Turns};
use subgraph::{DatabaseCalls, ModerationActs, Written, readable};

use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::post::PostId;

pub use changes::{Delete, Edit};
pub use comment_keys::KEPT_FOR;
pub use comment_lists::CommentList;
pub(crate) use comment_lists::LISTS_IN_A_QUERY_MAX;
pub use deletion_marks::{DeletedPost, MarksPage};
pub use idempotency::Idempotency;
pub use moderation_queue::Report;
pub use newest::NewestRead;
pub use reactions::PersonOnComment;
pub use replies::Parent;
pub(crate) use replies::any_parent;
pub use writers::{Writing, WritingLimits};

/// The collections that need an index or pre-images. If one of them is new, these are created again.
pub const COLLECTIONS: [&str; 9] = [
    "comments",
    "commentKeys",
    "commentWriters",
    "deletedPosts",
    MODERATED_COMMENTS,
    ACTS,
    BLOCKED_AUTHORS,
    reactions::REACTIONS,
    "changefeed_keys",
];
/// The collection of the comments in moderation.
pub const MODERATED_COMMENTS: &str = "moderatedComments";
/// Calls that one look-up of many things makes at the same time.
pub(crate) const CALLS_AT_ONCE: usize = 4;

/// The subgraph's access to MongoDB. Clones share the connections.
#[derive(Clone)]
pub struct Store {
    calls: DatabaseCalls<Arc<Collections>>,
    /// The turns of those who react to the same comment.
    reactions: KeyedTurns,
    /// The turns of queries that count replies.
    counts: Turns,
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
    /// Who chose which reaction to a comment.
    reactions: Collection<RawDocumentBuf>,
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
            reactions: database.collection(reactions::REACTIONS),
            unreadables,
        };
        Self {
            calls: calls.map(|database| Arc::new(collections(database))),
            reactions: reactions::turns(),
            counts: replies::count_turns(),
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

    /// Dates a comment, adds it as its status is, and returns it; or the first one, when its idempotency key was used before.
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

    /// Deletes all comments of some posts, at most a page of them, whether they can be seen or not, their reports, and
    /// the reactions to them; returns how many documents these were. What moves or comes meanwhile is found by the next
    /// call.
    pub async fn delete_comments_of(&self, posts: &[PostId]) -> Result<u64, Error> {
        let of_posts = of_posts_alone(posts);
        let delete = self.calls.run(|collections| async move {
            let deleted = collections.comments.delete_many(of_posts.clone()).await?;
            let kept = collections.entries.delete_many(of_posts.clone()).await?;
            // Last: nobody can react to a comment that is gone.
            let reactions = collections.reactions.delete_many(of_posts).await?;
            let counts = [deleted, kept, reactions].map(|it| it.deleted_count);
            Ok(counts.iter().sum())
        });
        delete.await
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
        let comment = comment.created_now();
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
    let reactions = reactions::prepare(&database).await;
    let comments = create_comment_indexes(&database).await;
    comments
        .and(reactions)
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

#[cfg(test)]
mod tests;
