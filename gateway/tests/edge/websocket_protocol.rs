//! What the gateway adds to graphql-transport-ws: forwarded headers, counters, the subgraph's side.
//! `crates/graphql-transport/tests` covers the protocol itself.

use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Socket, gateway::TestGateway};

#[tokio::test]
async fn a_header_that_cannot_be_one_closes_with_4403() {
    let gateway = TestGateway::with(&["--forward-headers=authorization"]).await;
    let init = r#"{"type":"connection_init","payload":{"authorization":"a\nb"}}"#;
    let mut socket = Socket::open(gateway.address, &[]).await;
    socket.send_text(init).await;
    assert_eq!(socket.closed().await.0, 4403);
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_with_1009() {
    let gateway = TestGateway::with(&["--ws-message-bytes-max=1000"]).await;
    let mut socket = gateway.socket().await;
    // The gateway may close before it has read all of it.
    let _ = socket.0.send(Message::text("x".repeat(2000))).await;
    assert_eq!(socket.closed().await.0, 1009);
    let counted = "gateway_refusals_total{code=\"REQUEST_TOO_LARGE\"}";
    assert_eq!(gateway.metric(counted).await, 1.0);
    let counted = "gateway_websockets_closed_total{close_code=\"1009\"}";
    assert_eq!(gateway.metric(counted).await, 1.0);
}

#[tokio::test]
async fn a_connection_has_so_many_operations_and_no_more() {
    let gateway = TestGateway::with(&["--ws-operations-max=2"]).await;
    let mut socket = gateway.socket().await;
    for id in ["1", "2", "3"] {
        socket
            .subscribe(id, "subscription { messages { id } }")
            .await;
    }
    let error = socket.next().await;
    assert_eq!(
        (&error["type"], &error["id"]),
        (&json!("error"), &json!("3")),
        "{error}"
    );
    assert_eq!(
        error["payload"][0]["extensions"]["code"],
        "TOO_MANY_SUBSCRIPTIONS"
    );
    assert_eq!(
        gateway
            .metric("gateway_refusals_total{code=\"TOO_MANY_SUBSCRIPTIONS\"}")
            .await,
        1.0
    );
}

#[tokio::test]
async fn complete_ends_the_subscription_here_and_at_the_subgraph() {
    let gateway = TestGateway::start().await;
    let mut socket = gateway
        .subscribed("subscription { messages { text } }")
        .await;
    gateway.news.log.until_open(1).await;
    socket.send(json!({"id": "1", "type": "complete"})).await;
    gateway.news.log.until_open(0).await;
    // Nothing of it comes any more, and its id is free.
    gateway.news.log.publish("unheard");
    socket.subscribe("1", "{ greeting }").await;
    assert_eq!(
        socket.next_payload("1").await,
        json!({"data": {"greeting": "hello you"}})
    );
}

#[tokio::test]
async fn what_init_brings_stands_for_headers() {
    let gateway = TestGateway::with(&["--forward-headers=authorization"]).await;
    for payload in [
        json!({"Authorization": "Bearer 1", "x-other": "2"}),
        json!({"headers": {"authorization": "Bearer 1"}}),
    ] {
        let mut socket = Socket::open(gateway.address, &[]).await;
        socket.init(payload).await;
        socket
            .subscribe(
                "q",
                "{ a: header(name: \"authorization\") o: header(name: \"x-other\") }",
            )
            .await;
        assert_eq!(
            socket.next_payload("q").await,
            json!({"data": {"a": "Bearer 1", "o": null}})
        );
    }
}

#[tokio::test]
async fn what_the_connection_header_names_is_not_forwarded() {
    let forwarded = "--forward-headers=x-tenant,x-shared,cache-control";
    let gateway = TestGateway::with(&[forwarded]).await;
    let headers = [
        ("connection", "Upgrade, X-Tenant"),
        ("x-tenant", "1"),
        ("x-shared", "2"),
        ("cache-control", "no-store"),
    ];
    let mut socket = Socket::open(gateway.address, &headers).await;
    socket.init(json!({})).await;
    let query = "{ t: header(name: \"x-tenant\") s: header(name: \"x-shared\") c: header(name: \"cache-control\") }";
    socket.subscribe("q", query).await;
    assert_eq!(
        socket.next_payload("q").await,
        json!({ "data": { "t": null, "s": "2", "c": "no-store" } })
    );
}
