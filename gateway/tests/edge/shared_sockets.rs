//! Many subscriptions share a WebSocket to a subgraph: one of them never harms the others.

use serde_json::{Value, json};

use crate::support::{
    Socket, eventually,
    gateway::TestGateway,
    picky::{BOMB, FREEZE, POISON, Picky},
};

const TOPIC: &str = "subscription($topic: String) { messages(topic: $topic) { text } }";

async fn subscribe(socket: &mut Socket, id: &str, topic: &str) {
    let payload = json!({"query": TOPIC, "variables": {"topic": topic}});
    socket
        .send(json!({"id": id, "type": "subscribe", "payload": payload}))
        .await;
}

/// The code of the `error` that comes next.
async fn refused(socket: &mut Socket) -> Value {
    let error = socket.next().await;
    assert_eq!(error["type"], "error", "{error}");
    error["payload"][0]["extensions"]["code"].clone()
}

fn event(text: &str) -> Value {
    json!({"data": {"messages": {"text": text}}})
}

fn code(payload: &Value) -> &Value {
    &payload["errors"][0]["extensions"]["code"]
}

/// A client with a subscription that runs.
async fn bystander(gateway: &TestGateway, picky: &Picky) -> Socket {
    let mut socket = gateway.socket().await;
    subscribe(&mut socket, "1", "harmless").await;
    eventually("it runs", || async { picky.running() == 1 }).await;
    // From its first event on, the gateway knows that the subgraph takes it.
    picky.publish("first");
    assert_eq!(socket.next_payload("1").await, event("first"));
    socket
}

#[tokio::test]
async fn an_operation_that_ends_the_shared_socket_is_refused_and_interrupts_the_others_once() {
    let picky = Picky::start();
    let gateway = TestGateway::with(&[&picky.instead_of("news")]).await;
    let mut bystander = bystander(&gateway, &picky).await;
    let mut sender = gateway.socket().await;
    subscribe(&mut sender, "1", POISON).await;
    assert_eq!(refused(&mut sender).await, "SUBSCRIPTION_REFUSED");
    let interrupted = bystander.next_payload("1").await;
    assert_eq!(code(&interrupted), "SUBSCRIPTION_INTERRUPTED");
    let sockets = picky.sockets_of(POISON);
    assert_eq!(sockets.len(), 2, "once among others, once alone");
    assert!(!picky.sockets_of("harmless").contains(&sockets[1]));
    // Again and again: it reaches the subgraph no more.
    for id in ["2", "3"] {
        subscribe(&mut sender, id, POISON).await;
        assert_eq!(refused(&mut sender).await, "SUBSCRIPTION_REFUSED");
    }
    assert_eq!(picky.sockets_of(POISON), sockets);
    eventually("it runs again", || async { picky.running() == 1 }).await;
    picky.publish("second");
    assert_eq!(bystander.next_payload("1").await, event("second"));
    assert_eq!(
        gateway.metric("gateway_upstream_quarantined_total").await,
        1.0
    );
}

#[tokio::test]
async fn other_operations_of_the_kind_interrupt_nobody_any_more() {
    let picky = Picky::start();
    let gateway = TestGateway::with(&[&picky.instead_of("news")]).await;
    let mut bystander = bystander(&gateway, &picky).await;
    let mut sender = gateway.socket().await;
    for number in 0..4 {
        subscribe(&mut sender, "1", &format!("{POISON} {number}")).await;
        assert_eq!(refused(&mut sender).await, "SUBSCRIPTION_REFUSED");
    }
    assert_eq!(picky.sockets_of(POISON).len(), 8);
    let interrupted = bystander.next_payload("1").await;
    assert_eq!(code(&interrupted), "SUBSCRIPTION_INTERRUPTED");
    eventually("it runs again", || async { picky.running() == 1 }).await;
    picky.publish("second");
    assert_eq!(bystander.next_payload("1").await, event("second"));
    assert_eq!(picky.sockets_of("harmless").len(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_at_once_leaves_its_operation_in_quarantine() {
    let picky = Picky::start();
    let gateway = TestGateway::with(&[&picky.instead_of("news")]).await;
    let mut bystander = bystander(&gateway, &picky).await;
    let mut sender = gateway.socket().await;
    subscribe(&mut sender, "1", POISON).await;
    eventually("it has reached the subgraph", || async {
        !picky.sockets_of(POISON).is_empty()
    })
    .await;
    drop(sender);
    let interrupted = bystander.next_payload("1").await;
    assert_eq!(code(&interrupted), "SUBSCRIPTION_INTERRUPTED");
    let mut sender = gateway.socket().await;
    subscribe(&mut sender, "1", POISON).await;
    assert_eq!(refused(&mut sender).await, "SUBSCRIPTION_REFUSED");
    eventually("it runs again", || async { picky.running() == 1 }).await;
    picky.publish("second");
    assert_eq!(bystander.next_payload("1").await, event("second"));
}

#[tokio::test]
async fn a_socket_that_ends_without_a_close_is_blamed_on_what_was_sent_last() {
    let picky = Picky::start();
    let gateway = TestGateway::with(&[&picky.instead_of("news")]).await;
    let mut bystander = bystander(&gateway, &picky).await;
    let mut sender = gateway.socket().await;
    subscribe(&mut sender, "1", BOMB).await;
    assert_eq!(refused(&mut sender).await, "SUBSCRIPTION_REFUSED");
    assert_eq!(picky.sockets_of(BOMB).len(), 3, "twice alone");
    let interrupted = bystander.next_payload("1").await;
    assert_eq!(code(&interrupted), "SUBSCRIPTION_INTERRUPTED");
    eventually("it runs again", || async { picky.running() == 1 }).await;
    picky.publish("second");
    assert_eq!(bystander.next_payload("1").await, event("second"));
}

#[tokio::test]
async fn a_subgraph_that_falls_silent_blames_no_operation() {
    let picky = Picky::start();
    let news = picky.instead_of("news");
    let gateway = TestGateway::with(&[&news, "--subscription-keep-alive=20ms"]).await;
    let mut socket = gateway.socket().await;
    subscribe(&mut socket, "1", FREEZE).await;
    eventually("it is tried again and again", || async {
        picky.sockets_of(FREEZE).len() > 4
    })
    .await;
    let quarantined = gateway.metric("gateway_upstream_quarantined_total").await;
    assert_eq!(quarantined, 0.0);
}

#[tokio::test]
async fn what_is_too_large_for_a_subgraph_is_refused_before_it_is_sent() {
    let gateway = TestGateway::with(&["--subscription-request-bytes-max=2000"]).await;
    let long = "x".repeat(2_000);
    let mut socket = gateway.socket().await;
    subscribe(&mut socket, "1", &long).await;
    assert_eq!(refused(&mut socket).await, "SUBSCRIPTION_TOO_LARGE");
    let literal = format!("subscription {{ messages(topic: \"{long}\") {{ text }} }}");
    socket.subscribe("2", &literal).await;
    assert_eq!(refused(&mut socket).await, "SUBSCRIPTION_TOO_LARGE");
    let request = gateway.post().header("accept", "text/event-stream");
    let answer = request.body(json!({ "query": literal }).to_string());
    let answer = answer.send().await.expect("an answer");
    let text = answer.text().await.expect("text");
    assert!(text.contains("SUBSCRIPTION_TOO_LARGE"), "{text}");
    assert_eq!(gateway.news.asked(), 0);
}

#[tokio::test]
async fn a_lone_surrogate_is_refused_at_its_place_on_every_transport() {
    let gateway = TestGateway::start().await;
    let expected = "$topic has a lone surrogate (\\ud800) at byte 11 of the variables: it is not a valid character";
    let mut socket = gateway.socket().await;
    let text = format!(
        r#"{{"id":"1","type":"subscribe","payload":{{"query":"{TOPIC}","variables":{{"topic":"a\ud800"}}}}}}"#
    );
    socket.send_text(&text).await;
    let error = socket.next().await;
    assert_eq!(error["payload"][0]["message"], expected, "{error}");
    assert_eq!(error["payload"][0]["extensions"]["code"], "BAD_USER_INPUT");
    for query in [
        "query($topic: String) { greeting(name: $topic) }",
        "mutation($topic: String!) { publish(text: $topic) { id } }",
    ] {
        let body = format!(r#"{{"query":"{query}","variables":{{"topic":"a\ud800"}}}}"#);
        let answer = gateway.post().body(body).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["errors"][0]["message"], expected, "{answer}");
    }
    // In a literal it is a fault of the document.
    socket
        .subscribe(
            "2",
            "subscription { messages(topic: \"\\ud800\") { text } }",
        )
        .await;
    assert_eq!(refused(&mut socket).await, "GRAPHQL_PARSE_FAILED");
    assert_eq!(gateway.news.asked(), 0);
}
