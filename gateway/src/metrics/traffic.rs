//! Metrics of retries, and of subgraphs that count as unavailable.

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use service::Metrics;

use super::BySubgraph;

/// Metrics of all subgraphs. Clones share them; by default they are not registered.
#[derive(Clone, Debug, Default)]
pub struct TrafficMetrics {
    retries: Family<BySubgraph, Counter>,
    over_budget: Family<BySubgraph, Counter>,
    open: Family<BySubgraph, Gauge>,
    opened: Family<BySubgraph, Counter>,
    refused: Family<BySubgraph, Counter>,
}

impl TrafficMetrics {
    /// Adds the metrics to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        Self {
            retries: metrics.register(
                "gateway_subgraph_retries",
                "Queries sent again to a subgraph that could not be reached or answered with 502, 503 or 504",
                own.retries,
            ),
            over_budget: metrics.register(
                "gateway_subgraph_retries_over_budget",
                "Retries that were left out because of SUBGRAPH_RETRY_PERCENT",
                own.over_budget,
            ),
            open: metrics.register(
                "gateway_subgraph_breaker_open",
                "Whether a subgraph counts as unavailable and gets no requests",
                own.open,
            ),
            opened: metrics.register(
                "gateway_subgraph_breaker_opened",
                "How often a subgraph became unavailable",
                own.opened,
            ),
            refused: metrics.register(
                "gateway_subgraph_breaker_refused",
                "Requests that were not sent because their subgraph counted as unavailable",
                own.refused,
            ),
        }
    }

    /// The metrics of one subgraph.
    pub fn of(&self, subgraph: &str) -> OneTrafficMetrics {
        let labels = BySubgraph {
            subgraph: subgraph.to_owned(),
        };
        OneTrafficMetrics {
            retries: self.retries.get_or_create_owned(&labels),
            over_budget: self.over_budget.get_or_create_owned(&labels),
            open: self.open.get_or_create_owned(&labels),
            opened: self.opened.get_or_create_owned(&labels),
            refused: self.refused.get_or_create_owned(&labels),
        }
    }
}

/// Metrics of one subgraph. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct OneTrafficMetrics {
    /// Queries sent again.
    pub retries: Counter,
    /// Retries that the budget did not allow.
    pub over_budget: Counter,
    /// 1 while it gets no requests.
    pub open: Gauge,
    /// How often it became unavailable.
    pub opened: Counter,
    /// Requests that were not sent.
    pub refused: Counter,
}
