//! Shared subscriptions, and what happens when a subgraph or a client fails.

use serde_json::{Value, json};

use crate::support::{
    Socket, eventually,
    gateway::{SUPERGRAPH, TestGateway},
    news::News,
};

const MESSAGES: &str = "subscription { messages { text length } }";

fn event(text: &str, at: i64) -> Value {
    json!({"data": {"messages": {"text": text, "length": 100 + at}}})
}

fn change(text: &str) -> Value {
    json!({"data": {"changes": {"message": {"text": text}}}})
}

const CHANGES: &str = "subscription { changes { message { text } } }";

#[tokio::test]
async fn clients_with_the_same_subscription_share_one_and_its_work() {
    let gateway = TestGateway::start().await;
    let mut sockets = Vec::new();
    for number in 0..10 {
        let mut socket = gateway.socket().await;
        // The same in other words.
        let query = if number % 2 == 0 {
            MESSAGES
        } else {
            "subscription S { messages { ...F } } fragment F on Message { text length }"
        };
        socket.subscribe(&number.to_string(), query).await;
        sockets.push(socket);
    }
    eventually("all have joined", || async {
        gateway.metric("gateway_subscriptions").await == 10.0
    })
    .await;
    eventually("the subgraph is asked", || async {
        gateway.news.log.open() > 0
    })
    .await;
    gateway.news.log.publish("one");
    for (number, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(
            socket.next_payload(&number.to_string()).await,
            event("one", 0)
        );
    }
    assert_eq!(
        gateway.news.log.started(),
        1,
        "one upstream subscription for all"
    );
    assert_eq!(gateway.counts.asked(), 1, "each event completed once");
    // They leave one by one; the last one ends it.
    sockets.truncate(1);
    eventually("nine have left", || async {
        gateway.metric("gateway_subscriptions").await == 1.0
    })
    .await;
    assert_eq!(gateway.news.log.open(), 1);
    drop(sockets);
    gateway.news.log.until_open(0).await;
}

#[tokio::test]
async fn other_variables_or_headers_are_another_subscription() {
    let gateway = TestGateway::with(&["--forward-headers=authorization"]).await;
    let query = "subscription($t: String) { messages(topic: $t) { text } }";
    let mut sockets = Vec::new();
    for (user, topic) in [("a", "x"), ("a", "y"), ("b", "x"), ("a", "x")] {
        let mut socket = Socket::open(gateway.address, &[("authorization", user)]).await;
        socket.init(json!({})).await;
        let payload = json!({"query": query, "variables": {"t": topic}});
        socket
            .send(json!({"id": "1", "type": "subscribe", "payload": payload}))
            .await;
        sockets.push(socket);
    }
    eventually("all have joined", || async {
        gateway.metric("gateway_subscriptions").await == 4.0
    })
    .await;
    gateway.news.log.until_open(3).await;
    assert_eq!(gateway.news.log.started(), 3);
    let headers = gateway
        .news
        .log
        .socket_headers
        .lock()
        .expect("not poisoned")
        .clone();
    let mut users: Vec<&str> = headers
        .iter()
        .map(|headers| headers["authorization"].to_str().expect("text"))
        .collect();
    users.sort_unstable();
    assert_eq!(users, ["a", "b"], "one connection for each set of headers");
}

#[tokio::test]
async fn an_interruption_upstream_is_bridged_from_the_last_cursor() {
    let mut gateway = TestGateway::start().await;
    let mut socket = gateway.subscribed(CHANGES).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("before");
    assert_eq!(socket.next_payload("1").await, change("before"));
    gateway.news.server.kill();
    for text in ["meanwhile 1", "meanwhile 2"] {
        gateway.news.log.publish(text);
    }
    gateway.news.server.restart().await;
    for text in ["meanwhile 1", "meanwhile 2"] {
        assert_eq!(socket.next_payload("1").await, change(text));
    }
    gateway.news.log.publish("after");
    assert_eq!(socket.next_payload("1").await, change("after"));
    assert!(gateway.metric("gateway_upstream_reconnects_total").await >= 1.0);
}

#[tokio::test]
async fn a_clients_own_cursor_bridges_an_interruption_before_the_first_event() {
    let mut gateway = TestGateway::start().await;
    gateway.news.log.publish("known");
    let mut socket = gateway
        .subscribed("subscription { changes(after: \"c0\") { message { text } } }")
        .await;
    gateway.news.log.until_open(1).await;
    gateway.news.server.kill();
    gateway.news.log.publish("meanwhile");
    gateway.news.server.restart().await;
    assert_eq!(socket.next_payload("1").await, change("meanwhile"));
}

#[tokio::test]
async fn who_comes_late_with_the_same_cursor_misses_nothing() {
    const FROM_THE_START: &str = "subscription { changes(after: \"c0\") { message { text } } }";
    let gateway = TestGateway::start().await;
    gateway.news.log.publish("known");
    let (mut early, mut late) = (gateway.socket().await, gateway.socket().await);
    early.subscribe("1", FROM_THE_START).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("one");
    assert_eq!(early.next_payload("1").await, change("one"));
    late.subscribe("1", FROM_THE_START).await;
    assert_eq!(late.next_payload("1").await, change("one"));
    gateway.news.log.publish("two");
    for socket in [&mut early, &mut late] {
        assert_eq!(socket.next_payload("1").await, change("two"));
    }
    // Each feed ends with its last client.
    drop((early, late));
    eventually("both have ended", || async {
        gateway.metric("gateway_upstream_subscriptions").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn without_a_cursor_the_gap_is_told_and_the_stream_goes_on() {
    let mut gateway = TestGateway::start().await;
    let mut socket = gateway.subscribed(MESSAGES).await;
    gateway.news.log.until_open(1).await;
    gateway.news.server.restart().await;
    let told = socket.next_payload("1").await;
    assert_eq!(told["data"], Value::Null);
    assert_eq!(
        told["errors"][0]["extensions"]["code"],
        "SUBSCRIPTION_INTERRUPTED"
    );
    eventually("the subgraph is asked again", || async {
        gateway.news.log.started() == 2
    })
    .await;
    gateway.news.log.publish("after");
    assert_eq!(socket.next_payload("1").await, event("after", 0));
}

#[tokio::test]
async fn a_subgraph_that_does_not_come_back_ends_its_own_subscriptions_only() {
    let mut gateway = TestGateway::with(&["--subscription-retry-time=100ms"]).await;
    let mut socket = gateway.subscribed(MESSAGES).await;
    gateway.news.log.until_open(1).await;
    gateway.news.server.kill();
    let error = socket.next().await;
    assert_eq!(
        (&error["type"], &error["id"]),
        (&json!("error"), &json!("1")),
        "{error}"
    );
    assert_eq!(
        error["payload"][0]["extensions"]["code"],
        "SUBSCRIPTION_UPSTREAM_LOST"
    );
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn a_slow_client_is_told_and_delays_nobody() {
    let gateway = TestGateway::with(&["--subscription-buffer-events=16"]).await;
    let (mut slow, mut quick) = (gateway.socket().await, gateway.socket().await);
    slow.subscribe("1", CHANGES).await;
    quick.subscribe("1", CHANGES).await;
    eventually("both have joined", || async {
        gateway.metric("gateway_subscriptions").await == 2.0
    })
    .await;
    gateway.news.log.until_open(1).await;
    // The slow one reads nothing: its socket's buffers fill up, then its place in the ring is lost.
    let text = "x".repeat(200_000);
    for number in 0..200 {
        let text = format!("{number} {text}");
        gateway.news.log.publish(&text);
        assert_eq!(quick.next_payload("1").await, change(&text));
    }
    loop {
        let message = slow.next().await;
        if message["type"] == "error" {
            assert_eq!(
                message["payload"][0]["extensions"]["code"],
                "SUBSCRIPTION_LAGGED"
            );
            break;
        }
        assert_eq!(message["type"], "next");
    }
    assert_eq!(
        gateway.metric("gateway_lagged_subscriptions_total").await,
        1.0
    );
    assert_eq!(gateway.metric("gateway_subscriptions").await, 1.0);
}

#[tokio::test]
async fn a_subscription_that_the_subgraph_refuses_ends_with_its_error() {
    let gateway = TestGateway::start().await;
    // The gateway's graph has a field that the subgraph does not know.
    let sdl = crate::support::gateway::SUPERGRAPH.replace(
        "messages(topic: String): Message!",
        "unknown: Message! @join__field(graph: NEWS) messages(topic: String): Message!",
    );
    gateway.write_supergraph(&sdl);
    eventually("served", || async {
        gateway.metric("gateway_supergraph_loads_total").await == 2.0
    })
    .await;
    let mut socket = gateway
        .subscribed("subscription { unknown { text } }")
        .await;
    let told = socket.next_payload("1").await;
    assert_eq!(told["data"], Value::Null, "{told}");
    assert!(told["errors"][0]["message"].is_string());
    assert_eq!(socket.next().await, json!({"id": "1", "type": "complete"}));
}

#[tokio::test]
async fn a_subgraph_may_speak_server_sent_events() {
    // Another gateway is a subgraph that does.
    let behind = TestGateway::start().await;
    let news = format!("--subgraph-url=news={}", behind.url("/graphql"));
    let gateway = TestGateway::with(&[&news, "--subscription-sse-subgraphs=news"]).await;
    let mut socket = gateway.subscribed(CHANGES).await;
    behind.news.log.until_open(1).await;
    behind.news.log.publish("through both");
    assert_eq!(socket.next_payload("1").await, change("through both"));
    assert_eq!(gateway.news.log.started(), 0);
    assert_eq!(
        behind
            .metric("gateway_live_clients{transport=\"Sse\"}")
            .await,
        1.0
    );
    socket.send(json!({"id": "1", "type": "complete"})).await;
    behind.news.log.until_open(0).await;
}

#[tokio::test]
async fn a_feed_asks_for_the_cursor_that_its_clients_did_not_want() {
    let gateway = TestGateway::start().await;
    for text in ["zero", "one"] {
        gateway.news.log.publish(text);
    }
    let mut socket = gateway.socket().await;
    let payload = json!({
        "query": "subscription($c: String) { changes(after: $c) { message { text } } }",
        "variables": {"c": "c0"},
    });
    socket
        .send(json!({"id": "1", "type": "subscribe", "payload": payload}))
        .await;
    assert_eq!(
        socket.next_payload("1").await,
        change("one"),
        "and no cursor beside it"
    );
    let after = gateway
        .news
        .log
        .last_after
        .lock()
        .expect("not poisoned")
        .clone();
    assert_eq!(
        after.as_deref(),
        Some("c0"),
        "the client's own cursor has gone through"
    );
}

/// The supergraph in which the subgraph with the events is `news`, at another address.
fn moved_to(news: &News) -> String {
    let address = format!("name: \"moved\", url: \"{}\"", news.server.url());
    SUPERGRAPH.replace(
        "name: \"news\", url: \"http://127.0.0.1:9/graphql\"",
        &address,
    )
}

#[tokio::test]
async fn a_subgraph_that_is_gone_is_followed_to_its_new_address_from_the_last_cursor() {
    let mut gateway = TestGateway::start().await;
    let mut socket = gateway.subscribed(CHANGES).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("before");
    assert_eq!(socket.next_payload("1").await, change("before"));
    gateway.news.server.kill();
    let moved = News::start();
    for text in ["before", "meanwhile"] {
        moved.log.publish(text);
    }
    gateway.write_supergraph(&moved_to(&moved));
    assert_eq!(socket.next_payload("1").await, change("meanwhile"));
}

#[tokio::test]
async fn a_subgraph_that_is_gone_is_followed_to_its_new_address_with_a_word_of_the_gap() {
    let mut gateway = TestGateway::start().await;
    let mut socket = gateway.subscribed(MESSAGES).await;
    gateway.news.log.until_open(1).await;
    gateway.news.server.kill();
    let moved = News::start();
    gateway.write_supergraph(&moved_to(&moved));
    let told = socket.next_payload("1").await;
    assert_eq!(
        told["errors"][0]["extensions"]["code"],
        "SUBSCRIPTION_INTERRUPTED"
    );
    moved.log.until_open(1).await;
    moved.log.publish("after");
    assert_eq!(socket.next_payload("1").await, event("after", 0));
}

#[tokio::test]
async fn a_running_subscription_moves_from_subgraph_to_subgraph() {
    let gateway = TestGateway::start().await;
    let mut socket = gateway.subscribed(CHANGES).await;
    socket.subscribe("2", MESSAGES).await;
    gateway.news.log.until_open(2).await;
    gateway.news.log.publish("before");
    for _ in 0..2 {
        assert_eq!(socket.next().await["type"], "next");
    }
    let moved = News::start();
    for text in ["before", "meanwhile"] {
        moved.log.publish(text);
    }
    gateway.write_supergraph(&moved_to(&moved));
    let mut messages = [socket.next().await, socket.next().await];
    messages.sort_by_key(|message| message["id"].to_string());
    assert_eq!(messages[0]["payload"], change("meanwhile"));
    assert_eq!(
        messages[1]["payload"]["errors"][0]["extensions"]["code"],
        "SUBSCRIPTION_INTERRUPTED"
    );
}
