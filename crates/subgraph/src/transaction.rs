//! Transactions: what has to be read and written at one moment. An attempt that fails for a passing reason is made
//! again, within a time limit.

use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use changefeed::WithCauses;
use futures_util::future::BoxFuture;
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, ClientSession};
use tokio::time::{Instant, sleep};

use crate::database_error::{StoreError, WRITE_CONFLICT, code};
use crate::turns::KeyedTurn;
use crate::written::Written;
use crate::{DatabaseCalls, Overloaded};

/// How long a transaction is tried again. The driver's own helper does it for 120 s, longer than a request lives.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The first wait before the next attempt; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The collections of a subgraph, as its transactions get them.
pub trait Transactional: Send + Sync + 'static {
    /// What the subgraph's store fails with.
    type Error: StoreError;

    /// The client that all of them belong to.
    fn client(&self) -> &Client;
}

/// What one transaction does.
pub trait Attempt<C: Transactional>: Send + Sync {
    /// What it finds out.
    type Output: Send;

    /// Waits until it may be made, where others would be in its way all the time. Each attempt has a turn of its own,
    /// which ends with it.
    fn turn(&self) -> impl Future<Output = Result<Option<KeyedTurn>, Overloaded>> + Send {
        ready(Ok(None))
    }

    /// Reads and writes in the session's transaction, at one snapshot. It is called again when another transaction
    /// was in the way, and must then do the same. An error ends the transaction without a trace.
    fn attempt(
        &self,
        collections: &C,
        session: &mut ClientSession,
    ) -> impl Future<Output = Result<Self::Output, C::Error>> + Send;
}

impl<C: Transactional> DatabaseCalls<Arc<C>> {
    /// Makes a transaction.
    ///
    /// # Errors
    /// Those of [`DatabaseCalls::in_transaction_of`].
    pub async fn in_transaction<A>(&self, act: A) -> Result<Written<A::Output>, C::Error>
    where
        A: Attempt<C> + 'static,
        A::Output: 'static,
    {
        self.in_transaction_of(None, act).await
    }

    /// Makes a transaction in a session, or in a new one. Each attempt is a call of its own: who waits for the next one
    /// keeps no connection from others.
    ///
    /// # Errors
    /// What the attempt fails with; nothing is written then. If the answer to the commit does not come, nobody knows
    /// whether it was: the same act once more finds out.
    pub async fn in_transaction_of<A>(
        &self,
        mut session: Option<ClientSession>,
        mut act: A,
    ) -> Result<Written<A::Output>, C::Error>
    where
        A: Attempt<C> + 'static,
        A::Output: 'static,
    {
        let deadline = Instant::now() + TIME_LIMIT;
        let mut pause = PAUSE_MIN;
        loop {
            // Of the attempt before, nothing is written.
            let turn = act.turn().await?;
            let step = self.run(|collections| async move {
                // Until the server has answered, also after the client has left.
                let _turn = turn;
                let mut session = match session {
                    Some(session) => session,
                    None => collections.client().start_session().await?,
                };
                let tried = try_transaction(&*collections, &mut session, &act).await;
                Ok::<_, C::Error>((session, act, tried))
            });
            let (used, same, tried) = step.await?;
            (session, act) = (Some(used), same);
            match tried {
                Err(failure) if is_passing(&failure) && Instant::now() < deadline => {}
                tried => return tried.map_err(given_up),
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// One attempt at a transaction, in a session.
///
/// # Errors
/// What the attempt fails with. After a failure that [`is_passing`], another attempt may succeed.
pub async fn try_transaction<C: Transactional, A: Attempt<C>>(
    collections: &C,
    session: &mut ClientSession,
    act: &A,
) -> Result<Written<A::Output>, C::Error> {
    start(session).await?;
    match act.attempt(collections, session).await {
        Ok(output) => {
            commit(session).await?;
            Ok(Written::in_session(output, session))
        }
        Err(error) => {
            abort(session).await;
            Err(error)
        }
    }
}

// Boxed, because an `async fn` is compiled in the crate that awaits it.
fn start(session: &mut ClientSession) -> BoxFuture<'_, mongodb::error::Result<()>> {
    Box::pin(async {
        let transaction = session.start_transaction();
        transaction
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority())
            // Whatever the client's is: the driver refuses a transaction that reads elsewhere.
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .await
    })
}

/// Commits, and asks again while the outcome is not known: only a failover makes that last.
fn commit(session: &mut ClientSession) -> BoxFuture<'_, mongodb::error::Result<()>> {
    Box::pin(async {
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            match session.commit_transaction().await {
                Err(error)
                    if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
                        && Instant::now() < deadline =>
                {
                    sleep(PAUSE_MAX).await;
                }
                committed => return committed,
            }
        }
    })
}

fn abort(session: &mut ClientSession) -> BoxFuture<'_, ()> {
    Box::pin(async {
        if let Err(error) = session.abort_transaction().await {
            tracing::debug!(error = %WithCauses(&error), "a transaction could not be aborted: the server aborts it when its time is over");
        }
    })
}

/// The failure of the last attempt: one that found a document locked may be sent again.
pub fn given_up<E: StoreError>(failure: E) -> E {
    match failure.database() {
        Some(error) if code(error) == Some(WRITE_CONFLICT) => Overloaded::WaitedTooLong.into(),
        _ => failure,
    }
}

/// A pause of half to all of this length, so that those who were in each other's way do not meet again.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Whether another attempt may succeed.
pub fn is_passing<E: StoreError>(failure: &E) -> bool {
    let error = failure.database();
    error.is_some_and(|error| error.contains_label(TRANSIENT_TRANSACTION_ERROR))
}
