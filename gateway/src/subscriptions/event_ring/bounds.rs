//! How much may wait in a ring, and which rings lose events first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{EventRing, RingState, Slot};

/// An event that has waited for this long has a client that does not read. So has each ring whose feed has
/// waited in vain.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Bounds of one ring.
#[derive(Clone, Debug)]
pub struct RingBounds {
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
pub type AddressBytes = Arc<AtomicUsize>;

/// The order in which rings lose events: the greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EvictionPriority {
    is_stalled: bool,
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub events: usize,
    pub bytes: usize,
}

impl EventRing {
    /// Clients of another address read it, too: its bytes count for no address any more.
    pub fn leave_address(&self) {
        let mut state = self.lock();
        if let Some(address) = state.address.take() {
            address.fetch_sub(state.waiting.bytes, Relaxed);
        }
        drop(state);
        self.taken.notify_one();
    }

    /// Its address, if the rings of that hold more than they may.
    pub fn crowded_address(&self) -> Option<AddressBytes> {
        let address = self.lock().address.clone()?;
        self.is_crowded(&address).then_some(address)
    }

    pub(super) fn is_crowded(&self, address: &AddressBytes) -> bool {
        address.load(Relaxed) > self.bounds.address_bytes_max
    }

    /// The ring's place in the order in which rings lose events: stalled rings first, then by size.
    /// So clients that read at once keep their events, however many wait for others.
    pub fn eviction_priority(&self, now: Instant) -> EvictionPriority {
        let state = self.lock();
        let waits = |slot: &Slot| now.duration_since(slot.appended);
        EvictionPriority {
            is_stalled: state.has_given_up || state.slots.front().map(waits) >= Some(STALLED_AFTER),
            bytes: state.waiting.bytes,
        }
    }

    /// The number of bytes that wait in a ring of this address, if its clients have not read for a second.
    pub fn stalled_bytes(&self, address: &AddressBytes, now: Instant) -> Option<usize> {
        let is_its = |own: &AddressBytes| Arc::ptr_eq(own, address);
        if !self.lock().address.as_ref().is_some_and(is_its) {
            return None;
        }
        let priority = self.eviction_priority(now);
        priority.is_stalled.then_some(priority.bytes)
    }

    /// The bytes of an event larger than `bytes`, if its clients have had less than a second to take
    /// it.
    pub fn oversized(&self, bytes: usize, now: Instant) -> Option<usize> {
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
    pub fn evict_half(&self) {
        let mut state = self.lock();
        let aim = state.waiting.bytes / 2;
        while state.waiting.bytes > aim {
            self.evict_first(&mut state);
        }
        drop(state);
        self.appended.notify_waiters();
        self.taken.notify_one();
    }

    pub(super) fn is_full_for_all(&self, bytes: usize) -> bool {
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
    pub(super) fn is_quarter(&self, state: &RingState) -> bool {
        match self.address_has_room(state) {
            true => self.bounds.is_quarter(state.fresh),
            false => state.fresh.events == 0,
        }
    }

    pub(super) fn address_has_room(&self, state: &RingState) -> bool {
        let bytes = |address: &AddressBytes| address.load(Relaxed);
        state.address.as_ref().map_or(0, bytes) <= self.bounds.address_bytes_max / 2
    }

    pub(super) async fn until_half_empty(&self) {
        loop {
            let taken = self.taken.notified();
            if self.has_room() {
                return;
            }
            taken.await;
        }
    }

    pub(super) fn has_room(&self) -> bool {
        let state = self.lock();
        state.is_closed || state.clients == 0 || self.is_quarter(&state)
    }
}

impl RingBounds {
    pub(super) fn hold(&self, load: Load) -> bool {
        load.bytes <= self.bytes_max && load.events <= self.events_max
    }

    pub(super) fn is_half(&self, load: Load) -> bool {
        load.bytes <= self.bytes_max / 2 && load.events <= self.events_max / 2
    }

    pub(super) fn is_quarter(&self, load: Load) -> bool {
        load.bytes <= self.bytes_max / 4 && load.events <= self.events_max / 4
    }
}

impl Load {
    pub(super) fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        self.events -= 1;
        self.bytes -= bytes;
    }
}
