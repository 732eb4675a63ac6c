//! The events of one feed that wait for its clients, held once for all of them.
//!
//! A reader keeps the number of the event that it reads next. An event that all readers have taken
//! is dropped at once. The feed runs at the pace of its fastest client: while more than half of the
//! bound waits for even that one, the feed waits, up to a time limit. A client that lags further
//! behind than the bound loses events and learns how many.
//!
//! While the rings of one client address hold more than half of what they may together, each of their feeds waits until
//! its fastest client has taken everything: many subscriptions take no more memory than a few, and lose nothing as long
//! as they are read.
//!
//! Readers that show cursors (`docs/resumable-subscriptions.md`) share a second body of each event, which is made only if
//! there is such a reader.
//!
//! Whether the feed is live is told to readers that want to know it, in order with the events. It takes no room among
//! them: only the latest status waits.

mod status;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use graphql_transport::{Event, Stands, Status, delivery};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{Notify, futures::Notified},
    time::{Instant, timeout},
};

use status::RingStatus;

/// Bytes of memory that an event takes in addition to its text and its cursor.
const EVENT_BYTES: usize = 128;
/// An event that has waited for this long has a client that does not read. So has each ring whose feed has
/// waited in vain.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Bounds of one ring.
#[derive(Clone, Debug)]
pub(super) struct RingBounds {
    /// The largest number of bytes that wait. A single larger event still passes.
    pub bytes_max: usize,
    /// The largest number of events that wait.
    pub events_max: usize,
    /// The largest number of bytes that wait in all rings of one address.
    pub address_bytes_max: usize,
    /// How long the feed waits for its fastest client to make room.
    pub wait_max: Duration,
}

/// The bytes that wait in the rings of one address.
pub(super) type AddressBytes = Arc<AtomicUsize>;

/// The waiting events of one feed.
pub(super) struct EventRing {
    bounds: RingBounds,
    state: Mutex<RingState>,
    /// Wakes the readers: an event was appended, or the ring was closed.
    appended: Notify,
    /// Wakes the feed: a reader has made room.
    taken: Notify,
    /// The bytes that wait in all rings together.
    all_bytes: Gauge,
}

#[derive(Default)]
struct RingState {
    slots: VecDeque<Slot>,
    /// The number of the event in the first slot.
    first: u64,
    /// The events in all slots.
    waiting: Load,
    /// Where its bytes count, too, while only clients of one address read it.
    address: Option<AddressBytes>,
    /// The waiting events that not even the fastest client has taken: the last slots, for which all
    /// clients wait.
    fresh: Load,
    /// How many events at least one client has taken.
    taken: u64,
    /// The cursor of the last event that was appended and had one, or the one that they follow.
    cursor: Option<Arc<str>>,
    /// Where the feed stood when the subgraph had started it; `None` before.
    stands: Option<Stands>,
    status: RingStatus,
    /// How many readers show cursors.
    showing: usize,
    /// Whether only such readers get cursors.
    hides_cursors: bool,
    clients: usize,
    /// Whether the feed has waited in vain. It does not wait again until the fastest client has
    /// made room.
    has_given_up: bool,
    is_closed: bool,
}

struct Slot {
    event: Event,
    /// Its body with its cursor in `extensions`, for readers that show cursors.
    with_cursor: Option<Bytes>,
    appended: Instant,
    bytes: usize,
    /// The number of clients that have not taken it.
    clients: usize,
}

/// The order in which rings lose events: the greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EvictionPriority {
    is_stalled: bool,
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    events: usize,
    bytes: usize,
}

/// What a reader gets in addition to the events, by the contract of `docs/resumable-subscriptions.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shows {
    /// The events' cursors, in `extensions`.
    pub cursors: bool,
    /// Whether the feed is live.
    pub status: bool,
}

/// What a reader receives.
pub(super) enum Taken {
    Event(Event),
    /// The latest status, and its number.
    Status(Status, u64),
    /// The reader was too slow: this many events were dropped.
    Missed(u64),
    /// The feed has ended.
    Closed,
}

impl EventRing {
    /// An empty ring. `all_bytes` counts the bytes of all rings together, `address` those of one client address.
    pub(super) fn new(bounds: RingBounds, all_bytes: &Gauge, address: AddressBytes) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            state: Mutex::new(RingState {
                address: Some(address),
                ..RingState::default()
            }),
            appended: Notify::new(),
            taken: Notify::new(),
            all_bytes: all_bytes.clone(),
        })
    }

    /// Adds a reader, which receives the events appended from now on. Returns the cursor that they follow, if that is
    /// known.
    pub(super) fn join(self: &Arc<Self>, shows: Shows) -> (RingReader, Option<Arc<str>>) {
        let mut state = self.lock();
        state.clients += 1;
        state.showing += usize::from(shows.cursors);
        state.fresh = Load::default();
        let next = state.next();
        let sees_cursors = shows.cursors || !state.hides_cursors;
        let cursor = state.cursor.clone().filter(|_| sees_cursors);
        let seen = state.status.told();
        drop(state);
        // A waiting feed now has a faster client, and none of the others may wake it.
        self.taken.notify_one();
        let reader = RingReader {
            ring: Arc::clone(self),
            next,
            seen,
            shows,
        };
        (reader, cursor)
    }

    /// Adds a reader that receives the events from number `next` on, before another reader that stands there moves on, and
    /// statuses after number `seen`.
    pub(super) fn join_at(self: &Arc<Self>, next: u64, seen: u64, shows: Shows) -> RingReader {
        let mut state = self.lock();
        state.clients += 1;
        state.showing += usize::from(shows.cursors);
        let offset = next.saturating_sub(state.first) as usize;
        for slot in state.slots.iter_mut().skip(offset) {
            slot.clients += 1;
        }
        RingReader {
            ring: Arc::clone(self),
            next,
            seen,
            shows,
        }
    }

    /// The subgraph has started the feed, which stands at this place if no event has come yet. Only the first call counts.
    pub(super) fn stand(&self, stands: Stands) {
        let mut state = self.lock();
        if state.stands.is_some() {
            return;
        }
        if state.cursor.is_none() {
            state.cursor.clone_from(&stands.cursor);
        }
        state.status.set(stands.status.unwrap_or_default());
        state.stands = Some(stands);
        drop(state);
        self.appended.notify_waiters();
    }

    /// Tells readers whether the feed is live, after the events that were appended, if it is news to them.
    pub(super) fn tell(&self, status: Status) {
        let mut state = self.lock();
        let next = state.next();
        let is_news = state.status.tell(status, next);
        drop(state);
        if is_news {
            self.appended.notify_waiters();
        }
    }

    /// Whether the feed is live, as its readers know it.
    pub(super) fn status(&self) -> Status {
        self.lock().status.latest()
    }

    /// Whether the feed has stood.
    pub(super) fn has_stood(&self) -> bool {
        self.lock().stands.is_some()
    }

    /// Whether only readers that show cursors get any: the field has none in the schema.
    pub(super) fn hide_cursors(&self, hides: bool) {
        self.lock().hides_cursors = hides;
    }

    /// Waits until events may have come, or the feed has ended. Cancelling the wait loses nothing.
    pub(super) fn until_appended(&self) -> Notified<'_> {
        self.appended.notified()
    }

    /// How many readers it has.
    pub(super) fn readers(&self) -> usize {
        self.lock().clients
    }

    /// Clients of another address read it, too: its bytes count for no address any more.
    pub(super) fn leave_address(&self) {
        let mut state = self.lock();
        if let Some(address) = state.address.take() {
            address.fetch_sub(state.waiting.bytes, Relaxed);
        }
        drop(state);
        self.taken.notify_one();
    }

    /// Its address, if the rings of that hold more than they may.
    pub(super) fn crowded_address(&self) -> Option<AddressBytes> {
        let address = self.lock().address.clone()?;
        self.is_crowded(&address).then_some(address)
    }

    fn is_crowded(&self, address: &AddressBytes) -> bool {
        address.load(Relaxed) > self.bounds.address_bytes_max
    }

    /// Appends an event as soon as the fastest client has room for it, or has taken too long.
    pub(super) async fn push(&self, event: Event) {
        if self.is_full_for_all(size_of(&event)) {
            let waiting = timeout(self.bounds.wait_max, self.until_half_empty());
            if waiting.await.is_err() {
                self.lock().has_given_up = true;
            }
        }
        self.append(event);
    }

    /// Whether the feed may complete one more event when it completes so many already: fewer ahead than its fastest client
    /// has taken, and at least one. The last event that was taken may be the one that the client cannot pay: so at most one
    /// event more is left unpaid than was paid.
    pub(super) fn has_pace_for(&self, completing: usize) -> bool {
        let state = self.lock();
        let ahead = (completing + state.fresh.events) as u64;
        state.clients == 0 || ahead < state.taken.saturating_sub(1).max(1)
    }

    /// Waits until a client has taken an event, or has come or left. Cancelling the wait loses nothing.
    pub(super) async fn until_taken(&self) {
        self.taken.notified().await;
    }

    /// Appends an event at once, and drops the oldest ones if the bound requires it.
    pub(super) fn append(&self, event: Event) {
        // Made without the lock: an event may be large.
        let shows_cursors = self.lock().showing > 0;
        let made = shows_cursors.then(|| delivery::body_with_cursor(&event));
        let mut state = self.lock();
        // Also if nobody reads it: one may come before the next.
        if let Event::Next {
            cursor: Some(cursor),
            ..
        } = &event
        {
            state.cursor = Some(Arc::clone(cursor));
        }
        if state.clients == 0 || state.is_closed {
            return;
        }
        // A reader that shows cursors may have come meanwhile.
        let with_cursor = match made {
            Some(body) => body,
            None if state.showing > 0 => delivery::body_with_cursor(&event),
            None => None,
        };
        let bytes = size_of(&event) + with_cursor.as_ref().map_or(0, Bytes::len);
        let clients = state.clients;
        state.slots.push_back(Slot {
            event,
            with_cursor,
            appended: Instant::now(),
            bytes,
            clients,
        });
        state.waiting.add(bytes);
        state.fresh.add(bytes);
        if let Some(address) = &state.address {
            address.fetch_add(bytes, Relaxed);
        }
        self.all_bytes.inc_by(bytes as i64);
        while state.slots.len() > 1 && !self.bounds.hold(state.waiting) {
            self.evict_first(&mut state);
        }
        drop(state);
        self.appended.notify_waiters();
    }

    /// Ends the ring: readers take what waits, then see the end.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.appended.notify_waiters();
        self.taken.notify_one();
    }

    /// The ring's place in the order in which rings lose events: stalled rings first, then by size.
    /// So clients that read at once keep their events, however many wait for others.
    pub(super) fn eviction_priority(&self, now: Instant) -> EvictionPriority {
        let state = self.lock();
        let waits = |slot: &Slot| now.duration_since(slot.appended);
        EvictionPriority {
            is_stalled: state.has_given_up || state.slots.front().map(waits) >= Some(STALLED_AFTER),
            bytes: state.waiting.bytes,
        }
    }

    /// The number of bytes that wait in a ring of this address, if its clients have not read for a second.
    pub(super) fn stalled_bytes(&self, address: &AddressBytes, now: Instant) -> Option<usize> {
        let is_its = |own: &AddressBytes| Arc::ptr_eq(own, address);
        if !self.lock().address.as_ref().is_some_and(is_its) {
            return None;
        }
        let priority = self.eviction_priority(now);
        priority.is_stalled.then_some(priority.bytes)
    }

    /// The bytes of an event larger than `bytes`, if its clients have had less than a second to take
    /// it.
    pub(super) fn oversized(&self, bytes: usize, now: Instant) -> Option<usize> {
        let state = self.lock();
        if state.waiting.bytes <= bytes {
            return None;
        }
        let is_it =
            |slot: &&Slot| slot.bytes > bytes && now.duration_since(slot.appended) < STALLED_AFTER;
        let slot = state.slots.iter().find(is_it)?;
        Some(slot.bytes)
    }

    /// Drops the older half of the waiting bytes.
    pub(super) fn evict_half(&self) {
        let mut state = self.lock();
        let aim = state.waiting.bytes / 2;
        while state.waiting.bytes > aim {
            self.evict_first(&mut state);
        }
        drop(state);
        self.appended.notify_waiters();
        self.taken.notify_one();
    }

    fn is_full_for_all(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        if self.is_quarter(&state) {
            state.has_given_up = false;
            return false;
        }
        let mut fresh = state.fresh;
        fresh.add(bytes);
        let has_room = self.bounds.is_half(fresh) && self.address_has_room(&state);
        !has_room && !state.has_given_up
    }

    /// Whether the fastest client has taken so much that the feed goes on.
    fn is_quarter(&self, state: &RingState) -> bool {
        match self.address_has_room(state) {
            true => self.bounds.is_quarter(state.fresh),
            false => state.fresh.events == 0,
        }
    }

    fn address_has_room(&self, state: &RingState) -> bool {
        let bytes = |address: &AddressBytes| address.load(Relaxed);
        state.address.as_ref().map_or(0, bytes) <= self.bounds.address_bytes_max / 2
    }

    async fn until_half_empty(&self) {
        loop {
            let taken = self.taken.notified();
            if self.has_room() {
                return;
            }
            taken.await;
        }
    }

    fn has_room(&self) -> bool {
        let state = self.lock();
        state.is_closed || state.clients == 0 || self.is_quarter(&state)
    }

    fn take(&self, next: &mut u64, seen: &mut u64, shows: Shows) -> Option<Taken> {
        let mut state = self.lock();
        let Some(offset) = next.checked_sub(state.first) else {
            return Some(Taken::Missed(state.first - *next));
        };
        if let Some((status, number)) = state.status_due(*next, *seen, shows) {
            *seen = number;
            return Some(Taken::Status(status, number));
        }
        let (clients, hides_cursors) = (state.clients, state.hides_cursors);
        let Some(slot) = state.slots.get_mut(offset as usize) else {
            return state.is_closed.then_some(Taken::Closed);
        };
        *next += 1;
        let (event, bytes) = (slot.event(shows.cursors, hides_cursors), slot.bytes);
        let is_first_to_take = slot.clients == clients;
        slot.clients -= 1;
        if is_first_to_take {
            state.fresh.remove(bytes);
            state.taken += 1;
        }
        self.drop_taken(&mut state);
        if is_first_to_take && self.is_quarter(&state) {
            self.taken.notify_one();
        }
        Some(Taken::Event(event))
    }

    fn peek(&self, next: u64, seen: u64, shows: Shows) -> Option<Taken> {
        let state = self.lock();
        let Some(offset) = next.checked_sub(state.first) else {
            return Some(Taken::Missed(state.first - next));
        };
        if let Some((status, number)) = state.status_due(next, seen, shows) {
            return Some(Taken::Status(status, number));
        }
        match state.slots.get(offset as usize) {
            Some(slot) => Some(Taken::Event(slot.event(shows.cursors, state.hides_cursors))),
            None => state.is_closed.then_some(Taken::Closed),
        }
    }

    fn leave(&self, next: u64, shows_cursors: bool) {
        let mut state = self.lock();
        state.showing -= usize::from(shows_cursors);
        let offset = next.saturating_sub(state.first) as usize;
        for slot in state.slots.iter_mut().skip(offset) {
            slot.clients -= 1;
        }
        state.clients -= 1;
        self.drop_taken(&mut state);
        // The fastest of the remaining clients may be slower.
        let clients = state.clients;
        let fresh = state.slots.iter().rev();
        let fresh = fresh.take_while(|slot| slot.clients == clients);
        state.fresh = fresh.fold(Load::default(), |mut load, slot| {
            load.add(slot.bytes);
            load
        });
        self.taken.notify_one();
    }

    fn drop_taken(&self, state: &mut RingState) {
        while state.slots.front().is_some_and(|slot| slot.clients == 0) {
            self.evict_first(state);
        }
    }

    fn evict_first(&self, state: &mut RingState) {
        let Some(slot) = state.slots.pop_front() else {
            return;
        };
        state.first += 1;
        state.waiting.remove(slot.bytes);
        if slot.clients > 0 && slot.clients == state.clients {
            state.fresh.remove(slot.bytes);
        }
        self.discount(state, slot.bytes);
    }

    fn discount(&self, state: &RingState, bytes: usize) {
        if let Some(address) = &state.address {
            address.fetch_sub(bytes, Relaxed);
        }
        self.all_bytes.dec_by(bytes as i64);
    }

    fn lock(&self) -> MutexGuard<'_, RingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RingState {
    /// The number of the next event that is appended.
    fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The status that a reader gets now. Before the feed stands, who waits for that gets it.
    fn status_due(&self, next: u64, seen: u64, shows: Shows) -> Option<(Status, u64)> {
        let due = self.status.due(next, seen);
        due.filter(|_| shows.status && self.stands.is_some())
    }
}

impl Drop for EventRing {
    fn drop(&mut self) {
        let state = self.lock();
        self.discount(&state, state.waiting.bytes);
    }
}

impl Slot {
    /// The event as a reader gets it.
    fn event(&self, shows_cursors: bool, hides_cursors: bool) -> Event {
        let Event::Next { body, cursor } = &self.event else {
            return self.event.clone();
        };
        let (body, has_cursor) = match (shows_cursors, &self.with_cursor) {
            (true, Some(body)) => (body, true),
            (true, None) => (body, false),
            (false, _) => (body, !hides_cursors),
        };
        Event::Next {
            body: body.clone(),
            cursor: cursor.clone().filter(|_| has_cursor),
        }
    }
}

impl RingBounds {
    fn hold(&self, load: Load) -> bool {
        load.bytes <= self.bytes_max && load.events <= self.events_max
    }

    fn is_half(&self, load: Load) -> bool {
        load.bytes <= self.bytes_max / 2 && load.events <= self.events_max / 2
    }

    fn is_quarter(&self, load: Load) -> bool {
        load.bytes <= self.bytes_max / 4 && load.events <= self.events_max / 4
    }
}

impl Load {
    fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: usize) {
        self.events -= 1;
        self.bytes -= bytes;
    }
}

/// One client's position in the ring. Dropping it removes the client.
pub(super) struct RingReader {
    ring: Arc<EventRing>,
    next: u64,
    /// The number of the last status that it got.
    seen: u64,
    shows: Shows,
}

impl RingReader {
    /// Waits for the next event. Cancelling the wait loses nothing.
    pub(super) async fn next(&mut self) -> Taken {
        loop {
            let appended = self.ring.appended.notified();
            if let Some(taken) = self.ring.take(&mut self.next, &mut self.seen, self.shows) {
                return taken;
            }
            appended.await;
        }
    }

    /// The next event, if it is there.
    pub(super) fn try_next(&mut self) -> Option<Taken> {
        self.ring.take(&mut self.next, &mut self.seen, self.shows)
    }

    /// The next event, if it is there, without moving on.
    pub(super) fn peek(&self) -> Option<Taken> {
        self.ring.peek(self.next, self.seen, self.shows)
    }

    /// Moves on after the event of this number, which was taken by [`RingReader::peek`]. It may be dropped already.
    pub(super) fn pass(&mut self, number: u64) {
        let shows = Shows {
            status: false,
            ..self.shows
        };
        self.ring.take(&mut self.next, &mut self.seen, shows);
        self.next = self.next.max(number + 1);
    }

    /// Moves on after the status of this number, which was taken by [`RingReader::peek`].
    pub(super) fn pass_status(&mut self, number: u64) {
        self.seen = self.seen.max(number);
    }

    /// The number of the next event.
    pub(super) fn position(&self) -> u64 {
        self.next
    }

    /// The number of the last status that it got.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// The same, for who only waits.
    pub(super) fn place(&self) -> RingPlace {
        RingPlace {
            ring: Arc::clone(&self.ring),
            next: self.next,
            seen: self.ring.lock().status.said_by_silence(),
            shows_status: self.shows.status,
        }
    }

    /// What it gets in addition to the events.
    pub(super) fn shows(&self) -> Shows {
        self.shows
    }
}

/// A place in the ring that keeps no events.
pub(super) struct RingPlace {
    ring: Arc<EventRing>,
    next: u64,
    /// The number of the last status that was told here.
    seen: u64,
    shows_status: bool,
}

/// What comes at a [`RingPlace`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AtPlace {
    /// The feed stands.
    Stands(Stands),
    /// It does not stand yet, and this has changed.
    Status(Status),
    /// The event of this place, or the end, has come before it stands.
    Event,
}

impl RingPlace {
    /// Waits until the feed stands, or something else comes before that. Cancelling the wait loses nothing.
    pub(super) async fn until_standing(&mut self) -> AtPlace {
        loop {
            let appended = self.ring.appended.notified();
            {
                let state = self.ring.lock();
                if let Some(stands) = &state.stands {
                    return AtPlace::Stands(Stands {
                        status: Some(state.status.latest()),
                        ..stands.clone()
                    });
                }
                if state.next() > self.next || state.is_closed {
                    return AtPlace::Event;
                }
                if let Some((status, number)) = state.status.due(self.next, self.seen)
                    && self.shows_status
                {
                    self.seen = number;
                    return AtPlace::Status(status);
                }
            }
            appended.await;
        }
    }

    /// Moves on after one event.
    pub(super) fn pass(&mut self) {
        self.next += 1;
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        self.ring.leave(self.next, self.shows.cursors);
    }
}

fn size_of(event: &Event) -> usize {
    let (body, cursor) = match event {
        Event::Next { body, cursor } => (body.len(), cursor.as_ref().map_or(0, |text| text.len())),
        Event::Failed { body } => (body.len(), 0),
        // It is never among the events.
        Event::Status(_) => (0, 0),
    };
    EVENT_BYTES + body + cursor
}

#[cfg(test)]
mod tests;
