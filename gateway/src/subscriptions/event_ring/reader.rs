//! Where one client stands in a ring.

use std::sync::Arc;

use graphql_transport::{Event, Stands};

use super::EventRing;

/// What a reader receives.
pub enum Taken {
    Event(Event),
    /// The reader was too slow: this many events were dropped.
    Missed(u64),
    /// The feed has ended.
    Closed,
}

/// One client's position in the ring. Dropping it removes the client.
pub struct RingReader {
    pub(super) ring: Arc<EventRing>,
    pub(super) next: u64,
    /// Whether its events have their cursors in `extensions`.
    pub(super) shows_cursors: bool,
}

impl RingReader {
    /// Waits for the next event. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Taken {
        loop {
            let appended = self.ring.appended.notified();
            if let Some(taken) = self.ring.take(&mut self.next, self.shows_cursors) {
                return taken;
            }
            appended.await;
        }
    }

    /// The next event, if it is there.
    pub fn try_next(&mut self) -> Option<Taken> {
        self.ring.take(&mut self.next, self.shows_cursors)
    }

    /// The next event, if it is there, without moving on.
    pub fn peek(&self) -> Option<Taken> {
        self.ring.peek(self.next, self.shows_cursors)
    }

    /// Moves on after the event of this number, which was taken by [`RingReader::peek`]. It may be dropped already.
    pub fn pass(&mut self, number: u64) {
        self.try_next();
        self.next = self.next.max(number + 1);
    }

    /// The number of the next event.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The same, for who only waits.
    pub fn place(&self) -> RingPlace {
        RingPlace {
            ring: Arc::clone(&self.ring),
            next: self.next,
        }
    }

    /// Whether its events have their cursors in `extensions`.
    pub fn shows_cursors(&self) -> bool {
        self.shows_cursors
    }
}

/// A place in the ring that keeps no events.
pub struct RingPlace {
    ring: Arc<EventRing>,
    next: u64,
}

impl RingPlace {
    /// Waits until the feed stands. Returns `None` if the event of this place, or the end, has come before that. Cancelling
    /// the wait loses nothing.
    pub async fn until_standing(&self) -> Option<Stands> {
        loop {
            let appended = self.ring.appended.notified();
            {
                let state = self.ring.lock();
                let has_event = state.first + state.slots.len() as u64 > self.next;
                if state.stands.is_some() || has_event || state.is_closed {
                    return state.stands.clone();
                }
            }
            appended.await;
        }
    }

    /// Moves on after one event.
    pub fn pass(&mut self) {
        self.next += 1;
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        self.ring.leave(self.next, self.shows_cursors);
    }
}
