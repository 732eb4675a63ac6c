//! Idempotency keys: a request that comes again finds the comment that it has written.
//!
//! Each key is the `_id` of a document of its own in `commentKeys`, written in one transaction with the
//! comment. So it is unique in a sharded collection too, on whatever data there is in `comments`, and
//! in a collection that was dropped and made again. A key whose comment is gone is free.

use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Document, RawDocumentBuf, doc};
use mongodb::error::{
    ErrorKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure,
};
use mongodb::options::{CollectionOptions, IndexOptions, ReadConcern};
use mongodb::{ClientSession, Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subgraph::{DateTime, readable};
use tokio::time::{Instant, sleep};

use super::Collections;
use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::post::PostId;
use crate::written::Written;

/// How long a key is kept: a request that comes again later than that writes a second comment.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const KEYS: &str = "commentKeys";
/// How long a request with a key tries again while others with the same key are under way.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The first wait before it tries again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How often a commit is asked for whose outcome is not known.
const COMMITS_MAX: u32 = 3;
/// The unique index that kept the keys in `comments` before there was a collection of them. It can
/// refuse what other programs write.
const FORMER_INDEX: &str = "idempotency.key_1";

/// MongoDB's code for a value that a unique index has already.
const DUPLICATE_KEY: i32 = 11_000;
/// MongoDB's code for a collection that does not exist.
const NAMESPACE_NOT_FOUND: i32 = 26;
/// MongoDB's code for an index that does not exist.
const INDEX_NOT_FOUND: i32 = 27;
/// MongoDB's code for a collection that exists already.
const NAMESPACE_EXISTS: i32 = 48;
/// MongoDB's code for what a transaction may not do, such as to make a collection on several shards.
const OPERATION_NOT_SUPPORTED_IN_TRANSACTION: i32 = 263;
/// MongoDB's code for a read in a collection that was made just now.
const SNAPSHOT_UNAVAILABLE: i32 = 246;
/// After these a transaction may do in a moment what it could not do now: a collection was missing, or
/// just made by another one.
const MISSING_CODES: [i32; 3] = [
    NAMESPACE_NOT_FOUND,
    NAMESPACE_EXISTS,
    OPERATION_NOT_SUPPORTED_IN_TRANSACTION,
];

/// What is kept of a request, to know it when it comes again.
#[derive(Clone, Debug)]
pub struct Idempotency {
    key: String,
    /// A digest of the input that came with the key.
    digest: Binary,
}

impl Idempotency {
    /// Remembers the key and what came with it.
    pub fn new(key: String, post: PostId, text: &str, author: &str) -> Self {
        let mut digest = Sha256::new();
        digest.update(post.object_id().bytes());
        // The length tells where the text ends and the author begins.
        digest.update(text.len().to_be_bytes());
        digest.update(text);
        digest.update(author);
        let digest = Binary {
            subtype: BinarySubtype::Generic,
            bytes: digest.finalize().to_vec(),
        };
        Self { key, digest }
    }
}

/// A document of `commentKeys`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommentKey {
    #[serde(rename = "_id")]
    key: String,
    digest: Binary,
    comment_id: CommentId,
    at: DateTime,
}

/// What a key is found to be.
enum Key {
    /// The key of a comment that is there.
    OfComment(Box<Written<Comment>>),
    /// Nobody's, or that of a comment that is gone.
    Free { former: Option<CommentKey> },
}

impl Collections {
    /// Adds a comment with a key, or finds the first one with it: tries until it is known which comment has
    /// the key. An attempt whose outcome is not known does no harm: the next one finds its key.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when the key came with another input.
    pub(super) async fn insert_comment_once(
        &self,
        comment: Comment,
        idempotency: Idempotency,
    ) -> Result<Written<Comment>, Error> {
        let mut session = self.session().await?;
        let deadline = Instant::now() + TIME_LIMIT;
        let mut pause = PAUSE_MIN;
        loop {
            let failure = match self.write_once(&comment, &idempotency, &mut session).await {
                Ok(Some(written)) => return Ok(written),
                Ok(None) => {
                    mongodb::error::Error::custom("the idempotency key changes all the time")
                }
                Err(Error::Database(error)) if is_passing(&error) => error,
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Err(failure.into());
            }
            if is_of_missing_collection(&failure) {
                self.create_both().await?;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One attempt; none when another request has the key by now.
    async fn write_once(
        &self,
        comment: &Comment,
        idempotency: &Idempotency,
        session: &mut ClientSession,
    ) -> Result<Option<Written<Comment>>, Error> {
        let former = match self.look_up(idempotency, session).await? {
            Key::OfComment(first) => return Ok(Some(*first)),
            Key::Free { former } => former,
        };
        let has_key = self
            .write_with_key(comment, idempotency, former, session)
            .await?;
        Ok(has_key.then(|| Written::in_session(comment.clone(), session)))
    }

    async fn look_up(
        &self,
        idempotency: &Idempotency,
        session: &mut ClientSession,
    ) -> Result<Key, Error> {
        let by_key = doc! { "_id": &idempotency.key };
        let keys = self.acknowledged::<CommentKey>(KEYS);
        let Some(kept) = keys.find_one(by_key).session(&mut *session).await? else {
            return Ok(Key::Free { former: None });
        };
        let by_id = doc! { "_id": kept.comment_id };
        let comments = self.acknowledged::<RawDocumentBuf>(self.comments.name());
        let first = comments.find_one(by_id).session(&mut *session).await?;
        match first.and_then(|first| readable::one(&first, &self.unreadables)) {
            Some(_) if kept.digest != idempotency.digest => Err(Error::IdempotencyKeyReused),
            Some(first) => Ok(Key::OfComment(Box::new(Written::in_session(
                first, session,
            )))),
            None => Ok(Key::Free { former: Some(kept) }),
        }
    }

    /// Writes the comment and its key; false when another request has the key by now.
    async fn write_with_key(
        &self,
        comment: &Comment,
        idempotency: &Idempotency,
        former: Option<CommentKey>,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<bool> {
        session.start_transaction().await?;
        let written = self.write_both(comment, idempotency, former, session).await;
        if !matches!(written, Ok(true)) {
            // The server has ended it already where it failed.
            let _ = session.abort_transaction().await;
            return written;
        }
        commit(session).await?;
        Ok(true)
    }

    async fn write_both(
        &self,
        comment: &Comment,
        idempotency: &Idempotency,
        former: Option<CommentKey>,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<bool> {
        let keys = self.acknowledged::<CommentKey>(KEYS);
        let key = CommentKey {
            key: idempotency.key.clone(),
            digest: idempotency.digest.clone(),
            comment_id: comment.id,
            at: comment.created_at.unwrap_or_else(DateTime::now),
        };
        let has_key = match former {
            None => match keys.insert_one(key).session(&mut *session).await {
                Err(error) if code(&error) == Some(DUPLICATE_KEY) => false,
                inserted => inserted.map(|_| true)?,
            },
            Some(former) => {
                let as_read = doc! { "_id": &former.key, "commentId": former.comment_id };
                let replaced = keys.replace_one(as_read, key).session(&mut *session);
                replaced.await?.matched_count == 1
            }
        };
        if has_key {
            let comments = self.comments.clone_with_type::<Comment>();
            comments.insert_one(comment).session(session).await?;
        }
        Ok(has_key)
    }

    /// Makes the collections that a transaction could not make.
    async fn create_both(&self) -> mongodb::error::Result<()> {
        let database = self.database();
        for name in [KEYS, self.comments.name()] {
            match database.create_collection(name).await {
                Err(error) if code(&error) != Some(NAMESPACE_EXISTS) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// A collection whose reads see what is acknowledged, so that no repeated request returns a comment
    /// that a failover takes back.
    fn acknowledged<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        let mut options = CollectionOptions::default();
        options.read_concern = Some(ReadConcern::majority());
        self.database().collection_with_options(name, options)
    }

    fn database(&self) -> Database {
        let namespace = self.comments.namespace();
        self.comments.client().database(&namespace.db)
    }
}

/// Makes the collection of the keys and the index that lets them go, and removes the index of a time
/// when `comments` kept them.
pub(super) async fn prepare(database: &Database) -> mongodb::error::Result<()> {
    let by_age = IndexModel::builder()
        .keys(doc! { "at": 1 })
        .options(IndexOptions::builder().expire_after(KEPT_FOR).build())
        .build();
    database
        .collection::<Document>(KEYS)
        .create_index(by_age)
        .await?;
    let comments = database.collection::<Document>("comments");
    let names = match comments.list_index_names().await {
        Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => Vec::new(),
        names => names?,
    };
    if !names.iter().any(|name| name == FORMER_INDEX) {
        return Ok(());
    }
    match comments.drop_index(FORMER_INDEX).await {
        // Another instance was faster.
        Err(error) if matches!(code(&error), Some(INDEX_NOT_FOUND | NAMESPACE_NOT_FOUND)) => Ok(()),
        dropped => dropped,
    }
}

async fn commit(session: &mut ClientSession) -> mongodb::error::Result<()> {
    let mut commits = 1;
    loop {
        match session.commit_transaction().await {
            Err(error)
                if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
                    && commits < COMMITS_MAX =>
            {
                commits += 1;
            }
            committed => return committed,
        }
    }
}

/// Whether the same may succeed in a moment.
fn is_passing(error: &mongodb::error::Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR)
        || error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
        || code(error) == Some(SNAPSHOT_UNAVAILABLE)
        || is_of_missing_collection(error)
}

fn is_of_missing_collection(error: &mongodb::error::Error) -> bool {
    code(error).is_some_and(|code| MISSING_CODES.contains(&code))
}

fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        _ => None,
    }
}
