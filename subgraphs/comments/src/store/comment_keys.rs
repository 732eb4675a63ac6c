//! Idempotency keys: a repeated request finds the comment that the first one wrote.
//!
//! Each key is the `_id` of a document of its own in `commentKeys`, which gives the key's comment its id. A key of
//! somebody who is signed in is `{ owner, key }`, so nobody else has it; guests' keys are texts.
//! A request first writes the key or finds it, then inserts the comment under that id. So every try of a
//! request inserts the same `_id`, and one of them succeeds, wherever another one stopped: no transaction
//! is left open that the next try would have to wait for. The comment's document holds a digest of the
//! input, by which a key that comes with another input is refused.
//!
//! A moderator may have moved the first comment out of `comments`, where its `_id` would no longer be in the way. So
//! only the request that wrote the key inserts without a look, and only for a second; all others look in both places,
//! and insert in a transaction (`keyed_requests`). See `docs/decisions/moderation.md`.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, RawDocumentBuf, deserialize_from_slice, doc};
use changefeed::SendAction;
use mongodb::options::{
    CollectionOptions, IndexOptions, ReadConcern, ReturnDocument, WriteConcern,
};
use mongodb::{ClientSession, Collection, Database, IndexModel};
use serde::Deserialize;
use subgraph::Written;
use subgraph::database_error::{
    DUPLICATE_KEY, INDEX_NOT_FOUND, NAMESPACE_NOT_FOUND, WRITE_TIME_MAX, code,
};
use subgraph::transaction::try_transaction;
use tokio::time::{Instant, sleep};

use super::idempotency::Idempotency;
use super::keyed_inserts::{Settle, read_kept, read_visible};
use super::keyed_requests::ALONE_FOR;
use super::{Collections, Store};
use crate::Error;
use crate::comment::{Comment, CommentId};

/// How long a key is kept after the last request with it: one that comes later writes a second comment.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How long a request that may not write waits between two looks for the comment of its key.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// The collection of the keys.
pub(super) const KEYS: &str = "commentKeys";
/// The unique index that kept the keys in `comments` before there was a collection of them. It can
/// refuse what other programs write.
const FORMER_INDEX: &str = "idempotency.key_1";

impl Store {
    /// The comment that the key has created, wherever it is; none if it is not there. Writes nothing.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when another input created it.
    pub async fn comment_of_key(
        &self,
        idempotency: Idempotency,
    ) -> Result<Option<Written<Comment>>, Error> {
        match self.look_for(idempotency).await? {
            OfKey::Comment(comment) => Ok(Some(comment)),
            OfKey::Nothing | OfKey::KeyAlone => Ok(None),
        }
    }

    /// The same, which waits for a request that has written the key and is about to insert the comment.
    ///
    /// # Errors
    /// As [`Store::comment_of_key`].
    pub(super) async fn comment_of_key_soon(
        &self,
        idempotency: Idempotency,
    ) -> Result<Option<Written<Comment>>, Error> {
        let deadline = Instant::now() + ALONE_FOR;
        loop {
            match self.look_for(idempotency.clone()).await? {
                OfKey::Comment(comment) => return Ok(Some(comment)),
                OfKey::KeyAlone if Instant::now() < deadline => sleep(LOOK_PAUSE).await,
                OfKey::Nothing | OfKey::KeyAlone => return Ok(None),
            }
        }
    }

    async fn look_for(&self, idempotency: Idempotency) -> Result<OfKey, Error> {
        let look = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            let keys = collections.database().collection::<RawDocumentBuf>(KEYS);
            let kept = keys.find_one(doc! { "_id": &idempotency.key });
            let Some(kept) = kept.session(&mut session).send().await? else {
                return Ok(OfKey::Nothing);
            };
            // An id that cannot be read is no comment's.
            let Ok(CommentKey { comment_id }) = deserialize_from_slice(kept.as_bytes()) else {
                return Ok(OfKey::Nothing);
            };
            let first = collections.first_of_key(comment_id, &idempotency, false, &mut session);
            Ok(first.await?.map_or(OfKey::KeyAlone, OfKey::Comment))
        });
        look.await
    }
}

/// What is there of a key.
enum OfKey {
    Nothing,
    /// The key, and no comment: not yet, or no longer.
    KeyAlone,
    Comment(Written<Comment>),
}

/// What is read of a document of `commentKeys`, whose `_id` is the key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommentKey {
    comment_id: CommentId,
}

impl Collections {
    /// The id of the key's comment, whether it is written or not: the fresh one for a new key. None when
    /// another request wrote the same key at the same moment.
    pub(super) async fn id_of_key(
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
            .max_time(WRITE_TIME_MAX)
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

    /// The comment that a key has created, wherever it is; none when it is not there, is just moving, or cannot be
    /// read. If it `settles`, a copy that an overtaken request has left among the visible ones is removed.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when another input created it.
    pub(super) async fn first_of_key(
        &self,
        id: CommentId,
        idempotency: &Idempotency,
        settles: bool,
        session: &mut ClientSession,
    ) -> Result<Option<Written<Comment>>, Error> {
        let visible = self.acknowledged(&self.comments, id, session).await?;
        let kept = self.acknowledged(&self.entries, id, session).await?;
        let visible = visible.map(|found| read_visible(self, &found, idempotency));
        let kept = kept.map(|found| read_kept(self, &found, idempotency));
        let first = match (visible.transpose()?.flatten(), kept.transpose()?.flatten()) {
            // It has just moved, or a request that was overtaken has left its copy.
            (Some(_), Some(_)) if settles => {
                let settled = try_transaction(self, session, &Settle { id }).await?;
                return Ok(settled.transpose());
            }
            (visible, kept) => kept.or(visible),
        };
        Ok(first.map(|first| Written::in_session(first, session)))
    }

    /// The document with this id as it is acknowledged, so that no repeated request returns a comment that a failover
    /// takes back.
    async fn acknowledged(
        &self,
        collection: &Collection<RawDocumentBuf>,
        id: CommentId,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Option<RawDocumentBuf>> {
        let mut options = CollectionOptions::default();
        options.read_concern = Some(ReadConcern::majority());
        let collection: Collection<RawDocumentBuf> = self
            .database()
            .collection_with_options(collection.name(), options);
        let found = collection.find_one(doc! { "_id": id }).session(session);
        found.send().await
    }

    /// Writes the key in a transaction, so that of two that do so at the same time one begins again. What it writes is
    /// new each time: the server passes over a write that changes nothing.
    pub(super) async fn lock_key(
        &self,
        idempotency: &Idempotency,
        comment: CommentId,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        let keys = self.database().collection::<Document>(KEYS);
        let lock = doc! {
            "$set": { "lock": ObjectId::new() },
            "$currentDate": { "at": true },
            "$setOnInsert": { "commentId": comment },
        };
        let lock = keys.update_one(doc! { "_id": &idempotency.key }, lock);
        lock.upsert(true).session(session).await.map(drop)
    }

    pub(super) fn database(&self) -> Database {
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
