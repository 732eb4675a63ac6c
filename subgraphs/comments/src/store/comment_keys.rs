//! Idempotency keys: a repeated request finds the comment that the first one wrote.
//!
//! Each key is the `_id` of a document of its own in `commentKeys`, which gives the key's comment its id. A key of
//! somebody who is signed in is `{ owner, key }`, so nobody else has it; guests' keys are texts.
//! A request first writes the key or finds it, then inserts the comment under that id. So every try of a
//! request inserts the same `_id`, and one of them succeeds, wherever another one stopped: no transaction
//! is left open that the next try would have to wait for. The comment's document holds a digest of the
//! input, by which a key that comes with another input is refused.

use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawDocumentBuf, deserialize_from_slice, doc};
use changefeed::SendAction;
use mongodb::error::{ErrorKind, RETRYABLE_WRITE_ERROR, WriteFailure};
use mongodb::options::{
    CollectionOptions, IndexOptions, ReadConcern, ReturnDocument, WriteConcern,
};
use mongodb::{ClientSession, Collection, Database, IndexModel};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subgraph::{Owner, readable};
use tokio::time::{Instant, sleep};

use super::Collections;
use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::post::PostId;
use crate::written::Written;

/// How long a key is kept after the last request with it: one that comes later writes a second comment.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const KEYS: &str = "commentKeys";
/// How long a request with a key tries again after passing failures.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The first wait before it tries again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// The unique index that kept the keys in `comments` before there was a collection of them. It can
/// refuse what other programs write.
const FORMER_INDEX: &str = "idempotency.key_1";

/// MongoDB's code for a value that a unique index has already.
const DUPLICATE_KEY: i32 = 11_000;
/// MongoDB's code for a collection that does not exist.
const NAMESPACE_NOT_FOUND: i32 = 26;
/// MongoDB's code for an index that does not exist.
const INDEX_NOT_FOUND: i32 = 27;

/// What is kept of a request, to know it when it comes again.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The `_id` of the key's document.
    key: Bson,
    /// A digest of the input that came with the key.
    digest: Binary,
}

impl Idempotency {
    /// Remembers the owner's key and what came with it.
    pub fn new(key: String, owner: &Owner, post: PostId, text: &str, author: &str) -> Self {
        let mut digest = Sha256::new();
        digest.update(post.object_id().bytes());
        // The length separates the text from the author.
        digest.update(text.len().to_be_bytes());
        digest.update(text);
        let key = match owner.id() {
            // A new token may have another name for the same person.
            Some(id) => Bson::from(doc! { "owner": id.as_str(), "key": key }),
            None => {
                digest.update(author);
                Bson::from(key)
            }
        };
        let digest = Binary {
            subtype: BinarySubtype::Generic,
            bytes: digest.finalize().to_vec(),
        };
        Self { key, digest }
    }
}

/// What is read of a document of `commentKeys`, whose `_id` is the key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommentKey {
    comment_id: CommentId,
}

/// A comment's document with the digest of the input that created it.
#[derive(Serialize)]
struct KeyedComment<'a> {
    #[serde(flatten)]
    comment: &'a Comment,
    idempotency: Document,
}

impl Collections {
    /// Adds a comment with a key, or finds the first one with it. An attempt whose outcome is not known
    /// does no harm: the next one finds what it has written.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when the key came with another input.
    pub(super) async fn insert_comment_once(
        &self,
        mut comment: Comment,
        idempotency: Idempotency,
    ) -> Result<Written<Comment>, Error> {
        let mut session = self.session().await?;
        let deadline = Instant::now() + TIME_LIMIT;
        let mut pause = PAUSE_MIN;
        let fresh = comment.id;
        loop {
            comment.id = fresh;
            let tried = self.write_once(&mut comment, &idempotency, &mut session);
            let failure = match tried.await {
                Ok(Some(written)) => return Ok(written),
                Ok(None) => {
                    mongodb::error::Error::custom("the idempotency key changes all the time")
                }
                Err(Error::Database(error)) if error.contains_label(RETRYABLE_WRITE_ERROR) => error,
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Err(failure.into());
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One attempt; none when another request was in its way and is gone by now.
    async fn write_once(
        &self,
        comment: &mut Comment,
        idempotency: &Idempotency,
        session: &mut ClientSession,
    ) -> Result<Option<Written<Comment>>, Error> {
        let fresh = comment.id;
        let Some(id) = self.id_of_key(idempotency, fresh, session).await? else {
            return Ok(None);
        };
        comment.id = id;
        // Looked for first, because only a shard knows its `_id`s to be unique, not a cluster.
        if id != fresh
            && let Some(first) = self.first_of_key(id, idempotency, session).await?
        {
            return Ok(Some(first));
        }
        let keyed = KeyedComment {
            comment,
            idempotency: doc! { "digest": &idempotency.digest },
        };
        let comments = self.comments.clone_with_type::<KeyedComment<'_>>();
        match comments.insert_one(&keyed).session(&mut *session).await {
            Err(error) if code(&error) == Some(DUPLICATE_KEY) => {
                self.first_of_key(id, idempotency, session).await
            }
            inserted => {
                inserted?;
                Ok(Some(Written::in_session(comment.clone(), session)))
            }
        }
    }

    /// The id of the key's comment, whether it is written or not: `fresh` for a new key. None when
    /// another request wrote the same key at the same moment.
    async fn id_of_key(
        &self,
        idempotency: &Idempotency,
        fresh: CommentId,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Option<CommentId>> {
        let keys = self.database().collection::<RawDocumentBuf>(KEYS);
        // A key's document without a usable id, as another program may leave it, gets one here: else
        // each try would fail and keep the document for longer.
        let usable = doc! { "$convert": {
            "input": "$commentId", "to": "objectId", "onNull": fresh, "onError": fresh,
        } };
        let kept = keys
            .find_one_and_update(
                doc! { "_id": &idempotency.key },
                vec![doc! { "$set": { "commentId": usable, "at": "$$NOW" } }],
            )
            .upsert(true)
            // Whatever the client's is: a key that a failover takes back would let the next try write
            // a second comment.
            .write_concern(WriteConcern::majority())
            .return_document(ReturnDocument::After)
            .session(session);
        match kept.send().await {
            Err(error) if code(&error) == Some(DUPLICATE_KEY) => Ok(None),
            kept => {
                let kept = kept?.map(|key| deserialize_from_slice::<CommentKey>(key.as_bytes()));
                Ok(kept.transpose()?.map(|key| key.comment_id))
            }
        }
    }

    /// The comment that a key has created, none when it is not there. When something else has its id,
    /// which no request can mend, the key lets go of it.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when another input created it.
    async fn first_of_key(
        &self,
        id: CommentId,
        idempotency: &Idempotency,
        session: &mut ClientSession,
    ) -> Result<Option<Written<Comment>>, Error> {
        // What is acknowledged alone, so that no repeated request returns a comment that a failover
        // takes back.
        let mut options = CollectionOptions::default();
        options.read_concern = Some(ReadConcern::majority());
        let comments: Collection<RawDocumentBuf> = self
            .database()
            .collection_with_options(self.comments.name(), options);
        let found = comments.find_one(doc! { "_id": id }).session(&mut *session);
        let Some(first) = found.send().await? else {
            return Ok(None);
        };
        if is_of_another_input(&first, idempotency) {
            return Err(Error::IdempotencyKeyReused);
        }
        let Some(first) = readable::one(&first, &self.unreadables) else {
            let keys = self.database().collection::<Document>(KEYS);
            let as_read = doc! { "_id": &idempotency.key, "commentId": id };
            keys.delete_one(as_read).session(session).await?;
            return Ok(None);
        };
        Ok(Some(Written::in_session(first, session)))
    }

    fn database(&self) -> Database {
        let namespace = self.comments.namespace();
        self.comments.client().database(&namespace.db)
    }
}

/// Whether a document names an input, and not this one. Comments of earlier versions name none.
fn is_of_another_input(comment: &RawDocumentBuf, idempotency: &Idempotency) -> bool {
    let kept = comment
        .get_document("idempotency")
        .and_then(|kept| kept.get_binary("digest"));
    kept.is_ok_and(|digest| digest.bytes != idempotency.digest.bytes)
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

fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        _ => None,
    }
}
