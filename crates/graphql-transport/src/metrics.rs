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
    registry::Registry,
};

use crate::code::Refused;

/// How a client speaks to the service.
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
    latency: Histogram,
}

/// The transports' counters.
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
    /// Events written to clients.
    pub deliveries: Counter,
    /// Subscriptions ended because their client was too slow.
    pub lagged: Counter,
}

impl TransportMetrics {
    /// Adds the counters to a registry. Their names begin with the service's (`gateway_requests`).
    pub fn register(registry: &mut Registry, service: &str) -> Self {
        let requests = Family::<ByTransportAndOutcome, Counter>::default();
        registry.register(
            format!("{service}_requests"),
            "Requests by transport and outcome: executed, refused or subscribed",
            requests.clone(),
        );
        let clients = Family::<ByTransport, Gauge>::default();
        registry.register(
            format!("{service}_live_clients"),
            "Open connections that wait for events, by transport",
            clients.clone(),
        );
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let latency = Family::<ByTransport, Histogram>::new_with_constructor(buckets);
        registry.register(
            format!("{service}_request_seconds"),
            "Time from a request read to its answer ready, by transport",
            latency.clone(),
        );
        let refusals = Family::default();
        registry.register(
            format!("{service}_refusals"),
            "Requests refused before execution, and subscriptions ended with an error, by code",
            Family::clone(&refusals),
        );
        let websockets_closed = Family::default();
        registry.register(
            format!("{service}_websockets_closed"),
            "WebSockets that the service closed, by close code",
            Family::clone(&websockets_closed),
        );
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(format!("{service}_{name}"), help, Gauge::clone(&gauge));
            gauge
        };
        let unfinished_body_bytes = gauge(
            "unfinished_body_bytes",
            "Bytes of request bodies that have not arrived whole",
        );
        let untaken_answer_bytes = gauge(
            "untaken_answer_bytes",
            "Bytes of answers above 64 KiB that clients have not taken",
        );
        let waiting_tasks = gauge(
            "waiting_tasks",
            "Tasks that wait until other tasks of the same client have run",
        );
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(format!("{service}_{name}"), help, Counter::clone(&counter));
            counter
        };
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
            OneTransport {
                executed: by("executed"),
                refused: by("refused"),
                subscribed: by("subscribed"),
                clients: clients.get_or_create_owned(&ByTransport { transport }),
                latency: latency.get_or_create_owned(&ByTransport { transport }),
            }
        });
        Self {
            transports,
            refusals,
            websockets_closed,
            waiting_tasks,
            unfinished_body_bytes,
            untaken_answer_bytes,
            panics: counter(
                "panics",
                "Requests that met a defect and were answered as an internal error",
            ),
            deliveries: counter("deliveries", "Events written to clients"),
            lagged: counter(
                "lagged_subscriptions",
                "Subscriptions ended because their client was too slow",
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

    /// Counts a client that waits for events, until the guard is dropped.
    pub fn client(&self, transport: Transport) -> GaugeGuard {
        GaugeGuard::new(&self.of(transport).clients)
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
