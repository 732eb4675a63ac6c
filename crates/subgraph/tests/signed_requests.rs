//! Two subgraphs behind one gateway, and somebody who has recorded what it sent to one of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::{Object, Schema, Subscription};
use futures_util::{Stream, stream};
use graphql_transport::signature::{Secrets, Signer, Verifier};
use graphql_transport::testing::Wire;
use graphql_transport::{Serving, Settings, TransportMetrics};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::json;
use service::prometheus_client::registry::Registry;
use subgraph::endpoint::{self, AnySchema};
use subgraph::{Code, CodedError, Limits};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const MUTATION: &str = "mutation { write }";

#[derive(Clone, Debug, thiserror::Error)]
#[error("never")]
struct Never;

impl CodedError for Never {
    fn code(&self) -> Code {
        Code::InternalServerError
    }
}

struct Query;

#[Object]
impl Query {
    async fn fine(&self) -> &str {
        "fine"
    }
}

/// Counts how often it was written.
struct Mutation(Arc<AtomicUsize>);

#[Object]
impl Mutation {
    async fn write(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

struct Subscriptions;

#[Subscription]
impl Subscriptions {
    async fn numbers(&self) -> impl Stream<Item = i32> {
        stream::iter(1..=2)
    }
}

/// A subgraph at an address of its own, until it is dropped.
struct Subgraph {
    address: SocketAddr,
    written: Arc<AtomicUsize>,
    served: JoinHandle<()>,
}

impl Drop for Subgraph {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Subgraph {
    async fn start(name: &str) -> Self {
        let verifier = Verifier::new(SECRET, name).expect("a long secret");
        let settings = Settings {
            verifier,
            ..Settings::default()
        };
        let metrics = TransportMetrics::register(&mut Registry::default(), "test");
        let serving = Serving::new(settings, Arc::new(metrics), CancellationToken::new());
        let written = Arc::new(AtomicUsize::new(0));
        let schema = Schema::new(Query, Mutation(Arc::clone(&written)), Subscriptions);
        let schema = AnySchema::new::<Never>(schema);
        let router = endpoint::routes_within(schema, None, Limits::default(), serving);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let served = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("served");
        });
        Self {
            address,
            written,
            served,
        }
    }

    /// Sends these bytes on a new connection, and returns the status and the rest of the response's head.
    async fn sent(&self, request: &str) -> (u16, String) {
        let mut wire = Wire::open(self.address).await;
        wire.send(request).await;
        let head = wire.head().await;
        (head[9..12].parse().expect("a status"), head)
    }

    async fn status(&self, request: &str) -> u16 {
        self.sent(request).await.0
    }

    fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }
}

fn signer(name: &str) -> Signer {
    let secrets = Secrets::new(SECRET).expect("a long secret");
    secrets.signer(name)
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let lines = lines.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    lines.collect()
}

fn head(start: &str, headers: &HeaderMap) -> String {
    let mut head = format!("{start} HTTP/1.1\r\nhost: subgraph\r\n");
    for (name, value) in headers {
        let value = value.to_str().expect("text");
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

/// What the gateway sends to the subgraph with this name.
fn posted(name: &str, query: &str, more: &[(&'static str, &'static str)]) -> String {
    let body = json!({ "query": query }).to_string();
    let mut headers = headers(more);
    let signature = signer(name).sign(&Method::POST, "/graphql", Some(body.as_bytes()), &headers);
    signature.expect("a secret").add_to(&mut headers);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let head = head("POST /graphql", &headers);
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

/// The same, of a WebSocket.
fn upgrade(name: &str) -> String {
    let mut headers = headers(&[
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "graphql-transport-ws"),
    ]);
    let signature = signer(name).sign(&Method::GET, "/graphql", None, &headers);
    signature.expect("a secret").add_to(&mut headers);
    format!("{}\r\n", head("GET /graphql", &headers))
}

/// A request with one of its lines replaced; with none, it is left out.
fn with_line(request: &str, name: &str, line: Option<&str>) -> String {
    let start = request.find(&format!("\r\n{name}: ")).expect("the header");
    let end = start + 2 + request[start + 2..].find("\r\n").expect("its end");
    let line = line.map(|line| format!("\r\n{line}")).unwrap_or_default();
    format!("{}{line}{}", &request[..start], &request[end..])
}

#[tokio::test]
async fn a_recorded_upgrade_opens_one_socket_at_one_subgraph() {
    let (posts, comments) = (
        Subgraph::start("posts").await,
        Subgraph::start("comments").await,
    );
    let recorded = upgrade("posts");
    assert_eq!(comments.status(&recorded).await, 403);
    assert_eq!(posts.status(&recorded).await, 101);
    for _ in 0..2 {
        assert_eq!(posts.status(&recorded).await, 403);
        assert_eq!(comments.status(&recorded).await, 403);
    }
    // With another key of the handshake, or made into a plain request, it is the same signature.
    let key = "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==";
    let other_key = with_line(&recorded, "sec-websocket-key", Some(key));
    assert_eq!(posts.status(&other_key).await, 403);
    let plain = with_line(&recorded, "upgrade", None);
    assert_eq!(posts.status(&plain).await, 403);
    // The gateway goes on.
    assert_eq!(posts.status(&upgrade("posts")).await, 101);
    assert_eq!(comments.status(&upgrade("comments")).await, 101);
}

#[tokio::test]
async fn a_recorded_mutation_is_executed_once() {
    let (posts, comments) = (
        Subgraph::start("posts").await,
        Subgraph::start("comments").await,
    );
    let recorded = posted("posts", MUTATION, &[("authorization", "Bearer a")]);
    assert_eq!(comments.status(&recorded).await, 403);
    // With other claims, another user, or another body, before the real one has come.
    let authorization = |line| with_line(&recorded, "authorization", line);
    for changed in [
        recorded.replace("{ write }", "{ wrote }"),
        recorded.replace("POST /graphql", "POST /graphql?a=1"),
        recorded.replace("\r\nhost:", "\r\nrejoinder-claims: e30\r\nhost:"),
        recorded.replace("\r\nhost:", "\r\nauthorization: Bearer a\r\nhost:"),
        recorded.replace("\r\nhost:", "\r\ncookie: a=1\r\nhost:"),
        authorization(None),
        authorization(Some("authorization: Bearer b")),
        authorization(Some("authorization: Bearer a\r\nauthorization: Bearer b")),
        with_line(&recorded, "signature", None),
        with_line(&recorded, "signature-input", None),
        with_line(&recorded, "content-digest", None),
    ] {
        let (status, head) = posts.sent(&changed).await;
        assert_eq!(status, 403, "{changed}\n{head}");
    }
    assert_eq!(posts.written(), 0);
    assert_eq!(posts.status(&recorded).await, 200);
    for _ in 0..2 {
        assert_eq!(posts.status(&recorded).await, 403);
        assert_eq!(comments.status(&recorded).await, 403);
    }
    assert_eq!((posts.written(), comments.written()), (1, 0));
    // The same again from the gateway is another request.
    let again = posted("posts", MUTATION, &[("authorization", "Bearer a")]);
    assert_eq!(posts.status(&again).await, 200);
    assert_eq!(posts.written(), 2);
}

#[tokio::test]
async fn of_many_copies_at_the_same_time_one_is_executed() {
    let posts = Subgraph::start("posts").await;
    let recorded = posted("posts", MUTATION, &[]);
    let copies = (0..50).map(|_| posts.status(&recorded));
    let statuses = futures_util::future::join_all(copies).await;
    let accepted = statuses.iter().filter(|status| **status == 200);
    assert_eq!(accepted.count(), 1, "{statuses:?}");
    assert_eq!(posts.written(), 1);
}

#[tokio::test]
async fn huge_headers_end_only_their_own_request() {
    let posts = Subgraph::start("posts").await;
    let recorded = posted("posts", MUTATION, &[]);
    let long = "a".repeat(60_000);
    for line in [
        format!("signature-input: gateway=(\"{long}\")"),
        format!("signature-input: {}gateway=()", "a=(),".repeat(12_000)),
        format!("signature-input: gateway=({})", "\"@path\" ".repeat(7_000)),
        format!("signature-input: {}", "\"".repeat(60_000)),
        format!("signature-input: gateway=();created={long}"),
        format!("signature-input: gateway=();created=1;nonce=\"{long}\";keyid=\"posts\""),
    ] {
        let huge = with_line(&recorded, "signature-input", Some(&line));
        assert_eq!(posts.status(&huge).await, 403);
    }
    let huge = with_line(
        &recorded,
        "signature",
        Some(&format!("signature: gateway=:{long}:")),
    );
    assert_eq!(posts.status(&huge).await, 403);
    assert_eq!(posts.status(&recorded).await, 200);
}
