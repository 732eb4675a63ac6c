//! Spans on their way to a real receiver, and to some that are none.

use std::time::{Duration, Instant};

use clap::Parser;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;
use traces::testing::{Act, Receiver};
use traces::{Exporter, Kind, Span, TraceContext, TraceMetrics, TraceSettings, Tracer};

const LIMIT: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    traces: TraceSettings,
}

struct Sender {
    tracer: Tracer,
    registry: Registry,
    end: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Sender {
    fn start(flags: &[String]) -> Self {
        let arguments = ["program".to_owned()]
            .into_iter()
            .chain(flags.iter().cloned());
        let settings = Program::parse_from(arguments).traces;
        let mut registry = Registry::default();
        let metrics = TraceMetrics::register(&mut registry);
        let made = Exporter::new(&settings, "gateway", "1.0", metrics).expect("valid settings");
        let (tracer, exporter) = made;
        let end = CancellationToken::new();
        let running = tokio::spawn(exporter.expect("it is on").run(end.clone()));
        Self {
            tracer,
            registry,
            end,
            running,
        }
    }

    fn count(&self, name: &str) -> u64 {
        let mut page = String::new();
        encode(&mut page, &self.registry).expect("text");
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect(name).parse().expect("a number")
    }

    async fn counted(&self, name: &str, expected: u64) {
        let deadline = Instant::now() + LIMIT;
        while self.count(name) != expected {
            let count = self.count(name);
            assert!(
                Instant::now() < deadline,
                "{name} is {count}, not {expected}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) {
        self.end.cancel();
        let ended = tokio::time::timeout(LIMIT, self.running).await;
        ended.expect("it ends").expect("no panic");
    }
}

fn root(tracer: &Tracer) -> Span {
    tracer.root(None, "batch", Kind::Internal)
}

#[tokio::test]
async fn a_receiver_gets_spans_as_they_were_made() {
    let receiver = Receiver::start(&[]).await;
    let mut flags = receiver.flags().to_vec();
    flags.push("--otel-exporter-otlp-headers=x-key=k%201".to_owned());
    flags.push("--otel-resource-attributes=region=eu".to_owned());
    let sender = Sender::start(&flags);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let parent = TraceContext::parse(parent.as_bytes()).expect("valid");
    {
        let mut span = sender.tracer.root(Some(parent), "request", Kind::Server);
        span.set("text", "café");
        span.set("number", -1);
        span.set("flag", true);
        span.set("long", &"é".repeat(1_000));
        span.link(&parent);
        let mut child = span.child("fetch", Kind::Client);
        child.fail("timeout", "no answer");
        child.fail("later", "is not the reason");
    }
    let request = receiver.named("request").await;
    let fetch = receiver.named("fetch").await;
    assert_eq!(
        request.of_resource("service.name").as_deref(),
        Some("gateway")
    );
    assert_eq!(
        request.of_resource("service.version").as_deref(),
        Some("1.0")
    );
    assert_eq!(request.of_resource("region").as_deref(), Some("eu"));
    assert_eq!(request.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(request.parent(), "00f067aa0ba902b7");
    assert_eq!(request.kind() as i32, Kind::Server as i32);
    assert_eq!(request.attribute("text").as_deref(), Some("café"));
    assert_eq!(request.attribute("number").as_deref(), Some("-1"));
    assert_eq!(request.attribute("flag").as_deref(), Some("true"));
    assert_eq!(request.attribute("long").map(|it| it.len()), Some(1_000));
    assert_eq!(request.span.links[0].span_id, parent.span_id);
    assert!(!request.has_failed());
    assert_eq!(fetch.parent(), request.id());
    assert_eq!(fetch.trace_id(), request.trace_id());
    assert!(fetch.has_failed());
    assert_eq!(fetch.attribute("error.type").as_deref(), Some("timeout"));
    let (outer, inner) = (&request.span, &fetch.span);
    assert!(outer.start_time_unix_nano <= inner.start_time_unix_nano);
    assert!(inner.end_time_unix_nano <= outer.end_time_unix_nano);
    // The flags say whether a parent is elsewhere.
    assert_eq!((outer.flags & 0x301, inner.flags & 0x301), (0x301, 0x101));
    let head = receiver.heads().remove(0);
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf"),
        "{head}"
    );
    assert!(head.contains("x-key: k 1"), "{head}");
    sender.counted("traces_spans_sent_total", 2).await;
    assert_eq!(sender.count("traces_waiting_bytes"), 0);
}

#[tokio::test]
async fn the_last_spans_are_sent_at_the_end() {
    let receiver = Receiver::start(&[]).await;
    let endpoint = receiver.flags()[0].clone();
    let sender = Sender::start(&[endpoint, "--otel-bsp-schedule-delay=600000".to_owned()]);
    for _ in 0..10_000 {
        root(&sender.tracer).set("number", 1);
    }
    sender.end().await;
    assert_eq!(receiver.spans().len(), 10_000);
}

#[tokio::test]
async fn a_batch_is_sent_again_when_the_receiver_is_busy_and_not_when_it_refuses() {
    let acts = [
        Act::Status(503),
        Act::Take,
        Act::Status(400),
        Act::Reject(1),
    ];
    let receiver = Receiver::start(&acts).await;
    let sender = Sender::start(&receiver.flags());
    drop(root(&sender.tracer));
    sender.counted("traces_spans_sent_total", 1).await;
    drop(root(&sender.tracer));
    let refused = "traces_spans_dropped_total{reason=\"refused\"}";
    sender.counted(refused, 1).await;
    drop(root(&sender.tracer));
    sender.counted(refused, 2).await;
    assert_eq!(sender.count("traces_spans_sent_total"), 1);
    assert_eq!(receiver.heads().len(), 4);
}

/// A receiver that is not there, and one that takes everything and never answers.
#[tokio::test]
async fn a_receiver_that_takes_nothing_costs_a_bounded_number_of_spans() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a port");
    // Nobody listens there, and nobody else can.
    let dead = format!(
        "--otel-exporter-otlp-endpoint=http://{}",
        socket.local_addr().expect("it is bound")
    );
    let silent = Receiver::start(&[Act::Silence; 100]).await;
    let silent = silent.flags()[0].clone();
    for endpoint in [dead, silent] {
        let sender = Sender::start(&[
            endpoint,
            "--otel-bsp-schedule-delay=1".to_owned(),
            "--traces-bytes-max=1048576".to_owned(),
        ]);
        let text = "x".repeat(1_000);
        for _ in 0..10_000 {
            root(&sender.tracer).set("text", &text);
            tokio::task::yield_now().await;
        }
        let dropped = sender.count("traces_spans_dropped_total{reason=\"queue_full\"}");
        assert!(dropped > 9_000, "{dropped}");
        let waiting = sender.count("traces_waiting_bytes");
        assert!(waiting <= 1_048_576, "{waiting}");
        assert_eq!(sender.count("traces_spans_sent_total"), 0);
    }
}

#[tokio::test]
async fn without_an_address_nothing_is_made() {
    let settings = Program::parse_from(["program"]).traces;
    let (tracer, exporter) =
        Exporter::new(&settings, "gateway", "1.0", TraceMetrics::default()).expect("valid");
    assert!(exporter.is_none() && !tracer.is_on());
    assert!(!root(&tracer).is_recorded());
    let sender = Sender::start(&[
        "--otel-exporter-otlp-endpoint=http://127.0.0.1:9".to_owned(),
        "--otel-traces-sampler=always_off".to_owned(),
    ]);
    assert!(!root(&sender.tracer).is_recorded());
}
