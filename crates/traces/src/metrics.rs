//! What became of spans.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// Counts spans. Clones share the counts; by default they are not registered.
#[derive(Clone, Debug, Default)]
pub struct TraceMetrics {
    pub(crate) sent: Counter,
    /// Because too many waited.
    pub(crate) overflowed: Counter,
    /// Because the receiver did not take them.
    pub(crate) unsent: Counter,
    /// Because the receiver refused them.
    pub(crate) refused: Counter,
    pub(crate) waiting_bytes: Gauge,
}

impl TraceMetrics {
    /// Adds the counts to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let dropped = Family::<ByReason, Counter>::default();
        let by = |reason| dropped.get_or_create_owned(&ByReason { reason });
        let made = Self {
            overflowed: by("queue_full"),
            unsent: by("not_sent"),
            refused: by("refused"),
            ..Self::default()
        };
        registry.register(
            "traces_spans_sent",
            "Spans that the receiver of traces has taken",
            made.sent.clone(),
        );
        registry.register(
            "traces_spans_dropped",
            "Spans that were dropped: too many waited (queue_full), or the receiver did not take them in time (not_sent) or refused them",
            dropped,
        );
        registry.register(
            "traces_waiting_bytes",
            "Bytes of memory for spans that wait to be sent, or are being sent",
            made.waiting_bytes.clone(),
        );
        made
    }
}
