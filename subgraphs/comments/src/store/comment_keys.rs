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
//! only the request that wrote the key inserts without a look, and only for [`ALONE_FOR`]; all others look in both
//! places, and insert in a transaction. See `docs/decisions/moderation.md`.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, RawDocumentBuf, deserialize_from_slice, doc};
use changefeed::SendAction;
use mongodb::error::{ErrorKind, RETRYABLE_WRITE_ERROR, WriteFailure};
use mongodb::options::{
    CollectionOptions, IndexOptions, ReadConcern, ReturnDocument, WriteConcern,
};
use mongodb::{ClientSession, Collection, Database, IndexModel};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::idempotency::{Idempotency, KeyedComment};
use super::keyed_inserts::{Confirm, InsertOnce, Settle, read_kept, read_visible};
use super::transaction::{given_up, is_passing, jittered};
use super::writers::{Note, Writing};
use super::{Collections, Store, WRITE_TIME_MAX};
use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::written::Written;

/// How long a key is kept after the last request with it: one that comes later writes a second comment.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const KEYS: &str = "commentKeys";
/// How long a request with a key tries again after passing failures.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long a request with a new key may take to insert its comment without asking whether another one did. One that
/// finds the key, and no comment, waits as long before it inserts.
const ALONE_FOR: Duration = Duration::from_secs(1);
/// The first wait before it tries again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// The unique index that kept the keys in `comments` before there was a collection of them. It can
/// refuse what other programs write.
const FORMER_INDEX: &str = "idempotency.key_1";

/// MongoDB's code for a value that a unique index has already.
pub(super) const DUPLICATE_KEY: i32 = 11_000;
/// MongoDB's code for a collection that does not exist.
const NAMESPACE_NOT_FOUND: i32 = 26;
/// MongoDB's code for an index that does not exist.
const INDEX_NOT_FOUND: i32 = 27;

impl Store {
    /// The comment that the key has created, wherever it is; none if it is not there. Writes nothing.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when another input created it.
    pub async fn comment_of_key(
        &self,
        idempotency: Idempotency,
    ) -> Result<Option<Written<Comment>>, Error> {
        let look = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            let keys = collections.database().collection::<RawDocumentBuf>(KEYS);
            let kept = keys.find_one(doc! { "_id": &idempotency.key });
            let Some(kept) = kept.session(&mut session).send().await? else {
                return Ok(None);
            };
            // An id that cannot be read is no comment's.
            let Ok(CommentKey { comment_id }) = deserialize_from_slice(kept.as_bytes()) else {
                return Ok(None);
            };
            let first = collections.first_of_key(comment_id, &idempotency, false, &mut session);
            first.await
        });
        look.await
    }
}

/// What is read of a document of `commentKeys`, whose `_id` is the key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommentKey {
    comment_id: CommentId,
}

/// A request with a key, and how far it is.
struct Once {
    comment: Comment,
    idempotency: Idempotency,
    /// What counts for the writer's limits, until it is noted.
    writing: Option<Writing>,
    /// What the last step has noted.
    note: Option<Note>,
    /// The comment's id if the key is new.
    fresh: CommentId,
    is_first_try: bool,
    /// Whether the comment may be there, though no answer said so.
    may_be_inserted: bool,
    /// Since when it waits for the comment of another attempt.
    waits_since: Option<Instant>,
}

impl Store {
    /// Adds a comment with a key, or finds the first one with it. An attempt whose outcome is not known
    /// does no harm: the next one finds what it has written.
    ///
    /// # Errors
    /// [`Error::IdempotencyKeyReused`] when the key came with another input; those of the writer's limits.
    pub(super) async fn insert_comment_once(
        &self,
        comment: Comment,
        idempotency: Idempotency,
        writing: Option<Writing>,
    ) -> Result<Written<Comment>, Error> {
        let once = Once {
            fresh: comment.id,
            comment,
            idempotency,
            writing,
            note: None,
            is_first_try: true,
            may_be_inserted: false,
            waits_since: None,
        };
        let mut note = None;
        let written = self.try_until_written(once, &mut note).await;
        if let (Some(note), Err(failure)) = (note, &written) {
            self.give_back(note, failure.clone()).await;
        }
        written
    }

    async fn try_until_written(
        &self,
        mut once: Once,
        note: &mut Option<Note>,
    ) -> Result<Written<Comment>, Error> {
        // One for all tries: a transaction in it waits until an earlier write in it is over.
        let mut kept_session = None;
        let deadline = Instant::now() + TIME_LIMIT;
        let mut pause = PAUSE_MIN;
        // Never hidden by an overload: that would say that nothing was written.
        let mut unanswered = None;
        loop {
            let step = self.calls.run(|collections| async move {
                let mut session = match kept_session {
                    Some(session) => session,
                    None => collections.session().await?,
                };
                // In the first step's call: an overload cannot come between the note and the key.
                if let Some(writing) = once.writing.take() {
                    once.note = collections.note(Some(writing)).await?;
                }
                let written = collections.write_once(&mut once, &mut session).await;
                Ok::<_, Error>((once, session, written))
            });
            let (after, session, written) = match step.await {
                Ok(step) => step,
                Err(overload) => return Err(unanswered.unwrap_or(overload)),
            };
            (once, kept_session) = (after, Some(session));
            if let Some(noted) = once.note.take() {
                *note = Some(noted);
            }
            let failure = match written {
                Ok(Some(written)) => return Ok(written),
                Ok(None) => {
                    let changes = "the idempotency key changes all the time";
                    mongodb::error::Error::custom(changes).into()
                }
                Err(error) if may_be_over(&error) || is_passing(&error) => {
                    if may_be_over(&error) {
                        once.waits_since = None;
                    }
                    if may_be_over(&error) || once.may_be_inserted {
                        unanswered = Some(error.clone());
                    }
                    if let Some(note) = note {
                        note.may_be_written = true;
                    }
                    error
                }
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Err(unanswered.unwrap_or_else(|| given_up(failure)));
            }
            once.is_first_try = false;
            // Between two calls, so that who waits keeps no connection from others.
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Collections {
    /// One step; none when another request was in its way, or may be about to insert the comment.
    async fn write_once(
        &self,
        once: &mut Once,
        session: &mut ClientSession,
    ) -> Result<Option<Written<Comment>>, Error> {
        let began = Instant::now();
        let mut is_last = false;
        if let Some(since) = once.waits_since {
            is_last = since.elapsed() > ALONE_FOR;
        } else {
            let Some(id) = self.id_of_key(once, session).await? else {
                return Ok(None);
            };
            once.comment.id = id;
            if id == once.fresh && once.is_first_try {
                once.may_be_inserted = true;
                match self.insert_alone(once, began, session).await {
                    Err(Error::Database(error)) if code(&error) == Some(DUPLICATE_KEY) => {}
                    written => return written.map(Some),
                }
            }
            once.waits_since = Some(Instant::now());
        }
        let first = self.first_of_key(once.comment.id, &once.idempotency, true, session);
        if let Some(first) = first.await? {
            return Ok(Some(first));
        }
        if !is_last {
            return Ok(None);
        }
        self.insert_at_one_snapshot(once, session).await
    }

    /// Inserts the comment of a new key. No other request has its id, unless this one takes longer than
    /// [`ALONE_FOR`]: then another one may have written the comment, and a moderator may have moved it, before this
    /// insert.
    async fn insert_alone(
        &self,
        once: &Once,
        began: Instant,
        session: &mut ClientSession,
    ) -> Result<Written<Comment>, Error> {
        let keyed = KeyedComment::new(&once.comment, &once.idempotency);
        self.insert(&once.comment, &keyed, session).await?;
        let comment = once.comment.clone();
        if began.elapsed() < ALONE_FOR {
            return Ok(Written::in_session(comment, session));
        }
        let idempotency = once.idempotency.clone();
        let confirm = Confirm {
            comment,
            idempotency,
        };
        self.try_transaction(session, &confirm).await
    }

    /// Inserts the comment unless it is anywhere; none when something else has its id, of which the key lets go then.
    async fn insert_at_one_snapshot(
        &self,
        once: &mut Once,
        session: &mut ClientSession,
    ) -> Result<Option<Written<Comment>>, Error> {
        let insert = InsertOnce {
            comment: once.comment.clone(),
            idempotency: once.idempotency.clone(),
        };
        let written = self.try_transaction(session, &insert).await?;
        let Some(comment) = written.value else {
            let keys = self.database().collection::<Document>(KEYS);
            let as_read = doc! { "_id": &once.idempotency.key, "commentId": once.comment.id };
            keys.delete_one(as_read).session(session).await?;
            once.waits_since = None;
            return Ok(None);
        };
        Ok(Some(Written {
            value: comment,
            operation_time: written.operation_time,
        }))
    }

    /// The id of the key's comment, whether it is written or not: the fresh one for a new key. None when
    /// another request wrote the same key at the same moment.
    async fn id_of_key(
        &self,
        once: &Once,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Option<CommentId>> {
        let (fresh, idempotency) = (once.fresh, &once.idempotency);
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
    async fn first_of_key(
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
                let settled = self.try_transaction(session, &Settle { id }).await?;
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

pub(super) fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        _ => None,
    }
}

/// Whether a write may have happened, though its answer did not come: another attempt finds out.
fn may_be_over(error: &Error) -> bool {
    matches!(error, Error::Database(error) if error.contains_label(RETRYABLE_WRITE_ERROR))
}
