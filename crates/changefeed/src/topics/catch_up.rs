//! The catch-up reader: what a topic had before its ring begins, read from the oplog.
//!
//! It goes on until it has passed the ring's floor: from there the ring has everything, so nothing
//! falls between. It is bounded in number (a semaphore), in time, in length (a count) and in memory
//! (a short channel, whose reader must not stall).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::FromDocument;
use crate::change::Event;
use crate::position::Position;
use crate::stream::{self, Pace, RawEvent, Signal, Start};

use super::hub::Shared;
use super::ring::{Entry, Topic};
use super::topic_of::{Topics, filter, topics_of};

/// Changes that wait for the subscriber at most.
const AHEAD_COUNT_MAX: usize = 64;
/// A subscriber that takes nothing for so long loses its reader, which others wait for.
const STALL_MAX: Duration = Duration::from_secs(10);
/// How long the server waits for more once it has come to the end of the oplog.
const AWAIT_TIME: Duration = Duration::from_millis(20);

/// What the subscriber gets.
pub(crate) enum Caught<T> {
    Entry(Arc<Entry<T>>),
    /// Go on in the ring at this number.
    Joined(u64),
    /// The oplog does not go back so far, or the collection was dropped since.
    HistoryLost,
}

/// Starts a reader after a place. When the channel ends without a last word, the subscriber was too
/// slow, or others were for so long that its turn never came.
pub(crate) fn start<T: FromDocument>(
    shared: Arc<Shared<T>>,
    topic: Arc<Topic<T>>,
    after: Position,
) -> mpsc::Receiver<Caught<T>> {
    let (sender, receiver) = mpsc::channel(AHEAD_COUNT_MAX);
    shared.metrics.catch_ups.inc();
    let reader = CatchUp {
        shared,
        topic,
        passed: after,
        sender,
    };
    tokio::spawn(reader.run());
    receiver
}

struct CatchUp<T> {
    shared: Arc<Shared<T>>,
    topic: Arc<Topic<T>>,
    passed: Position,
    sender: mpsc::Sender<Caught<T>>,
}

impl<T: FromDocument> CatchUp<T> {
    async fn run(mut self) {
        let readers = self.shared.catch_up_readers.clone();
        let permit = tokio::select! {
            permit = readers.acquire_owned() => permit,
            () = tokio::time::sleep(self.shared.settings.catch_up_wait_max) => return,
            () = self.sender.closed() => return,
        };
        let Ok(permit) = permit else { return };
        self.shared.metrics.catching_up.inc();
        let last_word = self.read().await;
        self.shared.metrics.catching_up.dec();
        drop(permit);
        if let Some(last_word) = last_word {
            self.send(last_word, Instant::now() + STALL_MAX).await;
        }
    }

    /// Reads until the ring takes over; `None` when the subscriber is gone or stalls.
    async fn read(&mut self) -> Option<Caught<T>> {
        let shared = self.shared.clone();
        let options = stream::Options {
            content: shared.content(),
            pipeline: vec![filter(&shared.topic_field, &self.topic.key)],
            ahead_count_max: AHEAD_COUNT_MAX,
            ahead_bytes_max: stream::BYTES_AHEAD_MAX,
            answer_count_max: stream::ANSWER_COUNT_MAX,
            await_time: AWAIT_TIME,
            restarts: shared.metrics.stream_restarts.clone(),
            pace: Pace::Live,
        };
        // From the time on, not after the token: the pipeline is not that of the hub's stream, and
        // a token only resumes the pipeline that gave it.
        let mut signals = stream::read(&shared.source, Start::At(self.passed.time), options);
        let mut delivered = 0;
        let deadline = Instant::now() + shared.settings.catch_up_time_max;
        loop {
            if let Some(number) = self.topic.number_after(&self.passed) {
                return Some(Caught::Joined(number));
            }
            if delivered >= shared.settings.catch_up_count_max {
                return Some(Caught::HistoryLost);
            }
            if Instant::now() >= deadline {
                return None;
            }
            let signal = tokio::select! {
                signal = signals.recv() => signal?,
                () = tokio::time::sleep_until(deadline) => return None,
                () = self.sender.closed() => return None,
            };
            match signal {
                Signal::Event(event) => match self.entry(event) {
                    Ok(Some(entry)) => {
                        delivered += 1;
                        if !self.send(Caught::Entry(entry), deadline).await {
                            return None;
                        }
                    }
                    Ok(None) => {}
                    Err(Gone) => return Some(Caught::HistoryLost),
                },
                Signal::Idle(token) => {
                    if let Some(position) =
                        Position::of(&token).filter(|position| *position > self.passed)
                    {
                        self.passed = position;
                    }
                }
                Signal::Lost(error) => {
                    tracing::info!(%error, "a subscriber's cursor is older than the history");
                    return Some(Caught::HistoryLost);
                }
            }
        }
    }

    /// The change of this topic that an event is, if it comes after what was passed.
    fn entry(&mut self, event: RawEvent) -> Result<Option<Arc<Entry<T>>>, Gone> {
        let change = match Event::read(&event.document) {
            Ok(Event::Write(change)) => change,
            Ok(Event::Other) => return Ok(None),
            Ok(Event::CollectionGone(_)) | Err(_) => return Err(Gone),
        };
        // Every token of MongoDB 4.2 and later tells its time.
        let position = Position::of(&change.token).ok_or(Gone)?;
        if position <= self.passed {
            return Ok(None);
        }
        self.passed = position.clone();
        let ours = match topics_of(&change, &self.shared.topic_field) {
            Topics::These(topics) => topics.contains(&self.topic.key),
            Topics::Unknown => true,
        };
        let token = change.token.clone();
        Ok(ours.then(|| Arc::new(Entry::new(event.document, token, position))))
    }

    async fn send(&self, caught: Caught<T>, deadline: Instant) -> bool {
        let deadline = deadline.min(Instant::now() + STALL_MAX);
        matches!(
            tokio::time::timeout_at(deadline, self.sender.send(caught)).await,
            Ok(Ok(()))
        )
    }
}

/// The collection as it was is gone.
struct Gone;
