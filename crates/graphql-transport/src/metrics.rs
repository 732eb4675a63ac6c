//! Counters of the transports. Those on the way of a request are looked up once, at the start.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry},
};

use crate::code::Refused;

/// How a client speaks to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Transport {
    /// HTTP POST, one answer.
    Post,
    /// HTTP GET, one answer.
    Get,
    /// A WebSocket with the subprotocol graphql-transport-ws.
    WebSocket,
    /// Server-sent events (`text/event-stream`) over HTTP.
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCloseCode {
    close_code: u16,
}

/// Counts of one transport.
#[derive(Debug)]
struct OneTransport {
    executed: Counter,
    refused: Counter,
    subscribed: Counter,
    clients: Gauge,
    drained: Counter,
    latency: Histogram,
}

impl OneTransport {
    /// The counts of all transports, in the order of [`Transport`].
    fn register_all(named: &mut Named<'_>) -> [Self; 5] {
        let requests = named.add(
            "requests",
            "Requests by transport and outcome: executed, refused or subscribed",
            Family::<ByTransportAndOutcome, Counter>::default(),
        );
        let clients = named.add(
            "live_clients",
            "Open connections that wait for events, by transport",
            Family::<ByTransport, Gauge>::default(),
        );
        let drained = named.add(
            "drained_clients",
            "Connections that waited for events and were told to come back, because the service restarts, by transport",
            Family::<ByTransport, Counter>::default(),
        );
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let latency = named.add(
            "request_seconds",
            "Time from a request read to its answer ready, by transport",
            Family::<ByTransport, Histogram>::new_with_constructor(buckets),
        );
        [
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
            Self {
                executed: by("executed"),
                refused: by("refused"),
                subscribed: by("subscribed"),
                clients: clients.get_or_create_owned(&ByTransport { transport }),
                drained: drained.get_or_create_owned(&ByTransport { transport }),
                latency: latency.get_or_create_owned(&ByTransport { transport }),
            }
        })
    }
}

/// Requests, refusals, clients, latencies and bytes in flight of all transports of a process.
#[derive(Debug)]
pub struct TransportMetrics {
    transports: [OneTransport; 5],
    refusals: Family<ByCode, Counter>,
    websockets_closed: Family<ByCloseCode, Counter>,
    /// Tasks that wait for a turn of their client.
    pub waiting_tasks: Gauge,
    /// Requests that ended in a panic, and were answered as an internal error.
    pub panics: Counter,
    /// Bytes of request bodies that have not arrived whole.
    pub unfinished_body_bytes: Gauge,
    /// Bytes of large answers that clients have not taken.
    pub untaken_answer_bytes: Gauge,
    /// Events written to clients. A status is none.
    pub deliveries: Counter,
    /// Subscriptions ended because their client was too slow.
    pub lagged: Counter,
}

/// A registry, and the service's name, which the metrics' names begin with.
struct Named<'r> {
    registry: &'r mut Registry,
    service: &'r str,
}

impl Named<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        let name = format!("{}_{name}", self.service);
        self.registry.register(name, help, metric.clone());
        metric
    }
}

impl TransportMetrics {
    /// Adds the counters to a registry. Their names begin with the service's (`gateway_requests`).
    pub fn register(registry: &mut Registry, service: &str) -> Self {
        let mut named = Named { registry, service };
        Self {
            transports: OneTransport::register_all(&mut named),
            refusals: named.add(
                "refusals",
                "Requests refused before execution, and subscriptions ended with an error, by code",
                Family::default(),
            ),
            websockets_closed: named.add(
                "websockets_closed",
                "WebSockets that the service closed, by close code",
                Family::default(),
            ),
            waiting_tasks: named.add(
                "waiting_tasks",
                "Tasks that wait until other tasks of the same client have run",
                Gauge::default(),
            ),
            unfinished_body_bytes: named.add(
                "unfinished_body_bytes",
                "Bytes of request bodies that have not arrived whole",
                Gauge::default(),
            ),
            untaken_answer_bytes: named.add(
                "untaken_answer_bytes",
                "Bytes of answers above 64 KiB that clients have not taken",
                Gauge::default(),
            ),
            panics: named.add(
                "panics",
                "Requests that met a defect and were answered as an internal error",
                Counter::default(),
            ),
            deliveries: named.add(
                "deliveries",
                "Events written to clients",
                Counter::default(),
            ),
            lagged: named.add(
                "lagged_subscriptions",
                "Subscriptions ended because their client was too slow",
                Counter::default(),
            ),
        }
    }

    /// Counts an answered request; `refused` says with which code, if it was.
    pub fn answered(&self, transport: Transport, refused: Option<Refused>, elapsed: Duration) {
        let counters = self.of(transport);
        counters.latency.observe(elapsed.as_secs_f64());
        match refused {
            None => {
                counters.executed.inc();
            }
            Some(refused) => {
                counters.refused.inc();
                self.refusal(refused);
            }
        }
    }

    /// Counts a refusal outside a request of its own.
    pub fn refusal(&self, refused: impl Into<Refused>) {
        let code = refused.into().code;
        self.refusals.get_or_create(&ByCode { code }).inc();
    }

    /// Counts a WebSocket that the service closes with this code.
    pub fn websocket_closed(&self, close_code: u16) {
        let family = &self.websockets_closed;
        family.get_or_create(&ByCloseCode { close_code }).inc();
    }

    /// Counts a subscription that began.
    pub fn subscribed(&self, transport: Transport) {
        self.of(transport).subscribed.inc();
    }

    /// Counts a client that waits for events, until the guard is dropped; with what counts it when it is told of a
    /// shutdown.
    pub(crate) fn live_client(&self, transport: Transport) -> (GaugeGuard, Counter) {
        let counters = self.of(transport);
        (GaugeGuard::new(&counters.clients), counters.drained.clone())
    }

    fn of(&self, transport: Transport) -> &OneTransport {
        &self.transports[transport as usize]
    }
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
