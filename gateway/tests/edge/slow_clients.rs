//! Clients that read too slowly, or not at all: bounded in memory and in time, on every transport.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use crate::support::{PATIENCE, Socket, Wire, eventually, gateway::TestGateway};

const CHANGES: &str = "subscription { changes { message { text } } }";
const SSE: &str = "text/event-stream";
const MULTIPART: &str = "multipart/mixed;subscriptionSpec=1.0";

/// More than the sockets' buffers hold.
const EVENTS: usize = 80;
const EVENT_BYTES: usize = 200_000;

/// A subscription over HTTP that has begun, and of which nothing but the head has been read.
async fn stalled(gateway: &TestGateway, accept: &str) -> Wire {
    let before = gateway.metric("gateway_subscriptions").await;
    let mut wire = Wire::open(gateway.address).await;
    wire.post(accept, CHANGES).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200"));
    begun(gateway, before + 1.0).await;
    wire
}

async fn begun(gateway: &TestGateway, subscriptions: f64) {
    eventually("the subscription runs", || async {
        gateway.metric("gateway_subscriptions").await == subscriptions
            && gateway.news.log.open() == 1
    })
    .await;
}

/// Publishes more than the buffers hold, at the pace of a client that reads.
async fn flood(gateway: &TestGateway, quick: &mut Socket) {
    let text = "x".repeat(EVENT_BYTES);
    for number in 0..EVENTS {
        let text = format!("{number} {text}");
        gateway.news.log.publish(&text);
        assert_eq!(
            quick.next_payload("quick").await,
            json!({"data": {"changes": {"message": {"text": text}}}})
        );
    }
}

async fn quick(gateway: &TestGateway) -> Socket {
    let mut socket = gateway.socket().await;
    socket.subscribe("quick", CHANGES).await;
    begun(gateway, 1.0).await;
    socket
}

#[tokio::test]
async fn a_slow_stream_is_told_that_it_lags_and_delays_nobody() {
    for (accept, last_words) in [
        (SSE, "event: complete\ndata:\n\n\r\n0\r\n\r\n"),
        (MULTIPART, "\r\n--graphql\r\n4\r\n--\r\n\r\n0\r\n\r\n"),
    ] {
        let gateway = TestGateway::with(&["--subscription-buffer-events=16"]).await;
        let mut quick = quick(&gateway).await;
        let slow = stalled(&gateway, accept).await;
        flood(&gateway, &mut quick).await;
        drop(quick);
        // Now it reads on: what was on its way, and why no more comes.
        let reading = tokio::spawn(slow.rest());
        eventually("it has been told", || async {
            gateway.metric("gateway_lagged_subscriptions_total").await == 1.0
        })
        .await;
        gateway.news.log.until_open(0).await;
        drop(gateway);
        let told = String::from_utf8(reading.await.expect("no panic")).expect("text");
        assert!(told.len() < EVENTS * EVENT_BYTES, "{}", told.len());
        let end = &told[told.len() - 400..];
        assert!(end.contains("SUBSCRIPTION_LAGGED"), "{end}");
        assert!(end.ends_with(last_words), "{end:?}");
    }
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_cut() {
    for (accept, transport) in [(SSE, "Sse"), (MULTIPART, "Multipart")] {
        let gateway = TestGateway::with(&["--client-write-timeout=200ms"]).await;
        let mut quick = quick(&gateway).await;
        let slow = stalled(&gateway, accept).await;
        let clients = format!("gateway_live_clients{{transport=\"{transport}\"}}");
        assert_eq!(gateway.metric(&clients).await, 1.0);
        flood(&gateway, &mut quick).await;
        eventually("it is dropped", || async {
            gateway.metric(&clients).await == 0.0
        })
        .await;
        assert_eq!(gateway.metric("gateway_subscriptions").await, 1.0);
        // No client can take the cut for a completion.
        let told = slow.rest().await;
        assert!(!told.ends_with(b"0\r\n\r\n"));
        gateway.news.log.publish("still here");
        assert!(quick.next_payload("quick").await["data"].is_object());
    }
}

#[tokio::test]
async fn a_socket_whose_client_takes_nothing_is_cut() {
    let gateway = TestGateway::with(&["--client-write-timeout=200ms"]).await;
    let mut quick = quick(&gateway).await;
    let mut slow = gateway.socket().await;
    slow.subscribe("slow", CHANGES).await;
    begun(&gateway, 2.0).await;
    flood(&gateway, &mut quick).await;
    eventually("it is dropped", || async {
        gateway
            .metric("gateway_live_clients{transport=\"WebSocket\"}")
            .await
            == 1.0
    })
    .await;
    assert_eq!(gateway.metric("gateway_subscriptions").await, 1.0);
}

#[tokio::test]
async fn a_quick_client_gets_a_long_history_whole_whatever_may_wait_for_it() {
    const FROM_THE_START: &str = "subscription { changes(after: \"c0\") { message { text } } }";
    const HISTORY: usize = 5_000;
    // The second bound is far smaller than what the subgraph sends at once.
    for arguments in [&[][..], &["--subscription-buffer-bytes=20000"]] {
        let gateway = TestGateway::with(arguments).await;
        for number in 0..=HISTORY {
            gateway.news.log.publish(&number.to_string());
        }
        let mut quick = gateway.socket().await;
        quick.subscribe("quick", FROM_THE_START).await;
        for number in 1..=HISTORY {
            let text = number.to_string();
            assert_eq!(
                quick.next_payload("quick").await,
                json!({"data": {"changes": {"message": {"text": text}}}})
            );
        }
        assert_eq!(
            gateway.metric("gateway_lagged_subscriptions_total").await,
            0.0
        );
        assert_eq!(gateway.metric("gateway_waiting_event_bytes").await, 0.0);
    }
}

#[tokio::test]
async fn what_waits_for_a_client_that_reads_nothing_is_bounded_by_bytes() {
    const BYTES_MAX: usize = 1_000_000;
    for bound in ["buffer-bytes", "buffers-bytes-max"] {
        let bound = format!("--subscription-{bound}={BYTES_MAX}");
        let gateway = TestGateway::with(&[&bound, "--subscription-buffer-wait=10ms"]).await;
        let mut quick = quick(&gateway).await;
        // Of a feed of its own, whose only client it is.
        let mut slow = gateway.socket().await;
        slow.subscribe("slow", "subscription { changes { message { text id } } }")
            .await;
        eventually("both run", || async { gateway.news.log.open() == 2 }).await;
        flood(&gateway, &mut quick).await;
        eventually("all events have come", || async {
            gateway.metric("gateway_upstream_events_total").await == 2.0 * EVENTS as f64
        })
        .await;
        let waiting = gateway.metric("gateway_waiting_event_bytes").await;
        assert!(
            waiting <= (BYTES_MAX + EVENT_BYTES) as f64,
            "{bound}: {waiting}"
        );
        loop {
            let message = slow.next().await;
            if message["type"] == "error" {
                let error = &message["payload"][0];
                assert_eq!(error["extensions"]["code"], "SUBSCRIPTION_LAGGED");
                break;
            }
            assert_eq!(message["type"], "next");
        }
        gateway.news.log.publish("still here");
        assert!(quick.next_payload("quick").await["data"].is_object());
    }
}

/// A subscription over HTTP/2 of which nothing is read, and the connection it needs to stay.
async fn stalled_over_http2(gateway: &TestGateway) -> (Incoming, http2::SendRequest<Full<Bytes>>) {
    let stream = TcpStream::connect(gateway.address)
        .await
        .expect("a connection");
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::post(gateway.url("/graphql"))
        .header("accept", SSE)
        .header("content-type", "application/json")
        .body(Full::from(json!({ "query": CHANGES }).to_string()))
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    (response.into_body(), sender)
}

#[tokio::test]
async fn a_stream_of_http2_that_stands_still_loses_its_place() {
    let gateway = TestGateway::with(&["--client-write-timeout=200ms"]).await;
    let mut quick = quick(&gateway).await;
    let (stalled, connection) = stalled_over_http2(&gateway).await;
    begun(&gateway, 2.0).await;
    flood(&gateway, &mut quick).await;
    eventually("its place is free", || async {
        gateway.metric("gateway_subscriptions").await == 1.0
    })
    .await;
    // Its connection goes on, and so may the stream: to where it is told.
    let told = timeout(PATIENCE, stalled.collect()).await;
    let told = told.expect("in time").expect("a whole stream").to_bytes();
    let end = String::from_utf8_lossy(&told[told.len() - 400..]).into_owned();
    assert!(end.contains("SUBSCRIPTION_LAGGED"), "{end}");
    assert!(end.ends_with("event: complete\ndata:\n\n"), "{end}");
    assert!(connection.is_ready());
}

#[tokio::test]
async fn an_answer_over_http2_that_nobody_takes_ends_its_connection() {
    let gateway = TestGateway::with(&["--client-write-timeout=200ms"]).await;
    for window in [0, 1] {
        let stream = TcpStream::connect(gateway.address)
            .await
            .expect("a connection");
        let handshake = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let request = http::Request::post(gateway.url("/graphql"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(
                br#"{"query":"{ __typename }"}"#,
            )))
            .expect("a request");
        let untaken = sender.send_request(request).await.expect("a head");
        let ended = timeout(PATIENCE, connection).await;
        let _ = ended.expect("an end in time").expect("no panic");
        drop(untaken);
    }
    let stalled = gateway.metric("connections_stalled_total").await;
    assert_eq!(stalled, 2.0);
}

#[tokio::test]
async fn what_would_find_no_room_for_its_answer_is_not_executed() {
    let gateway = TestGateway::with(&["--answers-bytes-per-client-max=200000"]).await;
    let query = "query($name: String!) { slow(milliseconds: 3600000) greeting(name: $name) }";
    let name = "x".repeat(150_000);
    let body = json!({ "query": query, "variables": { "name": name } }).to_string();
    let ask = async || {
        let answer = gateway.post().body(body.clone()).send().await;
        let answer = answer.expect("an answer").text().await;
        answer.expect("text")
    };
    let log = &gateway.news.log;
    let ask_alone = async |number| {
        let (answer, ()) = tokio::join!(ask(), async {
            log.until_slow(number).await;
            log.end_slow();
        });
        answer
    };
    // From now on the gateway knows how large its answer is.
    assert!(ask_alone(1).await.starts_with("{\"data\":{\"slow\""));
    let (first, second) = tokio::join!(ask(), async {
        log.until_slow(2).await;
        let second = ask().await;
        log.end_slow();
        second
    });
    assert!(first.starts_with("{\"data\":{\"slow\""));
    assert!(second.contains("TOO_MANY_ANSWER_BYTES"), "{second:.300}");
    assert_eq!(log.slow_started.load(Ordering::SeqCst), 2);
    assert!(ask_alone(3).await.starts_with("{\"data\":{\"slow\""));
    eventually("nothing is left", || async {
        gateway.metric("gateway_untaken_answer_bytes").await == 0.0
    })
    .await;
}
