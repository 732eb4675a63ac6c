//! Finds the running feed for an operation, its variables and headers, or starts one.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use graphql_transport::{
    ClientKey, ClientTurns, Code as TransportCode, DirectSender, Event, EventStream, GaugeGuard,
    PerClient,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    clients::{Begun, ClientId, ClientNumber, Subscribers},
    event_ring::{AddressBytes, EventRing, RingBounds, RingPlace, RingReader, Shows, Taken},
    fan_out::{Address, DirectClient, FanOut},
};
use crate::{
    config::SubscriptionConfig,
    error::{Code, RequestError},
    identity::until_expiry::ClientToken,
    metrics::GatewayMetrics,
    sparse::ShrinkIfSparse,
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
        direct: Option<Arc<DirectClient>>,
        shows: Shows,
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
        let (reader, cursor) = entry.events.join(shows);
        let place = reader.place();
        let member = FeedMember {
            reader: Some(reader),
            direct,
            cursor: shows.cursors.then(|| cursor.clone()),
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
            events: stream::unfold(Some(member), next).boxed(),
            cursor,
            place,
        })
    }

    /// The client of an operation, if events can be written straight to its socket.
    pub(super) fn direct_client(
        &self,
        sender: DirectSender,
        token: Option<ClientToken>,
        key: ClientKey,
        turns: &ClientTurns,
    ) -> Arc<DirectClient> {
        let address = Address {
            key,
            turns: turns.clone(),
            shared: self.shared_memberships.of(key, AtomicUsize::default),
        };
        DirectClient::new(sender, token, address)
    }

    fn make_room(&self, feeds: &mut Feeds, client: &ClientId) -> Result<(), RequestError> {
        let of_client_max = self.feeds_of_client_max;
        if feeds.begun.count(client.number()) >= of_client_max {
            return Err(RequestError::new(
                TransportCode::TooManySubscriptions,
                format!(
                    "one client may have at most {of_client_max} different subscriptions at a time: end one first"
                ),
            ));
        }
        let of_address_max = self.feeds_of_address_max;
        if feeds.begun.count_of_address(client.address) >= of_address_max {
            return Err(RequestError::new(
                TransportCode::TooManySubscriptions,
                format!(
                    "the clients of one address may have at most {of_address_max} different subscriptions at a time: end one first"
                ),
            ));
        }
        if feeds.running.len() < self.feeds_max {
            return Ok(());
        }
        let limit_reached = RequestError::new(
            Code::SubscriptionLimitReached,
            format!(
                "the limit of {} different subscriptions is reached: try again later",
                self.feeds_max
            ),
        );
        let gives_way = newest_of_the_greediest_address(feeds, client)
            .or_else(|| newest_of_the_greediest_neighbour(feeds, client));
        let ended = gives_way.and_then(|key| feeds.running.remove(&key));
        let Some(ended) = ended else {
            return Err(limit_reached);
        };
        self.limited.inc();
        ended.events.append(Event::failed(limit_reached));
        ended.stop.cancel();
        Ok(())
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

    /// Drops events after `ring` got one: of its address, and of all feeds.
    pub(super) fn keep_bytes_within_bounds(&self, ring: &EventRing) {
        if let Some(address) = ring.crowded_address() {
            self.shorten_stalled(&address);
        }
        self.keep_all_bytes_within_bound();
    }

    /// Drops events of an address that has more than it may, of feeds with stalled clients. The others' feeds wait
    /// for their clients.
    fn shorten_stalled(&self, address: &AddressBytes) {
        let feeds = self.lock();
        let now = Instant::now();
        let rings = feeds.running.values().map(|entry| &entry.events);
        let stalled = rings.filter_map(|ring| Some((ring.stalled_bytes(address, now)?, ring)));
        let mut stalled: Vec<_> = stalled.collect();
        stalled.sort_by_key(|(bytes, _)| Reverse(*bytes));
        for (_, ring) in stalled {
            if ring.crowded_address().is_none() {
                return;
            }
            ring.evict_half();
        }
    }

    /// Drops events while those of all feeds exceed the bound together: first of feeds with stalled
    /// clients, then of the largest feeds. One event that is larger than the whole bound does not
    /// count for a second, in which its clients can take it.
    fn keep_all_bytes_within_bound(&self) {
        let waiting = || usize::try_from(self.waiting_bytes.get()).unwrap_or_default();
        if waiting() <= self.waiting_bytes_max {
            return;
        }
        let mut feeds = self.lock();
        let now = Instant::now();
        let (spared, spared_bytes) = self.oversized(&feeds, now).unzip();
        feeds.oversized = spared;
        let is_over = || waiting() > self.waiting_bytes_max + spared_bytes.unwrap_or_default();
        let others = feeds.running.values();
        let others = others.filter(|entry| Some(entry.number) != spared);
        let mut rings: Vec<_> = others
            .map(|entry| (entry.events.eviction_priority(now), &entry.events))
            .collect();
        rings.sort_by_key(|(priority, _)| Reverse(*priority));
        for (_, ring) in rings {
            if !is_over() {
                return;
            }
            ring.evict_half();
        }
    }

    /// A feed with an event larger than the whole bound, and that event's bytes. It is the same
    /// feed as before, if it still has one.
    fn oversized(&self, feeds: &Feeds, now: Instant) -> Option<(u64, usize)> {
        let all = feeds.running.values().filter_map(|entry| {
            let bytes = entry.events.oversized(self.waiting_bytes_max, now)?;
            Some((entry.number, bytes))
        });
        all.max_by_key(|(number, _)| (Some(*number) == feeds.oversized, Reverse(*number)))
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

/// The feed to end for a new client: the newest one of the address with the most feeds that no
/// other address has joined. `None` unless that address would still have more than the client's own
/// address.
fn newest_of_the_greediest_address(feeds: &Feeds, client: &ClientId) -> Option<FeedKey> {
    let mut counts: HashMap<ClientKey, usize> = HashMap::new();
    let addresses = feeds.running.values();
    for address in addresses.filter_map(|entry| entry.subscribers.only_address()) {
        *counts.entry(address).or_default() += 1;
    }
    let own = counts.get(&client.address).copied().unwrap_or_default();
    let (greediest, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    if most <= own + 1 {
        return None;
    }
    newest(feeds, |entry| {
        entry.subscribers.only_address() == Some(greediest)
    })
}

/// The feed to end for a new client of the same address: the newest one of the client that has
/// started the most. `None` unless that client would still have more than the new one. Feeds that
/// other clients have joined stay.
fn newest_of_the_greediest_neighbour(feeds: &Feeds, client: &ClientId) -> Option<FeedKey> {
    let is_neighbours = |entry: &RunningFeed| {
        entry.subscribers.count() == 1 && entry.subscribers.only_address() == Some(client.address)
    };
    let neighbours = feeds.running.values().filter(|entry| is_neighbours(entry));
    let begun = |client| feeds.begun.count(client);
    let greediest = neighbours
        .filter_map(|entry| entry.begun_by)
        .max_by_key(|neighbour| begun(*neighbour))?;
    if begun(greediest) <= begun(client.number()) + 1 {
        return None;
    }
    newest(feeds, |entry| {
        is_neighbours(entry) && entry.begun_by == Some(greediest)
    })
}

fn newest(feeds: &Feeds, is_one: impl Fn(&RunningFeed) -> bool) -> Option<FeedKey> {
    let those = feeds.running.iter().filter(|(_, entry)| is_one(entry));
    let newest = those.max_by_key(|(_, entry)| entry.number);
    newest.map(|(key, _)| key.clone())
}

/// Closes the ring when it is dropped, so that clients see the feed's end even after a panic.
struct CloseAtEnd(Arc<EventRing>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One client of a feed.
struct FeedMember {
    /// None while a group reads for it.
    reader: Option<RingReader>,
    /// The way around its connection's task, if it has one.
    direct: Option<Arc<DirectClient>>,
    /// The cursor of the last event that came by here, if it had one; for clients that show cursors.
    cursor: Option<Option<Arc<str>>>,
    fan_out: Arc<FanOut>,
    /// Whether the client's stream was polled.
    has_begun: bool,
    seat: Seat,
    _counted: GaugeGuard,
}

impl FeedMember {
    /// The next event that the client's connection has to write. Those that a group writes do not come by here.
    async fn next(&mut self) -> Taken {
        if let (false, Some(direct)) = (std::mem::replace(&mut self.has_begun, true), &self.direct)
        {
            // Whatever of the response comes before the events has to be written first.
            direct.got(None);
        }
        loop {
            let Some(mut reader) = self.reader.take() else {
                return Taken::Closed;
            };
            let Some(direct) = &self.direct else {
                return self.reader.insert(reader).next().await;
            };
            if let Some(taken) = reader.try_next() {
                self.reader = Some(reader);
                return taken;
            }
            self.reader = match self.fan_out.enter(reader, direct) {
                Ok(membership) => Some(membership.until_returned().await),
                Err(reader) => {
                    let reader = self.reader.insert(reader);
                    tokio::select! {
                        biased;
                        taken = reader.next() => return taken,
                        () = direct.until_flushed() => self.reader.take(),
                    }
                }
            };
        }
    }
}

impl FeedMember {
    fn got(&mut self, cursor: Option<&Arc<str>>) {
        if let Some(direct) = &self.direct {
            direct.got(cursor);
        }
        if let (Some(last), Some(cursor)) = (&mut self.cursor, cursor) {
            *last = Some(Arc::clone(cursor));
        }
    }

    /// The error that ends the client's part, with the cursor to resume after, if the client knows where to look for it.
    fn resumable(&self, error: RequestError) -> RequestError {
        let Some(own) = &self.cursor else {
            return error;
        };
        let direct = self.direct.as_ref();
        let last = direct.and_then(|direct| direct.withdraw());
        match last.as_ref().or(own.as_ref()) {
            Some(cursor) => error.resumed_after(Some(cursor)),
            None => error,
        }
    }
}

async fn next(member: Option<FeedMember>) -> Option<(Event, Option<FeedMember>)> {
    let mut member = member?;
    let taken = member.next().await;
    match taken {
        Taken::Event(event @ Event::Failed { .. }) => Some((event, None)),
        Taken::Event(event) => {
            if let Event::Next { cursor, .. } = &event {
                member.got(cursor.as_ref());
            }
            Some((event, Some(member)))
        }
        Taken::Status(status, _) => {
            member.got(None);
            Some((Event::Status(status), Some(member)))
        }
        Taken::Closed => None,
        Taken::Missed(missed) => {
            member.seat.hub.lagged.inc();
            let error = RequestError::new(
                TransportCode::SubscriptionLagged,
                format!("the client read too slowly and missed {missed} events: subscribe again"),
            );
            Some((Event::failed(member.resumable(error)), None))
        }
    }
}

/// A client's membership in a feed. Dropping the last one stops the feed.
struct Seat {
    hub: Arc<SubscriptionHub>,
    key: FeedKey,
    number: u64,
    address: ClientKey,
    /// The client, if it started the feed.
    began: Option<ClientId>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut feeds = self.hub.lock();
        if let Some(client) = &self.began {
            feeds.begun.remove(client);
        }
        let closed = self.key.of_closed_feed(self.number);
        for key in [&self.key, &closed] {
            let Some(entry) = feeds
                .running
                .get_mut(key)
                .filter(|entry| entry.number == self.number)
            else {
                continue;
            };
            entry.subscribers.remove(self.address);
            if self.began.is_some() {
                entry.begun_by = None;
            }
            if entry.subscribers.count() == 0 {
                entry.stop.cancel();
                feeds.running.remove(key);
                feeds.running.shrink_if_sparse();
            }
            return;
        }
    }
}
