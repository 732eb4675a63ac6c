//! Clients that ask for it learn when nothing can reach them (`docs/resumable-subscriptions.md`).

use serde_json::{Value, json};

use crate::support::{
    Socket, eventually,
    freezer::Freezer,
    gateway::{SUPERGRAPH, TestGateway},
    keeper::{Keeper, Session, frame},
};

const CHANGES: &str =
    "subscription($after: String) { changes(after: $after) { message { text } } }";
const DIRECT: &str = "gateway_direct_subscriptions";

/// A client that wants to know the status.
fn asking() -> Value {
    json!({ "query": CHANGES, "extensions": { "delivery": { "version": 1, "status": true } } })
}

/// A client of the contract that does not.
fn asking_nothing() -> Value {
    json!({ "query": CHANGES, "extensions": { "delivery": { "version": 1 } } })
}

async fn subscribed(gateway: &TestGateway, payload: &Value) -> Socket {
    let mut socket = gateway.socket().await;
    let message = json!({ "id": "1", "type": "subscribe", "payload": payload });
    socket.send(message).await;
    socket
}

fn status(status: &str) -> Value {
    json!({ "data": null, "extensions": { "delivery": { "version": 1, "status": status } } })
}

fn frame_with(status: &str, cursor: Option<&str>) -> Value {
    let mut frame = frame("AT_LEAST_ONCE", cursor);
    frame["extensions"]["delivery"]["status"] = json!(status);
    frame
}

/// An event as the subgraph sends it.
fn change(number: usize) -> Value {
    json!({ "data": { "changes": {
        "_resumeCursor": format!("c{number}"), "message": { "text": number.to_string() }
    } } })
}

fn event(number: usize) -> Value {
    json!({
        "data": { "changes": { "message": { "text": number.to_string() } } },
        "extensions": { "cursor": format!("c{number}") }
    })
}

async fn got_nothing(socket: &mut Socket) {
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.next().await["type"], "pong");
}

async fn have_joined(gateway: &TestGateway, clients: usize) {
    eventually("all have joined", || async {
        gateway.metric("gateway_subscriptions").await == clients as f64
    })
    .await;
}

/// A gateway before a subgraph that can hang.
async fn frozen_behind(arguments: &[&str]) -> (TestGateway, Freezer) {
    let freezer = Freezer::start().await;
    let url = freezer.instead_of("news");
    let gateway = TestGateway::with(&[&[&*url], arguments].concat()).await;
    freezer.stands_before(gateway.news.server.address());
    (gateway, freezer)
}

/// Loses the upstream subscription of one client that asks, and returns the next one, when the client knows.
async fn interrupted(keeper: &Keeper, session: Session, socket: &mut Socket) -> Session {
    drop(session);
    let next = keeper.session().await;
    assert_eq!(socket.next_payload("1").await, status("INTERRUPTED"));
    next
}

/// The bodies of a stream, up to its end.
async fn bodies(gateway: &TestGateway, accept: &str, payload: Value) -> Vec<Value> {
    let request = gateway.post().header("accept", accept);
    let response = request.body(payload.to_string()).send().await;
    let text = response.expect("an answer").text().await.expect("a stream");
    let lines = text.lines().filter_map(|line| {
        let json = line.strip_prefix("data: ").unwrap_or(line);
        let body: Value = serde_json::from_str(json).ok()?;
        Some(body.get("payload").cloned().unwrap_or(body))
    });
    lines.collect()
}

#[tokio::test]
async fn who_asks_learns_of_an_interruption_and_of_its_end_on_every_transport() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut first = subscribed(gateway, &asking()).await;
    let session = keeper.session().await;
    assert_eq!(session.request["extensions"]["delivery"]["status"], true);
    let mut second = subscribed(gateway, &asking()).await;
    let mut plain = subscribed(gateway, &asking_nothing()).await;
    let mut old = subscribed(gateway, &json!({ "query": CHANGES })).await;
    let multipart = "multipart/mixed;subscriptionSpec=1.0";
    let streams = async {
        tokio::join!(
            bodies(gateway, "text/event-stream", asking()),
            bodies(gateway, multipart, asking()),
            bodies(gateway, "text/event-stream", asking_nothing()),
        )
    };
    let says = async {
        have_joined(gateway, 7).await;
        session.stands("AT_LEAST_ONCE", Some("c0"));
        for socket in [&mut first, &mut second] {
            assert_eq!(
                socket.next_payload("1").await,
                frame_with("LIVE", Some("c0"))
            );
        }
        let plain_frame = frame("AT_LEAST_ONCE", Some("c0"));
        assert_eq!(plain.next_payload("1").await, plain_frame);
        session.say(&change(1));
        for socket in [&mut first, &mut second, &mut plain] {
            assert_eq!(socket.next_payload("1").await, event(1));
        }
        let session = interrupted(&keeper, session, &mut first).await;
        assert_eq!(second.next_payload("1").await, status("INTERRUPTED"));
        got_nothing(&mut plain).await;

        // Who comes now stands where the others do, and knows that nothing comes yet.
        let mut late = subscribed(gateway, &asking()).await;
        let late_frame = frame_with("INTERRUPTED", Some("c1"));
        assert_eq!(late.next_payload("1").await, late_frame);
        session.stands("AT_LEAST_ONCE", Some("c1"));
        for socket in [&mut first, &mut second, &mut late] {
            assert_eq!(socket.next_payload("1").await, status("LIVE"));
        }
        session.say(&change(2));
        for socket in [&mut first, &mut second, &mut late, &mut plain] {
            assert_eq!(socket.next_payload("1").await, event(2));
        }
        session.complete();
    };
    let ((sse, parts, plain_sse), ()) = tokio::join!(streams, says);
    let all = [
        frame_with("LIVE", Some("c0")),
        event(1),
        status("INTERRUPTED"),
        status("LIVE"),
        event(2),
    ];
    assert_eq!(sse, all);
    assert_eq!(parts, all);
    let events = [frame("AT_LEAST_ONCE", Some("c0")), event(1), event(2)];
    assert_eq!(plain_sse, events);
    for number in [1, 2] {
        let data = event(number)["data"].take();
        assert_eq!(old.next_payload("1").await, json!({ "data": data }));
    }
    assert_eq!(gateway.metric("gateway_upstream_events_total").await, 2.0);
}

#[tokio::test]
async fn groups_of_clients_get_a_status_as_they_get_events() {
    const CLIENTS: usize = 70;
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut sockets = vec![subscribed(gateway, &asking()).await];
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", Some("c0"));
    for number in 1..CLIENTS {
        let payload = match number % 3 {
            0 => asking_nothing(),
            _ => asking(),
        };
        sockets.push(subscribed(gateway, &payload).await);
    }
    for socket in &mut sockets {
        socket.next_payload("1").await;
    }
    // A client that was alone joins a group after its next event.
    session.say(&change(1));
    for (index, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(socket.next_payload("1").await, event(1), "{index}");
    }
    let all_are_direct = || async { gateway.metric(DIRECT).await == CLIENTS as f64 };
    eventually("all are in groups", all_are_direct).await;
    let asks = |index: usize| index == 0 || !index.is_multiple_of(3);
    drop(session);
    let session = keeper.session().await;
    for (index, socket) in sockets.iter_mut().enumerate() {
        if asks(index) {
            assert_eq!(socket.next_payload("1").await, status("INTERRUPTED"));
        }
    }
    assert!(all_are_direct().await, "nobody has left its group");
    session.stands("AT_LEAST_ONCE", Some("c1"));
    for (index, socket) in sockets.iter_mut().enumerate() {
        if asks(index) {
            assert_eq!(socket.next_payload("1").await, status("LIVE"));
        }
    }
    session.say(&change(2));
    for socket in &mut sockets {
        assert_eq!(socket.next_payload("1").await, event(2));
    }
}

#[tokio::test]
async fn a_subgraph_that_hangs_is_lost_within_the_time_that_is_set_and_resumed_without_a_gap() {
    let silence = "--subscription-upstream-silence-max=4s";
    let (gateway, freezer) = frozen_behind(&[silence]).await;
    let mut socket = subscribed(&gateway, &asking()).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("0");
    let seen = socket.next_payload("1").await;
    assert_eq!(seen, frame_with("LIVE", None));
    assert_eq!(socket.next_payload("1").await, event(0));

    freezer.freeze();
    assert_eq!(socket.next_payload("1").await, status("INTERRUPTED"));
    gateway.news.log.publish("1");
    got_nothing(&mut socket).await;
    freezer.thaw();
    let mut seen = [
        socket.next_payload("1").await,
        socket.next_payload("1").await,
    ];
    // An event is never late for the news.
    seen.sort_by_key(|message| message["data"].is_null());
    assert_eq!(seen, [event(1), status("LIVE")]);
}

#[tokio::test]
async fn a_subgraph_that_answers_pings_and_sends_nothing_is_not_lost() {
    let silence = "--subscription-upstream-silence-max=4s";
    let (gateway, freezer) = frozen_behind(&[silence]).await;
    let mut socket = subscribed(&gateway, &asking()).await;
    gateway.news.log.until_open(1).await;
    // Pings, of which two come in the time of silence. Nothing else is sent.
    let before = freezer.answers();
    let are_answered = || async { freezer.answers() >= before + 3 };
    eventually("pings have been answered", are_answered).await;
    got_nothing(&mut socket).await;
    assert_eq!(gateway.news.log.started(), 1);
    gateway.news.log.publish("0");
    let seen = socket.next_payload("1").await;
    assert_eq!(seen, frame_with("LIVE", None));
}

#[tokio::test]
async fn before_the_first_frame_a_client_learns_that_nothing_can_come() {
    let (gateway, freezer) = frozen_behind(&[]).await;
    freezer.freeze();
    let mut socket = subscribed(&gateway, &asking()).await;
    let mut plain = subscribed(&gateway, &asking_nothing()).await;
    assert_eq!(socket.next_payload("1").await, status("INTERRUPTED"));
    let mut late = subscribed(&gateway, &asking()).await;
    assert_eq!(late.next_payload("1").await, status("INTERRUPTED"));
    freezer.thaw();
    for socket in [&mut socket, &mut late] {
        assert_eq!(socket.next_payload("1").await, status("LIVE"));
    }
    got_nothing(&mut plain).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("0");
    for socket in [&mut socket, &mut late] {
        let seen = socket.next_payload("1").await;
        assert_eq!(seen, frame_with("LIVE", None));
        assert_eq!(socket.next_payload("1").await, event(0));
    }
    assert_eq!(plain.next_payload("1").await, frame("AT_LEAST_ONCE", None));
}

#[tokio::test]
async fn a_status_of_the_subgraph_is_passed_on() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut socket = subscribed(gateway, &asking()).await;
    let session = keeper.session().await;
    session.say(&frame_with("INTERRUPTED", Some("c0")));
    let seen = socket.next_payload("1").await;
    assert_eq!(seen, frame_with("INTERRUPTED", Some("c0")));
    session.say(&status("LIVE"));
    assert_eq!(socket.next_payload("1").await, status("LIVE"));
    session.say(&status("INTERRUPTED"));
    session.say(&status("UNHEARD_OF"));
    assert_eq!(socket.next_payload("1").await, status("INTERRUPTED"));
    // It is no event, and none is held back for it.
    session.say(&change(1));
    assert_eq!(socket.next_payload("1").await, event(1));
    assert_eq!(gateway.metric("gateway_upstream_events_total").await, 1.0);
    assert_eq!(
        gateway.metric("gateway_upstream_reconnects_total").await,
        0.0
    );
}

#[tokio::test]
async fn a_subscription_ends_while_it_is_interrupted() {
    let mut gateway = TestGateway::with(&["--subscription-retry-time=5s"]).await;
    let mut socket = subscribed(&gateway, &asking()).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("0");
    socket.next_payload("1").await;
    socket.next_payload("1").await;
    gateway.news.server.kill();
    assert_eq!(socket.next_payload("1").await, status("INTERRUPTED"));
    let error = socket.next().await;
    let code = &error["payload"][0]["extensions"]["code"];
    assert_eq!(code, "SUBSCRIPTION_UPSTREAM_LOST", "{error}");
}

#[tokio::test]
async fn an_interrupted_subscription_moves_to_a_new_supergraph() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut socket = subscribed(gateway, &asking()).await;
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", Some("c0"));
    socket.next_payload("1").await;
    let session = interrupted(&keeper, session, &mut socket).await;
    gateway
        .serves(&format!("{SUPERGRAPH}\n# another one"))
        .await;
    session.stands("AT_LEAST_ONCE", Some("c0"));
    assert_eq!(socket.next_payload("1").await, status("LIVE"));
    session.say(&change(1));
    assert_eq!(socket.next_payload("1").await, event(1));
}

#[tokio::test]
async fn a_status_is_charged_to_nobody() {
    // The subscription costs 3 with its first event, and the next one 2.
    let keeper = Keeper::behind(&["--rate-limit=60/1h", "--rate-limit-burst=3"]).await;
    let gateway = &keeper.gateway;
    let mut socket = subscribed(gateway, &asking()).await;
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", Some("c0"));
    socket.next_payload("1").await;
    let session = interrupted(&keeper, session, &mut socket).await;
    session.stands("AT_LEAST_ONCE", Some("c0"));
    assert_eq!(socket.next_payload("1").await, status("LIVE"));
    session.say(&change(1));
    assert_eq!(socket.next_payload("1").await, event(1));
    session.say(&change(2));
    let end = socket.next().await;
    let extensions = &end["payload"][0]["extensions"];
    assert_eq!(extensions["code"], "RATE_LIMITED", "{end}");
    assert_eq!(extensions["cursor"], "c1");
}

#[tokio::test]
async fn a_status_that_a_group_writes_is_charged_to_nobody_and_is_no_delivery() {
    // Both subscriptions cost 3 with their first event, and the next two events 2 each.
    let keeper = Keeper::behind(&["--rate-limit=60/1h", "--rate-limit-burst=10"]).await;
    let gateway = &keeper.gateway;
    let mut first = subscribed(gateway, &asking()).await;
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", Some("c0"));
    let mut sockets = [&mut first, &mut subscribed(gateway, &asking()).await];
    for socket in &mut sockets {
        let stands = frame_with("LIVE", Some("c0"));
        assert_eq!(socket.next_payload("1").await, stands);
    }
    session.say(&change(1));
    for socket in &mut sockets {
        assert_eq!(socket.next_payload("1").await, event(1));
    }
    let all_are_direct = || async { gateway.metric(DIRECT).await == 2.0 };
    eventually("both are in groups", all_are_direct).await;
    let deliveries = gateway.metric("gateway_deliveries_total").await;
    drop(session);
    let session = keeper.session().await;
    for socket in &mut sockets {
        assert_eq!(socket.next_payload("1").await, status("INTERRUPTED"));
    }
    session.stands("AT_LEAST_ONCE", Some("c1"));
    for socket in &mut sockets {
        assert_eq!(socket.next_payload("1").await, status("LIVE"));
    }
    assert!(all_are_direct().await, "nobody has left its group");
    let after = gateway.metric("gateway_deliveries_total").await;
    assert_eq!(after, deliveries, "a status is no delivery");
    session.say(&change(2));
    for socket in &mut sockets {
        assert_eq!(socket.next_payload("1").await, event(2));
    }
    session.say(&change(3));
    for socket in &mut sockets {
        let end = socket.next().await;
        let extensions = &end["payload"][0]["extensions"];
        assert_eq!(extensions["code"], "RATE_LIMITED", "{end}");
        assert_eq!(extensions["cursor"], "c2");
    }
}
