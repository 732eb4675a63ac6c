//! When the next try is made.

use std::time::Duration;

use crate::Failure;

/// What is added to a time that a server asks for, so that its clients do not return all at once.
const SPREAD: Duration = Duration::from_secs(1);
const DOUBLINGS_MAX: u32 = 16;

/// The pauses between two tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    pub first: Duration,
    pub longest: Duration,
    /// At least this after a close with 1013, "try again later".
    pub try_later: Duration,
}

impl Pauses {
    /// Doubles with each failed try, with jitter; never less than the server asks for.
    pub(crate) fn before(&self, attempt: u32, failure: &Failure) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1 << attempt.min(DOUBLINGS_MAX))
            .min(self.longest);
        let spread = 0.75 + fastrand::f64() / 2.0;
        let grown = Duration::try_from_secs_f64(doubled.as_secs_f64() * spread);
        let grown = grown.unwrap_or(Duration::MAX);
        let later = failure.is_try_later().then_some(self.try_later);
        match failure.retry_after().or(later) {
            Some(asked) => grown.max(asked.saturating_add(SPREAD.mul_f64(fastrand::f64()))),
            None => grown,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PAUSES: Pauses = Pauses {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(10),
        try_later: Duration::from_secs(5),
    };

    #[test]
    fn pauses_grow_are_spread_and_have_a_limit() {
        let lost = Failure::new("lost");
        let pauses: Vec<_> = (0..40).map(|it| PAUSES.before(it, &lost)).collect();
        assert!(pauses[0] >= Duration::from_millis(375) && pauses[0] <= Duration::from_millis(625));
        assert!(pauses[5] >= Duration::from_millis(7_500));
        let limit = Duration::from_millis(12_500);
        assert!(pauses.iter().all(|pause| *pause <= limit), "{pauses:?}");
        let mut distinct = pauses;
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 30, "they are spread");
    }

    #[test]
    fn pauses_without_end_are_as_long_as_they_can_be() {
        let longest = Pauses {
            first: Duration::MAX,
            longest: Duration::MAX,
            try_later: Duration::MAX,
        };
        for failure in [Failure::new("lost"), Failure::closed(1013, "busy")] {
            for attempt in 0..100 {
                assert!(longest.before(attempt, &failure) > PAUSES.longest);
            }
        }
    }

    #[test]
    fn what_a_server_asks_for_is_the_least() {
        let asked = json!([{ "extensions": { "retryAfter": 30 } }]);
        let pause = PAUSES.before(0, &Failure::from_errors(asked));
        assert!(pause >= Duration::from_secs(30) && pause <= Duration::from_secs(31));
        let pause = PAUSES.before(0, &Failure::closed(1013, "busy"));
        assert!(pause >= PAUSES.try_later && pause <= Duration::from_secs(6));
        let pause = PAUSES.before(0, &Failure::closed(1012, "restarting"));
        assert!(pause < Duration::from_secs(1));
    }
}
