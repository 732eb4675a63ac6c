//! How long members that do not read may hold up a reading, all together.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// The most that is ever left.
const MAX: Duration = Duration::from_millis(200);
/// What each change that is handed over adds to what is left.
const PER_CHANGE: Duration = Duration::from_micros(100);

/// What is left of the time.
pub(super) struct Allowance(Duration);

impl Allowance {
    pub fn new() -> Self {
        Self(MAX)
    }

    /// A change was handed over.
    pub fn earn(&mut self) {
        self.0 = MAX.min(self.0 + PER_CHANGE);
    }

    /// Waits for something as long as any time is left, and takes off how long it took. False when it did
    /// not come.
    pub async fn wait_for(&mut self, what: impl Future<Output = ()>) -> bool {
        let began = Instant::now();
        let came = timeout(self.0, what).await.is_ok();
        self.0 = match came {
            true => self.0.saturating_sub(began.elapsed()),
            false => Duration::ZERO,
        };
        came
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn what_did_not_come_in_time_uses_it_up() {
        let mut allowance = Allowance(Duration::from_millis(1));
        assert!(allowance.wait_for(ready(())).await);
        assert!(!allowance.wait_for(pending()).await);
        assert_eq!(allowance.0, Duration::ZERO, "the next change waits no more");
        assert!(
            allowance.wait_for(ready(())).await,
            "what is there costs nothing"
        );
        allowance.earn();
        assert_eq!(allowance.0, PER_CHANGE);
        (0..10_000).for_each(|_| allowance.earn());
        assert_eq!(allowance.0, MAX);
    }
}
