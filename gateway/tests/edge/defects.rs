//! A defect of the gateway harms the request that meets it, and nothing else.

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Socket, Wire, defect, gateway::TestGateway};

/// Logged while a request is executed.
const IN_EXECUTION: &str = "a subgraph request failed";
/// Meets it once the subgraph of `length` is away.
const MUTATION: &str = "mutation { publish(text: \"t\") { length } }";
const PANICS: &str = "gateway_panics_total";

#[tokio::test]
async fn a_panic_is_answered_and_the_http_connection_goes_on() {
    let mut gateway = TestGateway::start().await;
    gateway.counts.server.kill();
    let _defect = defect::where_logged(IN_EXECUTION);
    let mut wire = Wire::open(gateway.address).await;
    for _ in 0..2 {
        wire.post("application/json", MUTATION).await;
        let (status, answer) = wire.answer().await;
        assert_eq!(status, 500);
        assert_eq!(
            answer,
            json!({"errors": [{"message": "internal error", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]})
        );
        wire.post("application/json", "{ greeting }").await;
        assert_eq!(
            wire.answer().await,
            (200, json!({"data": {"greeting": "hello you"}}))
        );
    }
    assert_eq!(gateway.metric(PANICS).await, 2.0);
}

#[tokio::test]
async fn a_panic_is_answered_and_the_other_operations_of_the_socket_go_on() {
    let mut gateway = TestGateway::start().await;
    let mut socket = gateway.socket().await;
    socket
        .subscribe("live", "subscription { changes { message { text } } }")
        .await;
    gateway.news.log.until_open(1).await;
    gateway.counts.server.kill();
    let _defect = defect::where_logged(IN_EXECUTION);
    socket
        .subscribe("bad", "mutation { publish(text: \"before\") { length } }")
        .await;
    let mut messages = [socket.next().await, socket.next().await];
    messages.sort_by_key(|message| message["id"].to_string());
    assert_eq!(messages[0]["type"], "error");
    assert_eq!(
        messages[0]["payload"][0]["extensions"]["code"],
        "INTERNAL_SERVER_ERROR"
    );
    assert_eq!(
        messages[1]["payload"]["data"]["changes"]["message"]["text"],
        "before"
    );
    socket.subscribe("good", "{ greeting }").await;
    assert_eq!(
        socket.next_payload("good").await,
        json!({"data": {"greeting": "hello you"}})
    );
}

#[tokio::test]
async fn an_event_that_meets_a_panic_is_an_error_and_the_subscription_goes_on() {
    let mut gateway = TestGateway::start().await;
    let mut socket = gateway
        .subscribed("subscription { messages { text length } }")
        .await;
    gateway.news.log.until_open(1).await;
    gateway.counts.server.kill();
    let _defect = defect::where_logged(IN_EXECUTION);
    gateway.news.log.publish("lost");
    let told = socket.next_payload("1").await;
    assert_eq!(
        told["errors"][0]["extensions"]["code"],
        "INTERNAL_SERVER_ERROR"
    );
    gateway.counts.server.restart().await;
    gateway.news.log.publish("after");
    assert_eq!(
        socket.next_payload("1").await,
        json!({"data": {"messages": {"text": "after", "length": 101}}})
    );
}

#[tokio::test]
async fn a_panic_outside_of_any_operation_is_answered_too() {
    let empty = TempDir::new().expect("a folder");
    let pages = format!("--web-dir={}", empty.path().display());
    let gateway = TestGateway::with(&["--development", &pages]).await;
    let _defect =
        defect::where_logged("there is no built GraphiQL page, serving the one from a CDN");
    let mut wire = Wire::open(gateway.address).await;
    wire.send(
        "GET /graphql HTTP/1.1\r\nhost: localhost\r\naccept: text/html, application/json\r\n\r\n",
    )
    .await;
    let (status, answer) = wire.answer().await;
    assert_eq!(
        (status, &answer["errors"][0]["extensions"]["code"]),
        (500, &json!("INTERNAL_SERVER_ERROR"))
    );
    wire.post("application/json", "{ greeting }").await;
    assert_eq!(wire.answer().await.0, 200);
}

#[tokio::test]
async fn a_panic_of_the_socket_itself_closes_it_with_4500() {
    let gateway = TestGateway::start().await;
    let _defect = defect::where_logged("a WebSocket message is not of the protocol");
    let (mut broken, mut whole) = (gateway.socket().await, gateway.socket().await);
    broken.send_text("nonsense").await;
    assert_eq!(
        broken.closed().await,
        (4500, "Internal server error".to_owned())
    );
    whole.subscribe("1", "{ greeting }").await;
    assert_eq!(
        whole.next_payload("1").await,
        json!({"data": {"greeting": "hello you"}})
    );
    Socket::open(gateway.address, &[])
        .await
        .init(json!({}))
        .await;
    assert_eq!(gateway.metric(PANICS).await, 1.0);
}
