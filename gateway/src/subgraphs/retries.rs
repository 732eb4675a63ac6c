//! Sends queries again that a subgraph could not take, within a budget.
//!
//! A subgraph with too much to do fails requests. If each were sent again, it would get even more. So each request adds
//! a part of a retry to the subgraph's budget, and a retry takes a whole one (a token bucket, as Finagle's `RetryBudget`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    FetchError, HttpResponse, Subgraph,
    attempt::Outgoing,
    instance::{Instance, Outcome},
};
use crate::config::RetrySettings;

/// What a retry takes from the budget; a request adds the percentage in the settings.
const RETRY: u32 = 100;
/// The largest budget, which a subgraph also begins with: ten retries.
const BUDGET_MAX: u32 = 10 * RETRY;

/// The retries of one subgraph.
pub(super) struct Retries {
    settings: RetrySettings,
    budget: AtomicU32,
}

impl Retries {
    pub(super) fn new(settings: &RetrySettings) -> Self {
        Self {
            settings: settings.clone(),
            budget: AtomicU32::new(BUDGET_MAX),
        }
    }

    /// Notes a request that is sent for the first time. While nothing fails it only reads.
    pub(super) fn sent(&self) {
        if self.budget.load(Relaxed) < BUDGET_MAX {
            let more = |budget: u32| Some((budget + self.settings.percent).min(BUDGET_MAX));
            let _ = self.budget.fetch_update(Relaxed, Relaxed, more);
        }
    }

    /// Whether the answer to a query is one that another attempt may improve.
    pub(super) fn is_worth_one(&self, answer: &Result<HttpResponse, FetchError>) -> bool {
        self.settings.retries_max > 0 && self.pause(answer, 0).is_some()
    }

    /// Takes a retry from the budget.
    fn take(&self) -> bool {
        let less = |budget: u32| budget.checked_sub(RETRY);
        self.budget.fetch_update(Relaxed, Relaxed, less).is_ok()
    }

    /// How long to wait before the retry after `number` others; `None` if the answer stands.
    fn pause(&self, answer: &Result<HttpResponse, FetchError>, number: u32) -> Option<Duration> {
        let mean = self.settings.pause.saturating_mul(1 << number.min(20));
        let pause = mean.mul_f64(0.5 + fastrand::f64());
        match answer {
            Ok(answer) if matches!(answer.status, 502..=504) => match answer.retry_after {
                None => Some(pause),
                // Not all at once.
                Some(after) if after <= self.settings.retry_after_max => {
                    Some(pause.max(after + self.settings.pause.mul_f64(fastrand::f64())))
                }
                Some(_) => None,
            },
            Ok(_) => None,
            // The query itself may end processes: it is not carried from one to the next.
            Err(FetchError::ClosedBeforeResponse) => (number == 0).then_some(pause),
            Err(
                FetchError::ClosedBeforeRequest
                | FetchError::Tls(_)
                // While time is left, it was the connection that took too long.
                | FetchError::Timeout(_),
            ) => Some(pause),
            // Not if this process lacks something.
            Err(error @ FetchError::Connect(_)) => {
                (Outcome::of_connecting(error) != Outcome::Unknown).then_some(pause)
            }
            Err(_) => None,
        }
    }
}

impl Subgraph {
    /// Sends a query again, whose first attempt ended with `answer`, while that may help and is allowed. Whoever leaves
    /// ends it.
    pub(super) async fn send_again(
        &self,
        outgoing: &Outgoing<'_>,
        mut answer: Result<HttpResponse, FetchError>,
        mut tried: Vec<Arc<Instance>>,
        deadline: Instant,
    ) -> Result<HttpResponse, FetchError> {
        let retries = &self.retries;
        for number in 0..retries.settings.retries_max {
            let Some(pause) = retries.pause(&answer, number) else {
                break;
            };
            if deadline.saturating_duration_since(Instant::now()) <= pause {
                break;
            }
            if !retries.take() {
                self.traffic.over_budget.inc();
                break;
            }
            tokio::time::sleep(pause).await;
            if self.breaker.is_open() {
                break;
            }
            self.traffic.retries.inc();
            answer = self.attempt(outgoing, deadline, &mut tried).await;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn retries() -> Retries {
        Retries::new(&RetrySettings::default())
    }

    fn answered(status: u16, retry_after: Option<Duration>) -> Result<HttpResponse, FetchError> {
        Ok(HttpResponse {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            retry_after,
        })
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_sent_again_after_the_first_ten() {
        let retries = retries();
        let allowed = (0..1_000).filter(|_| {
            retries.sent();
            retries.take()
        });
        // The first one finds the budget full.
        let allowed = allowed.count();
        assert!((205..=210).contains(&allowed), "{allowed}");
        for _ in 0..1_000 {
            retries.sent();
        }
        assert_eq!((0..1_000).filter(|_| retries.take()).count(), 10);
    }

    #[test]
    fn only_what_another_attempt_may_improve_is_sent_again() {
        let retries = retries();
        let is_worth = |answer| retries.is_worth_one(&answer);
        for status in [502, 503, 504] {
            assert!(is_worth(answered(status, None)));
        }
        for status in [200, 400, 401, 429, 500, 501, 505] {
            assert!(!is_worth(answered(status, None)), "{status}");
        }
        assert!(is_worth(Err(FetchError::ClosedBeforeResponse)));
        for error in [
            FetchError::TooLarge(1),
            FetchError::Protocol("it ends within its body"),
            FetchError::Overloaded(1),
            FetchError::Unavailable,
        ] {
            assert!(!is_worth(Err(error)));
        }
        let lacks = |number| FetchError::connect(std::io::Error::from_raw_os_error(number));
        let (too_many_files, refused) = (24, 111);
        assert!(is_worth(Err(lacks(refused))) && !is_worth(Err(lacks(too_many_files))));
    }

    #[test]
    fn a_subgraph_says_when_to_come_again_but_not_too_late() {
        let retries = retries();
        let ms = Duration::from_millis;
        for _ in 0..100 {
            let pause = |after, number| retries.pause(&answered(503, after), number);
            let first = pause(None, 0).expect("worth a retry");
            assert!((ms(25)..ms(75)).contains(&first), "{first:?}");
            let third = pause(None, 2).expect("worth a retry");
            assert!((ms(100)..ms(300)).contains(&third), "{third:?}");
            let later = pause(Some(ms(500)), 0).expect("within the bound");
            assert!((ms(500)..=ms(550)).contains(&later), "{later:?}");
            assert_eq!(pause(Some(Duration::from_secs(1)), 0), None);
        }
    }
}
