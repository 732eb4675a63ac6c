//! Answers at once for a subgraph that is unavailable, instead of waiting for it each time (a circuit breaker).
//!
//! Failures alone do not open it: one client could cause them with operations that take too long, or that end the
//! connection. They only raise a suspicion, and a probe of the gateway's own decides, as it does about the addresses of
//! a subgraph ([`super::balancer`]). The same probe closes it again, so no client's request is the test.
//! `docs/decisions/retries-and-breakers.md` says why.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    FetchError, HttpResponse,
    attempt::{Addresses, HANGS_AFTER},
    instance::Outcome,
    probe,
};
use crate::{config::BreakerSettings, metrics::OneTrafficMetrics};

/// The longest pause between probes, in first pauses.
const PAUSES_MAX: u32 = 16;
/// One that opens again within this time is probed later than the time before.
const FLAPPING: Duration = Duration::from_secs(60);

/// The breaker of one subgraph.
pub(super) struct Breaker {
    subgraph: String,
    settings: BreakerSettings,
    /// How often it opened or closed: odd while it is open.
    turns: AtomicU64,
    /// Attempts that were answered.
    answered: AtomicU64,
    /// Whether a task probes the subgraph.
    is_probed: AtomicBool,
    failures: Mutex<Failures>,
    metrics: OneTrafficMetrics,
}

/// Locked only after a failure.
#[derive(Default)]
struct Failures {
    /// When the first of them came; `None` before it.
    since: Option<Instant>,
    count: u32,
    /// How many attempts had been answered then.
    answered_before: u64,
    /// When it was last closed, and the first pause before that.
    closed: Option<(Instant, Duration)>,
}

/// An attempt: what began before the breaker opened or closed says nothing about now. Dropped after some seconds
/// without an answer, it counts as a failure: clients may leave before the time limit.
pub(super) struct Attempt<'b> {
    breaker: &'b Arc<Breaker>,
    addresses: &'b Arc<Addresses>,
    turn: u64,
    began: Instant,
    is_over: bool,
}

impl Breaker {
    pub(super) fn new(
        subgraph: &str,
        settings: &BreakerSettings,
        metrics: OneTrafficMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            subgraph: subgraph.to_owned(),
            settings: settings.clone(),
            turns: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            is_probed: AtomicBool::new(false),
            failures: Mutex::default(),
            metrics,
        })
    }

    /// Whether the subgraph gets no requests.
    pub(super) fn is_open(&self) -> bool {
        self.turns.load(Relaxed) % 2 == 1
    }

    /// # Errors
    /// [`FetchError::Unavailable`] while it is open.
    pub(super) fn check(&self) -> Result<(), FetchError> {
        match self.is_open() {
            false => Ok(()),
            true => {
                self.metrics.refused.inc();
                Err(FetchError::Unavailable)
            }
        }
    }

    /// Begins an attempt at these addresses.
    pub(super) fn attempt<'b>(self: &'b Arc<Self>, addresses: &'b Arc<Addresses>) -> Attempt<'b> {
        Attempt {
            breaker: self,
            addresses,
            turn: self.turns.load(Relaxed),
            began: Instant::now(),
            is_over: false,
        }
    }

    /// Counts a failure. Returns whether it has to be found out whether the subgraph is available, by the caller.
    fn failed_at(&self, now: Instant, turn: u64) -> bool {
        if self.settings.failures_min == 0 {
            return false;
        }
        let mut failures = self.lock();
        if turn != self.turns.load(SeqCst) {
            return false;
        }
        let answered = self.answered.load(Relaxed);
        let window = self.settings.window;
        if failures.since.is_none_or(|since| now > since + window) {
            failures.since = Some(now);
            failures.count = 0;
            failures.answered_before = answered;
        }
        failures.count = failures.count.saturating_add(1);
        let count = u64::from(failures.count);
        let all = count + answered.saturating_sub(failures.answered_before);
        count >= u64::from(self.settings.failures_min)
            && count * 100 >= all * u64::from(self.settings.percent)
            && !self.is_probed.swap(true, SeqCst)
    }

    /// Opens it. Returns the first pause until the next probe.
    fn open_at(&self, now: Instant) -> Duration {
        let mut failures = self.lock();
        let first = self.settings.pause;
        let pause = match failures.closed {
            Some((at, last)) if now < at + FLAPPING => self.next_pause(last),
            _ => first,
        };
        let count = failures.count;
        failures.since = None;
        self.turns.fetch_add(1, SeqCst);
        drop(failures);
        self.metrics.open.inc();
        self.metrics.opened.inc();
        tracing::warn!(
            subgraph = self.subgraph,
            failures = count,
            "a subgraph is unavailable, requests to it fail at once until it answers a probe"
        );
        pause
    }

    fn close_at(&self, now: Instant, first_pause: Duration) {
        let mut failures = self.lock();
        failures.since = None;
        failures.closed = Some((now, first_pause));
        self.turns.fetch_add(1, SeqCst);
        drop(failures);
        self.metrics.open.dec();
        tracing::info!(
            subgraph = self.subgraph,
            "a subgraph is available again and gets requests"
        );
    }

    /// The failures were not the subgraph's.
    fn forgive(&self) {
        self.lock().since = None;
    }

    fn next_pause(&self, last: Duration) -> Duration {
        let longest = self.settings.pause.saturating_mul(PAUSES_MAX);
        last.saturating_mul(2).min(longest)
    }

    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gauge is shared with the same subgraph of a later supergraph.
impl Drop for Breaker {
    fn drop(&mut self) {
        if self.is_open() {
            self.metrics.open.dec();
        }
    }
}

impl Attempt<'_> {
    /// Ends it with what came of it.
    pub(super) fn ended(mut self, answer: &Result<HttpResponse, FetchError>) {
        self.is_over = true;
        match answer {
            Ok(answer) if !matches!(answer.status, 502..=504) || probe::sheds_load(answer) => {
                self.breaker.answered.fetch_add(1, Relaxed);
            }
            // What the gateway refused, or lacks.
            Err(
                FetchError::TooLarge(_)
                | FetchError::Overloaded(_)
                | FetchError::NotSent(_)
                | FetchError::Unavailable,
            ) => {}
            Err(error @ FetchError::Connect(_))
                if Outcome::of_connecting(error) == Outcome::Unknown => {}
            _ => self.failed(),
        }
    }

    fn failed(&self) {
        if !self.breaker.failed_at(Instant::now(), self.turn) {
            return;
        }
        let breaker = Arc::downgrade(self.breaker);
        let addresses = Arc::downgrade(self.addresses);
        // There is none where a runtime that ends drops its tasks.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(watch(breaker, addresses));
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.began.elapsed() >= HANGS_AFTER {
            self.failed();
        }
    }
}

/// Ends the probes, also where their task ends early.
struct Probing {
    breaker: Weak<Breaker>,
    /// Since it is open.
    first_pause: Option<Duration>,
}

impl Drop for Probing {
    fn drop(&mut self) {
        let Some(breaker) = self.breaker.upgrade() else {
            return;
        };
        match self.first_pause {
            Some(first_pause) => breaker.close_at(Instant::now(), first_pause),
            None => breaker.forgive(),
        }
        breaker.is_probed.store(false, SeqCst);
    }
}

/// Finds out whether a subgraph is unavailable, and if so, opens the breaker until it is available again. Ends with the
/// subgraph.
async fn watch(breaker: Weak<Breaker>, addresses: Weak<Addresses>) {
    let mut probing = Probing {
        breaker: Weak::clone(&breaker),
        first_pause: None,
    };
    if answers(&addresses).await {
        return;
    }
    let opened = breaker.upgrade();
    let Some(first_pause) = opened.map(|breaker| breaker.open_at(Instant::now())) else {
        return;
    };
    probing.first_pause = Some(first_pause);
    let mut pause = first_pause;
    loop {
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        if answers(&addresses).await {
            return;
        }
        match breaker.upgrade() {
            Some(breaker) => pause = breaker.next_pause(pause),
            None => return,
        }
    }
}

/// Whether the subgraph answers a probe at any of its addresses. One that does not exist any more does.
async fn answers(addresses: &Weak<Addresses>) -> bool {
    match addresses.upgrade() {
        Some(addresses) => probe::any_answers(&addresses).await,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(failures_min: u32, percent: u32) -> Arc<Breaker> {
        let settings = BreakerSettings {
            failures_min,
            percent,
            ..BreakerSettings::default()
        };
        Breaker::new("posts", &settings, OneTrafficMetrics::default())
    }

    #[test]
    fn enough_failures_in_the_window_raise_a_suspicion_once() {
        let (breaker, now) = (breaker(3, 50), Instant::now());
        let later = now + breaker.settings.window + Duration::from_millis(1);
        assert!(!breaker.failed_at(now, 0) && !breaker.failed_at(now, 0));
        assert!(!breaker.failed_at(later, 0), "the others are too old");
        assert!(!breaker.failed_at(later, 0) && breaker.failed_at(later, 0));
        assert!(!breaker.failed_at(later, 0), "it is being found out");
        breaker.forgive();
        breaker.is_probed.store(false, SeqCst);
        assert!(!breaker.failed_at(later, 0), "from the beginning");
    }

    #[test]
    fn failures_count_beside_answers() {
        let (breaker, now) = (breaker(3, 50), Instant::now());
        for _ in 0..3 {
            assert!(!breaker.failed_at(now, 0));
            breaker.answered.fetch_add(3, Relaxed);
        }
        let more = (0..20).position(|_| breaker.failed_at(now, 0));
        assert_eq!(more, Some(5), "9 of 18");
    }

    #[test]
    fn what_began_before_it_opened_or_closed_says_nothing_about_now() {
        let (breaker, now) = (breaker(1, 100), Instant::now());
        let pause = breaker.open_at(now);
        assert!(breaker.is_open() && breaker.check().is_err());
        assert!(!breaker.failed_at(now, 0));
        breaker.close_at(now, pause);
        assert!(!breaker.failed_at(now, 0) && !breaker.failed_at(now, 1));
        assert!(breaker.failed_at(now, 2));
        assert_eq!(breaker.metrics.open.get(), 0);
    }

    #[test]
    fn one_that_opens_again_and_again_is_probed_later_each_time() {
        let (breaker, now) = (breaker(1, 100), Instant::now());
        for pause in [500, 1_000, 2_000, 4_000, 8_000, 8_000] {
            let first = breaker.open_at(now);
            assert_eq!(first.as_millis(), pause);
            breaker.close_at(now, first);
        }
        assert_eq!(breaker.open_at(now + FLAPPING), breaker.settings.pause);
    }

    #[test]
    fn zero_failures_turn_it_off() {
        let breaker = breaker(0, 1);
        assert!((0..1_000).all(|_| !breaker.failed_at(Instant::now(), 0)));
    }
}
