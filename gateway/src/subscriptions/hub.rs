//! Who shares what: from (operation, variables, headers) to the feed that runs for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use graphql_transport::{Code as TransportCode, GaugeGuard};
use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{
    Event, EventStream,
    feed::{Feed, LeaveCursor, Source},
};
use crate::{error::RequestError, gateway::Gateway, metrics::GatewayMetrics};

/// Subscriptions with equal keys get equal events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FeedKey {
    operation: Arc<str>,
    variables: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
    cursor: Option<Arc<str>>,
    /// The number of a feed that has gone past the cursor it began from: nobody joins it any more.
    past_cursor: Option<u64>,
}

impl FeedKey {
    pub(super) fn new(
        operation: &Arc<str>,
        variables: Bytes,
        headers: &HeaderMap,
        cursor: Option<Arc<str>>,
    ) -> Self {
        let mut headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        headers.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        Self {
            operation: Arc::clone(operation),
            variables,
            headers,
            cursor,
            past_cursor: None,
        }
    }

    fn of_a_feed_past_its_cursor(&self, number: u64) -> Self {
        Self {
            past_cursor: Some(number),
            ..self.clone()
        }
    }
}

/// The running feeds.
pub(super) struct Hub {
    feeds: Mutex<HashMap<FeedKey, Entry>>,
    feeds_started: AtomicU64,
    subscriptions: Gauge,
    lagged: Counter,
}

struct Entry {
    /// Tells this feed from an earlier one with the same key.
    number: u64,
    events: broadcast::Sender<Event>,
    subscribers: usize,
    stop: CancellationToken,
}

impl Hub {
    pub(super) fn new(metrics: &GatewayMetrics) -> Self {
        Self {
            feeds: Mutex::default(),
            feeds_started: AtomicU64::new(0),
            subscriptions: metrics.subscriptions.clone(),
            lagged: metrics.transports.lagged.clone(),
        }
    }

    /// Joins the feed of `key`; the first one begins it from `source`.
    pub(super) fn join(
        self: &Arc<Self>,
        gateway: &Arc<Gateway>,
        key: FeedKey,
        source: Source,
        cursor: Option<Arc<str>>,
    ) -> EventStream {
        let mut feeds = self.lock();
        let entry = feeds
            .entry(key.clone())
            .or_insert_with(|| self.start(gateway, key.clone(), source, cursor));
        entry.subscribers += 1;
        let member = Member {
            events: entry.events.subscribe(),
            seat: Seat {
                hub: Arc::clone(self),
                key,
                number: entry.number,
            },
            _counted: GaugeGuard::new(&self.subscriptions),
        };
        drop(feeds);
        stream::unfold(Some(member), next).boxed()
    }

    fn start(
        self: &Arc<Self>,
        gateway: &Arc<Gateway>,
        key: FeedKey,
        source: Source,
        cursor: Option<Arc<str>>,
    ) -> Entry {
        let number = self.feeds_started.fetch_add(1, Ordering::Relaxed);
        let buffer = gateway
            .config()
            .subscriptions
            .subscription_buffer_events
            .max(1);
        let (events, _) = broadcast::channel(buffer);
        let stop = CancellationToken::new();
        let leave_cursor = cursor.is_some().then(|| -> LeaveCursor {
            let (hub, key) = (Arc::clone(self), key.clone());
            Box::new(move || hub.leave_cursor(&key, number))
        });
        let gateway = Arc::clone(gateway);
        let feed = Feed::new(gateway, source, cursor, events.clone(), leave_cursor);
        let (hub, told, stopped) = (Arc::clone(self), events.clone(), stop.clone());
        tokio::spawn(async move {
            let last = tokio::select! {
                last = feed.run() => last,
                () = stopped.cancelled() => return,
            };
            // Out of the map first: who comes from now on begins a new feed.
            hub.remove(&key, number);
            if let Some(event) = last {
                // Without anyone to hear it, nobody has to.
                let _ = told.send(event);
            }
        });
        Entry {
            number,
            events,
            subscribers: 0,
            stop,
        }
    }

    /// Called before the first event of a feed that began behind a cursor is told: who comes with
    /// that cursor from now on begins a feed of its own, or would miss the event.
    fn leave_cursor(&self, key: &FeedKey, number: u64) {
        let mut feeds = self.lock();
        if let Some(entry) = remove_number(&mut feeds, key, number) {
            feeds.insert(key.of_a_feed_past_its_cursor(number), entry);
        }
    }

    fn remove(&self, key: &FeedKey, number: u64) {
        let mut feeds = self.lock();
        if remove_number(&mut feeds, key, number).is_none() {
            feeds.remove(&key.of_a_feed_past_its_cursor(number));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FeedKey, Entry>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_number(feeds: &mut HashMap<FeedKey, Entry>, key: &FeedKey, number: u64) -> Option<Entry> {
    let is_it = feeds.get(key).is_some_and(|entry| entry.number == number);
    is_it.then(|| feeds.remove(key)).flatten()
}

/// One client's place at a feed: its offset in the ring of events.
struct Member {
    events: broadcast::Receiver<Event>,
    seat: Seat,
    _counted: GaugeGuard,
}

async fn next(member: Option<Member>) -> Option<(Event, Option<Member>)> {
    let mut member = member?;
    match member.events.recv().await {
        Ok(event @ Event::Failed { .. }) => Some((event, None)),
        Ok(event) => Some((event, Some(member))),
        Err(RecvError::Closed) => None,
        Err(RecvError::Lagged(missed)) => {
            member.seat.hub.lagged.inc();
            let error = RequestError::new(
                TransportCode::SubscriptionLagged,
                format!(
                    "events came faster than they were read: {missed} are gone; subscribe again"
                ),
            );
            Some((Event::failed(error), None))
        }
    }
}

/// Gives the place back when dropped; the last one ends the feed.
struct Seat {
    hub: Arc<Hub>,
    key: FeedKey,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut feeds = self.hub.lock();
        let past_cursor = self.key.of_a_feed_past_its_cursor(self.number);
        for key in [&self.key, &past_cursor] {
            let Some(entry) = feeds
                .get_mut(key)
                .filter(|entry| entry.number == self.number)
            else {
                continue;
            };
            entry.subscribers -= 1;
            if entry.subscribers == 0 {
                entry.stop.cancel();
                feeds.remove(key);
            }
            return;
        }
    }
}
