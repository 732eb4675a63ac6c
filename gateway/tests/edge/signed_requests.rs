//! What the gateway sends is signed, so that a subgraph can refuse everything else.

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    routing::post,
};
use graphql_transport::signature::{CLAIMS, Verifier};
use serde_json::{Value, json};

use crate::support::{
    Socket, eventually,
    gateway::{SUPERGRAPH, TestGateway},
    issuer::{Issuer, SigningKey},
    news::News,
    server::Server,
};

const MESSAGES: &str = "subscription { messages { text } }";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn gateway(secret: &str, more: &[&str]) -> TestGateway {
    let secret = format!("--subgraph-secret={secret}");
    let arguments: Vec<&str> = more.iter().copied().chain([secret.as_str()]).collect();
    let gateway = TestGateway::with(&arguments).await;
    *gateway.news.log.verifier.lock().expect("not poisoned") = verifier();
    gateway
}

fn verifier() -> Verifier {
    Verifier::new(SECRET, "news").expect("a long secret")
}

#[tokio::test]
async fn every_kind_of_request_to_a_subgraph_is_signed() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let arguments = issuer.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let gateway = gateway(
        SECRET,
        &[&arguments[..], &["--subgraph-claims=sub"]].concat(),
    )
    .await;
    for operation in [
        "{ greeting }",
        "mutation { publish(text: \"one\") { id text length } }",
    ] {
        let request = gateway.post().bearer_auth(key.token(json!({})));
        let request = request.body(json!({ "query": operation }).to_string());
        let response = request.send().await.expect("a response");
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["errors"], Value::Null, "{body}");
    }
    let mut socket = gateway.subscribed(MESSAGES).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("two");
    let expected = json!({"data": {"messages": {"text": "two"}}});
    assert_eq!(socket.next_payload("1").await, expected);
}

#[tokio::test]
async fn subscriptions_over_server_sent_events_are_signed_too() {
    let streaming = async |State(verifier): State<Verifier>, request: Request| {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a whole body");
        let head = verifier.verify_head(&parts.method, &parts.uri, &parts.headers);
        let whole = head.and_then(|head| head.verify_body(&body));
        assert!(parts.headers.contains_key(CLAIMS));
        let event = match whole {
            Ok(()) => "event: next\ndata: {\"data\":{\"messages\":{\"text\":\"signed\"}}}\n\n",
            Err(_) => "event: complete\ndata:\n\n",
        };
        ([("content-type", "text/event-stream")], event)
    };
    let app = Router::new()
        .route("/graphql", post(streaming))
        .with_state(verifier());
    let server = Server::start(app);
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let arguments = issuer.arguments();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let url = format!("--subgraph-url=news={}", server.url());
    arguments.extend([
        "--subgraph-claims=sub",
        "--subscription-sse-subgraphs=news",
        &url,
    ]);
    let gateway = gateway(SECRET, &arguments).await;
    let mut socket = Socket::open(gateway.address, &[]).await;
    let token = format!("Bearer {}", key.token(json!({})));
    socket.init(json!({ "authorization": token })).await;
    socket.subscribe("1", MESSAGES).await;
    let expected = json!({"data": {"messages": {"text": "signed"}}});
    assert_eq!(socket.next_payload("1").await, expected);
}

#[tokio::test]
async fn a_subgraph_with_another_secret_refuses() {
    for secret in ["", "fedcba9876543210fedcba9876543210"] {
        let gateway = gateway(secret, &[]).await;
        let body = gateway.query("{ greeting }").await;
        assert_eq!(
            body["errors"][0]["extensions"]["code"], "SUBREQUEST_HTTP_ERROR",
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_signature_for_another_subgraph_is_refused() {
    let gateway = gateway(SECRET, &[]).await;
    let counts = Verifier::new(SECRET, "counts").expect("a long secret");
    *gateway.news.log.verifier.lock().expect("not poisoned") = counts;
    let body = gateway.query("{ greeting }").await;
    let code = &body["errors"][0]["extensions"]["code"];
    assert_eq!(code, "SUBREQUEST_HTTP_ERROR", "{body}");
}

#[tokio::test]
async fn a_forwarded_authorization_is_signed_and_arrives() {
    let gateway = gateway(SECRET, &["--forward-headers=authorization"]).await;
    let query = json!({"query": "{ header(name: \"authorization\") }"}).to_string();
    // Equal requests within a second, each with a signature of its own.
    for _ in 0..3 {
        let request = gateway.post().header("authorization", "Bearer a, b");
        let response = request.body(query.clone()).send().await;
        let body: Value = response.expect("a response").json().await.expect("JSON");
        assert_eq!(body, json!({"data": {"header": "Bearer a, b"}}));
    }
    let mut socket = Socket::open(gateway.address, &[("authorization", "Bearer c")]).await;
    socket.init(json!({})).await;
    socket.subscribe("1", MESSAGES).await;
    gateway.news.log.until_open(1).await;
    let headers = gateway.news.log.socket_headers.lock();
    let headers = headers.expect("not poisoned");
    assert_eq!(headers[0]["authorization"], "Bearer c");
    let input = headers[0]["signature-input"].to_str().expect("text");
    assert!(input.contains("\"authorization\""), "{input}");
}

#[tokio::test]
async fn subgraphs_at_one_address_get_sockets_of_their_own() {
    let news = News::start();
    let url = news.server.url();
    let gateway = TestGateway::without_supergraph(&[
        &format!("--subgraph-url=news={url}"),
        &format!("--subgraph-url=counts={url}"),
        &format!("--subgraph-secret={SECRET}"),
    ])
    .await;
    let mut supergraph = SUPERGRAPH.to_owned();
    for (before, after) in [
        (
            "type Subscription @join__type(graph: NEWS)",
            "type Subscription @join__type(graph: NEWS) @join__type(graph: COUNTS)",
        ),
        (
            "Change! @join__field(graph: NEWS)",
            "Change! @join__field(graph: COUNTS)",
        ),
        (
            "type Change @join__type(graph: NEWS)",
            "type Change @join__type(graph: COUNTS)",
        ),
    ] {
        assert!(supergraph.contains(before), "{before}");
        supergraph = supergraph.replace(before, after);
    }
    gateway.write_supergraph(&supergraph);
    eventually("the gateway is ready", || async {
        gateway.get("/health/ready").await.status() == 200
    })
    .await;
    let mut socket = gateway.subscribed(MESSAGES).await;
    socket
        .subscribe("2", "subscription { changes { cursor } }")
        .await;
    news.log.until_open(2).await;
    let headers = news.log.socket_headers.lock().expect("not poisoned");
    let signed_for = |name: &str| {
        let key_id = format!("keyid=\"{name}\"");
        let inputs = headers.iter().map(|headers| &headers["signature-input"]);
        let inputs = inputs.filter_map(|input| input.to_str().ok());
        inputs.filter(|input| input.contains(&key_id)).count()
    };
    assert_eq!((signed_for("news"), signed_for("counts")), (1, 1));
}
