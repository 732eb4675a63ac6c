//! Clients of the WebSocket that read nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{EmptyMutation, Object, Schema, Subscription};
use futures_util::{Stream, stream};
use graphql_transport::testing::{Gate, PATIENCE, Socket};
use graphql_transport::{Serving, TransportMetrics};
use serde_json::{Value, json};
use service::prometheus_client::registry::Registry;
use subgraph::endpoint::AnySchema;
use subgraph::{Code, CodedError, Limits, endpoint};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers that are computed or wait for one socket.
const PLACES: usize = 64;
/// Queries that one socket may have.
const QUERIES_MAX: usize = 100;
const ANSWER_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, thiserror::Error)]
#[error("a fault")]
struct Fault;

impl CodedError for Fault {
    fn code(&self) -> Code {
        Code::InternalServerError
    }
}

struct Query(Gate);

#[Object]
impl Query {
    async fn large(&self) -> String {
        self.0.pass().await;
        "x".repeat(ANSWER_BYTES)
    }

    async fn fine(&self) -> &str {
        "fine"
    }
}

struct Subscriptions;

#[Subscription]
impl Subscriptions {
    async fn numbers(&self) -> impl Stream<Item = i32> {
        stream::iter(1..=2)
    }
}

async fn serve() -> (SocketAddr, Gate) {
    let gate = Gate::closed();
    let schema = Schema::new(Query(gate.clone()), EmptyMutation, Subscriptions);
    let limits = Limits::default();
    let settings = endpoint::settings(&limits.settings, Duration::ZERO);
    let metrics = TransportMetrics::register(&mut Registry::default(), "test");
    let serving = Serving::new(settings, Arc::new(metrics), CancellationToken::new());
    let router = endpoint::routes_within(AnySchema::new::<Fault>(schema), None, limits, serving);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, gate)
}

async fn connected(address: SocketAddr) -> Socket {
    let mut socket = Socket::open(address, &[]).await;
    socket.init(json!({})).await;
    socket
}

#[tokio::test]
async fn nothing_is_computed_for_a_socket_that_reads_nothing() {
    let (address, gate) = serve().await;
    let begun = || gate.begun();
    let mut socket = connected(address).await;
    for id in 0..2 * QUERIES_MAX {
        socket.subscribe(&id.to_string(), "{ large }").await;
    }
    // What is too much is refused, and its refusals say that all were received.
    for _ in 0..QUERIES_MAX {
        let refusal = socket.next().await;
        assert_eq!(refusal["type"], "error", "{refusal}");
        let code = &refusal["payload"][0]["extensions"]["code"];
        assert_eq!(code, "OVERLOADED", "{refusal}");
    }
    // Queries that are slow keep no event of a subscription waiting.
    socket
        .subscribe("numbers", "subscription { numbers }")
        .await;
    for expected in ["next", "next", "complete"] {
        let message = socket.next().await;
        assert_eq!(
            (&message["id"], &message["type"]),
            (&json!("numbers"), &json!(expected))
        );
    }
    assert_eq!(begun(), PLACES);

    // From here on nothing is read, and only what the connection buffers makes room for more.
    gate.open();
    let mut honest = connected(address).await;
    for (query, length) in [("{ large }", ANSWER_BYTES), ("{ fine }", 4)] {
        honest.subscribe("1", query).await;
        let answer = honest.next().await;
        let data = answer["payload"]["data"].as_object().expect("data");
        let text = data.values().next().and_then(Value::as_str);
        assert_eq!(text.map(str::len), Some(length));
        assert_eq!(honest.next().await["type"], "complete");
    }
    assert!(begun() < 90, "{} resolvers began", begun());

    // A client that reads again gets what it asked for, and the queries that waited run.
    for _ in 0..QUERIES_MAX - PLACES {
        assert_eq!(socket.next().await["type"], "next");
        assert_eq!(socket.next().await["type"], "complete");
    }
    let all = async {
        // The other socket's query is one of them.
        while begun() < QUERIES_MAX + 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .expect("all of them run");
}
