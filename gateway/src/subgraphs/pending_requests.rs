//! Counts the requests that wait for one subgraph, and for how long it has answered none.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;

/// The zero of all times here, which are milliseconds since then. A time of 0 means never.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The requests that wait for an answer from one subgraph.
#[derive(Debug)]
pub(super) struct PendingRequests {
    count: Gauge,
    /// The time, in milliseconds after [`START`], since when requests were sent and none was
    /// answered; 0 if none waits.
    unanswered_since: AtomicU64,
}

impl PendingRequests {
    /// `count` is shared with the same subgraph of an earlier or later supergraph, so that requests
    /// count across a reload.
    pub(super) fn new(count: Gauge) -> Self {
        Self {
            count,
            unanswered_since: AtomicU64::new(0),
        }
    }

    /// Counts one more request until the returned value is dropped.
    pub(super) fn enter(&self) -> PendingRequest<'_> {
        self.count.inc();
        if self.unanswered_since.load(Ordering::Relaxed) == 0 {
            self.unanswered_since.store(now(), Ordering::Relaxed);
        }
        PendingRequest(self)
    }

    /// For how long the subgraph has answered none of the requests sent to it; `None` if no request
    /// waits.
    pub(super) fn unanswered(&self) -> Option<Duration> {
        match self.unanswered_since.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Duration::from_millis(now().saturating_sub(since))),
        }
    }
}

/// One request that waits. Dropping it ends the wait.
pub(super) struct PendingRequest<'w>(&'w PendingRequests);

impl PendingRequest<'_> {
    /// Call when the subgraph has answered this request. The silence of the others, if any wait,
    /// counts from now.
    pub(super) fn answered(self) {
        let others_wait = self.0.count.get() > 1;
        let since = if others_wait { now() } else { 0 };
        self.0.unanswered_since.store(since, Ordering::Relaxed);
    }
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.0.count.dec();
    }
}

/// The milliseconds since [`START`], at least 1.
pub(super) fn now() -> u64 {
    let elapsed = START.elapsed().as_millis();
    u64::try_from(elapsed).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_first_request_that_is_not_answered() {
        let waiting = PendingRequests::new(Gauge::default());
        assert_eq!(waiting.unanswered(), None);
        let first = waiting.enter();
        assert!(waiting.unanswered().is_some());
        let second = waiting.enter();
        first.answered();
        assert!(waiting.unanswered().is_some(), "another one waits");
        second.answered();
        assert_eq!(waiting.unanswered(), None);
        // A failed request does not count as an answer.
        drop(waiting.enter());
        assert!(waiting.unanswered().is_some());
        assert_eq!(waiting.count.get(), 0);
    }
}
