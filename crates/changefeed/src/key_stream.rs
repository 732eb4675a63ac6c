//! The keys of a collection's changes, without its documents: for a program that reads the document itself.
//!
//! It needs no images, so it suits a collection that is written all the time. One task reads it and reopens
//! it after faults. Where the server no longer knows its place, or the collection was dropped or replaced, it
//! continues from a new place and reports a gap.

use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, doc};
use tokio::sync::mpsc;

use crate::change::{ChangeEvent, Operation};
use crate::position::first_after;
use crate::stream::{self, Content, LossPause, Pace, Signal, Start};
use crate::{Error, Source, WithCauses};

/// Keys in one answer of the server's, at most: 16 MB of such small events take a few times as much
/// memory here.
const ANSWER_COUNT_MAX: u32 = 2_000;
/// Changes that wait for the reader at most.
const AHEAD_COUNT_MAX: usize = 4096;
/// Their bytes at most.
const AHEAD_BYTES_MAX: usize = 4 << 20;
/// The wait before the database is asked again for a new place.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// A change of a document, or a gap in the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyChange {
    /// A document was written or deleted.
    Document {
        /// The `_id` of the document.
        key: Bson,
        /// What was done to it.
        operation: Operation,
    },
    /// Changes of any document before this one may be missing. Every change after it is reported.
    Gap {
        /// True when the collection was dropped, renamed or replaced; false when its history is lost.
        is_collection_gone: bool,
    },
}

/// The keys of the changes of a collection, in order. It ends when it is dropped.
pub struct KeyStream {
    changes: mpsc::Receiver<KeyChange>,
}

impl KeyStream {
    /// Follows every change of these kinds from this call on.
    ///
    /// # Errors
    /// When the database cannot be reached, or is no replica set.
    pub async fn start(source: &Source, operations: &[Operation]) -> Result<Self, Error> {
        Self::follow(source, operations, Pace::Live).await
    }

    /// Like [`KeyStream::start`], for a program that may have no listeners of its own: while `is_heard` returns
    /// false, the stream reads several changes at a time and leaves the server to others.
    ///
    /// # Errors
    /// As [`KeyStream::start`].
    pub async fn start_unhurried(
        source: &Source,
        operations: &[Operation],
        is_heard: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let pace = Pace::LiveWhileHeard(Arc::new(is_heard));
        Self::follow(source, operations, pace).await
    }

    /// Like [`KeyStream::start`], for rare changes of a collection that is written a lot: reads after pauses of
    /// this length, which is how late a change is known. Without pauses, the server examines each write at once.
    ///
    /// # Errors
    /// As [`KeyStream::start`].
    pub async fn start_with_pauses(
        source: &Source,
        operations: &[Operation],
        pause: Duration,
    ) -> Result<Self, Error> {
        Self::follow(source, operations, Pace::Interval(pause)).await
    }

    async fn follow(source: &Source, operations: &[Operation], pace: Pace) -> Result<Self, Error> {
        let start = Start::At(source.now().await?);
        let (sender, changes) = mpsc::channel(AHEAD_COUNT_MAX);
        let follower = KeyReader {
            source: source.clone(),
            pipeline: pipeline(operations),
            pace,
            sender,
            gap: None,
        };
        tokio::spawn(follower.run(start));
        Ok(Self { changes })
    }

    /// The next change. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`Error::TaskEnded`] after a bug.
    pub async fn next(&mut self) -> Result<KeyChange, Error> {
        let next = self.changes.recv().await;
        next.ok_or(Error::TaskEnded("the reader of a key stream"))
    }
}

struct KeyReader {
    source: Source,
    pipeline: Vec<Document>,
    pace: Pace,
    sender: mpsc::Sender<KeyChange>,
    /// A gap that is not reported yet: it is reported once the next stream is open, and only once, however
    /// often opening it fails.
    gap: Option<KeyChange>,
}

/// Why one stream is not read any more.
enum KeyStreamEnd {
    ReaderGone,
    Lost(String),
    CollectionGone(String),
}

impl KeyReader {
    async fn run(mut self, start: Start) {
        let (mut start, mut losses) = (start, LossPause::new());
        loop {
            let end = self.follow_from(start).await;
            let (reason, is_collection_gone) = match end {
                KeyStreamEnd::ReaderGone => return,
                KeyStreamEnd::Lost(reason) => (reason, false),
                KeyStreamEnd::CollectionGone(operation) => (operation, true),
            };
            tracing::warn!(
                reason,
                collection = self.source.collection(),
                "changes of a collection may have been missed: what is known of it is looked up again"
            );
            let was_gone = matches!(
                self.gap,
                Some(KeyChange::Gap {
                    is_collection_gone: true
                })
            );
            self.gap = Some(KeyChange::Gap {
                is_collection_gone: is_collection_gone || was_gone,
            });
            self.source.tell_gone();
            tokio::select! {
                () = tokio::time::sleep(losses.after_loss()) => {}
                () = self.sender.closed() => return,
            }
            match self.restart().await {
                Some(at) => start = at,
                None => return,
            }
        }
    }

    async fn follow_from(&mut self, start: Start) -> KeyStreamEnd {
        let options = stream::Options {
            content: Content::Keys,
            pipeline: self.pipeline.clone(),
            answer_count_max: ANSWER_COUNT_MAX,
            ahead_count_max: AHEAD_COUNT_MAX,
            ahead_bytes_max: AHEAD_BYTES_MAX,
            await_time: stream::AWAIT_TIME,
            restarts: Default::default(),
            pace: self.pace.clone(),
            tells_level: false,
        };
        let mut signals = stream::read(&self.source, start, options);
        loop {
            let signal = tokio::select! {
                signal = signals.recv() => signal,
                () = self.sender.closed() => return KeyStreamEnd::ReaderGone,
            };
            let change = match signal {
                Some(Signal::Event(event)) => match ChangeEvent::read(&event.document) {
                    Ok(ChangeEvent::Write(change)) => Some(KeyChange::Document {
                        key: change.key,
                        operation: change.operation,
                    }),
                    Ok(ChangeEvent::CollectionGone(operation)) => {
                        return KeyStreamEnd::CollectionGone(operation.to_owned());
                    }
                    Ok(ChangeEvent::Other) => None,
                    Err(error) => {
                        return KeyStreamEnd::Lost(format!("an event could not be read: {error}"));
                    }
                },
                Some(Signal::Idle(_) | Signal::Level(_)) => None,
                Some(Signal::Lost(error)) => {
                    return KeyStreamEnd::Lost(WithCauses(&error).to_string());
                }
                None => return KeyStreamEnd::Lost("the stream's reader ended".to_owned()),
            };
            for told in self.gap.take().into_iter().chain(change) {
                if self.sender.send(told).await.is_err() {
                    return KeyStreamEnd::ReaderGone;
                }
            }
        }
    }

    /// Finds a new beginning, after everything that the old stream has failed at; `None` when the
    /// reader is gone.
    async fn restart(&self) -> Option<Start> {
        loop {
            match self.source.now().await {
                Ok(now) => return Some(Start::At(first_after(now))),
                Err(error) => tracing::warn!(
                    error = %WithCauses(&error),
                    collection = self.source.collection(),
                    "a key stream could not be started again, will retry"
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(RESTART_PAUSE) => {}
                () = self.sender.closed() => return None,
            }
        }
    }
}

/// Leaves these operations' keys, and the ends of the collection.
fn pipeline(operations: &[Operation]) -> Vec<Document> {
    let operations = operations.iter().map(|operation| match operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Replace => "replace",
        Operation::Delete => "delete",
    });
    let ends = ["drop", "rename", "dropDatabase", "invalidate"];
    let shown: Vec<&str> = operations.chain(ends).collect();
    vec![
        doc! { "$match": { "operationType": { "$in": shown } } },
        doc! { "$project": { "operationType": 1, "documentKey": 1, "clusterTime": 1 } },
    ]
}
