//! When the hub was last known to be level with its source.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bson::{DateTime, Timestamp};
use tokio::time::Instant;

use crate::server_clock::ServerClock;

/// A point in time on the server's clock that only moves on: changes tell the server's time.
#[derive(Debug)]
pub(crate) struct Level {
    clock: ServerClock,
    at: AtomicI64,
}

impl Level {
    /// Everything up to now is there.
    pub fn new(clock: ServerClock) -> Self {
        let at = AtomicI64::new(clock.now().timestamp_millis());
        Self { clock, at }
    }

    /// Everything up to this moment is there.
    pub fn reach_moment(&self, moment: Instant) {
        self.reach(self.clock.time_at(moment));
    }

    /// Everything up to this time is there.
    pub fn reach(&self, time: DateTime) {
        self.at
            .fetch_max(time.timestamp_millis(), Ordering::Relaxed);
    }

    /// How long ago a time of the cluster's was, in whole seconds.
    pub fn since(&self, time: Timestamp) -> Duration {
        let second = DateTime::from_millis(i64::from(time.time) * 1_000);
        Duration::from_secs(self.clock.since(second).as_secs())
    }

    /// Whether a time of the cluster's is so far after the server's.
    pub fn is_ahead(&self, time: Timestamp, seconds: u32) -> bool {
        let now = self.clock.now().timestamp_millis() / 1_000;
        i64::from(time.time) > now.saturating_add(i64::from(seconds))
    }

    /// How long ago a time of the server's was.
    pub fn age(&self, time: DateTime) -> Duration {
        self.clock.since(time)
    }

    /// How long ago the last such time was.
    pub fn behind(&self) -> Duration {
        let at = DateTime::from_millis(self.at.load(Ordering::Relaxed));
        self.clock.since(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a test takes.
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_lag_is_by_the_servers_clock_alone() {
        let hour = 3_600_000;
        let server = DateTime::now().timestamp_millis() - 10 * hour;
        let level = Level::new(ServerClock::at(DateTime::from_millis(server)));
        assert!(level.behind() < HOUR);
        level.reach_moment(Instant::now() - HOUR);
        assert!(level.behind() < HOUR, "it only moves on");
        // A change of the server's future, and then of its past.
        level.reach(DateTime::from_millis(server + hour));
        assert_eq!(level.behind(), Duration::ZERO);
        level.reach(DateTime::from_millis(server - hour));
        assert_eq!(level.behind(), Duration::ZERO, "it only moves on");
    }
}
