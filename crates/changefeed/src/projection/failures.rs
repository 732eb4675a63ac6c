//! Transactions that failed: the pause before the next attempt, and a log that does not flood.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Error, WithCauses};

use super::transaction_size::Size;

/// The pause after the first failure; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Failures within this time after a line of the log are only counted in the next one.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// The failures since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    in_a_row: u32,
    since: Option<Instant>,
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl Failures {
    /// Logs and counts a failure; returns how long to wait before the next attempt.
    pub fn note(&mut self, projection: &str, error: &Error, used: Size, next: Size) -> Duration {
        let pause = PAUSE_MIN.saturating_mul(1 << self.in_a_row.min(16));
        let pause = pause.min(PAUSE_MAX);
        self.in_a_row += 1;
        self.since.get_or_insert_with(Instant::now);
        self.unlogged += 1;
        if self.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            tracing::warn!(
                projection,
                error = %WithCauses(error),
                failures = self.unlogged,
                failures_in_a_row = self.in_a_row,
                changes = used.changes,
                targets = used.targets,
                next_changes_max = next.changes,
                next_targets_max = next.targets,
                retry_in_ms = pause.as_millis(),
                "a transaction of the projection failed, will retry with a smaller one"
            );
            self.unlogged = 0;
            self.logged_at = Some(Instant::now());
        }
        pause
    }

    /// A transaction was committed.
    pub fn end(&mut self) {
        (self.in_a_row, self.since) = (0, None);
    }

    /// How long there have been failures alone.
    pub fn lasting(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_up_to_a_second_and_begins_again_after_a_commit() {
        let mut failures = Failures::default();
        let error = Error::Refused("for the test".to_owned());
        let note =
            |failures: &mut Failures| failures.note("any", &error, Size::NOTHING, Size::NOTHING);
        assert_eq!(note(&mut failures), PAUSE_MIN);
        assert_eq!(note(&mut failures), PAUSE_MIN * 2);
        for _ in 0..100 {
            note(&mut failures);
        }
        assert_eq!(note(&mut failures), PAUSE_MAX);
        failures.end();
        assert_eq!(note(&mut failures), PAUSE_MIN);
    }
}
