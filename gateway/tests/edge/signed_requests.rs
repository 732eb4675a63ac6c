//! What the gateway sends is signed, so that a subgraph can refuse everything else.

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    routing::post,
};
use graphql_transport::signature::{CLAIMS, Signer};
use serde_json::{Value, json};

use crate::support::{
    Socket,
    gateway::TestGateway,
    issuer::{Issuer, SigningKey},
    server::Server,
};

const MESSAGES: &str = "subscription { messages { text } }";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn gateway(secret: &str, more: &[&str]) -> TestGateway {
    let secret = format!("--subgraph-secret={secret}");
    let arguments: Vec<&str> = more.iter().copied().chain([secret.as_str()]).collect();
    let gateway = TestGateway::with(&arguments).await;
    let signer = Signer::new(SECRET).expect("a long secret");
    *gateway.news.log.signer.lock().expect("not poisoned") = signer;
    gateway
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
    let signer = Signer::new(SECRET).expect("a long secret");
    let streaming = async |State(signer): State<Signer>, request: Request| {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a whole body");
        let head = signer.verify(&parts.method, &parts.uri, &parts.headers, true);
        let whole = head.and_then(|()| signer.verify_body(&parts.headers, &body));
        assert!(parts.headers.contains_key(CLAIMS));
        let event = match whole {
            Ok(()) => "event: next\ndata: {\"data\":{\"messages\":{\"text\":\"signed\"}}}\n\n",
            Err(_) => "event: complete\ndata:\n\n",
        };
        ([("content-type", "text/event-stream")], event)
    };
    let app = Router::new()
        .route("/graphql", post(streaming))
        .with_state(signer);
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
