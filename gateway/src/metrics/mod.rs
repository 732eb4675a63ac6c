//! The gateway's metrics, and other services' metrics pages at the same address. Counters that a
//! request uses are looked up once, at the start.

mod addresses;
mod operations;
pub mod pages;
mod subgraph_errors;
mod traffic;

use std::sync::Arc;

use graphql_transport::TransportMetrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use service::Metrics;

use crate::error::Code;
pub use addresses::{AddressMetrics, AddressesMetrics};
pub use operations::{Ending, OperationMetrics};
pub use subgraph_errors::SubgraphErrors;
pub use traffic::{OneTrafficMetrics, TrafficMetrics};

/// The gateway's metrics. Clones share them.
#[derive(Clone)]
pub struct GatewayMetrics {
    /// The metrics of the transports. The gateway counts its own refusals and lagging clients
    /// there.
    pub transports: Arc<TransportMetrics>,
    /// Subscriptions of clients that are running.
    pub subscriptions: Gauge,
    /// Those of them whose events are written straight to their sockets.
    pub direct_subscriptions: Gauge,
    /// Subscriptions of clients that began after a cursor.
    pub resumed: Counter,
    /// Subscriptions at subgraphs that are running.
    pub upstream_subscriptions: Gauge,
    /// Bytes of events that wait for clients.
    pub waiting_event_bytes: Gauge,
    /// Bytes of events that are not completed yet.
    pub uncompleted_event_bytes: Gauge,
    /// Events that subgraphs sent.
    pub events: Counter,
    /// Subscriptions ended to make room for clients with fewer.
    pub limited: Counter,
    /// Attempts to subscribe again after a subgraph went away.
    pub upstream_reconnects: Counter,
    /// Upstream subscriptions that moved to another address of their subgraph.
    pub upstream_moves: Counter,
    /// Open WebSockets to subgraphs.
    pub upstream_sockets: Gauge,
    /// Open WebSockets to subgraphs that carry one operation.
    pub upstream_alone_sockets: Gauge,
    /// Operations after which a subgraph closed a WebSocket.
    pub upstream_quarantined: Counter,
    /// Supergraphs that were loaded.
    pub supergraph_loads: Counter,
    /// Supergraphs that were refused.
    pub supergraph_failures: Counter,
}

impl GatewayMetrics {
    /// Adds the counters to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::<u64>::default());
        let gauge = |name, help| metrics.register(name, help, Gauge::<i64>::default());
        Self {
            transports: Arc::new(
                metrics.with_registry(|registry| TransportMetrics::register(registry, "gateway")),
            ),
            subscriptions: gauge("gateway_subscriptions", "Running subscriptions of clients"),
            resumed: counter(
                "gateway_resumed_subscriptions",
                "Subscriptions of clients that came with a cursor",
            ),
            direct_subscriptions: gauge(
                "gateway_direct_subscriptions",
                "Running subscriptions whose events are written straight to their sockets, around their tasks",
            ),
            upstream_subscriptions: gauge(
                "gateway_upstream_subscriptions",
                "Running subscriptions at subgraphs; clients with the same one share it",
            ),
            waiting_event_bytes: gauge(
                "gateway_waiting_event_bytes",
                "Bytes of subscription events that wait for clients; one that several clients wait for counts once",
            ),
            uncompleted_event_bytes: gauge(
                "gateway_uncompleted_event_bytes",
                "Bytes of subgraphs' events that wait to be completed, or are being completed",
            ),
            events: counter("gateway_upstream_events", "Events received from subgraphs"),
            limited: counter(
                "gateway_limited_subscriptions",
                "Subscriptions ended to make room for clients with fewer",
            ),
            upstream_reconnects: counter(
                "gateway_upstream_reconnects",
                "Attempts to subscribe again after a subgraph went away",
            ),
            upstream_moves: counter(
                "gateway_upstream_moves",
                "Upstream subscriptions moved to the address of their subgraph where they belong",
            ),
            upstream_sockets: gauge("gateway_upstream_sockets", "Open WebSockets to subgraphs"),
            upstream_alone_sockets: gauge(
                "gateway_upstream_alone_sockets",
                "Open WebSockets to subgraphs that are for one operation, which may have ended another one",
            ),
            upstream_quarantined: counter(
                "gateway_upstream_quarantined",
                "Operations that go over a WebSocket of their own: a subgraph may have ended another one for them",
            ),
            supergraph_loads: counter("gateway_supergraph_loads", "Supergraphs loaded"),
            supergraph_failures: counter("gateway_supergraph_failures", "Supergraphs refused"),
        }
    }

    /// Counts an error of a running subscription as a refusal.
    pub fn refusal(&self, code: Code) {
        self.transports.refusal(code);
    }
}

/// Metrics of preparing operations. Clones share them; by default they are not registered.
#[derive(Clone, Debug, Default)]
pub struct PrepareMetrics {
    /// Operations taken from the cache.
    pub hits: Counter,
    /// Operations that had to be prepared.
    pub misses: Counter,
    /// Operations that were prepared before a supergraph served, and not when they were requested.
    pub warmed: Counter,
    /// The estimated cost of all operations together.
    pub cost: Counter,
    /// Operations refused because their estimated cost is above `LIMIT_COST_MAX`.
    pub costly: Counter,
    /// Operations ended because of their bytes or objects.
    pub over_budget: Counter,
    /// Operations in the cache, including those of a graph that is being replaced.
    pub kept: Gauge,
    /// Bytes that the operations in the cache hold.
    pub kept_bytes: Gauge,
    /// New documents that wait to be prepared.
    pub waiting: Gauge,
    /// New documents whose client had to pause before its next one.
    pub pauses: Counter,
    /// Introspection answers that are kept, including those of a graph that is being replaced.
    pub introspections: Gauge,
    /// Bytes that the kept introspection answers count for.
    pub introspections_bytes: Gauge,
}

impl PrepareMetrics {
    /// Adds the counters to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            hits: metrics.register(
                "gateway_prepared_operation_hits",
                "Operations whose plan was in the cache",
                Counter::default(),
            ),
            misses: metrics.register(
                "gateway_prepared_operation_misses",
                "Operations that were parsed, checked and planned",
                Counter::default(),
            ),
            warmed: metrics.register(
                "gateway_warmed_operations",
                "Operations that were prepared for a supergraph before somebody requested them there",
                Counter::default(),
            ),
            cost: metrics.register(
                "gateway_operation_cost",
                "Estimated cost of all operations together, those above the maximum among them",
                Counter::default(),
            ),
            costly: metrics.register(
                "gateway_costly_operations",
                "Operations above LIMIT_COST_MAX: refused, or only counted in the mode `measure`",
                Counter::default(),
            ),
            over_budget: metrics.register(
                "gateway_operations_over_budget",
                "Operations ended above LIMIT_ANSWER_BYTES_MAX or LIMIT_OBJECTS_MAX",
                Counter::default(),
            ),
            kept: metrics.register(
                "gateway_prepared_operations",
                "Prepared operations in the cache",
                Gauge::default(),
            ),
            kept_bytes: metrics.register(
                "gateway_prepared_operations_bytes",
                "Bytes that the prepared operations in the cache hold",
                Gauge::default(),
            ),
            waiting: metrics.register(
                "gateway_preparing_waiting",
                "New documents that wait for their turn to be prepared",
                Gauge::default(),
            ),
            pauses: metrics.register(
                "gateway_preparing_pauses",
                "New documents whose client paused before its next one, because of LIMIT_PREPARE_CLIENT_PERCENT",
                Counter::default(),
            ),
            introspections: metrics.register(
                "gateway_introspection_answers",
                "Introspection answers that are kept",
                Gauge::default(),
            ),
            introspections_bytes: metrics.register(
                "gateway_introspection_answers_bytes",
                "Bytes that the kept introspection answers count for",
                Gauge::default(),
            ),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySubgraph {
    subgraph: String,
}

/// Metrics of the requests to subgraphs. Clones share them; by default they are not registered.
#[derive(Clone, Debug)]
pub struct SubgraphMetrics {
    failures: Family<BySubgraph, Counter>,
    shared: Family<BySubgraph, Counter>,
    waiting: Family<BySubgraph, Gauge>,
    queued: Family<BySubgraph, Gauge>,
    latency: Family<BySubgraph, Histogram>,
    sent_again: Family<BySubgraph, Counter>,
    /// Errors of subgraphs, by code.
    pub errors: SubgraphErrors,
    addresses: AddressesMetrics,
    traffic: TrafficMetrics,
}

impl Default for SubgraphMetrics {
    fn default() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        Self {
            failures: Family::default(),
            shared: Family::default(),
            waiting: Family::default(),
            queued: Family::default(),
            latency: Family::new_with_constructor(latency),
            sent_again: Family::default(),
            errors: SubgraphErrors::default(),
            addresses: AddressesMetrics::default(),
            traffic: TrafficMetrics::default(),
        }
    }
}

impl SubgraphMetrics {
    /// Adds the counters to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        let counts = Self::default();
        Self {
            failures: metrics.register(
                "gateway_subgraph_failures",
                "Requests to a subgraph that got no whole answer, or were too large to be sent",
                counts.failures,
            ),
            shared: metrics.register(
                "gateway_subgraph_shared_queries",
                "Queries that took the answer of an identical one already in flight to the subgraph",
                counts.shared,
            ),
            waiting: metrics.register(
                "gateway_subgraph_waiting_requests",
                "Requests that wait for a subgraph's answer",
                counts.waiting,
            ),
            queued: metrics.register(
                "gateway_subgraph_queued_requests",
                "Of the requests that wait for a subgraph's answer, those not sent yet: their client waits for its turn",
                counts.queued,
            ),
            latency: metrics.register(
                "gateway_subgraph_request_seconds",
                "Time from a request to a subgraph to its whole answer, or to its failure",
                counts.latency,
            ),
            sent_again: metrics.register(
                "gateway_subgraph_requests_sent_again",
                "Requests sent once more to a subgraph with several addresses, because an address failed",
                counts.sent_again,
            ),
            errors: SubgraphErrors::register(metrics),
            addresses: AddressesMetrics::register(metrics),
            traffic: TrafficMetrics::register(metrics),
        }
    }

    /// The gauge of requests that wait for one subgraph.
    pub fn waiting(&self, subgraph: &str) -> Gauge {
        let subgraph = subgraph.to_owned();
        self.waiting.get_or_create_owned(&BySubgraph { subgraph })
    }

    /// The gauge of requests that wait to be sent to one subgraph.
    pub fn queued(&self, subgraph: &str) -> Gauge {
        let subgraph = subgraph.to_owned();
        self.queued.get_or_create_owned(&BySubgraph { subgraph })
    }

    /// Counts a request that is sent once more.
    pub fn sent_again(&self, subgraph: &str) {
        let subgraph = subgraph.to_owned();
        self.sent_again
            .get_or_create_owned(&BySubgraph { subgraph })
            .inc();
    }

    /// The metrics of one address of a subgraph.
    pub fn address(&self, subgraph: &str, address: &str) -> AddressMetrics {
        self.addresses.of(subgraph, address)
    }

    /// The metrics of retries and of the breaker of one subgraph.
    pub fn traffic(&self, subgraph: &str) -> OneTrafficMetrics {
        self.traffic.of(subgraph)
    }

    /// The metrics of one subgraph.
    pub fn of(&self, subgraph: &str) -> OneSubgraphMetrics {
        let labels = BySubgraph {
            subgraph: subgraph.to_owned(),
        };
        OneSubgraphMetrics {
            failures: self.failures.get_or_create_owned(&labels),
            shared: self.shared.get_or_create_owned(&labels),
            latency: self.latency.get_or_create_owned(&labels),
        }
    }
}

/// Metrics of the requests to one subgraph.
#[derive(Debug)]
pub struct OneSubgraphMetrics {
    /// Requests without a whole response, and those too large to be sent.
    pub failures: Counter,
    /// Queries that shared a request in flight.
    pub shared: Counter,
    /// The duration of each request, in seconds.
    pub latency: Histogram,
}
