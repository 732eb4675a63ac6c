//! What the page service counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use service::Metrics;

/// How a request for a page was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// From the pages that are kept.
    Kept,
    /// With a rendering that was under way for another request.
    Shared,
    /// With a rendering of its own, a failed one among them.
    Rendered,
    /// With 503, because of `RENDERS_MAX`.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ByOutcome {
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(crate) struct PageMetrics {
    answers: Family<ByOutcome, Counter>,
    pub(crate) failures: Counter,
    pub(crate) rendering: Gauge,
    pub(crate) kept_bytes: Gauge,
}

impl PageMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            answers: metrics.register(
                "pages_answers",
                "Requests for pages, by where the answer came from: kept, shared with an equal request, rendered, refused",
                Family::default(),
            ),
            failures: metrics.register(
                "pages_failures",
                "Renderings that failed: no answer of the graph, or not in time, or a page that is too large",
                Counter::default(),
            ),
            rendering: metrics.register(
                "pages_rendering",
                "Pages that are being rendered",
                Gauge::default(),
            ),
            kept_bytes: metrics.register(
                "pages_kept_bytes",
                "Bytes of the rendered pages that are kept",
                Gauge::default(),
            ),
        }
    }

    pub(crate) fn answered(&self, outcome: Outcome) {
        self.answers.get_or_create(&ByOutcome { outcome }).inc();
    }
}
