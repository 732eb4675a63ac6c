//! Finds the running feed for an operation, its variables and headers, or starts one.

mod limits;
mod member;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use graphql_transport::{
    ClientKey, ClientTurns, DirectSender, Event, EventStream, GaugeGuard, PerClient,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio_util::sync::CancellationToken;

pub(super) use member::{Charge, ClientWay};
use member::{FeedMember, Seat};

use super::{
    clients::{Begun, ClientId, ClientNumber, Subscribers},
    event_ring::{EventRing, RingBounds, RingPlace},
    fan_out::{Address, DirectClient, FanOut},
};
use crate::{
    config::SubscriptionConfig, error::RequestError, identity::until_expiry::ClientToken,
    metrics::GatewayMetrics, rate_limit::events::EventMeter, sparse::ShrinkIfSparse,
};

/// Identifies a feed: subscriptions with equal keys receive equal events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FeedKey {
    operation: Arc<str>,
    variables: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
    cursor: Option<Arc<str>>,
    /// The number of a feed that no client joins any more.
    closed: Option<u64>,
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
            closed: None,
        }
    }

    fn of_closed_feed(&self, number: u64) -> Self {
        Self {
            closed: Some(number),
            ..self.clone()
        }
    }
}

/// Closes a feed: clients that come later start another one. It may be called more than once.
pub(super) type CloseFeed = Box<dyn Fn() + Send + Sync>;

/// A client's part of a feed.
pub(super) struct Joined {
    /// The events from now on.
    pub events: EventStream,
    /// The cursor that they follow, if that is known.
    pub cursor: Option<Arc<str>>,
    /// Where they begin.
    pub place: RingPlace,
}

/// The running feeds of all clients, with their limits.
pub(super) struct SubscriptionHub {
    feeds: Mutex<Feeds>,
    feeds_max: usize,
    feeds_of_client_max: usize,
    feeds_of_address_max: usize,
    feeds_started: AtomicU64,
    bounds: RingBounds,
    waiting_bytes_max: usize,
    waiting_bytes: Gauge,
    waiting_bytes_of_addresses: PerClient<AtomicUsize>,
    shared_memberships: PerClient<AtomicUsize>,
    subscriptions: Gauge,
    direct_subscriptions: Gauge,
    lagged: Counter,
    limited: Counter,
}

#[derive(Default)]
struct Feeds {
    running: HashMap<FeedKey, RunningFeed>,
    begun: Begun,
    /// The feed that may have an event larger than the bound of all feeds together.
    oversized: Option<u64>,
}

struct RunningFeed {
    /// Distinguishes this feed from an earlier one with the same key.
    number: u64,
    events: Arc<EventRing>,
    fan_out: Arc<FanOut>,
    subscribers: Subscribers,
    /// Cancelled when a client from another address joins.
    is_shared: CancellationToken,
    /// The client that started it, while that client stays.
    begun_by: Option<ClientNumber>,
    stop: CancellationToken,
}

impl SubscriptionHub {
    pub(super) fn new(config: &SubscriptionConfig, metrics: &GatewayMetrics) -> Self {
        Self {
            feeds: Mutex::default(),
            feeds_max: config.subscription_upstream_max,
            feeds_of_client_max: config.subscription_upstream_client_max,
            feeds_of_address_max: config.subscription_upstream_address_max,
            feeds_started: AtomicU64::new(0),
            bounds: RingBounds {
                bytes_max: config.subscription_buffer_bytes,
                events_max: config.subscription_buffer_events.unwrap_or(usize::MAX),
                address_bytes_max: config.subscription_buffers_bytes_address_max,
                wait_max: config.subscription_buffer_wait,
            },
            waiting_bytes_max: config.subscription_buffers_bytes_max,
            waiting_bytes: metrics.waiting_event_bytes.clone(),
            waiting_bytes_of_addresses: PerClient::default(),
            shared_memberships: PerClient::default(),
            subscriptions: metrics.subscriptions.clone(),
            direct_subscriptions: metrics.direct_subscriptions.clone(),
            lagged: metrics.transports.lagged.clone(),
            limited: metrics.limited.clone(),
        }
    }

    /// Joins the feed of `key`. The first client starts it with `begin`, and it runs in that
    /// client's `turns`. A feed appends its events to the ring, and returns a last one if it ends
    /// with an error.
    ///
    /// # Errors
    /// `TOO_MANY_SUBSCRIPTIONS` if the client or its address has started as many as it may,
    /// `SUBSCRIPTION_LIMIT_REACHED` if all clients together have.
    pub(super) fn join<F>(
        self: &Arc<Self>,
        key: FeedKey,
        client: ClientId,
        way: ClientWay,
        turns: ClientTurns,
        begin: impl FnOnce(Arc<EventRing>, CloseFeed) -> F,
    ) -> Result<Joined, RequestError>
    where
        F: Future<Output = Option<Event>> + Send + 'static,
    {
        let mut feeds = self.lock();
        let is_new = !feeds.running.contains_key(&key);
        if is_new {
            self.make_room(&mut feeds, &client)?;
            feeds.begun.add(&client);
        }
        let entry = feeds
            .running
            .entry(key.clone())
            .or_insert_with(|| RunningFeed {
                begun_by: Some(client.number()),
                ..self.start(key.clone(), client.address, turns, begin)
            });
        entry.subscribers.add(client.address);
        if entry.subscribers.only_address().is_none() {
            entry.is_shared.cancel();
            entry.events.leave_address();
        }
        let (reader, cursor) = entry.events.join(way.shows);
        let place = reader.place();
        let member = FeedMember {
            reader: Some(reader),
            way,
            cursor: cursor.clone(),
            fan_out: Arc::clone(&entry.fan_out),
            has_begun: false,
            seat: Seat {
                hub: Arc::clone(self),
                key,
                number: entry.number,
                address: client.address,
                began: is_new.then_some(client),
            },
            _counted: GaugeGuard::new(&self.subscriptions),
        };
        drop(feeds);
        Ok(Joined {
            events: stream::unfold(Some(member), member::next).boxed(),
            cursor,
            place,
        })
    }

    /// The client of an operation, if events can be written straight to its socket.
    pub(super) fn direct_client(
        &self,
        sender: DirectSender,
        token: Option<ClientToken>,
        meter: Option<Arc<EventMeter>>,
        key: ClientKey,
        turns: &ClientTurns,
    ) -> Arc<DirectClient> {
        let address = Address {
            key,
            turns: turns.clone(),
            shared: self.shared_memberships.of(key, AtomicUsize::default),
        };
        DirectClient::new(sender, token, meter, address)
    }

    fn start<F>(
        self: &Arc<Self>,
        key: FeedKey,
        address: ClientKey,
        turns: ClientTurns,
        begin: impl FnOnce(Arc<EventRing>, CloseFeed) -> F,
    ) -> RunningFeed
    where
        F: Future<Output = Option<Event>> + Send + 'static,
    {
        let number = self.feeds_started.fetch_add(1, Ordering::Relaxed);
        let of_address = &self.waiting_bytes_of_addresses;
        let of_address = of_address.of(address, AtomicUsize::default);
        let events = EventRing::new(self.bounds.clone(), &self.waiting_bytes, of_address);
        let stop = CancellationToken::new();
        let close = {
            let (hub, key) = (Arc::clone(self), key.clone());
            Box::new(move || hub.close(&key, number))
        };
        let feed = begin(Arc::clone(&events), close);
        let closing = CloseAtEnd(Arc::clone(&events));
        let (hub, stopped) = (Arc::clone(self), stop.clone());
        let running = async move {
            let last = tokio::select! {
                last = feed => last,
                () = stopped.cancelled() => return,
            };
            // Removed from the map first, so that later clients start a new feed.
            hub.remove(&key, number);
            if let Some(event) = last {
                closing.0.append(event);
            }
            drop(closing);
        };
        // Runs in turns of the client that started it, until other clients wait for its events too:
        // they must not wait for everything that the first client does.
        let mut running = turns.run(Box::pin(running));
        let is_shared = CancellationToken::new();
        let joined = is_shared.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = joined.cancelled() => {}
                () = &mut running => return,
            }
            running.leave();
            running.await;
        });
        RunningFeed {
            number,
            fan_out: FanOut::new(Arc::clone(&events), self.direct_subscriptions.clone()),
            events,
            subscribers: Subscribers::default(),
            is_shared,
            begun_by: None,
            stop,
        }
    }

    /// Clients that come from now on start a feed of their own.
    fn close(&self, key: &FeedKey, number: u64) {
        let mut feeds = self.lock();
        if let Some(entry) = remove_number(&mut feeds.running, key, number) {
            let key = key.of_closed_feed(number);
            feeds.running.insert(key, entry);
        }
    }

    fn remove(&self, key: &FeedKey, number: u64) {
        let mut feeds = self.lock();
        if remove_number(&mut feeds.running, key, number).is_none() {
            feeds.running.remove(&key.of_closed_feed(number));
        }
        feeds.running.shrink_if_sparse();
    }

    fn lock(&self) -> MutexGuard<'_, Feeds> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove_number(
    feeds: &mut HashMap<FeedKey, RunningFeed>,
    key: &FeedKey,
    number: u64,
) -> Option<RunningFeed> {
    let is_it = feeds.get(key).is_some_and(|entry| entry.number == number);
    is_it.then(|| feeds.remove(key)).flatten()
}

/// Closes the ring when it is dropped, so that clients see the feed's end even after a panic.
struct CloseAtEnd(Arc<EventRing>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}
