//! When the hub was last known to be level with its source.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bson::DateTime;

/// A point in time on the wall clock that only moves on.
#[derive(Debug)]
pub(crate) struct Level(AtomicI64);

impl Level {
    pub fn now() -> Self {
        Self(AtomicI64::new(DateTime::now().timestamp_millis()))
    }

    /// Everything up to now is there.
    pub fn reach_now(&self) {
        self.reach(DateTime::now());
    }

    /// Everything up to this time is there.
    pub fn reach(&self, time: DateTime) {
        self.0.fetch_max(time.timestamp_millis(), Ordering::Relaxed);
    }

    /// How long ago the last such time was.
    pub fn behind(&self) -> Duration {
        let behind = DateTime::now().timestamp_millis() - self.0.load(Ordering::Relaxed);
        Duration::from_millis(u64::try_from(behind).unwrap_or_default())
    }
}
