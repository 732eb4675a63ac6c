//! What is counted of the rate limit.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use service::Metrics;

/// Metrics of the rate limit. Clones share them.
#[derive(Clone, Default)]
pub struct RateLimitMetrics {
    /// Charges within the limit.
    pub(super) allowed: Counter,
    exceeded: Family<Labels, Counter>,
    /// Clients whose bucket was forgotten.
    pub(super) forgotten: Counter,
    /// Clients that have used up a part of their limit.
    pub(super) keys: Gauge,
}

/// What was too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A request, before its cost was known.
    Request,
    /// The cost of an operation.
    Cost,
    /// An event of a subscription.
    Event,
    /// An operation that costs more than the burst.
    Burst,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
    result: &'static str,
}

impl RateLimitMetrics {
    /// Adds them to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            allowed: metrics.register(
                "gateway_rate_limit_allowed",
                "Charges within RATE_LIMIT: of a request when it arrives, of its cost above 1 once that is known, of an event",
                Counter::default(),
            ),
            exceeded: metrics.register(
                "gateway_rate_limit_exceeded",
                "Charges above RATE_LIMIT, refused or only measured: of a request when it arrives, of its cost, of an event, or of more than the burst",
                Family::default(),
            ),
            forgotten: metrics.register(
                "gateway_rate_limit_forgotten",
                "Clients whose use of their limit was forgotten, because more than RATE_LIMIT_KEYS_MAX had used a part",
                Counter::default(),
            ),
            keys: metrics.register(
                "gateway_rate_limit_keys",
                "Clients that have used up a part of their limit, counted every second",
                Gauge::default(),
            ),
        }
    }

    pub(super) fn exceeded(&self, reason: Reason, is_refused: bool) {
        let reason = match reason {
            Reason::Request => "request",
            Reason::Cost => "cost",
            Reason::Event => "event",
            Reason::Burst => "burst",
        };
        let result = if is_refused { "refused" } else { "measured" };
        self.exceeded
            .get_or_create(&Labels { reason, result })
            .inc();
    }
}
