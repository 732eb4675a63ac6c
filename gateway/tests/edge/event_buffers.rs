//! Many clients of one feed, many short feeds, and events larger than any bound: no client loses
//! more than its own events.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Socket, eventually, gateway::TestGateway};

const CHANGES: &str = "subscription { changes { message { text } } }";

async fn until_nothing_is_left(gateway: &TestGateway) {
    eventually("nothing waits and nobody is left", || async {
        gateway.metric("gateway_waiting_event_bytes").await == 0.0
            && gateway.metric("gateway_subscriptions").await == 0.0
    })
    .await;
    gateway.news.log.until_open(0).await;
}

async fn clients(gateway: &TestGateway, count: usize) -> Vec<Socket> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(gateway.subscribed(CHANGES).await);
    }
    eventually("all are there", || async {
        gateway.metric("gateway_subscriptions").await == count as f64
            && gateway.news.log.open() == 1
    })
    .await;
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_clients_of_a_feed_may_stall_without_harm_to_the_others() {
    const EVENTS: usize = 60;
    const BYTES_MAX: usize = 500_000;
    let bound = format!("--subscription-buffer-bytes={BYTES_MAX}");
    let gateway = TestGateway::with(&[&bound]).await;
    let mut reading = clients(&gateway, 100).await;
    let stalled = reading.split_off(50);
    let text = "x".repeat(40_000);
    for number in 0..EVENTS {
        let text = format!("{number} {text}");
        gateway.news.log.publish(&text);
        let expected = json!({"data": {"changes": {"message": {"text": text}}}});
        let all = reading.iter_mut().map(|socket| socket.next_payload("1"));
        for payload in join_all(all).await {
            assert_eq!(payload, expected);
        }
        let waiting = gateway.metric("gateway_waiting_event_bytes").await;
        assert!(waiting <= BYTES_MAX as f64, "{waiting}");
    }
    // They leave with an event half read, and with others waiting.
    drop((stalled, reading));
    until_nothing_is_left(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feeds_that_begin_and_end_quickly_leave_nothing() {
    let gateway = TestGateway::with(&["--subscription-buffer-bytes=1000"]).await;
    let text = "x".repeat(10_000);
    for round in 0..30 {
        let mut leaving = Vec::new();
        for number in 0..5 {
            let mut socket = gateway.socket().await;
            // Each a feed of its own.
            let alias =
                format!("subscription {{ a{round}x{number}: changes {{ message {{ text }} }} }}");
            socket.subscribe("1", &alias).await;
            gateway.news.log.publish(&text);
            leaving.push(socket);
        }
        gateway.news.log.publish(&text);
        if round % 2 == 0 {
            for socket in &mut leaving {
                socket.send(json!({"type": "complete", "id": "1"})).await;
            }
        }
    }
    until_nothing_is_left(&gateway).await;
}

#[tokio::test]
async fn an_event_larger_than_the_bound_of_its_feed_still_passes() {
    let gateway = TestGateway::with(&[
        "--subscription-buffer-bytes=10",
        "--subscription-buffer-events=",
    ])
    .await;
    let mut quick = clients(&gateway, 1).await.remove(0);
    for number in 0..50 {
        let text = format!("{number} {}", "x".repeat(5_000));
        gateway.news.log.publish(&text);
        assert_eq!(
            quick.next_payload("1").await,
            json!({"data": {"changes": {"message": {"text": text}}}})
        );
    }
    assert_eq!(
        gateway.metric("gateway_lagged_subscriptions_total").await,
        0.0
    );
    drop(quick);
    until_nothing_is_left(&gateway).await;
}

#[tokio::test]
async fn an_event_larger_than_the_bound_of_all_feeds_is_delivered() {
    let gateway = TestGateway::with(&["--subscription-buffers-bytes-max=10000"]).await;
    let mut quick = clients(&gateway, 1).await.remove(0);
    for number in 0..50 {
        let text = format!("{number} {}", "x".repeat(50_000));
        gateway.news.log.publish(&text);
        assert_eq!(
            quick.next_payload("1").await,
            json!({"data": {"changes": {"message": {"text": text}}}})
        );
    }
    let lagged = gateway.metric("gateway_lagged_subscriptions_total").await;
    assert_eq!(lagged, 0.0);
    drop(quick);
    until_nothing_is_left(&gateway).await;
}

/// One client reads, others of the same address do not. Each event is a twentieth of what the address may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_one_address_is_bounded_and_whoever_reads_loses_nothing() {
    const EVENTS: usize = 300;
    const BYTES_MAX: f64 = 1_000_000.0;
    let gateway = TestGateway::with(&[
        "--subscription-buffers-bytes-address-max=1000000",
        "--subscription-buffer-wait=100ms",
    ])
    .await;
    let mut reading = gateway.subscribed(CHANGES).await;
    let mut stalled = Vec::new();
    for number in 0..5 {
        let mut socket = gateway.socket().await;
        let alias = format!("subscription {{ a{number}: changes {{ message {{ text }} }} }}");
        socket.subscribe("1", &alias).await;
        stalled.push(socket);
    }
    gateway.news.log.until_open(6).await;
    let text = "x".repeat(50_000);
    for number in 0..EVENTS {
        let text = format!("{number} {text}");
        gateway.news.log.publish(&text);
        let expected = json!({"data": {"changes": {"message": {"text": text}}}});
        assert_eq!(reading.next_payload("1").await, expected);
        let waiting = gateway.metric("gateway_waiting_event_bytes").await;
        // A feed whose ring is empty takes one event whatever the others have.
        assert!(waiting <= BYTES_MAX + 6.0 * 51_000.0, "{waiting}");
    }
    drop((stalled, reading));
    until_nothing_is_left(&gateway).await;
}

/// The gateway completes one event at a time and waits for a client that reads nothing: what comes meanwhile
/// waits by its bytes, and beyond them the subscription is begun again from its cursor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_wait_to_be_completed_are_bounded_by_their_bytes() {
    const BYTES_MAX: f64 = 300_000.0;
    // More than the sockets between the gateway and a client that does not read can hold.
    const EVENTS: usize = 500;
    let gateway = TestGateway::with(&[
        "--subscription-uncompleted-bytes-max=300000",
        "--subscription-buffer-bytes=200000",
        "--subscription-buffer-wait=1m",
    ])
    .await;
    let mut client = clients(&gateway, 1).await.remove(0);
    let text = "x".repeat(50_000);
    for number in 0..EVENTS {
        gateway.news.log.publish(&format!("{number} {text}"));
    }
    eventually("it was begun again", || async {
        let waiting = gateway.metric("gateway_uncompleted_event_bytes").await;
        assert!(waiting <= BYTES_MAX, "{waiting}");
        gateway.metric("gateway_upstream_reconnects_total").await > 0.0
    })
    .await;
    for number in 0..EVENTS {
        assert_eq!(
            client.next_payload("1").await,
            json!({"data": {"changes": {"message": {"text": format!("{number} {text}")}}}})
        );
    }
    drop(client);
    until_nothing_is_left(&gateway).await;
    eventually("nothing is left to be completed", || async {
        gateway.metric("gateway_uncompleted_event_bytes").await == 0.0
    })
    .await;
}
