//! Where one client stands in a ring.

use std::sync::Arc;

use graphql_transport::{Event, Stands, Status};

use super::EventRing;

/// What a reader gets in addition to the events, by the contract of `docs/resumable-subscriptions.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shows {
    /// The events' cursors, in `extensions`.
    pub cursors: bool,
    /// Whether the feed is live.
    pub status: bool,
}

/// What a reader receives.
pub enum Taken {
    Event(Event),
    /// The latest status, and its number.
    Status(Status, u64),
    /// The reader was too slow: this many events were dropped.
    Missed(u64),
    /// The feed has ended.
    Closed,
}

/// One client's position in the ring. Dropping it removes the client.
pub struct RingReader {
    pub(super) ring: Arc<EventRing>,
    pub(super) next: u64,
    /// The number of the last status that it got.
    pub(super) seen: u64,
    pub(super) shows: Shows,
}

impl RingReader {
    /// Waits for the next event. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Taken {
        loop {
            let appended = self.ring.appended.notified();
            if let Some(taken) = self.ring.take(&mut self.next, &mut self.seen, self.shows) {
                return taken;
            }
            appended.await;
        }
    }

    /// The next event, if it is there.
    pub fn try_next(&mut self) -> Option<Taken> {
        self.ring.take(&mut self.next, &mut self.seen, self.shows)
    }

    /// The next event, if it is there, without moving on.
    pub fn peek(&self) -> Option<Taken> {
        self.ring.peek(self.next, self.seen, self.shows)
    }

    /// Moves on after the event of this number, which was taken by [`RingReader::peek`]. It may be dropped already.
    pub fn pass(&mut self, number: u64) {
        let shows = Shows {
            status: false,
            ..self.shows
        };
        self.ring.take(&mut self.next, &mut self.seen, shows);
        self.next = self.next.max(number + 1);
    }

    /// Moves on after the status of this number, which was taken by [`RingReader::peek`].
    pub fn pass_status(&mut self, number: u64) {
        self.seen = self.seen.max(number);
    }

    /// The number of the next event.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The number of the last status that it got.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The same place, for who only waits.
    pub fn place(&self) -> RingPlace {
        RingPlace {
            ring: Arc::clone(&self.ring),
            next: self.next,
            seen: self.ring.lock().status.said_by_silence(),
            shows_status: self.shows.status,
        }
    }

    /// What it gets in addition to the events.
    pub fn shows(&self) -> Shows {
        self.shows
    }
}

/// A place in the ring that keeps no events.
pub struct RingPlace {
    ring: Arc<EventRing>,
    next: u64,
    /// The number of the last status that was told here.
    seen: u64,
    shows_status: bool,
}

/// What comes at a [`RingPlace`].
#[derive(Debug, PartialEq, Eq)]
pub enum AtPlace {
    /// The feed stands.
    Stands(Stands),
    /// It does not stand yet, and this has changed.
    Status(Status),
    /// The event of this place, or the end, has come before it stands.
    Event,
}

impl RingPlace {
    /// Waits until the feed stands, or something else comes before that. Cancelling the wait loses nothing.
    pub async fn until_standing(&mut self) -> AtPlace {
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
    pub fn pass(&mut self) {
        self.next += 1;
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        self.ring.leave(self.next, self.shows.cursors);
    }
}
