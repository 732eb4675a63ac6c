//! The limits on different subscriptions at subgraphs, and when two subscriptions count as
//! different.

use std::{collections::HashMap, net::Ipv4Addr};

use serde_json::{Value, json};

use crate::support::{Socket, eventually, gateway::TestGateway, picky::Picky};

const TOPIC: &str = "subscription($topic: String) { messages(topic: $topic) { text } }";

async fn subscribe(socket: &mut Socket, id: &str, query: &str, variables: Value) {
    let payload = json!({"query": query, "variables": variables});
    socket
        .send(json!({"id": id, "type": "subscribe", "payload": payload}))
        .await;
}

async fn follow(socket: &mut Socket, topic: &str) {
    subscribe(socket, topic, TOPIC, json!({ "topic": topic })).await;
}

/// The code of the `error` that comes next.
async fn refused(socket: &mut Socket) -> Value {
    let error = socket.next().await;
    assert_eq!(error["type"], "error", "{error}");
    error["payload"][0]["extensions"]["code"].clone()
}

async fn running(gateway: &TestGateway, clients: f64, upstream: i64) {
    eventually("all run", || async {
        gateway.metric("gateway_subscriptions").await == clients
            && gateway.news.log.open() == upstream
    })
    .await;
}

#[tokio::test]
async fn conditions_are_decided_before_subscriptions_are_shared() {
    let gateway = TestGateway::start().await;
    let names: Vec<String> = (0..15).map(|number| format!("v{number}")).collect();
    let declared: Vec<String> = names
        .iter()
        .map(|name| format!("${name}: Boolean!"))
        .collect();
    let selected: Vec<String> = names
        .iter()
        .map(|name| format!("text @include(if: ${name})"))
        .collect();
    let query = format!(
        "subscription({}) {{ messages {{ id {} }} }}",
        declared.join(" "),
        selected.join(" ")
    );
    let mut socket = gateway.socket().await;
    for chosen in &names {
        let values = names
            .iter()
            .map(|name| (name.clone(), json!(name == chosen)));
        subscribe(&mut socket, chosen, &query, values.collect()).await;
    }
    running(&gateway, 15.0, 1).await;
    assert_eq!(gateway.news.log.started(), 1, "all have the same selection");
    gateway.news.log.publish("one");
    for _ in &names {
        let event = socket.next().await;
        let expected = json!({"data": {"messages": {"id": "0", "text": "one"}}});
        assert_eq!(event["payload"], expected);
    }
}

#[tokio::test]
async fn other_defaults_are_another_subscription() {
    let gateway = TestGateway::start().await;
    let mut socket = gateway.socket().await;
    for topic in ["a", "b"] {
        let query =
            format!("subscription($t: String = \"{topic}\") {{ messages(topic: $t) {{ text }} }}");
        subscribe(&mut socket, topic, &query, json!({})).await;
    }
    running(&gateway, 2.0, 2).await;
}

#[tokio::test]
async fn a_client_that_begins_too_many_different_subscriptions_is_the_only_one_refused() {
    let gateway = TestGateway::with(&["--subscription-upstream-client-max=2"]).await;
    let (mut greedy, mut other) = (gateway.socket().await, gateway.socket().await);
    for topic in ["a", "b"] {
        follow(&mut greedy, topic).await;
    }
    running(&gateway, 2.0, 2).await;
    follow(&mut greedy, "c").await;
    assert_eq!(refused(&mut greedy).await, "TOO_MANY_SUBSCRIPTIONS");
    follow(&mut other, "c").await;
    running(&gateway, 3.0, 3).await;
    // What another one has begun is no more work for the subgraph.
    follow(&mut greedy, "c").await;
    running(&gateway, 4.0, 3).await;
    greedy.send(json!({"id": "a", "type": "complete"})).await;
    running(&gateway, 3.0, 2).await;
    follow(&mut greedy, "d").await;
    running(&gateway, 4.0, 3).await;
}

#[tokio::test]
async fn beyond_the_limit_of_all_clients_only_what_runs_can_be_joined() {
    let gateway = TestGateway::with(&["--subscription-upstream-max=2"]).await;
    let mut early = [gateway.socket().await, gateway.socket().await];
    for (socket, topic) in early.iter_mut().zip(["a", "b"]) {
        follow(socket, topic).await;
    }
    running(&gateway, 2.0, 2).await;
    let mut late = gateway.socket().await;
    follow(&mut late, "c").await;
    assert_eq!(refused(&mut late).await, "SUBSCRIPTION_LIMIT_REACHED");
    follow(&mut late, "a").await;
    running(&gateway, 3.0, 2).await;
    early[1].send(json!({"id": "b", "type": "complete"})).await;
    running(&gateway, 2.0, 1).await;
    follow(&mut late, "c").await;
    running(&gateway, 3.0, 2).await;
}

#[tokio::test]
async fn at_the_limit_of_all_clients_the_one_with_the_most_makes_room() {
    let gateway = TestGateway::with(&["--subscription-upstream-max=3"]).await;
    let mut greedy = gateway.socket().await;
    for topic in ["a", "b", "c"] {
        follow(&mut greedy, topic).await;
        eventually("it runs", || async {
            gateway.news.log.open() == i64::from(topic.as_bytes()[0] - b'a') + 1
        })
        .await;
    }
    let (mut other, mut third) = (gateway.socket().await, gateway.socket().await);
    // A subscription that another address shares does not end.
    follow(&mut third, "c").await;
    running(&gateway, 4.0, 3).await;
    follow(&mut other, "d").await;
    let ended = greedy.next().await;
    assert_eq!(
        (&ended["type"], &ended["id"]),
        (&json!("error"), &json!("b"))
    );
    let code = &ended["payload"][0]["extensions"]["code"];
    assert_eq!(code, "SUBSCRIPTION_LIMIT_REACHED");
    running(&gateway, 4.0, 3).await;
    // Now none has more than one more.
    follow(&mut other, "e").await;
    assert_eq!(refused(&mut other).await, "SUBSCRIPTION_LIMIT_REACHED");
    running(&gateway, 4.0, 3).await;
    let ended = gateway.metric("gateway_limited_subscriptions_total").await;
    assert_eq!(ended, 1.0);
}

#[tokio::test]
async fn at_the_limit_many_sockets_of_one_address_make_room_for_another() {
    let gateway = TestGateway::with(&["--subscription-upstream-max=3"]).await;
    let mut flood = Vec::new();
    for topic in ["a", "b", "c"] {
        let mut socket = gateway.socket().await;
        follow(&mut socket, topic).await;
        flood.push(socket);
        running(&gateway, flood.len() as f64, flood.len() as i64).await;
    }
    // Its beginner leaves: it still counts for the address.
    follow(&mut flood[0], "c").await;
    running(&gateway, 4.0, 3).await;
    flood[2].send(json!({"id": "c", "type": "complete"})).await;
    running(&gateway, 3.0, 3).await;

    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    let mut other = gateway.socket_from(elsewhere).await;
    follow(&mut other, "d").await;
    assert_eq!(refused(&mut flood[0]).await, "SUBSCRIPTION_LIMIT_REACHED");
    running(&gateway, 3.0, 3).await;
    // Now the other address has one less: neither makes room.
    let mut third = gateway.socket_from(elsewhere).await;
    follow(&mut third, "e").await;
    assert_eq!(refused(&mut third).await, "SUBSCRIPTION_LIMIT_REACHED");
    let mut late = gateway.socket().await;
    follow(&mut late, "f").await;
    assert_eq!(refused(&mut late).await, "SUBSCRIPTION_LIMIT_REACHED");
    running(&gateway, 3.0, 3).await;
}

#[tokio::test]
async fn a_subgraphs_limit_of_operations_on_a_socket_is_never_met() {
    let picky = Picky::with(3);
    let news = picky.instead_of("news");
    let gateway = TestGateway::with(&[&news, "--subscription-socket-operations-max=3"]).await;
    let mut socket = gateway.socket().await;
    for topic in 0..8 {
        follow(&mut socket, &format!("topic {topic}")).await;
    }
    eventually("all run", || async { picky.running() == 8 }).await;
    assert_eq!(gateway.metric("gateway_upstream_sockets").await, 3.0);
    // Others take the places of those that leave.
    for topic in 0..4 {
        let end = json!({"id": format!("topic {topic}"), "type": "complete"});
        socket.send(end).await;
        follow(&mut socket, &format!("topic {}", 10 + topic)).await;
    }
    eventually("all have arrived", || async {
        picky.sockets_of("topic").len() == 12 && picky.running() == 8
    })
    .await;
    let mut arrived: HashMap<usize, usize> = HashMap::new();
    for number in picky.sockets_of("topic") {
        *arrived.entry(number).or_default() += 1;
    }
    picky.publish("event");
    for _ in 0..8 {
        let message = socket.next().await;
        assert_eq!(
            message["payload"]["data"]["messages"]["text"], "event",
            "{message}"
        );
    }
    assert_eq!(
        gateway.metric("gateway_upstream_reconnects_total").await,
        0.0
    );
    assert!(arrived.len() <= 4, "{arrived:?}");
}

#[tokio::test]
async fn the_clients_of_an_address_begin_so_many_subscriptions_together() {
    let gateway = TestGateway::with(&["--subscription-upstream-address-max=2"]).await;
    let (mut one, mut neighbour) = (gateway.socket().await, gateway.socket().await);
    follow(&mut one, "a").await;
    follow(&mut neighbour, "b").await;
    running(&gateway, 2.0, 2).await;
    follow(&mut one, "c").await;
    assert_eq!(refused(&mut one).await, "TOO_MANY_SUBSCRIPTIONS");
    follow(&mut one, "b").await;
    let mut other = gateway.socket_from(Ipv4Addr::new(127, 0, 0, 2)).await;
    follow(&mut other, "c").await;
    running(&gateway, 4.0, 3).await;
    drop(neighbour);
    running(&gateway, 3.0, 3).await;
    follow(&mut one, "d").await;
    running(&gateway, 4.0, 4).await;
}

#[tokio::test]
async fn an_address_with_many_subscriptions_has_sockets_of_its_own() {
    let picky = Picky::start();
    let news = picky.instead_of("news");
    let gateway = TestGateway::with(&[&news, "--subscription-shared-sockets-address-max=2"]).await;
    let mut greedy = gateway.socket_from(Ipv4Addr::new(127, 0, 0, 2)).await;
    for topic in 0..6 {
        follow(&mut greedy, &format!("greedy {topic}")).await;
        eventually("it runs", || async { picky.running() == topic + 1 }).await;
    }
    let mut modest = gateway.socket().await;
    follow(&mut modest, "modest").await;
    eventually("it runs", || async { picky.running() == 7 }).await;
    let sockets = picky.sockets_of("greedy");
    let shared = sockets[0];
    assert_eq!(picky.sockets_of("modest"), [shared]);
    assert_eq!(sockets.iter().filter(|it| **it == shared).count(), 2);
    assert_eq!(gateway.metric("gateway_upstream_sockets").await, 2.0);
    picky.publish("event");
    for _ in 0..6 {
        let message = greedy.next().await;
        let text = &message["payload"]["data"]["messages"]["text"];
        assert_eq!(text, "event", "{message}");
    }
}
