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

mod bounds;
mod reader;
mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use graphql_transport::{Event, Stands, delivery};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{Notify, futures::Notified},
    time::{Instant, timeout},
};

use bounds::Load;
pub(super) use bounds::{AddressBytes, RingBounds};
pub(super) use reader::{AtPlace, RingPlace, RingReader, Shows, Taken};
use status::RingStatus;

/// Bytes of memory that an event takes in addition to its text and its cursor.
const EVENT_BYTES: usize = 128;

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

    fn take(&self, next: &mut u64, seen: &mut u64, shows: Shows) -> Option<Taken> {
        let mut state = self.lock();
        let Some(offset) = next.checked_sub(state.first) else {
            return Some(Taken::Missed(state.first - *next));
        };
        if let Some((status, number)) = state.status_due(*next, *seen, shows) {
            *seen = number;
            return Some(Taken::Status(status, number));
        }
        *seen = state.status.passed(*seen);
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

fn size_of(event: &Event) -> usize {
    let (body, cursor) = match event {
        Event::Next { body, cursor } => (body.len(), cursor.as_ref().map_or(0, |text| text.len())),
        Event::Failed { body } => (body.len(), 0),
        // It is never among the events.
        Event::Status(_) => (0, 0),
    };
    EVENT_BYTES + body + cursor
}
