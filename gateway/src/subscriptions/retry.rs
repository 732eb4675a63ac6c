//! Decides how long to wait before the next attempt at a subgraph, and when to give up.

use std::time::{Duration, Instant};

/// The upper bound of the first pause.
const FIRST_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Retries after a loss. Each pause is random below a bound that doubles ("full jitter"), so that
/// subscriptions that lost the same subgraph do not all return at once.
#[derive(Debug)]
pub struct Retry {
    time_max: Duration,
    pause_max: Duration,
    /// The time of the first failure in an unbroken row; `None` while all is well.
    failing_since: Option<Instant>,
    next_bound: Duration,
}

impl Retry {
    /// Gives up `time_max` after the first failure. No pause is longer than `pause_max`.
    pub fn new(time_max: Duration, pause_max: Duration) -> Self {
        let next_bound = FIRST_PAUSE_MAX.min(pause_max);
        Self {
            time_max,
            pause_max,
            failing_since: None,
            next_bound,
        }
    }

    /// The pause before the next attempt; `None` when it is time to give up.
    pub fn pause(&mut self) -> Option<Duration> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.time_max {
            return None;
        }
        let bound = self.next_bound;
        self.next_bound = (bound * 2).min(self.pause_max);
        Some(bound.mul_f64(random_share()))
    }

    /// Reports that a connection lasted for `time` before it failed. If that is longer than the
    /// longest pause, the row of failures ends.
    pub fn lasted(&mut self, time: Duration) {
        if time > self.pause_max {
            self.succeeded();
        }
    }

    /// Reports a success, which ends the row of failures.
    pub fn succeeded(&mut self) {
        if self.failing_since.take().is_some() {
            self.next_bound = FIRST_PAUSE_MAX.min(self.pause_max);
        }
    }
}

/// A random number from 0 to 1.
fn random_share() -> f64 {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    (random as u32) as f64 / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew_after_a_success() {
        let mut retry = Retry::new(Duration::from_secs(60), Duration::from_millis(300));
        for bound in [100, 200, 300, 300] {
            assert!(retry.pause().expect("time is left") <= Duration::from_millis(bound));
        }
        retry.succeeded();
        assert!(retry.pause().expect("time is left") <= Duration::from_millis(100));
    }

    #[test]
    fn a_loss_after_a_long_time_is_the_first_again() {
        let pause_max = Duration::from_millis(300);
        let mut retry = Retry::new(Duration::from_secs(60), pause_max);
        retry.pause().expect("time is left");
        retry.lasted(pause_max);
        assert!(retry.failing_since.is_some());
        retry.lasted(pause_max * 2);
        assert!(retry.failing_since.is_none());
    }

    #[test]
    fn there_is_an_end() {
        let mut retry = Retry::new(Duration::ZERO, Duration::from_secs(1));
        assert_eq!(retry.pause(), None);
    }
}
