//! The gateway's counters. Those on the way of a request are looked up once, at the start.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use service::Metrics;

use crate::error::Code;

/// How a client speaks to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Transport {
    /// HTTP POST, one answer.
    Post,
    /// HTTP GET, one answer.
    Get,
    /// graphql-transport-ws.
    WebSocket,
    /// Server-sent events.
    Sse,
    /// Multipart subscription over HTTP.
    Multipart,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTransport {
    transport: Transport,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTransportAndOutcome {
    transport: Transport,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: &'static str,
}

/// Counts of one transport.
struct TransportMetrics {
    executed: Counter,
    refused: Counter,
    subscribed: Counter,
    clients: Gauge,
    latency: Histogram,
}

/// The gateway's counters.
pub struct GatewayMetrics {
    transports: [TransportMetrics; 5],
    refusals: Family<ByCode, Counter>,
    /// Requests that ended in a panic, and were answered as an internal error.
    pub panics: Counter,
    /// Subscriptions of clients that are running.
    pub subscriptions: Gauge,
    /// Subscriptions at subgraphs that are running.
    pub upstream_subscriptions: Gauge,
    /// Events that subgraphs sent.
    pub events: Counter,
    /// Events written to clients.
    pub deliveries: Counter,
    /// Subscriptions ended because their client was too slow.
    pub lagged: Counter,
    /// Attempts to subscribe again after a subgraph went away.
    pub upstream_reconnects: Counter,
    /// Supergraphs that were loaded.
    pub supergraph_loads: Counter,
    /// Supergraphs that were refused.
    pub supergraph_failures: Counter,
}

impl GatewayMetrics {
    /// Adds the counters to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        let requests = metrics.register(
            "gateway_requests",
            "Requests by transport and outcome: executed, refused or subscribed",
            Family::<ByTransportAndOutcome, Counter>::default(),
        );
        let clients = metrics.register(
            "gateway_live_clients",
            "Open connections that wait for events, by transport",
            Family::<ByTransport, Gauge>::default(),
        );
        let latency = metrics.register(
            "gateway_request_seconds",
            "Time from a request read to its answer ready, by transport",
            Family::<ByTransport, Histogram>::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 2.0, 16))
            }),
        );
        let transports = [
            Transport::Post,
            Transport::Get,
            Transport::WebSocket,
            Transport::Sse,
            Transport::Multipart,
        ]
        .map(|transport| {
            let by = |outcome| {
                requests.get_or_create_owned(&ByTransportAndOutcome { transport, outcome })
            };
            TransportMetrics {
                executed: by("executed"),
                refused: by("refused"),
                subscribed: by("subscribed"),
                clients: clients.get_or_create_owned(&ByTransport { transport }),
                latency: latency.get_or_create_owned(&ByTransport { transport }),
            }
        });
        let counter = |name, help| metrics.register(name, help, Counter::<u64>::default());
        let gauge = |name, help| metrics.register(name, help, Gauge::<i64>::default());
        Self {
            transports,
            refusals: metrics.register(
                "gateway_refusals",
                "Requests refused before execution, and subscriptions ended with an error, by code",
                Family::default(),
            ),
            panics: counter(
                "gateway_panics",
                "Requests that met a defect and were answered as an internal error",
            ),
            subscriptions: gauge("gateway_subscriptions", "Running subscriptions of clients"),
            upstream_subscriptions: gauge(
                "gateway_upstream_subscriptions",
                "Running subscriptions at subgraphs; clients with the same one share it",
            ),
            events: counter("gateway_upstream_events", "Events received from subgraphs"),
            deliveries: counter("gateway_deliveries", "Events written to clients"),
            lagged: counter(
                "gateway_lagged_subscriptions",
                "Subscriptions ended because their client was too slow",
            ),
            upstream_reconnects: counter(
                "gateway_upstream_reconnects",
                "Attempts to subscribe again after a subgraph went away",
            ),
            supergraph_loads: counter("gateway_supergraph_loads", "Supergraphs loaded"),
            supergraph_failures: counter("gateway_supergraph_failures", "Supergraphs refused"),
        }
    }

    /// Counts an answered request; `refused` says with which code, if it was.
    pub fn answered(&self, transport: Transport, refused: Option<Code>, elapsed: Duration) {
        let counters = self.of(transport);
        counters.latency.observe(elapsed.as_secs_f64());
        match refused {
            None => {
                counters.executed.inc();
            }
            Some(code) => {
                counters.refused.inc();
                self.refusal(code);
            }
        }
    }

    /// Counts a refusal outside a request of its own.
    pub fn refusal(&self, code: Code) {
        self.refusals
            .get_or_create(&ByCode {
                code: code.as_str(),
            })
            .inc();
    }

    /// Counts a subscription that began.
    pub fn subscribed(&self, transport: Transport) {
        self.of(transport).subscribed.inc();
    }

    /// Counts a client that waits for events, until the guard is dropped.
    pub fn client(&self, transport: Transport) -> GaugeGuard {
        GaugeGuard::new(&self.of(transport).clients)
    }

    fn of(&self, transport: Transport) -> &TransportMetrics {
        &self.transports[transport as usize]
    }
}

/// Counts of prepared operations. Clones share them; by default nobody sees them.
#[derive(Clone, Debug, Default)]
pub struct PrepareMetrics {
    /// Operations taken from the cache.
    pub hits: Counter,
    /// Operations that had to be prepared.
    pub misses: Counter,
    /// The estimated cost of all operations together.
    pub cost: Counter,
    /// Operations that cost more than they may.
    pub costly: Counter,
    /// Operations that were ended for their bytes or objects.
    pub over_budget: Counter,
    /// Operations in the cache, those of a graph that is being replaced among them.
    pub kept: Gauge,
    /// Bytes that they hold.
    pub kept_bytes: Gauge,
    /// New documents that wait for their turn.
    pub waiting: Gauge,
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
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySubgraph {
    subgraph: String,
}

/// Counts of requests to subgraphs. Clones share them; by default nobody sees them.
#[derive(Clone, Debug)]
pub struct SubgraphMetrics {
    failures: Family<BySubgraph, Counter>,
    shared: Family<BySubgraph, Counter>,
    latency: Family<BySubgraph, Histogram>,
}

impl Default for SubgraphMetrics {
    fn default() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        Self {
            failures: Family::default(),
            shared: Family::default(),
            latency: Family::new_with_constructor(latency),
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
            latency: metrics.register(
                "gateway_subgraph_request_seconds",
                "Time from a request to a subgraph to its whole answer, or to its failure",
                counts.latency,
            ),
        }
    }

    /// Those of one subgraph.
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

/// Counts of requests to one subgraph.
#[derive(Debug)]
pub struct OneSubgraphMetrics {
    /// Those without a whole answer, or too large to be sent.
    pub failures: Counter,
    /// Queries that joined one already in flight.
    pub shared: Counter,
    /// All, in seconds.
    pub latency: Histogram,
}

/// One more while it lives.
pub struct GaugeGuard(Gauge);

impl GaugeGuard {
    /// Counts up now, and down when dropped.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
