//! Subgraphs that do not support the protocol that the gateway tries first.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::sync::Notify;

use crate::support::{
    gateway::TestGateway,
    scripted::{Act, Scripted},
    server::Server,
};

const MESSAGES: &str = "subscription { messages { text } }";

async fn behind(app: Router) -> (Server, TestGateway) {
    let server = Server::start(app);
    let news = format!("--subgraph-url=news={}", server.url());
    let gateway = TestGateway::with(&[&news]).await;
    (server, gateway)
}

#[tokio::test]
async fn a_subgraph_that_accepts_no_websocket_is_asked_by_server_sent_events() {
    let stream = || async {
        let event = "event: next\ndata: {\"data\":{\"messages\":{\"text\":\"streamed\"}}}\n\n";
        let body = [event, "event: complete\ndata:\n\n"].concat();
        ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
    };
    let page = get(|| async { "no WebSocket here" });
    let (_server, gateway) = behind(Router::new().route("/graphql", page.post(stream))).await;
    let mut socket = gateway.socket().await;
    for id in ["1", "2"] {
        socket.subscribe(id, MESSAGES).await;
        let event = socket.next_payload(id).await;
        assert_eq!(event, json!({"data": {"messages": {"text": "streamed"}}}));
        assert_eq!(socket.next().await, json!({"id": id, "type": "complete"}));
    }
    assert_eq!(
        gateway.metric("gateway_upstream_reconnects_total").await,
        0.0
    );
}

#[tokio::test]
async fn a_subgraph_without_any_protocol_for_subscriptions_is_reported_at_once() {
    let page = get(|| async { "no WebSocket here" });
    let app = Router::new().route("/graphql", page.post(|| async { StatusCode::NOT_FOUND }));
    let (_server, gateway) = behind(app).await;
    let mut socket = gateway.subscribed(MESSAGES).await;
    let error = socket.next().await;
    assert_eq!(error["type"], "error", "{error}");
    let code = &error["payload"][0]["extensions"]["code"];
    assert_eq!(code, "SUBSCRIPTION_REFUSED");
    assert_eq!(
        gateway.metric("gateway_upstream_reconnects_total").await,
        0.0
    );
}

#[tokio::test]
async fn user_information_of_an_address_is_sent_with_a_request_for_server_sent_events() {
    let stream = |headers: HeaderMap| async move {
        let user = headers["authorization"].to_str().expect("text").to_owned();
        let event = json!({"data": {"messages": {"text": user}}});
        let body = format!("event: next\ndata: {event}\n\nevent: complete\ndata:\n\n");
        ([(header::CONTENT_TYPE, "text/event-stream")], body)
    };
    let server = Server::start(Router::new().route("/graphql", post(stream)));
    let url = format!("http://user:pw@{}/graphql", server.address());
    let news = format!("--subgraph-url=news={url}");
    let gateway = TestGateway::with(&[&news, "--subscription-sse-subgraphs=news"]).await;
    let mut socket = gateway.subscribed(MESSAGES).await;
    let event = socket.next_payload("1").await;
    let expected = json!({"data": {"messages": {"text": "Basic dXNlcjpwdw=="}}});
    assert_eq!(event, expected);
}

/// A stream with one event, after so many interim heads.
fn streamed_after(interim: usize) -> Act {
    let answer = [
        &*"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(interim),
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
        "event: next\ndata: {\"data\":{\"messages\":{\"text\":\"streamed\"}}}\n\n",
        "event: complete\ndata:\n\n",
    ];
    Act::Break(answer.concat().leak())
}

#[tokio::test]
async fn a_stream_that_begins_with_endless_interim_heads_is_given_up() {
    let script = [streamed_after(10), streamed_after(10_000)];
    let news = Scripted::start(Box::leak(Box::new(script))).await;
    let arguments = [
        &*news.instead_of("news"),
        "--subscription-sse-subgraphs=news",
        "--subscription-retry-time=0ms",
    ];
    let gateway = TestGateway::with(&arguments).await;
    let mut socket = gateway.subscribed(MESSAGES).await;
    let event = socket.next_payload("1").await;
    assert_eq!(event["data"]["messages"]["text"], "streamed");
    assert_eq!(socket.next().await["type"], "complete");
    socket.subscribe("2", MESSAGES).await;
    let error = socket.next().await;
    assert_eq!(error["type"], "error", "{error}");
    let code = &error["payload"][0]["extensions"]["code"];
    assert_eq!(code, "SUBSCRIPTION_UPSTREAM_LOST");
}

#[tokio::test]
async fn who_comes_between_the_last_error_and_the_end_gets_a_subscription_of_its_own() {
    // The first subscription has failed, and its end is under way for as long as the test likes.
    let error = r#"{"data":null,"errors":[{"message":"gone"}]}"#;
    let message = r#"{"data":{"messages":{"text":"a new beginning"}}}"#;
    let (end, asked) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let at_the_end = Arc::clone(&end);
    let stream = move || {
        let (end, number) = (at_the_end.clone(), asked.fetch_add(1, Ordering::SeqCst));
        let event = if number == 0 { error } else { message };
        let first = format!("event: next\ndata: {event}\n\n");
        let chunks = stream::once(async { first }).chain(stream::once(async move {
            end.notified().await;
            "event: complete\ndata:\n\n".to_owned()
        }));
        let body = Body::from_stream(chunks.map(Ok::<_, Infallible>));
        async { ([(header::CONTENT_TYPE, "text/event-stream")], body) }
    };
    let (_server, gateway) = behind(Router::new().route("/graphql", post(stream))).await;
    let mut early = gateway.subscribed(MESSAGES).await;
    let error = early.next_payload("1").await;
    assert_eq!(error["errors"].as_array().map(Vec::len), Some(1), "{error}");

    let mut late = gateway.subscribed(MESSAGES).await;
    let event = late.next_payload("1").await;
    let expected = json!({"data": {"messages": {"text": "a new beginning"}}});
    assert_eq!(event, expected);
    // Each of the two ends for itself.
    for socket in [&mut early, &mut late] {
        end.notify_one();
        assert_eq!(socket.next().await, json!({"id": "1", "type": "complete"}));
    }
}
