//! Events that are written straight to the sockets of streamed responses: server-sent events, and multipart subscriptions.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use super::fan_out::{CHANGES, DIRECT, numbered, text_of};
use crate::support::{Wire, eventually, gateway::TestGateway};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Events,
    Multipart,
}

const KINDS: [Kind; 2] = [Kind::Events, Kind::Multipart];

/// A client that reads HTTP/1.1 by hand, chunk by chunk.
struct EventStream {
    kind: Kind,
    wire: Wire,
    text: String,
}

impl EventStream {
    async fn subscribed(gateway: &TestGateway, kind: Kind) -> Self {
        Self::open(gateway.address, kind, json!({ "query": CHANGES })).await
    }

    async fn open(address: SocketAddr, kind: Kind, request: Value) -> Self {
        let accept = match kind {
            Kind::Events => "text/event-stream",
            Kind::Multipart => "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0",
        };
        let (mut wire, body) = (Wire::open(address).await, request.to_string());
        wire.send(&format!(
            "POST /graphql HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\naccept-encoding: gzip\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        let head = wire.head().await.to_ascii_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(!head.contains("content-encoding"), "{head}");
        Self {
            kind,
            wire,
            text: String::new(),
        }
    }

    /// The payload of the next event.
    async fn next(&mut self) -> Value {
        loop {
            let event = match self.kind {
                Kind::Events => self.take_event(),
                Kind::Multipart => self.take_part(),
            };
            match event {
                Some(event) => return event,
                None => self.read_chunk().await,
            }
        }
    }

    /// The payload of an event, whose id is its cursor.
    fn take_event(&mut self) -> Option<Value> {
        loop {
            let end = self.text.find("\n\n")? + 2;
            let event: String = self.text.drain(..end).collect();
            let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
            let Some(data) = field("data: ") else {
                assert!(event.starts_with(':'), "{event}");
                continue;
            };
            let payload: Value = serde_json::from_str(data).expect("JSON");
            if let Some(cursor) = payload["data"]["changes"]["cursor"].as_str() {
                assert_eq!(field("id: "), Some(cursor), "{event}");
            }
            return Some(payload);
        }
    }

    fn take_part(&mut self) -> Option<Value> {
        const BOUNDARY: &str = "\r\n--graphql";
        loop {
            let start = self.text.strip_prefix(BOUNDARY)?;
            let length = start.find(BOUNDARY)?;
            let (head, json) = start[..length].split_once("\r\n\r\n").expect("a head");
            assert_eq!(head, "\r\ncontent-type: application/json");
            let mut part: Value = serde_json::from_str(json).expect("JSON");
            self.text.drain(..BOUNDARY.len() + length);
            match part["payload"].take() {
                // A keep-alive, or the end.
                Value::Null if part["errors"].is_null() => {}
                Value::Null => return Some(part),
                payload => return Some(payload),
            }
        }
    }

    async fn read_chunk(&mut self) {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push(self.wire.take(1).await[0].into());
        }
        let size = usize::from_str_radix(size.trim_end(), 16).expect("a chunk's size");
        assert_ne!(size, 0, "the stream goes on");
        let data = self.wire.take(size).await;
        assert_eq!(self.wire.take(2).await, b"\r\n");
        self.text.push_str(&String::from_utf8(data).expect("text"));
    }
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Reads,
    /// Reads nothing until it may.
    Pauses,
    /// Leaves now and then, perhaps amid an event, and comes back with its cursor.
    Returns,
}

struct Client {
    habit: Habit,
    stream: EventStream,
    /// The number of the next event.
    next: usize,
}

impl Client {
    /// Reads up to the event before `end`, each event once and in order.
    async fn run(mut self, address: SocketAddr, mut may_read: watch::Receiver<bool>, end: usize) {
        if self.habit == Habit::Pauses {
            may_read.wait_for(|may| *may).await.expect("it comes");
        }
        while self.next < end {
            let payload = self.stream.next().await;
            if payload["errors"][0]["extensions"]["code"] == "SUBSCRIPTION_LAGGED" {
                self.come_back(address).await;
                continue;
            }
            let (number, text) = numbered(&payload);
            assert_eq!(number, self.next, "each once, in order");
            assert_eq!(text, text_of(number));
            self.next += 1;
            if self.habit == Habit::Returns && self.next.is_multiple_of(20) {
                self.come_back(address).await;
            }
        }
    }

    async fn come_back(&mut self, address: SocketAddr) {
        let after = json!({ "after": format!("c{}", self.next - 1) });
        let request = json!({ "query": CHANGES, "variables": after });
        self.stream = EventStream::open(address, self.stream.kind, request).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_streams_are_read_each_gets_each_event_once_and_in_order() {
    const CLIENTS: usize = 24;
    const EVENTS: usize = 200;
    let gateway = TestGateway::start().await;
    let mut socket = gateway.socket().await;
    socket.subscribe_with("1", CHANGES, json!({})).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let habits = [Habit::Reads, Habit::Pauses, Habit::Returns];
        clients.push(Client {
            habit: habits[number % habits.len()],
            stream: EventStream::subscribed(&gateway, KINDS[number % KINDS.len()]).await,
            next: 0,
        });
    }
    eventually("all have joined", || async {
        gateway.metric("gateway_subscriptions").await == (CLIENTS + 1) as f64
    })
    .await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish(&text_of(0));
    assert_eq!(numbered(&socket.next_payload("1").await).0, 0);
    eventually("all are written to directly", || async {
        gateway.metric(DIRECT).await == (CLIENTS + 1) as f64
    })
    .await;
    let (may_read, waits) = watch::channel(false);
    let mut running = JoinSet::new();
    for client in clients {
        running.spawn(client.run(gateway.address, waits.clone(), EVENTS));
    }
    for number in 1..EVENTS {
        gateway.news.log.publish(&text_of(number));
        assert_eq!(numbered(&socket.next_payload("1").await).0, number);
    }
    may_read.send_replace(true);
    running.join_all().await;
    eventually("all have left", || async {
        gateway.metric("gateway_subscriptions").await == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_full_leaves_its_group_and_comes_back() {
    for kind in KINDS {
        let gateway = TestGateway::start().await;
        let mut idle = EventStream::subscribed(&gateway, kind).await;
        let mut quick = EventStream::subscribed(&gateway, kind).await;
        gateway.news.log.until_open(1).await;
        let text = "x".repeat(100_000);
        let mut published = 0;
        while published < 2 || gateway.metric(DIRECT).await == 2.0 {
            assert!(published < 1_000, "a socket's buffers have an end");
            eventually("the quick one is written to directly", || async {
                gateway.metric(DIRECT).await >= 1.0
            })
            .await;
            gateway.news.log.publish(&text);
            assert_eq!(numbered(&quick.next().await).0, published);
            published += 1;
        }
        for number in 0..published {
            assert_eq!(numbered(&idle.next().await), (number, &*text));
        }
        for number in published..published + 3 {
            gateway.news.log.publish("short");
            for stream in [&mut idle, &mut quick] {
                assert_eq!(numbered(&stream.next().await), (number, "short"));
            }
            eventually("both are written to directly again", || async {
                gateway.metric(DIRECT).await == 2.0
            })
            .await;
        }
        drop((idle, quick));
        eventually("nobody is left", || async {
            gateway.metric(DIRECT).await == 0.0
        })
        .await;
    }
}

#[tokio::test]
async fn what_comes_behind_a_stream_waits_and_a_half_closed_one_ends() {
    for kind in KINDS {
        let gateway = TestGateway::start().await;
        let mut streams = [
            EventStream::subscribed(&gateway, kind).await,
            EventStream::subscribed(&gateway, kind).await,
            EventStream::subscribed(&gateway, kind).await,
        ];
        gateway.news.log.until_open(1).await;
        // A pipelined request is not answered before the stream has ended.
        streams[0]
            .wire
            .post("application/json", "{ greeting }")
            .await;
        for number in 0..20 {
            gateway.news.log.publish(&text_of(number));
            for stream in &mut streams {
                assert_eq!(numbered(&stream.next().await).0, number);
            }
        }
        eventually("all are written to directly", || async {
            gateway.metric(DIRECT).await == 3.0
        })
        .await;
        streams[1].wire.finish().await;
        eventually("the half-closed one has left", || async {
            gateway.metric("gateway_subscriptions").await == 2.0
        })
        .await;
        for number in 20..40 {
            gateway.news.log.publish(&text_of(number));
            for stream in [0, 2] {
                let event = streams[stream].next().await;
                assert_eq!(numbered(&event), (number, &*text_of(number)));
            }
        }
    }
}

#[tokio::test]
async fn only_who_asks_for_cursors_in_extensions_gets_them() {
    let gateway = TestGateway::start().await;
    let knows = json!({ "query": CHANGES, "extensions": { "delivery": { "version": 1 } } });
    let (mut plain, mut knowing) = (Vec::new(), Vec::new());
    for kind in KINDS {
        for _ in 0..2 {
            plain.push(EventStream::subscribed(&gateway, kind).await);
            knowing.push(EventStream::open(gateway.address, kind, knows.clone()).await);
        }
    }
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish(&text_of(0));
    // The subgraph does not say before its first event that the subscription stands.
    for stream in &mut knowing {
        let first = stream.next().await;
        assert!(first["extensions"]["delivery"].is_object(), "{first}");
    }
    for number in 0..10 {
        if number > 0 {
            gateway.news.log.publish(&text_of(number));
        }
        for stream in &mut plain {
            let event = stream.next().await;
            assert_eq!(
                (numbered(&event).0, event.get("extensions")),
                (number, None)
            );
        }
        for stream in &mut knowing {
            let event = stream.next().await;
            let cursor = &event["extensions"]["cursor"];
            assert_eq!(numbered(&event).0, number);
            assert_eq!(*cursor, format!("c{number}"));
        }
        eventually("all are written to directly", || async {
            gateway.metric(DIRECT).await == 8.0
        })
        .await;
    }
}
