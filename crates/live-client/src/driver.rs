//! The task of a subscription: connects, reads, and tries again, as [`Resume`] says.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::Settings;
use crate::contract::Response;
use crate::failure::Failure;
use crate::queue::Inlet;
use crate::resume::{Asked, Out, Resume, Then};
use crate::store::{CursorStore, StoredCursor};
use crate::subscription::Stored;
use crate::transport::{Connection, Signal};

/// A time that nobody waits for. A longer one may be more than the clock can count.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

pub(crate) struct Driver {
    pub settings: Arc<Settings>,
    pub inlet: Inlet,
    pub stored: Stored,
}

impl Driver {
    pub(crate) async fn run(
        self,
        asked: Asked,
        after: Option<String>,
        store: Option<(Arc<dyn CursorStore>, String)>,
    ) {
        let mut cursor = after;
        if let Some((store, key)) = store {
            let (found, stored) = StoredCursor::read(store, key).await;
            cursor = cursor.or(found);
            *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = Some(stored);
        }
        let mut resume = Resume::new(asked, cursor);
        loop {
            match self.try_once(&mut resume).await {
                // The connection is closed by now.
                Some(Then::Again(pause)) => sleep(pause).await,
                Some(Then::End(failure)) => return self.inlet.end(failure).await,
                Some(Then::GoOn) => {}
                None => return,
            }
        }
    }

    /// One connection, until it fails or the subscription ends. `None` where nobody takes anything any more.
    async fn try_once(&self, resume: &mut Resume) -> Option<Then> {
        let request = Bytes::from(resume.next_try().to_string());
        let mut connection = match Connection::open(&self.settings, request).await {
            Ok(connection) => connection,
            Err(failure) => return self.failed(resume, failure).await,
        };
        let guess_at = Instant::now() + self.settings.stands_after.min(LONGEST);
        loop {
            let signal = tokio::select! {
                biased;
                signal = connection.next() => signal,
                () = sleep_until(guess_at), if resume.is_unsure() => {
                    let mut out = Out::new();
                    resume.guess(&mut out);
                    self.send(out, 0).await?;
                    continue;
                }
            };
            let then = match signal {
                Ok(Signal::Message { json, id }) => self.message(resume, &json, id).await?,
                Ok(Signal::Complete) => Then::End(None),
                Err(failure) => self.failed(resume, failure).await?,
            };
            if !matches!(then, Then::GoOn) {
                return Some(then);
            }
        }
    }

    async fn message(&self, resume: &mut Resume, json: &str, id: Option<String>) -> Option<Then> {
        let Some(message) = Response::parse(json) else {
            let failure = Failure::new("The server sent no GraphQL response.");
            return self.failed(resume, failure).await;
        };
        let mut out = Out::new();
        let then = resume.take(message, id.as_deref(), &mut out);
        self.forget_if(resume.forgets());
        self.send(out, json.len()).await?;
        Some(then)
    }

    async fn failed(&self, resume: &mut Resume, failure: Failure) -> Option<Then> {
        let mut out = Out::new();
        let then = resume.failed(failure, &mut out);
        self.forget_if(resume.forgets());
        self.send(out, 0).await?;
        Some(then)
    }

    /// Waits until the application has room for what a message of so many bytes brought.
    async fn send(&self, out: Out, bytes: usize) -> Option<()> {
        if out.is_empty() {
            return Some(());
        }
        let mut room = self.inlet.room(bytes).await;
        let last = out.len() - 1;
        for (index, (item, mark)) in out.into_iter().enumerate() {
            self.with_stored(|it| it.sent(&mark));
            // The event is the last one of what its message brought.
            let room = if index == last { room.take() } else { None };
            if !self.inlet.send(item, mark, room).await {
                return None;
            }
        }
        Some(())
    }

    fn forget_if(&self, forgets: bool) {
        if forgets {
            self.with_stored(StoredCursor::forget);
        }
    }

    fn with_stored(&self, act: impl FnOnce(&StoredCursor)) {
        if let Some(stored) = &*self.stored.lock().unwrap_or_else(PoisonError::into_inner) {
            act(stored);
        }
    }
}
