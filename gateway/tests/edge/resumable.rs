//! The contract of resumable subscriptions (`docs/resumable-subscriptions.md`), on both sides of the gateway.

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{
    Socket, eventually,
    gateway::TestGateway,
    keeper::{Keeper, Session, frame},
    ways::{WAYS, Way},
};

/// With cursors in the schema.
const CHANGES: &str =
    "subscription($after: String) { changes(after: $after) { message { text } } }";
/// Without.
const MESSAGES: &str = "subscription { messages { text } }";
const UPSTREAMS: &str = "gateway_upstream_subscriptions";

fn asking(query: &str, after: Option<&str>) -> Value {
    let delivery = json!({ "version": 1, "after": after });
    json!({ "query": query, "extensions": { "delivery": delivery } })
}

async fn send(socket: &mut Socket, payload: &Value) {
    let message = json!({ "id": "1", "type": "subscribe", "payload": payload });
    socket.send(message).await;
}

async fn subscribed(gateway: &TestGateway, payload: &Value) -> Socket {
    let mut socket = gateway.socket().await;
    send(&mut socket, payload).await;
    socket
}

/// An event of `changes` as the subgraph sends it.
fn change(number: usize) -> Value {
    json!({ "data": { "changes": {
        "_resumeCursor": format!("c{number}"), "message": { "text": number.to_string() }
    } } })
}

/// As an old client gets it.
fn plain_change(number: usize) -> Value {
    json!({ "data": { "changes": { "message": { "text": number.to_string() } } } })
}

fn with_cursor(mut event: Value, cursor: &str) -> Value {
    event["extensions"] = json!({ "cursor": cursor });
    event
}

fn message(number: usize) -> Value {
    json!({ "data": { "messages": { "text": number.to_string() } } })
}

/// Nothing has come up to now: the answer to a ping is first.
async fn got_nothing(socket: &mut Socket) {
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.next().await["type"], "pong");
}

fn delivery_of(session: &Session) -> &Value {
    &session.request["extensions"]["delivery"]
}

async fn have_joined(gateway: &TestGateway, clients: usize) {
    eventually("all have joined", || async {
        gateway.metric("gateway_subscriptions").await == clients as f64
    })
    .await;
}

#[tokio::test]
async fn what_is_malformed_is_refused_on_every_transport() {
    let gateway = TestGateway::start().await;
    let huge = "c".repeat(4_097);
    for delivery in [
        json!(true),
        json!({}),
        json!({ "version": 0 }),
        json!({ "version": "1" }),
        json!({ "version": 1, "guarantee": "EXACTLY_ONCE" }),
        json!({ "version": 1, "after": "" }),
        json!({ "version": 1, "after": huge }),
        json!({ "version": 1, "after": "c1\ndata: forged" }),
    ] {
        let request = json!({ "query": MESSAGES, "extensions": { "delivery": delivery } });
        for way in WAYS {
            // These two cannot stream.
            if matches!(way, Way::Post | Way::Get) {
                continue;
            }
            let code = way.refusal(&gateway, &request).await;
            assert_eq!(code, "BAD_USER_INPUT", "{way:?} {delivery}");
        }
        let query = json!({ "query": "{ greeting }", "extensions": { "delivery": delivery } });
        for way in WAYS {
            let answer = way.answer(&gateway, &query).await;
            assert_eq!(answer.body["data"]["greeting"], "hello you", "{way:?}");
        }
    }
    assert_eq!(gateway.news.log.started(), 0, "the subgraph has seen none");
}

/// The bytes of a stream, up to a text.
async fn read_until(request: RequestBuilder, end: &str) -> String {
    let mut response = request.send().await.expect("an answer");
    let mut text = String::new();
    while !text.contains(end) {
        let chunk = response.chunk().await.expect("a stream").expect("more");
        text.push_str(std::str::from_utf8(&chunk).expect("text"));
    }
    text
}

#[tokio::test]
async fn old_clients_get_the_same_bytes_and_share_the_upstream_subscription() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut new = subscribed(gateway, &asking(CHANGES, None)).await;
    let session = keeper.session().await;
    let mut old = subscribed(gateway, &json!({ "query": CHANGES })).await;
    let post = |accept: &str, body: &Value| {
        let request = gateway.post().header("accept", accept.to_owned());
        request.body(body.to_string())
    };
    let multipart = "multipart/mixed;subscriptionSpec=1.0";
    let [old_body, new_body] = [json!({ "query": CHANGES }), asking(CHANGES, None)];
    let reads = async {
        tokio::join!(
            read_until(post("text/event-stream", &old_body), "complete"),
            read_until(post(multipart, &old_body), "--graphql--"),
            read_until(post("text/event-stream", &new_body), "complete"),
            read_until(post(multipart, &new_body), "--graphql--"),
        )
    };
    let says = async {
        have_joined(gateway, 6).await;
        session.stands("AT_LEAST_ONCE", Some("c0"));
        session.say(&change(1));
        session.complete();
    };
    let ((old_sse, old_multipart, new_sse, new_multipart), ()) = tokio::join!(reads, says);
    let event = r#"{"data":{"changes":{"message":{"text":"1"}}}}"#;
    let part = "\r\ncontent-type: application/json\r\n\r\n";
    assert_eq!(
        old_sse,
        format!(":\n\nevent: next\nid: c1\ndata: {event}\n\nevent: complete\ndata:\n\n")
    );
    assert_eq!(
        old_multipart,
        format!("\r\n--graphql{part}{{\"payload\":{event}}}\r\n--graphql--\r\n")
    );
    let stands = r#"{"data":null,"extensions":{"delivery":{"version":1,"asked":"AT_LEAST_ONCE","kept":"AT_LEAST_ONCE"},"cursor":"c0"}}"#;
    let event = r#"{"data":{"changes":{"message":{"text":"1"}}},"extensions":{"cursor":"c1"}}"#;
    assert_eq!(
        new_sse,
        format!(
            ":\n\nevent: next\nid: c0\ndata: {stands}\n\nevent: next\nid: c1\ndata: {event}\n\nevent: complete\ndata:\n\n"
        )
    );
    assert_eq!(
        new_multipart,
        format!(
            "\r\n--graphql{part}{{\"payload\":{stands}}}\r\n--graphql{part}{{\"payload\":{event}}}\r\n--graphql--\r\n"
        )
    );
    assert_eq!(old.next_payload("1").await, plain_change(1));
    assert_eq!(old.next().await, json!({ "id": "1", "type": "complete" }));
    let stands = frame("AT_LEAST_ONCE", Some("c0"));
    assert_eq!(new.next_payload("1").await, stands);
    assert_eq!(
        new.next_payload("1").await,
        with_cursor(plain_change(1), "c1")
    );
    assert_eq!(new.next().await, json!({ "id": "1", "type": "complete" }));
    assert_eq!(gateway.metric("gateway_upstream_events_total").await, 1.0);
}

#[tokio::test]
async fn the_first_frame_comes_when_the_subgraph_says_so_and_who_joins_later_stands_at_the_last_event()
 {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut early = subscribed(gateway, &asking(CHANGES, None)).await;
    let session = keeper.session().await;
    assert_eq!(
        *delivery_of(&session),
        json!({ "version": 1, "status": true })
    );
    got_nothing(&mut early).await;
    session.stands("AT_LEAST_ONCE", Some("c0"));
    let stands = frame("AT_LEAST_ONCE", Some("c0"));
    assert_eq!(early.next_payload("1").await, stands);
    let mut second = subscribed(gateway, &asking(CHANGES, None)).await;
    assert_eq!(second.next_payload("1").await, stands);

    session.say(&change(1));
    for socket in [&mut early, &mut second] {
        assert_eq!(
            socket.next_payload("1").await,
            with_cursor(plain_change(1), "c1")
        );
    }
    let mut late = subscribed(gateway, &asking(CHANGES, None)).await;
    let stands = frame("AT_LEAST_ONCE", Some("c1"));
    assert_eq!(late.next_payload("1").await, stands);
    // A subgraph may repeat itself: clients see none of it.
    session.stands("BEST_EFFORT", Some("c9"));
    session.say(&change(2));
    for socket in [&mut early, &mut second, &mut late] {
        assert_eq!(
            socket.next_payload("1").await,
            with_cursor(plain_change(2), "c2")
        );
    }
    assert_eq!(gateway.metric(UPSTREAMS).await, 1.0);
    assert_eq!(gateway.metric("gateway_upstream_events_total").await, 2.0);
}

#[tokio::test]
async fn a_subgraph_that_does_not_know_the_contract_stands_with_its_first_event() {
    let gateway = TestGateway::start().await;
    for (query, kept, cursor) in [
        (CHANGES, "AT_LEAST_ONCE", Some("c0")),
        (MESSAGES, "BEST_EFFORT", None),
    ] {
        let log = &gateway.news.log;
        let mut socket = subscribed(&gateway, &asking(query, None)).await;
        log.until_open(1).await;
        got_nothing(&mut socket).await;
        log.publish("first");
        assert_eq!(socket.next_payload("1").await, frame(kept, None));
        let event = socket.next_payload("1").await;
        assert_eq!(event["extensions"]["cursor"].as_str(), cursor, "{event}");
        drop(socket);
        log.until_open(0).await;
    }
}

#[tokio::test]
async fn after_a_cursor_it_stands_at_once() {
    let gateway = TestGateway::start().await;
    for text in ["0", "1", "2"] {
        gateway.news.log.publish(text);
    }
    // The cursor of the extensions is newer than the argument.
    let mut payload = asking(CHANGES, Some("c2"));
    payload["variables"] = json!({ "after": "c0" });
    let mut socket = subscribed(&gateway, &payload).await;
    let stands = frame("AT_LEAST_ONCE", Some("c2"));
    assert_eq!(socket.next_payload("1").await, stands);
    gateway.news.log.publish("3");
    let event = with_cursor(plain_change(3), "c3");
    assert_eq!(socket.next_payload("1").await, event);
    // That of an EventSource that comes back is the newest.
    let accept = gateway.post().header("accept", "text/event-stream");
    let request = accept.header("last-event-id", "c1");
    let text = read_until(request.body(payload.to_string()), "\"3\"").await;
    let ids: Vec<_> = text.lines().filter(|line| line.starts_with("id")).collect();
    assert_eq!(ids, ["id: c1", "id: c2", "id: c3"], "{text}");
}

#[tokio::test]
async fn an_upstream_that_is_cut_before_its_first_frame_stands_later() {
    let keeper = Keeper::behind(&[]).await;
    let mut socket = subscribed(&keeper.gateway, &asking(CHANGES, None)).await;
    drop(keeper.session().await);
    let session = keeper.session().await;
    got_nothing(&mut socket).await;
    session.stands("AT_LEAST_ONCE", Some("c5"));
    let stands = frame("AT_LEAST_ONCE", Some("c5"));
    assert_eq!(socket.next_payload("1").await, stands);
}

#[tokio::test]
async fn an_upstream_that_is_cut_after_its_first_frame_is_resumed_there() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut new = subscribed(gateway, &asking(CHANGES, None)).await;
    let first = keeper.session().await;
    let mut old = subscribed(gateway, &json!({ "query": CHANGES })).await;
    have_joined(gateway, 2).await;
    first.stands("AT_LEAST_ONCE", Some("c5"));
    new.next_payload("1").await;
    drop(first);
    let session = keeper.session().await;
    assert_eq!(delivery_of(&session)["after"], "c5");
    assert_eq!(session.request["variables"]["_resumeAfter"], "c5");
    session.stands("AT_LEAST_ONCE", Some("c5"));
    session.say(&change(6));
    // No first frame again, and no gap.
    assert_eq!(
        new.next_payload("1").await,
        with_cursor(plain_change(6), "c6")
    );
    assert_eq!(old.next_payload("1").await, plain_change(6));
}

#[tokio::test]
async fn an_upstream_that_never_stands_ends_without_a_first_frame() {
    let keeper = Keeper::behind(&["--subscription-retry-time=0ms"]).await;
    let mut socket = subscribed(&keeper.gateway, &asking(CHANGES, None)).await;
    drop(keeper.session().await);
    let error = socket.next().await;
    let code = &error["payload"][0]["extensions"]["code"];
    assert_eq!(code, "SUBSCRIPTION_UPSTREAM_LOST", "{error}");

    // Nor does one that refuses the cursor.
    send(&mut socket, &asking(CHANGES, Some("old"))).await;
    let session = keeper.session().await;
    let error = json!({ "message": "gone", "extensions": { "code": "RESYNC_REQUIRED" } });
    session.say(&json!({ "data": null, "errors": [error] }));
    session.complete();
    let event = socket.next_payload("1").await;
    assert_eq!(event["errors"].as_array().map(Vec::len), Some(1), "{event}");
    assert_eq!(
        socket.next().await,
        json!({ "id": "1", "type": "complete" })
    );
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_frame_leaves_nothing_behind() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let socket = subscribed(gateway, &asking(CHANGES, None)).await;
    let session = keeper.session().await;
    drop(socket);
    session.left().await;
    assert_eq!(gateway.metric(UPSTREAMS).await, 0.0);
    let mut socket = subscribed(gateway, &asking(CHANGES, None)).await;
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", None);
    assert_eq!(socket.next_payload("1").await, frame("AT_LEAST_ONCE", None));
}

#[tokio::test]
async fn a_field_without_cursors_in_the_schema_is_resumed_by_the_contract() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut new = subscribed(gateway, &asking(MESSAGES, None)).await;
    let first = keeper.session().await;
    let mut old = subscribed(gateway, &json!({ "query": MESSAGES })).await;
    let old_sse = gateway.post().header("accept", "text/event-stream");
    let old_sse = old_sse.body(json!({ "query": MESSAGES }).to_string());
    let old_sse = tokio::spawn(read_until(old_sse, "\"2\""));
    have_joined(gateway, 3).await;
    first.stands("AT_LEAST_ONCE", Some("m0"));
    first.say(&with_cursor(message(1), "m1"));
    let stands = frame("AT_LEAST_ONCE", Some("m0"));
    assert_eq!(new.next_payload("1").await, stands);
    assert_eq!(new.next_payload("1").await, with_cursor(message(1), "m1"));
    assert_eq!(old.next_payload("1").await, message(1));
    drop(first);
    let second = keeper.session().await;
    assert_eq!(delivery_of(&second)["after"], "m1");
    second.stands("AT_LEAST_ONCE", Some("m1"));
    second.say(&with_cursor(message(2), "m2"));
    assert_eq!(new.next_payload("1").await, with_cursor(message(2), "m2"));
    assert_eq!(old.next_payload("1").await, message(2));
    // An old client gets no cursor that it has not got before.
    let old_sse = old_sse.await.expect("it reads");
    assert!(
        !old_sse.contains("id:") && !old_sse.contains("m1"),
        "{old_sse}"
    );
    // A subgraph that has forgotten the contract loses events: all clients learn it.
    drop(second);
    let third = keeper.session().await;
    third.say(&message(9));
    for socket in [&mut new, &mut old] {
        let gap = socket.next_payload("1").await;
        let code = &gap["errors"][0]["extensions"]["code"];
        assert_eq!(code, "SUBSCRIPTION_INTERRUPTED", "{gap}");
        assert_eq!(socket.next_payload("1").await, message(9));
    }
}

#[tokio::test]
async fn clients_that_know_no_cursor_go_on_when_it_is_refused() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut old = subscribed(gateway, &json!({ "query": MESSAGES })).await;
    let first = keeper.session().await;
    first.stands("AT_LEAST_ONCE", Some("m0"));
    first.say(&with_cursor(message(1), "m1"));
    assert_eq!(old.next_payload("1").await, message(1));
    drop(first);
    let second = keeper.session().await;
    assert_eq!(delivery_of(&second)["after"], "m1");
    second.stands("AT_LEAST_ONCE", Some("m1"));
    let error = json!({ "message": "gone", "extensions": { "code": "RESYNC_REQUIRED" } });
    second.say(&json!({ "data": null, "errors": [error] }));
    let third = keeper.session().await;
    assert_eq!(
        *delivery_of(&third),
        json!({ "version": 1, "status": true })
    );
    // The gap is reported when the subscription stands, not before.
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    got_nothing(&mut old).await;
    third.stands("AT_LEAST_ONCE", Some("m7"));
    let gap = old.next_payload("1").await;
    let code = &gap["errors"][0]["extensions"]["code"];
    assert_eq!(code, "SUBSCRIPTION_INTERRUPTED", "{gap}");
    third.say(&with_cursor(message(8), "m8"));
    assert_eq!(old.next_payload("1").await, message(8));
}

#[tokio::test]
async fn nobody_joins_a_subscription_that_has_lost_its_cursor() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let asked = asking(MESSAGES, Some("m5"));
    let mut first = subscribed(gateway, &asked).await;
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", Some("m5"));
    assert_eq!(
        first.next_payload("1").await,
        frame("AT_LEAST_ONCE", Some("m5"))
    );
    drop(session);
    let session = keeper.session().await;
    let error = json!({ "message": "gone", "extensions": { "code": "RESYNC_REQUIRED" } });
    session.say(&json!({ "data": null, "errors": [error] }));
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", Some("m9"));
    let gap = first.next_payload("1").await;
    let code = &gap["errors"][0]["extensions"]["code"];
    assert_eq!(code, "SUBSCRIPTION_INTERRUPTED", "{gap}");
    // m6 to m9 would be missing without a word.
    let mut second = subscribed(gateway, &asked).await;
    let own = keeper.session().await;
    assert_eq!(delivery_of(&own)["after"], "m5");
    own.stands("AT_LEAST_ONCE", Some("m5"));
    own.say(&with_cursor(message(6), "m6"));
    assert_eq!(
        second.next_payload("1").await,
        frame("AT_LEAST_ONCE", Some("m5"))
    );
    assert_eq!(
        second.next_payload("1").await,
        with_cursor(message(6), "m6")
    );
}

#[tokio::test]
async fn a_resumption_that_is_not_kept_is_a_gap_whatever_the_schema_says() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut old = subscribed(gateway, &json!({ "query": CHANGES })).await;
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", Some("c0"));
    session.say(&change(1));
    assert_eq!(old.next_payload("1").await, plain_change(1));
    drop(session);
    let session = keeper.session().await;
    assert_eq!(delivery_of(&session)["after"], "c1");
    session.stands("BEST_EFFORT", None);
    let gap = old.next_payload("1").await;
    let code = &gap["errors"][0]["extensions"]["code"];
    assert_eq!(code, "SUBSCRIPTION_INTERRUPTED", "{gap}");
}

#[tokio::test]
async fn only_a_refused_cursor_makes_the_gateway_begin_without_it() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let mut old = subscribed(gateway, &json!({ "query": MESSAGES })).await;
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", Some("m0"));
    session.say(&with_cursor(message(1), "m1"));
    assert_eq!(old.next_payload("1").await, message(1));
    drop(session);
    let session = keeper.session().await;
    let error = json!({ "message": "busy", "extensions": { "code": "OVERLOADED" } });
    session.say(&json!({ "data": null, "errors": [error] }));
    // It reaches the client, and ends nothing.
    let event = old.next_payload("1").await;
    let code = &event["errors"][0]["extensions"]["code"];
    assert_ne!(code, "SUBSCRIPTION_INTERRUPTED", "{event}");
    session.stands("AT_LEAST_ONCE", Some("m1"));
    session.say(&with_cursor(message(2), "m2"));
    assert_eq!(old.next_payload("1").await, message(2));
}

#[tokio::test]
async fn a_cursor_that_cannot_be_kept_is_said_not_to_be() {
    let gateway = TestGateway::start().await;
    let mut socket = subscribed(&gateway, &asking(MESSAGES, Some("m1"))).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("now");
    assert_eq!(socket.next_payload("1").await, frame("BEST_EFFORT", None));
    let event = json!({ "data": { "messages": { "text": "now" } } });
    assert_eq!(socket.next_payload("1").await, event);
}

#[tokio::test]
async fn a_subgraphs_forged_cursors_go_nowhere() {
    let keeper = Keeper::behind(&[]).await;
    let gateway = &keeper.gateway;
    let accept = gateway.post().header("accept", "text/event-stream");
    let request = accept.body(asking(CHANGES, None).to_string());
    let reading = tokio::spawn(read_until(request, "complete"));
    let session = keeper.session().await;
    session.stands("AT_LEAST_ONCE", Some("c0\nid: forged"));
    let huge = "c".repeat(4_097);
    for cursor in ["c1\r\ndata: forged", "c1\u{2028}", "", huge.as_str()] {
        let mut event = change(1);
        event["data"]["changes"]["_resumeCursor"] = json!(cursor);
        session.say(&event);
    }
    session.say(&change(2));
    session.complete();
    let text = reading.await.expect("it reads");
    assert!(!text.contains("forged"), "{text}");
    assert_eq!(text.matches("\nid: ").count(), 1, "{text}");
    let cursors = text.matches("\"cursor\":").count();
    assert_eq!(cursors, 1, "{text}");
    assert!(
        text.contains("\"extensions\":{\"cursor\":\"c2\"}}"),
        "{text}"
    );
}

#[tokio::test]
async fn both_kinds_of_clients_are_written_to_in_groups_of_their_own() {
    let gateway = TestGateway::start().await;
    let mut sockets = Vec::new();
    for number in 0..6 {
        let payload = match number % 2 {
            0 => asking(CHANGES, None),
            _ => json!({ "query": CHANGES }),
        };
        sockets.push(subscribed(&gateway, &payload).await);
    }
    have_joined(&gateway, 6).await;
    gateway.news.log.until_open(1).await;
    for round in 0..5 {
        gateway.news.log.publish(&round.to_string());
        for (number, socket) in sockets.iter_mut().enumerate() {
            let event = match number % 2 {
                0 => with_cursor(plain_change(round), &format!("c{round}")),
                _ => plain_change(round),
            };
            if round == 0 && number % 2 == 0 {
                assert_eq!(socket.next_payload("1").await, frame("AT_LEAST_ONCE", None));
            }
            assert_eq!(socket.next_payload("1").await, event);
        }
        eventually("all are written to directly", || async {
            gateway.metric("gateway_direct_subscriptions").await == 6.0
        })
        .await;
    }
    assert_eq!(gateway.metric(UPSTREAMS).await, 1.0);
}

#[tokio::test]
async fn a_client_that_lags_learns_where_to_resume() {
    let gateway = TestGateway::with(&["--subscription-buffer-events=16"]).await;
    let mut quick = subscribed(&gateway, &json!({ "query": CHANGES })).await;
    let request = gateway.post().header("accept", "text/event-stream");
    let request = request.body(asking(CHANGES, None).to_string());
    let slow = request.send().await.expect("an answer");
    have_joined(&gateway, 2).await;
    gateway.news.log.until_open(1).await;
    // More than the sockets' buffers hold.
    let text = "x".repeat(200_000);
    for _ in 0..80 {
        gateway.news.log.publish(&text);
        quick.next_payload("1").await;
    }
    let reading = tokio::spawn(slow.text());
    eventually("it has lagged", || async {
        gateway.metric("gateway_lagged_subscriptions_total").await == 1.0
    })
    .await;
    drop(gateway);
    let told = reading.await.expect("no panic").expect("text");
    let last = told.lines().rfind(|line| line.starts_with("data: {"));
    let error: Value = serde_json::from_str(&last.expect("an event")[6..]).expect("JSON");
    let extensions = &error["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "SUBSCRIPTION_LAGGED", "{error}");
    let mut ids = told.lines().filter_map(|line| line.strip_prefix("id: "));
    assert_eq!(extensions["cursor"].as_str(), ids.next_back());
}
