//! One subscriber's way through a topic: from the oplog if it must, then through the ring.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bson::Bson;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::watch;

use crate::position::Position;
use crate::{Change, Cursor, CursorError, FromDocument, ResumeToken, TopicError};

use super::catch_up::{CatchUp, CatchUpEnd, Caught};
use super::hub::Shared;
use super::ring::{Entry, Head, Lookup, Topic};

type Item<T> = Result<(Cursor, Arc<Change<T>>), TopicError>;

/// The changes of one topic, in order, each with the cursor to resume after it. Ends after an error.
pub struct Subscription<T> {
    changes: BoxStream<'static, Item<T>>,
    start: Cursor,
}

impl<T: FromDocument> Subscription<T> {
    /// Enters a topic, after a place or at its end. From here on nothing falls between: the ring
    /// stays for this subscriber, whose number in it is fixed before anything is read.
    pub(crate) fn enter(
        shared: Arc<Shared<T>>,
        key: &Bson,
        after: Option<(ResumeToken, Position)>,
    ) -> Result<Self, CursorError> {
        let entrance = shared.rings.enter(key).map_err(|_| CursorError::Stopped)?;
        let topic = entrance.topic;
        let phase = match &after {
            None => Phase::InRing(topic.next_number()),
            Some((_, place)) => match topic.number_after(place) {
                Some(number) => {
                    shared.metrics.resumed_in_memory.inc();
                    Phase::InRing(number)
                }
                None => {
                    Phase::CatchingUp(CatchUp::new(shared.clone(), topic.clone(), place.clone()))
                }
            },
        };
        let (token, passed) = match after {
            Some(place) => place,
            None => shared.now(entrance.head, entrance.head_position),
        };
        let start = shared.codec.encode(key, &token);
        let head = topic.head.subscribe();
        let reader = TopicReader {
            shared,
            topic,
            head,
            phase,
            passed,
            cursor: start.clone(),
        };
        let changes = stream::unfold(reader, |mut reader| async move {
            Some((reader.next().await?, reader))
        });
        Ok(Self {
            changes: changes.boxed(),
            start,
        })
    }
}

impl<T> Subscription<T> {
    /// The place where the subscription began: resume after it when nothing was received yet.
    pub fn start(&self) -> &Cursor {
        &self.start
    }
}

impl<T> Stream for Subscription<T> {
    type Item = Item<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.changes.as_mut().poll_next(context)
    }
}

struct TopicReader<T: FromDocument> {
    shared: Arc<Shared<T>>,
    topic: Arc<Topic<T>>,
    head: watch::Receiver<Head>,
    phase: Phase<T>,
    /// Changes up to this place are passed over.
    passed: Position,
    /// The cursor of the last change that was delivered.
    cursor: Cursor,
}

enum Phase<T: FromDocument> {
    CatchingUp(CatchUp<T>),
    /// Reading the ring, next at this number.
    InRing(u64),
    Ended,
}

impl<T: FromDocument> Phase<T> {
    /// Where a subscriber goes on after a place in a topic.
    fn after(shared: &Arc<Shared<T>>, topic: &Arc<Topic<T>>, place: &Position) -> Self {
        match topic.number_after(place) {
            Some(number) => Self::InRing(number),
            None => {
                let catch_up = CatchUp::new(shared.clone(), topic.clone(), place.clone());
                Self::CatchingUp(catch_up)
            }
        }
    }
}

impl<T: FromDocument> TopicReader<T> {
    async fn next(&mut self) -> Option<Item<T>> {
        loop {
            let entry = match &mut self.phase {
                Phase::Ended => return None,
                Phase::CatchingUp(catch_up) => match catch_up.next().await {
                    Caught::Entry(entry) => entry,
                    Caught::End(CatchUpEnd::Joined(number)) => {
                        self.phase = Phase::InRing(number);
                        continue;
                    }
                    Caught::End(CatchUpEnd::HistoryLost) => {
                        return self.end(TopicError::ResyncRequired);
                    }
                    Caught::Late => return self.end_lagged(1),
                    Caught::Stopped => return self.end(self.stopped()),
                },
                Phase::InRing(number) => match self.topic.at(*number) {
                    Lookup::Entry(entry) => {
                        *number += 1;
                        entry
                    }
                    Lookup::Missed(missed) => match self.topic.number_after(&self.passed) {
                        // None of them was for this subscriber: they are from before its place.
                        Some(after) => {
                            *number = after;
                            continue;
                        }
                        None => return self.end_lagged(missed),
                    },
                    Lookup::Nothing => {
                        if let Some(error) = self.wait().await {
                            return self.end(error);
                        }
                        continue;
                    }
                },
            };
            if let Some(item) = self.deliver(&entry) {
                return Some(item);
            }
        }
    }

    /// Waits until the ring has more; returns why it never will.
    async fn wait(&mut self) -> Option<TopicError> {
        let Phase::InRing(number) = self.phase else {
            return None;
        };
        let more = self
            .head
            .wait_for(|head| !matches!(head, Head::Next(next) if *next <= number));
        match more.await.map(|head| *head) {
            Ok(Head::Next(_)) => None,
            Ok(Head::Lost) => self.enter_again(),
            Ok(Head::Stopped) | Err(_) => Some(self.stopped()),
        }
    }

    /// The hub has begun again: goes on there, unless what comes next is lost.
    fn enter_again(&mut self) -> Option<TopicError> {
        let rings = &self.shared.rings;
        if self.passed < rings.lost_before() {
            return Some(TopicError::ResyncRequired);
        }
        let Ok(entrance) = rings.enter(&self.topic.key) else {
            return Some(self.stopped());
        };
        rings.leave(&self.topic);
        self.topic = entrance.topic;
        self.head = self.topic.head.subscribe();
        self.phase = Phase::after(&self.shared, &self.topic, &self.passed);
        None
    }

    fn deliver(&mut self, entry: &Entry<T>) -> Option<Item<T>> {
        if entry.position <= self.passed {
            return None;
        }
        let cursor = entry.cursor(&self.shared.codec, &self.topic.key);
        self.passed = entry.position.clone();
        self.cursor = cursor.clone();
        let change = entry.change(&self.shared.metrics.unreadables)?;
        Some(Ok((cursor, change)))
    }

    fn stopped(&self) -> TopicError {
        TopicError::Stopped {
            cursor: self.cursor.clone(),
        }
    }

    fn end_lagged(&mut self, missed: u64) -> Option<Item<T>> {
        self.shared.metrics.lagged.inc();
        self.end(TopicError::Lagged {
            cursor: self.cursor.clone(),
            missed,
        })
    }

    fn end(&mut self, error: TopicError) -> Option<Item<T>> {
        if error == TopicError::ResyncRequired {
            self.shared.metrics.resyncs.inc();
        }
        self.phase = Phase::Ended;
        Some(Err(error))
    }
}

impl<T: FromDocument> Drop for TopicReader<T> {
    fn drop(&mut self) {
        self.shared.rings.leave(&self.topic);
    }
}
