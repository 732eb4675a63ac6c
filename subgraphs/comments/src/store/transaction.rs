//! Transactions: what has to be read and written at one moment. An attempt that fails for a passing reason is made
//! again, within a time limit.

use std::future::Future;
use std::time::Duration;

use changefeed::WithCauses;
use mongodb::ClientSession;
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{ReadConcern, WriteConcern};
use tokio::time::{Instant, sleep};

use super::{Collections, Store};
use crate::Error;
use crate::written::Written;

/// How long a transaction is tried again. The driver's own helper does it for 120 s, longer than a request lives.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The first wait before the next attempt; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What one transaction does.
pub(super) trait Attempt: Send + Sync {
    /// What it finds out.
    type Output: Send;

    /// Reads and writes in the session's transaction, at one snapshot. It is called again when another transaction
    /// was in the way, and must then do the same. An error ends the transaction without a trace.
    fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

impl Store {
    /// Makes a transaction.
    pub(super) async fn in_transaction<A>(&self, act: A) -> Result<Written<A::Output>, Error>
    where
        A: Attempt + 'static,
        A::Output: 'static,
    {
        let run = self.calls.run(|collections| async move {
            let mut session = collections.session().await?;
            collections.in_transaction(&mut session, &act).await
        });
        run.await
    }
}

impl Collections {
    /// Makes a transaction in a session.
    ///
    /// # Errors
    /// What the attempt fails with; nothing is written then. If the answer to the commit does not come, nobody knows
    /// whether it was: the same act once more finds out.
    pub(super) async fn in_transaction<A: Attempt>(
        &self,
        session: &mut ClientSession,
        act: &A,
    ) -> Result<Written<A::Output>, Error> {
        let deadline = Instant::now() + TIME_LIMIT;
        let mut pause = PAUSE_MIN;
        loop {
            let transaction = session.start_transaction();
            transaction
                .read_concern(ReadConcern::snapshot())
                .write_concern(WriteConcern::majority())
                .await?;
            let failure = match act.attempt(self, session).await {
                Ok(output) => match commit(session, deadline).await {
                    Ok(()) => return Ok(Written::in_session(output, session)),
                    Err(error) => Error::Database(error),
                },
                Err(error) => {
                    abort(session).await;
                    error
                }
            };
            if !is_passing(&failure) || Instant::now() >= deadline {
                return Err(failure);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Commits, and asks again while the outcome is not known.
async fn commit(session: &mut ClientSession, deadline: Instant) -> mongodb::error::Result<()> {
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
}

async fn abort(session: &mut ClientSession) {
    if let Err(error) = session.abort_transaction().await {
        tracing::debug!(error = %WithCauses(&error), "a transaction could not be aborted: the server aborts it when its time is over");
    }
}

/// Whether another attempt may succeed.
fn is_passing(failure: &Error) -> bool {
    matches!(failure, Error::Database(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR))
}
