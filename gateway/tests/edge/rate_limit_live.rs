//! The rate limit of subscriptions: each event is charged, and none is lost.

use std::net::Ipv4Addr;

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::gateway::TestGateway;

/// Gives back one unit a minute: nothing within a test.
const SLOW: &str = "--rate-limit=60/1h";
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// An event costs 2.
const CHANGES: &str =
    "subscription($after: String) { changes(after: $after) { cursor message { text } } }";
/// An event costs 1.
const MESSAGES: &str = "subscription { messages { text } }";

fn text(payload: &Value) -> &Value {
    &payload["data"]["changes"]["message"]["text"]
}

#[tokio::test]
async fn events_above_the_limit_end_a_subscription_with_its_cursor() {
    let gateway = TestGateway::with(&[SLOW, "--rate-limit-burst=6"]).await;
    let mut limited = gateway.socket().await;
    limited.subscribe("1", CHANGES).await;
    // Shares the upstream, and has a bucket of its own, from which the start of another one is taken.
    let mut other = gateway.socket_from(ELSEWHERE).await;
    other.subscribe("1", CHANGES).await;
    gateway.news.log.until_open(1).await;
    let running = || async { gateway.metric("gateway_subscriptions").await == 2.0 };
    crate::support::eventually("both are running", running).await;
    for published in ["zero", "one"] {
        gateway.news.log.publish(published);
        for socket in [&mut limited, &mut other] {
            assert_eq!(text(&socket.next_payload("1").await), published);
        }
    }
    // One unit is left to each, and this one has another use for it.
    limited.subscribe("2", "{ greeting }").await;
    limited.next_payload("2").await;
    assert_eq!(limited.next().await["type"], "complete");
    gateway.news.log.publish("two");
    for socket in [&mut limited, &mut other] {
        let end = socket.next().await;
        assert_eq!((&end["type"], &end["id"]), (&json!("error"), &json!("1")));
        let extensions = &end["payload"][0]["extensions"];
        assert_eq!(extensions["code"], "RATE_LIMITED");
        assert_eq!(extensions["cursor"], "c1");
        // For the start, and for the event that comes next.
        let wait = extensions["retryAfter"].as_u64().expect("whole seconds");
        assert!((61..=180).contains(&wait), "{wait}");
    }
    let reason = "gateway_rate_limit_exceeded_total{reason=\"event\",result=\"refused\"}";
    assert_eq!(gateway.metric(reason).await, 2.0);
    let code = "gateway_refusals_total{code=\"RATE_LIMITED\"}";
    assert_eq!(gateway.metric(code).await, 2.0);
    // The upstream is not needed any more.
    gateway.news.log.until_open(0).await;
    let mut third = gateway.socket_from(Ipv4Addr::new(127, 0, 0, 3)).await;
    third
        .subscribe_with("1", CHANGES, json!({"after": "c1"}))
        .await;
    assert_eq!(text(&third.next_payload("1").await), "two");
}

#[tokio::test]
async fn events_that_are_written_directly_are_charged() {
    // For the start, and five events.
    let gateway = TestGateway::with(&[SLOW, "--rate-limit-burst=11"]).await;
    let mut sockets = [
        gateway.socket().await,
        gateway.socket_from(ELSEWHERE).await,
        gateway.socket_from(Ipv4Addr::new(127, 0, 0, 3)).await,
    ];
    for socket in &mut sockets {
        socket.subscribe("1", CHANGES).await;
    }
    gateway.news.log.until_open(1).await;
    let direct = |clients| {
        let gateway = &gateway;
        crate::support::eventually("they are written to directly", move || async move {
            gateway.metric("gateway_direct_subscriptions").await == f64::from(clients)
        })
    };
    for published in ["zero", "one", "two", "three"] {
        gateway.news.log.publish(published);
        for socket in &mut sockets {
            assert_eq!(text(&socket.next_payload("1").await), published);
        }
        direct(3).await;
    }
    // The first has another use for what is left.
    let [limited, others @ ..] = &mut sockets;
    for id in ["2", "3"] {
        limited.subscribe(id, "{ greeting }").await;
        limited.next_payload(id).await;
        assert_eq!(limited.next().await["type"], "complete");
    }
    direct(3).await;
    gateway.news.log.publish("four");
    let end = limited.next().await;
    let extensions = &end["payload"][0]["extensions"];
    assert_eq!(
        (&extensions["code"], &extensions["cursor"]),
        (&json!("RATE_LIMITED"), &json!("c3"))
    );
    for socket in others.iter_mut() {
        assert_eq!(text(&socket.next_payload("1").await), "four");
    }
    gateway.news.log.publish("five");
    for socket in others {
        let end = socket.next().await;
        let extensions = &end["payload"][0]["extensions"];
        assert_eq!(
            (&extensions["code"], &extensions["cursor"]),
            (&json!("RATE_LIMITED"), &json!("c4"))
        );
    }
    let reason = "gateway_rate_limit_exceeded_total{reason=\"event\",result=\"refused\"}";
    assert_eq!(gateway.metric(reason).await, 3.0);
}

#[tokio::test]
async fn without_a_cursor_a_client_is_told_to_read_again() {
    let gateway = TestGateway::with(&[SLOW, "--rate-limit-burst=2"]).await;
    let mut socket = gateway.subscribed(MESSAGES).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("zero");
    socket.next_payload("1").await;
    gateway.news.log.publish("one");
    let end = socket.next().await;
    let extensions = &end["payload"][0]["extensions"];
    assert_eq!(extensions["code"], "RATE_LIMITED");
    assert_eq!(extensions["reason"], "EVENTS_MAY_BE_MISSING");
    assert!(extensions["retryAfter"].is_u64(), "{end}");
}

#[tokio::test]
async fn streams_end_in_the_same_way() {
    for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
        let gateway = TestGateway::with(&[SLOW, "--rate-limit-burst=3"]).await;
        let body = json!({ "query": CHANGES }).to_string();
        let request = gateway.post().header("accept", accept).body(body);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let mut stream = response.bytes_stream();
        gateway.news.log.until_open(1).await;
        gateway.news.log.publish("zero");
        gateway.news.log.publish("one");
        let mut text = String::new();
        while let Some(piece) = stream.next().await {
            text += std::str::from_utf8(&piece.expect("a whole stream")).expect("UTF-8");
        }
        assert!(text.contains("zero") && !text.contains("one\""), "{text}");
        assert!(text.contains("\"code\":\"RATE_LIMITED\""), "{text}");
        assert!(text.contains("\"cursor\":\"c0\""), "{text}");
    }
}

#[tokio::test]
async fn a_subscription_whose_events_never_fit_does_not_start() {
    // The start and one event cost 3.
    let gateway = TestGateway::with(&[SLOW, "--rate-limit-burst=2"]).await;
    let mut socket = gateway.subscribed(CHANGES).await;
    let end = socket.next().await;
    let extensions = &end["payload"][0]["extensions"];
    let expected = json!({"code": "MAX_COST_EXCEEDED", "estimatedCost": 3, "maxCost": 2});
    assert_eq!(*extensions, expected);
    assert_eq!(gateway.news.log.started(), 0);
}

#[tokio::test]
async fn a_start_needs_enough_for_its_first_event() {
    let gateway = TestGateway::with(&[SLOW, "--rate-limit-burst=4"]).await;
    let mut socket = gateway.socket().await;
    socket.subscribe("greeting", "{ greeting }").await;
    socket.next_payload("greeting").await;
    socket.next().await;
    // It costs 3, and another one has 0 left.
    socket.subscribe("1", CHANGES).await;
    gateway.news.log.until_open(1).await;
    for id in ["2", "3"] {
        socket.subscribe(id, CHANGES).await;
        let end = socket.next().await;
        let extensions = &end["payload"][0]["extensions"];
        assert_eq!(extensions["code"], "RATE_LIMITED", "{end}");
        // Known on arrival: the start and one event.
        let wait = extensions["retryAfter"].as_u64().expect("whole seconds");
        assert!((121..=180).contains(&wait), "{wait}");
    }
    assert_eq!(gateway.news.log.started(), 1);
    gateway.news.log.publish("zero");
    assert_eq!(text(&socket.next_payload("1").await), "zero");
}

#[tokio::test]
async fn what_comes_after_a_cursor_is_completed_as_it_is_paid_for() {
    // For the start and one event.
    let gateway = TestGateway::with(&[SLOW, "--rate-limit-burst=3"]).await;
    for _ in 0..50 {
        gateway.news.log.publish("missed");
    }
    let mut socket = gateway.socket().await;
    let lengths =
        "subscription($after: String) { changes(after: $after) { cursor message { length } } }";
    let after = json!({"after": "c0"});
    socket.subscribe_with("1", lengths, after.clone()).await;
    let first = socket.next_payload("1").await;
    assert_eq!(first["data"]["changes"]["message"]["length"], 101);
    let end = socket.next().await;
    assert_eq!(end["payload"][0]["extensions"]["code"], "RATE_LIMITED");
    gateway.news.log.until_open(0).await;
    let asked = gateway.counts.asked();
    // One is paid, one is refused, and one may have begun meanwhile.
    assert!((1..=3).contains(&asked), "{asked}");
    // Who has more gets all of them.
    let gateway = TestGateway::with(&[SLOW, "--rate-limit-burst=101"]).await;
    for _ in 0..51 {
        gateway.news.log.publish("missed");
    }
    let mut socket = gateway.socket().await;
    socket.subscribe_with("1", lengths, after).await;
    for number in 1..=50 {
        let event = socket.next_payload("1").await;
        assert_eq!(event["data"]["changes"]["cursor"], format!("c{number}"));
    }
}

#[tokio::test]
async fn measuring_delivers_all_events() {
    let arguments = [SLOW, "--rate-limit-burst=3", "--rate-limit-mode=measure"];
    let gateway = TestGateway::with(&arguments).await;
    let mut socket = gateway.subscribed(CHANGES).await;
    gateway.news.log.until_open(1).await;
    for published in ["zero", "one", "two"] {
        gateway.news.log.publish(published);
        assert_eq!(text(&socket.next_payload("1").await), published);
    }
    let reason = "gateway_rate_limit_exceeded_total{reason=\"event\",result=\"measured\"}";
    assert_eq!(gateway.metric(reason).await, 2.0);
}
