//! A look through the recent past when a hub starts: when each topic had its last change.
//!
//! It runs in the background, once, and keeps nothing of the changes but their topics and places. Without it, each
//! client that comes back after a restart would need a reading of the history, on quiet topics too.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, Timestamp, doc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::change::ChangeEvent;
use crate::position::{Position, first_after};
use crate::server_codes::is_history_lost;
use crate::stream::{self, Pace, RawEvent, Signal, Start};
use crate::{FromDocument, HubSettings, WithCauses};

use super::floors::{Floor, Floors};
use super::hub::Shared;
use super::topic_of::{Topics, topics_of};

/// Events that wait between the stream and the look at most.
const AHEAD_COUNT_MAX: usize = 4096;
/// Bytes of them at most.
pub(crate) const AHEAD_BYTES_MAX: usize = 4 << 20;
/// How long the server waits for more once it has come to the end of the history.
const AWAIT_TIME: Duration = Duration::from_millis(20);

/// How long readings of the history wait for the look, which takes about as long as one of them.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// The wait of those who catch up: after it, they may need no reading. It ends once for all, however the look ends.
pub(crate) struct Waiting {
    over: DropGuard,
    until: Instant,
}

impl Waiting {
    /// From the start of the hub on.
    pub fn begin(settings: &HubSettings, looked_back: CancellationToken) -> Self {
        Self {
            over: looked_back.drop_guard(),
            until: Instant::now() + WAIT_MAX.min(settings.catch_up_wait_max / 2),
        }
    }

    /// Runs the look to its end, or until the hub has ended. A look that takes longer than others wait goes on.
    pub async fn watch(self, look: impl Future<Output = ()>, ended: CancellationToken) {
        let Self { over, until } = self;
        let mut over = Some(over);
        let mut look = pin!(look);
        loop {
            tokio::select! {
                () = &mut look => return,
                () = ended.cancelled() => return,
                () = tokio::time::sleep_until(until), if over.is_some() => drop(over.take()),
            }
        }
    }
}

/// Looks at the changes from [`crate::HubSettings::look_back`] before a time up to it, where the hub's own stream
/// begins, and tells the rings.
pub(crate) async fn look_back<T: FromDocument>(shared: Arc<Shared<T>>, end: Timestamp) {
    if shared.settings.look_back.is_zero() {
        return;
    }
    let seconds = u32::try_from(shared.settings.look_back.as_secs()).unwrap_or(u32::MAX);
    let mut from = Timestamp {
        time: end.time.saturating_sub(seconds),
        increment: 0,
    };
    while from < end {
        match look(&shared, from, end).await {
            Looked::Done(past) => return shared.rings.extend_back(end, past),
            Looked::GoneAt(time) => from = first_after(time),
            // Half of it may be kept. An odd second is left out, so that this ends.
            Looked::NotKept => {
                let left = end.time.saturating_sub(from.time) / 2;
                from = Timestamp {
                    time: end.time - left,
                    increment: 0,
                };
                if left == 0 {
                    return;
                }
            }
            Looked::Failed => return,
        }
    }
}

/// How a look at the past ended.
enum Looked {
    Done(Floors),
    /// The collection as it was is gone since this time, which is before the end.
    GoneAt(Timestamp),
    /// The history begins later.
    NotKept,
    /// It cannot be read, or the hub stops.
    Failed,
}

async fn look<T: FromDocument>(shared: &Shared<T>, from: Timestamp, end: Timestamp) -> Looked {
    let options = stream::Options {
        content: shared.content(),
        pipeline: vec![topic_alone(shared.topic_field.name())],
        ahead_count_max: AHEAD_COUNT_MAX,
        ahead_bytes_max: AHEAD_BYTES_MAX,
        answer_count_max: stream::ANSWER_COUNT_MAX,
        await_time: AWAIT_TIME,
        restarts: shared.metrics.stream_restarts.clone(),
        pace: Pace::Live,
        tells_level: false,
    };
    let topics_max = shared.settings.remembered_topics_max;
    let mut past = Floors::new(Position::before(from), topics_max);
    let mut signals = stream::read(&shared.source, Start::At(from), options);
    loop {
        let signal = tokio::select! {
            signal = signals.recv() => signal,
            () = shared.stop.cancelled() => return Looked::Failed,
        };
        match signal {
            Some(Signal::Event(event)) => match note(shared, &mut past, &event, end) {
                Noted::Change => {}
                Noted::End => return Looked::Done(past),
                Noted::Gone(Some(time)) => return Looked::GoneAt(time),
                Noted::Gone(None) => return Looked::Failed,
            },
            Some(Signal::Level(_)) => {}
            Some(Signal::Idle(token)) => {
                if Position::of(&token).is_some_and(|place| place.time >= end) {
                    return Looked::Done(past);
                }
            }
            Some(Signal::Lost(error)) if is_history_lost(&error) => return Looked::NotKept,
            Some(Signal::Lost(error)) => {
                tracing::info!(
                    error = %WithCauses(&error),
                    collection = shared.source.collection(),
                    "the past could not be looked through: clients that come back from before the start need readings of the history"
                );
                return Looked::Failed;
            }
            None => return Looked::Failed,
        }
    }
}

/// What an event of the past was.
enum Noted {
    Change,
    /// One of the hub's own stream.
    End,
    Gone(Option<Timestamp>),
}

fn note<T>(shared: &Shared<T>, past: &mut Floors, event: &RawEvent, end: Timestamp) -> Noted {
    let Some(place) = event.place() else {
        return Noted::Gone(None);
    };
    if place.time >= end {
        return Noted::End;
    }
    match ChangeEvent::read(&event.document) {
        Ok(ChangeEvent::Write(change)) => match topics_of(&change, &shared.topic_field) {
            Topics::These(topics) => {
                for topic in topics {
                    past.remember(&topic, Floor::At(place.clone()));
                }
            }
            Topics::Unknown => past.raise(&place),
        },
        Ok(ChangeEvent::Other) => {}
        Ok(ChangeEvent::CollectionGone(_)) => return Noted::Gone(Some(place.time)),
        Err(_) => return Noted::Gone(None),
    }
    Noted::Change
}

/// The stage that leaves, of an event, what it takes to know its topics.
fn topic_alone(field: &str) -> Document {
    doc! { "$project": {
        "operationType": 1, "clusterTime": 1, "documentKey": 1,
        format!("fullDocument.{field}"): 1,
        format!("fullDocumentBeforeChange.{field}"): 1,
    } }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;

    struct Watched {
        looked_back: CancellationToken,
        ended: CancellationToken,
        waiting: Waiting,
    }

    fn watched() -> Watched {
        let looked_back = CancellationToken::new();
        let settings = HubSettings::default().catch_up_wait_max(Duration::from_millis(20));
        Watched {
            waiting: Waiting::begin(&settings, looked_back.clone()),
            looked_back,
            ended: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn a_slow_look_goes_on_and_is_waited_for_once() {
        let Watched {
            looked_back,
            ended,
            waiting,
        } = watched();
        let (go, gone) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let look = async move {
            gone.await.expect("told to go");
            done.send(()).expect("somebody listens");
        };
        let watch = tokio::spawn(waiting.watch(look, ended));
        looked_back.cancelled().await;
        // From now on nobody waits: not the first who comes, nor any other.
        assert!(looked_back.is_cancelled() && !watch.is_finished());
        go.send(()).expect("the look goes on");
        is_done.await.expect("the look ends");
        watch.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_look_ends_with_the_hub() {
        let watched = watched();
        watched.ended.cancel();
        // A hub that a bug has ended waits for all of its tasks before it says so.
        watched.waiting.watch(pending(), watched.ended).await;
        assert!(watched.looked_back.is_cancelled());
    }

    #[tokio::test]
    async fn nobody_waits_after_a_look_however_it_ended() {
        let Watched {
            looked_back,
            ended,
            waiting,
        } = watched();
        let look = async { panic!("a mistake") };
        let watch = tokio::spawn(waiting.watch(look, ended));
        assert!(watch.await.is_err());
        assert!(looked_back.is_cancelled());
    }
}
