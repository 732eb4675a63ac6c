//! Whether a feed is live, as its clients are told: only the latest status waits for them.

use graphql_transport::Status;

use super::{EventRing, RingState, Shows};

impl EventRing {
    /// Tells readers whether the feed is live, after the events that were appended, if it is news to them.
    pub fn tell(&self, status: Status) {
        let mut state = self.lock();
        let next = state.next();
        let is_news = state.status.tell(status, next);
        drop(state);
        if is_news {
            self.appended.notify_waiters();
        }
    }

    /// Whether the feed is live, as its readers know it.
    pub fn status(&self) -> Status {
        self.lock().status.latest()
    }
}

impl RingState {
    /// The status that a reader gets now. Before the feed stands, who waits for that gets it.
    pub(super) fn status_due(&self, next: u64, seen: u64, shows: Shows) -> Option<(Status, u64)> {
        let due = self.status.due(next, seen);
        due.filter(|_| shows.status && self.stands.is_some())
    }
}

/// The status of a ring, and where among its events it was told.
#[derive(Debug, Default)]
pub(super) struct RingStatus {
    latest: Status,
    /// How often it was told. This is the number of the latest one.
    told: u64,
    /// The number of the event that comes after it.
    before: u64,
}

impl RingStatus {
    pub(super) fn latest(&self) -> Status {
        self.latest
    }

    /// The number of the latest status.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Tells a status ahead of the event `before`, in place of an earlier one that readers have not taken. False if it is
    /// the one that they have.
    pub(super) fn tell(&mut self, status: Status, before: u64) -> bool {
        if status == self.latest {
            return false;
        }
        *self = Self {
            latest: status,
            told: self.told + 1,
            before,
        };
        true
    }

    /// Changes the status without telling: first frames say it to all.
    pub(super) fn set(&mut self, status: Status) {
        self.latest = status;
        self.before = u64::MAX;
    }

    /// The number of the last status that is no news to who was told nothing: that there is no interruption.
    pub(super) fn said_by_silence(&self) -> u64 {
        match self.latest {
            Status::Live => self.told,
            Status::Interrupted => self.told.saturating_sub(1),
        }
    }

    /// The number of the last status that is no news after `seen`, wherever the reader is. Readers that came before and after
    /// the news that first frames say are equal from then on: they can share a group.
    pub(super) fn passed(&self, seen: u64) -> u64 {
        match self.before {
            u64::MAX => self.told,
            _ => seen,
        }
    }

    /// The latest status with its number, if it comes ahead of the event `next` and after the status `seen`.
    pub(super) fn due(&self, next: u64, seen: u64) -> Option<(Status, u64)> {
        (self.told > seen && next >= self.before).then_some((self.latest, self.told))
    }
}
