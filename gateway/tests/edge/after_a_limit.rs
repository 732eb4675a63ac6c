//! A limit ends the request that met it, and nothing else on its connection.

use serde_json::{Value, json};

use crate::support::{Wire, gateway::TestGateway};

const LIMITS: [&str; 4] = [
    "--depth-max=3",
    "--request-bytes-max=1000",
    "--request-timeout=2s",
    "--representations-max=0",
];
const TOO_DEEP: &str = "{ __schema { types { fields { name } } } }";
const TOO_SLOW: &str = "{ slow(milliseconds: 60000) }";
const TOO_MANY: &str = "mutation { publish(text: \"one\") { id length } }";

fn code(answer: &Value) -> &Value {
    &answer["errors"][0]["extensions"]["code"]
}

#[tokio::test]
async fn the_others_on_its_socket_go_on() {
    let gateway = TestGateway::with(&LIMITS).await;
    let mut socket = gateway.socket().await;
    socket
        .subscribe("events", "subscription { messages { text } }")
        .await;
    gateway.news.log.until_open(1).await;
    for (id, query, expected) in [
        ("deep", TOO_DEEP, "MAX_DEPTH_EXCEEDED"),
        ("slow", TOO_SLOW, "REQUEST_TIMEOUT"),
    ] {
        socket.subscribe(id, query).await;
        let refusal = socket.next().await;
        assert_eq!(
            (&refusal["type"], &refusal["id"]),
            (&json!("error"), &json!(id)),
            "{refusal}"
        );
        assert_eq!(refusal["payload"][0]["extensions"]["code"], expected);
    }
    for text in ["one", "two"] {
        gateway.news.log.publish(text);
        assert_eq!(
            socket.next_payload("events").await,
            json!({"data": {"messages": {"text": text}}})
        );
    }
    socket.subscribe("well", "{ greeting }").await;
    assert_eq!(
        socket.next_payload("well").await,
        json!({"data": {"greeting": "hello you"}})
    );
    assert_eq!(gateway.news.log.open(), 1);
}

#[tokio::test]
async fn the_next_on_its_connection_is_answered() {
    let gateway = TestGateway::with(&LIMITS).await;
    let mut wire = Wire::open(gateway.address).await;
    let too_large = format!("{{ greeting(name: \"{}\") }}", "x".repeat(2000));
    for (query, status, expected) in [
        (TOO_DEEP, 200, "MAX_DEPTH_EXCEEDED"),
        (TOO_SLOW, 504, "REQUEST_TIMEOUT"),
        (TOO_MANY, 200, "MAX_REPRESENTATIONS_EXCEEDED"),
        (too_large.as_str(), 413, "REQUEST_TOO_LARGE"),
    ] {
        wire.post("application/json", query).await;
        let (answered, refusal) = wire.answer().await;
        assert_eq!(
            (answered, code(&refusal)),
            (status, &json!(expected)),
            "{refusal}"
        );
        wire.post("application/json", "{ greeting }").await;
        assert_eq!(
            wire.answer().await,
            (200, json!({"data": {"greeting": "hello you"}}))
        );
    }
    let failures = "gateway_subgraph_failures_total{subgraph=\"counts\"}";
    assert_eq!(gateway.metric(failures).await, 1.0);
    assert_eq!(gateway.counts.asked(), 0);
}
