//! Reads in a session: at one snapshot, or with everything up to a time that a client names.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocument, RawDocumentBuf};
use changefeed::{OperationTime, SendAction, for_each_in_session};
use mongodb::ClientSession;
use mongodb::options::ReadConcern;
use subgraph::Overloaded;
use subgraph::database_error::code;
use subgraph::readable;
use subgraph::stored_comment::SHAPE;
use tokio::time::{Instant, sleep};

use super::{Collections, Store};
use crate::Error;
use crate::comment::Comment;

/// How long such a read may take, with its wait until the server has everything up to the time: as long as a write takes to
/// reach the majority. A primary that was replaced and does not know it yet never has it.
const TIME_MAX: Duration = Duration::from_secs(5);
/// The server's code for a time that is later than the cluster's own, as far as it has heard of it: `InvalidOptions`.
const LATER_THAN_ALL: i32 = 72;
/// How long a server that has not heard of the time is asked again. The shards of a cluster hear of it from each other.
const ASKED_FOR: Duration = Duration::from_secs(1);
/// Between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(100);

impl Store {
    /// Makes a call that reads with everything up to a time, in [`Collections::session_after`].
    ///
    /// # Errors
    /// [`Error::NotThereYet`] when the server does not have it yet; else what the call fails with.
    pub(super) async fn run_after<T, F>(
        &self,
        after: Option<OperationTime>,
        read: impl Fn(Arc<Collections>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let asked_until = Instant::now() + ASKED_FOR;
        loop {
            let answer = self.calls.run(|collections| {
                let read = read(collections);
                async move {
                    match read.await {
                        // At the server, not in the queue before it: the majority does not have the time yet.
                        Err(Error::Overloaded(Overloaded::WaitedTooLong)) if after.is_some() => {
                            Err(Error::NotThereYet)
                        }
                        read => read,
                    }
                }
            });
            match answer.await {
                Err(Error::Database(error)) if is_later_than_all(&error) && after.is_some() => {
                    if Instant::now() >= asked_until {
                        return Err(Error::NotThereYet);
                    }
                }
                read => return read,
            }
            // Between two calls, so that who waits keeps no connection from others.
            sleep(ASK_PAUSE).await;
        }
    }
}

fn is_later_than_all(error: &mongodb::error::Error) -> bool {
    code(error) == Some(LATER_THAN_ALL)
}

impl Collections {
    /// A session whose reads have everything up to this time, if there is one. They have to be of what the majority has, or a
    /// primary that was replaced might have something else of that time.
    pub(super) async fn session_after(
        &self,
        time: Option<OperationTime>,
    ) -> mongodb::error::Result<ClientSession> {
        let mut session = self.session().await?;
        // The server takes none without seconds; nothing is before it.
        if let Some(time) = time.filter(|time| time.timestamp().time > 0) {
            session.advance_operation_time(time.timestamp());
        }
        Ok(session)
    }

    /// The comments that an aggregation finds in a session, as if there were no documents that cannot be read. Most
    /// lists have none: `stages` gets the filter that leaves them out at the server only where the first answer has one.
    pub(super) async fn readable_in(
        &self,
        session: &mut ClientSession,
        after: Option<OperationTime>,
        stages: impl Fn(&Document) -> Vec<Document>,
    ) -> mongodb::error::Result<Vec<Comment>> {
        let all = stages(&Document::new());
        let (found, left_out) = self.read_in(session, after, all).await?;
        if !left_out {
            return Ok(found);
        }
        let readable = stages(&SHAPE.filter());
        Ok(self.read_in(session, after, readable).await?.0)
    }

    /// And whether there were documents that cannot be read.
    async fn read_in(
        &self,
        session: &mut ClientSession,
        after: Option<OperationTime>,
        stages: Vec<Document>,
    ) -> mongodb::error::Result<(Vec<Comment>, bool)> {
        let found = self.comments.aggregate(stages);
        let found = match after {
            Some(_) => found
                .read_concern(ReadConcern::majority())
                .max_time(TIME_MAX),
            None => found,
        };
        let found = found.with_type::<RawDocumentBuf>().session(&mut *session);
        let found = found.send().await?;
        let (mut comments, mut left_out) = (Vec::new(), false);
        let mut take =
            |document: &RawDocument| match readable::one::<Comment>(document, &self.unreadables) {
                Some(comment) => comments.push(comment),
                None => left_out = true,
            };
        for_each_in_session(found, session, &mut take).await?;
        Ok((comments, left_out))
    }
}
