//! The way of a request with an idempotency key: its tries, and the steps of each.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::ClientSession;
use mongodb::error::RETRYABLE_WRITE_ERROR;
use subgraph::Written;
use subgraph::database_error::{DUPLICATE_KEY, code, is_outcome_unknown, is_refusal};
use subgraph::transaction::{given_up, is_passing, jittered, try_transaction};
use tokio::time::{Instant, sleep};

use super::comment_keys::KEYS;
use super::idempotency::{Idempotency, KeyedComment};
use super::keyed_inserts::{Confirm, InsertOnce};
use super::writers::{Note, Writing};
use super::{Collections, Store};
use crate::Error;
use crate::comment::{Comment, CommentId};

/// How long a request with a key tries again after passing failures.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long a request with a new key may take to insert its comment without asking whether another one did. One that
/// finds the key, and no comment, waits as long before it inserts.
pub(super) const ALONE_FOR: Duration = Duration::from_secs(1);
/// The first wait before it tries again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);

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
            if let Some(note) = note {
                note.may_be_written |= once.may_be_inserted;
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
            let Some(id) = self
                .id_of_key(&once.idempotency, once.fresh, session)
                .await?
            else {
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
        once: &mut Once,
        began: Instant,
        session: &mut ClientSession,
    ) -> Result<Written<Comment>, Error> {
        let comment = once.comment.clone().created_now();
        let keyed = KeyedComment::new(&comment, &once.idempotency);
        let insert = self.insert_of_key(&comment, &keyed, session);
        if let Err(error) = insert.await {
            once.may_be_inserted = !is_refusal(&error);
            // No overload: that would say that nothing was written.
            return Err(Error::Database(error));
        }
        if began.elapsed() < ALONE_FOR {
            return Ok(Written::in_session(comment, session));
        }
        let idempotency = once.idempotency.clone();
        let confirm = Confirm {
            comment,
            idempotency,
        };
        try_transaction(self, session, &confirm).await
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
        let written = try_transaction(self, session, &insert).await?;
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
}

/// Whether a write may have happened, though its answer did not come: another attempt finds out.
fn may_be_over(error: &Error) -> bool {
    let Error::Database(error) = error else {
        return false;
    };
    error.contains_label(RETRYABLE_WRITE_ERROR) || is_outcome_unknown(error)
}
