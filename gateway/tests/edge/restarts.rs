//! The end of a gateway with many live clients, and clients that all come back at once.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::timeout;

use crate::support::{
    PATIENCE, Socket, eventually,
    gateway::TestGateway,
    ways::{Way, answered},
};

const CHANGES: &str = "subscription { changes { cursor message { text } } }";

const CHANGES_BY_GET: &str = "/graphql?query=subscription%7Bchanges%7Bcursor%7D%7D";

/// The cursors that a client got up to its end, in the order in which they came.
async fn socket_to_its_end(mut socket: Socket) -> Vec<String> {
    let mut cursors = Vec::new();
    loop {
        let message = socket.next().await;
        if let Some(code) = message.get("close") {
            assert_eq!(code, 1012);
            return cursors;
        }
        let cursor = &message["payload"]["data"]["changes"]["cursor"];
        cursors.push(cursor.as_str().expect("an event").to_owned());
    }
}

async fn stream_to_its_end(mut response: reqwest::Response) -> Vec<String> {
    let mut text = String::new();
    // An end without the last chunk would be an error.
    while let Some(chunk) = response.chunk().await.expect("an orderly end of the body") {
        text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
    }
    assert!(!text.contains("event: complete"), "{text}");
    let end = text.ends_with("\n\n") || text.ends_with("\r\n--graphql");
    assert!(end, "whole events: {text}");
    let cursors = text.split("\"cursor\":\"").skip(1);
    cursors
        .map(|rest| rest.split('"').next().expect("an end").to_owned())
        .collect()
}

async fn stream(gateway: &TestGateway, accept: &str) -> reqwest::Response {
    let body = json!({ "query": CHANGES }).to_string();
    let request = gateway.post().header("accept", accept).body(body);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    response
}

#[tokio::test]
async fn the_end_comes_to_one_client_after_the_other_and_between_two_events() {
    const OF_EACH: usize = 10;
    // The 30 clients end 100 ms one after the other.
    let mut gateway = TestGateway::with(&["--shutdown-grace=1h"]).await;
    let mut sockets = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..OF_EACH {
        sockets.push(gateway.subscribed(CHANGES).await);
        for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
            streams.push(stream(&gateway, accept).await);
        }
    }
    let all = (3 * OF_EACH) as f64;
    eventually("all stand", || async {
        gateway.metric("gateway_subscriptions").await == all
    })
    .await;
    gateway.news.log.until_open(1).await;

    let log = Arc::clone(&gateway.news.log);
    let publishing = tokio::spawn(async move {
        loop {
            log.publish("news");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let sockets = sockets.into_iter().map(socket_to_its_end);
    let streams = streams.into_iter().map(stream_to_its_end);
    let (sockets, streams, ended) =
        tokio::join!(join_all(sockets), join_all(streams), gateway.end());
    publishing.abort();
    ended.expect("a clean end");

    let mut events = BTreeSet::new();
    for cursors in sockets.into_iter().chain(streams) {
        for (at, cursor) in cursors.iter().enumerate() {
            assert_eq!(
                *cursor,
                format!("c{at}"),
                "none is missing, none comes twice"
            );
        }
        events.insert(cursors.len());
    }
    // All at once, they would have got as many events, or one more. When each ends, `drain` tests.
    assert!(events.len() >= 5, "ends after so many events: {events:?}");
}

#[tokio::test]
async fn while_it_drains_the_metrics_tell_how_far_it_is() {
    let gateway = TestGateway::with(&["--shutdown-grace=1h"]).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(gateway.socket().await);
    }
    // One that stays until it is answered.
    sockets[0]
        .subscribe("1", "{ slow(milliseconds: 3600000) }")
        .await;
    eventually("it runs", || async {
        gateway
            .metric("gateway_subgraph_waiting_requests{subgraph=\"news\"}")
            .await
            == 1.0
    })
    .await;
    gateway.lifecycle.end();
    let drained = "gateway_drained_clients_total{transport=\"WebSocket\"}";
    eventually("all were told", || async {
        gateway.metric(drained).await == 3.0
    })
    .await;
}

#[tokio::test]
async fn a_query_that_hangs_holds_up_no_end() {
    let mut gateway = TestGateway::with(&["--shutdown-grace=500ms"]).await;
    let mut socket = gateway.socket().await;
    socket
        .subscribe("1", "{ slow(milliseconds: 3600000) }")
        .await;
    gateway.news.log.until_slow(1).await;
    // Long before the query would.
    gateway.end().await.expect("a clean end");
    assert_eq!(socket.closed().await.0, 1012);
}

#[tokio::test]
async fn without_a_grace_period_all_are_told_at_once() {
    let mut gateway = TestGateway::with(&["--shutdown-grace=0s"]).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(gateway.subscribed(CHANGES).await);
    }
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("the only event");
    for socket in &mut sockets {
        socket.next_payload("1").await;
    }
    gateway.end().await.expect("a clean end");
    for mut socket in sockets {
        assert_eq!(socket.closed().await.0, 1012);
    }
}

#[tokio::test]
async fn before_the_end_it_is_not_ready_and_serves_on() {
    let gateway = TestGateway::start().await;
    let mut before = gateway.subscribed(CHANGES).await;
    gateway.news.log.until_open(1).await;
    let lifecycle = gateway.lifecycle.clone();
    let leaving = tokio::spawn(async move { lifecycle.leave(Duration::from_secs(3_600)).await });
    eventually("it is not ready", || async {
        gateway.get("/health/ready").await.status() == 503
    })
    .await;
    let ready = gateway.get("/health/ready").await.text().await;
    assert!(
        ready
            .expect("text")
            .contains("the service is shutting down")
    );
    assert_eq!(gateway.get("/health/live").await.status(), 200);
    // Over new connections, too.
    for _ in 0..3 {
        let request = reqwest::Client::new().post(gateway.url("/graphql"));
        let request = request
            .header("content-type", "application/json")
            .body(r#"{"query":"{ greeting }"}"#);
        let answer = answered(request, "{").await;
        assert_eq!(answer.body, json!({"data": {"greeting": "hello you"}}));
    }
    let mut meanwhile = gateway.subscribed(CHANGES).await;
    eventually("it stands", || async {
        gateway.metric("gateway_subscriptions").await == 2.0
    })
    .await;
    gateway.news.log.publish("still here");
    for socket in [&mut before, &mut meanwhile] {
        let event = socket.next_payload("1").await;
        assert_eq!(event["data"]["changes"]["message"]["text"], "still here");
    }
    gateway.lifecycle.end();
    leaving.await.expect("no panic");
    for mut socket in [before, meanwhile] {
        assert_eq!(socket.closed().await.0, 1012);
    }
}

/// An address has one client for itself, and nobody may take the other one of the burst.
const TWO_CLIENTS: &str = "--live-clients-rate=1/1h/2";

/// The seconds that a client is told to wait, if it is refused.
async fn refused(gateway: &TestGateway, address: Ipv4Addr) -> Option<u64> {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((address, 0).into()).expect("an address");
    let stream = socket.connect(gateway.address).await.expect("connected");
    let mut socket = Socket::over(stream, &[]).await.expect("a WebSocket");
    socket.send(json!({"type": "connection_init"})).await;
    let first = timeout(PATIENCE, futures_util::StreamExt::next(&mut socket.0));
    let first = first.await.expect("in time").expect("open").expect("whole");
    let tokio_tungstenite::tungstenite::Message::Close(Some(frame)) = first else {
        assert!(first.to_text().expect("text").contains("connection_ack"));
        // It stays open as long as the gateway.
        std::mem::forget(socket);
        return None;
    };
    assert_eq!(u16::from(frame.code), 1013);
    let seconds = frame.reason.split_once("(retry-after: ").expect("a time").1;
    Some(
        seconds
            .strip_suffix(')')
            .expect("an end")
            .parse()
            .expect("seconds"),
    )
}

#[tokio::test]
async fn clients_above_the_rate_are_told_when_to_come_again_and_others_are_served() {
    let gateway = TestGateway::with(&[TWO_CLIENTS]).await;
    let address = |number| Ipv4Addr::new(127, 0, 3, number);
    assert_eq!(refused(&gateway, address(1)).await, None);
    let seconds = refused(&gateway, address(1))
        .await
        .expect("its part is used");
    assert!((60..=92).contains(&seconds), "{seconds}");
    assert_eq!(
        refused(&gateway, address(2)).await,
        None,
        "another has its own"
    );
    assert!(
        refused(&gateway, address(3)).await.is_some(),
        "all are too many"
    );

    let body = json!({ "query": CHANGES }).to_string();
    for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
        let request = gateway.post_from(address(4)).header("accept", accept);
        let answer = answered(request.body(body.clone()), "{").await;
        assert_eq!(answer.status.map(|it| it.as_u16()), Some(503), "{accept}");
        let extensions = answer.extensions();
        assert_eq!(extensions["code"], "TOO_MANY_NEW_CLIENTS");
        assert_eq!(extensions["retryAfter"].as_u64(), answer.retry_after);
        assert!(answer.retry_after.expect("a time") >= 60);
    }
    // An EventSource gives up at every status but 200, and comes back after the end of a stream.
    let request = reqwest::Client::new()
        .get(gateway.url(CHANGES_BY_GET))
        .header("accept", "text/event-stream");
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .expect("text")
            .starts_with("text/event-stream")
    );
    let text = answer.text().await.expect("an orderly end");
    let ms = text
        .strip_prefix("retry: ")
        .and_then(|it| it.strip_suffix("\n\n"));
    let ms: u64 = ms.expect(&text).parse().expect("milliseconds");
    assert!(ms >= 60_000 && ms.is_multiple_of(1_000), "{ms}");
    // What is no live client is not limited.
    assert!(gateway.query("{ greeting }").await["data"].is_object());
    let query = json!({ "query": "{ greeting }" });
    let answer = Way::Sse.answer(&gateway, &query).await;
    assert_eq!(answer.status.map(|it| it.as_u16()), Some(200));
    for (name, count) in [
        ("gateway_admitted_clients_total", 2.0),
        ("gateway_refused_clients_total{reason=\"address\"}", 1.0),
        ("gateway_refused_clients_total{reason=\"all\"}", 4.0),
        ("gateway_refusals_total{code=\"TOO_MANY_NEW_CLIENTS\"}", 5.0),
        ("gateway_websockets_closed_total{close_code=\"1013\"}", 2.0),
    ] {
        assert_eq!(gateway.metric(name).await, count, "{name}");
    }
}

#[tokio::test]
async fn an_event_source_that_is_admitted_waits_a_moment_after_the_next_loss() {
    let gateway = TestGateway::start().await;
    let request = reqwest::Client::new()
        .get(gateway.url(CHANGES_BY_GET))
        .header("accept", "text/event-stream");
    let mut answer = request.send().await.expect("an answer");
    let first = answer.chunk().await.expect("open").expect("a chunk");
    assert_eq!(&first[..], b"retry: 3000\n\n");
}

#[tokio::test]
async fn clients_that_come_with_a_cursor_are_counted() {
    let gateway = TestGateway::start().await;
    gateway.news.log.publish("first");
    let mut socket = gateway.socket().await;
    socket.subscribe("1", CHANGES).await;
    let resumed = "subscription { changes(after: \"c0\") { message { text } } }";
    socket.subscribe("2", resumed).await;
    gateway.news.log.until_open(2).await;
    assert_eq!(
        gateway.metric("gateway_resumed_subscriptions_total").await,
        1.0
    );
}
