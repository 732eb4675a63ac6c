//! graphql-transport-ws to the letter: every message and every close code.
//!
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>

use std::time::Duration;

use futures_util::SinkExt;
use graphql_transport::testing::{Socket, Wire};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::support::{self, Target};

async fn closed_after(target: &Target, init: bool, messages: &[&str]) -> (u16, String) {
    let mut socket = Socket::open(target.address, &[]).await;
    if init {
        socket.init(json!({})).await;
    }
    for message in messages {
        socket.send_text(message).await;
    }
    socket.closed().await
}

#[tokio::test]
async fn what_is_not_of_the_protocol_closes_with_4400() {
    let long = "i".repeat(1025);
    let too_long = format!(r#"{{"type":"subscribe","id":"{long}","payload":{{"query":"{{a}}"}}}}"#);
    for target in support::both().await {
        for message in [
            "nonsense",
            "[]",
            "{}",
            r#"{"type":"start","id":"1","payload":{"query":"{greeting}"}}"#,
            r#"{"type":"subscribe","payload":{"query":"{greeting}"}}"#,
            r#"{"type":"subscribe","id":"","payload":{"query":"{greeting}"}}"#,
            r#"{"type":"subscribe","id":1,"payload":{"query":"{greeting}"}}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","id":"1","payload":{}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{greeting}","variables":[]}}"#,
            r#"{"type":"complete"}"#,
            r#"{"type":"ping","payload":3}"#,
            &too_long,
        ] {
            let (code, reason) = closed_after(&target, true, &[message]).await;
            assert_eq!(code, 4400, "{} {message}", target.name);
            assert!(!reason.is_empty(), "{} {message}", target.name);
        }
        let mut socket = target.socket().await;
        let binary = Message::binary(br#"{"type":"ping"}"#.to_vec());
        socket.0.send(binary).await.expect("sent");
        assert_eq!(socket.closed().await.0, 4400, "{}", target.name);
    }
}

#[tokio::test]
async fn each_rule_of_the_connection_has_its_close_code() {
    let subscribe = r#"{"type":"subscribe","id":"a","payload":{"query":"subscription{never}"}}"#;
    let init = r#"{"type":"connection_init"}"#;
    for target in support::both().await {
        for (is_acknowledged, messages, code, reason) in [
            (false, vec![subscribe], 4401, "Unauthorized"),
            (
                true,
                vec![subscribe, subscribe],
                4409,
                "Subscriber for a already exists",
            ),
            (true, vec![init], 4429, "Too many initialisation requests"),
        ] {
            let close = closed_after(&target, is_acknowledged, &messages).await;
            assert_eq!(close, (code, reason.to_owned()), "{}", target.name);
        }
        // This client library refuses a handshake without its subprotocol, so this one offers none.
        let mut socket = Socket::open(target.address, &[("sec-websocket-protocol", "")]).await;
        let close = socket.closed().await;
        assert_eq!(
            close,
            (4406, "Subprotocol not acceptable".into()),
            "{}",
            target.name
        );
    }
}

#[tokio::test]
async fn the_older_subprotocol_closes_with_4406() {
    for target in support::both().await {
        // Client libraries give up on a handshake that does not take what they offer.
        let mut wire = Wire::open(target.address).await;
        wire.send(
            "GET /graphql HTTP/1.1\r\nhost: service\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: graphql-ws\r\n\r\n",
        )
        .await;
        let head = wire.head().await.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(!head.contains("sec-websocket-protocol"), "{head}");
        // A close frame: opcode, length, code, reason.
        let frame = wire.take(2 + 2).await;
        assert_eq!(
            u16::from_be_bytes([frame[2], frame[3]]),
            4406,
            "{}",
            target.name
        );
    }
}

#[tokio::test]
async fn a_silent_client_is_closed_with_4408() {
    let soon = |_: &mut _, websocket: &mut graphql_transport::WebSocketSettings| {
        websocket.ws_init_timeout = Duration::from_millis(50);
    };
    for target in support::with(soon).await {
        let close = closed_after(&target, false, &[]).await;
        let expected = (4408, "Connection initialisation timeout".to_owned());
        assert_eq!(close, expected, "{}", target.name);
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_with_1009() {
    let small = |_: &mut _, websocket: &mut graphql_transport::WebSocketSettings| {
        websocket.ws_message_bytes_max = 1000;
    };
    for target in support::with(small).await {
        let mut socket = target.socket().await;
        // The service may close before it has read all of it.
        let _ = socket.0.send(Message::text("x".repeat(2000))).await;
        assert_eq!(socket.closed().await.0, 1009, "{}", target.name);
    }
}

#[tokio::test]
async fn a_flood_of_pings_closes_with_1008() {
    let few = |_: &mut _, websocket: &mut graphql_transport::WebSocketSettings| {
        websocket.ws_pings_max = 3;
    };
    let pings = [
        Message::Ping("x".into()),
        Message::text(r#"{"type":"ping"}"#),
    ];
    for target in support::with(few).await {
        let mut socket = target.socket().await;
        for ping in pings.iter().cycle().take(4) {
            socket.0.send(ping.clone()).await.expect("sent");
        }
        assert_eq!(socket.closed().await.0, 1008, "{}", target.name);
    }
}

#[tokio::test]
async fn an_init_that_is_no_set_of_headers_is_refused() {
    for target in support::both().await {
        let mut socket = Socket::open(target.address, &[]).await;
        let payload = json!({ "list": vec![json!([]); 40_000] });
        socket
            .send(json!({"type": "connection_init", "payload": payload}))
            .await;
        assert_eq!(socket.closed().await.0, 4400, "{}", target.name);
    }
}

#[tokio::test]
async fn an_id_that_is_used_again_at_once_is_the_new_operations() {
    for target in support::both().await {
        let mut socket = target.socket().await;
        for _ in 0..100 {
            socket.subscribe("1", "{ greeting }").await;
            socket.send(json!({"id": "1", "type": "complete"})).await;
        }
        socket
            .subscribe("1", "subscription { numbers(to: 1) }")
            .await;
        // Answers may have been on their way before they were completed.
        let numbers = json!({"data": {"numbers": 1}});
        while socket.next().await["payload"] != numbers {}
        let complete = json!({"id": "1", "type": "complete"});
        assert_eq!(socket.next().await, complete, "{}", target.name);
    }
}

/// Sends so many bytes of a message in a frame that has more.
async fn begin_message(socket: &mut Socket, bytes: usize) {
    let frame = Frame::message(vec![b' '; bytes], OpCode::Data(Data::Text), false);
    socket.0.send(Message::Frame(frame)).await.expect("sent");
}

#[tokio::test]
async fn unfinished_messages_have_a_bound_for_each_client() {
    let bounded = |http: &mut graphql_transport::HttpSettings, _: &mut _| {
        http.request_bytes_max = 100_000;
        http.request_bodies_bytes_per_client_max = 100_000;
    };
    for target in support::with(bounded).await {
        for _ in 0..2 {
            let (mut one, mut other) = (target.socket().await, target.socket().await);
            for socket in [&mut one, &mut other] {
                begin_message(socket, 30_000).await;
                // What comes between its pieces changes nothing.
                socket
                    .0
                    .send(Message::Pong(vec![0; 100].into()))
                    .await
                    .expect("sent");
                let frame = Frame::message(vec![b' '; 30_000], OpCode::Data(Data::Continue), false);
                socket.0.send(Message::Frame(frame)).await.expect("sent");
            }
            // Which one finds no room depends on which is read first.
            let (closed, mut left) = tokio::select! {
                closed = one.closed() => (closed, other),
                closed = other.closed() => (closed, one),
            };
            assert_eq!(closed.0, 1013, "{}", target.name);
            let rest = br#"{"type":"ping"}"#.to_vec();
            let rest = Frame::message(rest, OpCode::Data(Data::Continue), true);
            left.0.send(Message::Frame(rest)).await.expect("sent");
            assert_eq!(
                left.next().await,
                json!({"type": "pong"}),
                "{}",
                target.name
            );
        }
    }
}

#[tokio::test]
async fn a_ping_for_each_operation_is_no_flood() {
    let few = |_: &mut _, websocket: &mut graphql_transport::WebSocketSettings| {
        websocket.ws_pings_max = 3;
    };
    for target in support::with(few).await {
        let mut socket = target.socket().await;
        for number in 0..8 {
            let id = number.to_string();
            socket.subscribe(&id, "{ greeting }").await;
            socket
                .0
                .send(Message::Ping("x".into()))
                .await
                .expect("sent");
            let payload = socket.next_payload(&id).await;
            assert!(
                payload["data"]["greeting"].is_string(),
                "{} {payload}",
                target.name
            );
            assert_eq!(socket.next().await["type"], "complete", "{}", target.name);
        }
    }
}

#[tokio::test]
async fn a_shutdown_closes_with_1012() {
    for mut target in support::both().await {
        let mut socket = target.socket().await;
        socket.subscribe("1", "subscription { never }").await;
        let closed = async { socket.closed().await };
        let (close, ()) = tokio::join!(closed, target.end());
        assert_eq!(close.0, 1012, "{}", target.name);
    }
}

#[tokio::test]
async fn a_client_that_closes_gets_its_close_back() {
    for target in support::both().await {
        let mut socket = target.socket().await;
        let frame = CloseFrame {
            code: 1000.into(),
            reason: "Normal Closure".into(),
        };
        let close = Message::Close(Some(frame));
        socket.0.send(close).await.expect("sent");
        assert_eq!(socket.closed().await.0, 1000, "{}", target.name);
    }
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_even_before_the_init() {
    for target in support::both().await {
        let mut socket = Socket::open(target.address, &[]).await;
        for (ping, pong) in [
            (json!({"type": "ping"}), json!({"type": "pong"})),
            (
                json!({"type": "ping", "payload": {"n": 1}}),
                json!({"type": "pong", "payload": {"n": 1}}),
            ),
        ] {
            socket.send(ping).await;
            assert_eq!(socket.next().await, pong, "{}", target.name);
        }
        socket.send(json!({"type": "pong"})).await;
        socket.init(json!({})).await;
    }
}

#[tokio::test]
async fn every_operation_is_answered_and_completed() {
    for target in support::both().await {
        let mut socket = target.socket().await;
        for (operation, answers) in [
            ("{ greeting }", vec![json!({"greeting": "hello you"})]),
            (
                "mutation { publish(text: \"t\") }",
                vec![json!({"publish": "t"})],
            ),
            (
                "subscription { numbers(to: 2) }",
                vec![json!({"numbers": 1}), json!({"numbers": 2})],
            ),
        ] {
            // The id is free again each time.
            socket.subscribe("q", operation).await;
            for answer in answers {
                let payload = socket.next_payload("q").await;
                assert_eq!(payload, json!({ "data": answer }), "{}", target.name);
            }
            let complete = json!({"id": "q", "type": "complete"});
            assert_eq!(socket.next().await, complete, "{}", target.name);
        }
    }
}

#[tokio::test]
async fn an_operation_that_is_refused_ends_with_error_and_the_connection_goes_on() {
    for target in support::both().await {
        let mut socket = target.socket().await;
        for (query, code) in [
            ("{ no }", "GRAPHQL_VALIDATION_FAILED"),
            ("{", "GRAPHQL_PARSE_FAILED"),
            ("subscription { no }", "GRAPHQL_VALIDATION_FAILED"),
        ] {
            socket.subscribe("1", query).await;
            let error = socket.next().await;
            let what = format!("{} {query}: {error}", target.name);
            assert_eq!(
                (&error["type"], &error["id"]),
                (&json!("error"), &json!("1")),
                "{what}"
            );
            assert_eq!(error["payload"][0]["extensions"]["code"], code, "{what}");
        }
        socket.subscribe("1", "{ greeting }").await;
        assert_eq!(
            socket.next_payload("1").await["data"]["greeting"],
            "hello you"
        );
    }
}

fn code(error: &Value) -> &Value {
    assert_eq!(error["type"], "error", "{error}");
    &error["payload"][0]["extensions"]["code"]
}

#[tokio::test]
async fn a_connection_has_so_many_operations_and_no_more() {
    let two = |_: &mut _, websocket: &mut graphql_transport::WebSocketSettings| {
        websocket.ws_operations_max = 2;
    };
    for target in support::with(two).await {
        let mut socket = target.socket().await;
        for id in ["1", "2", "3"] {
            socket.subscribe(id, "subscription { never }").await;
        }
        let error = socket.next().await;
        assert_eq!(error["id"], "3", "{}", target.name);
        assert_eq!(code(&error), "TOO_MANY_SUBSCRIPTIONS", "{}", target.name);
        // One that ends makes room.
        socket.send(json!({"type": "complete", "id": "1"})).await;
        socket.subscribe("3", "{ greeting }").await;
        assert_eq!(
            socket.next_payload("3").await["data"]["greeting"],
            "hello you"
        );
    }
}

#[tokio::test]
async fn queries_wait_for_a_place_and_keep_no_event_waiting() {
    let few = |_: &mut _, websocket: &mut graphql_transport::WebSocketSettings| {
        websocket.ws_answers_max = 3;
        websocket.ws_answers_running_max = 2;
    };
    for target in support::with(few).await {
        let mut socket = target.socket().await;
        for id in 0..5 {
            socket.subscribe(&id.to_string(), "{ slow }").await;
        }
        for _ in 0..2 {
            assert_eq!(code(&socket.next().await), "OVERLOADED", "{}", target.name);
        }
        socket
            .subscribe("n", "subscription { numbers(to: 2) }")
            .await;
        for expected in ["next", "next", "complete"] {
            let message = socket.next().await;
            let found = (&message["id"], &message["type"]);
            assert_eq!(found, (&json!("n"), &json!(expected)), "{}", target.name);
        }
        assert!(target.gate.begun() <= 2, "{}", target.name);
        target.gate.open();
        for _ in 0..3 {
            let answer = socket.next().await;
            assert_eq!(answer["payload"]["data"]["slow"], "done", "{}", target.name);
            let complete = json!({"id": answer["id"], "type": "complete"});
            assert_eq!(socket.next().await, complete, "{}", target.name);
        }
        assert_eq!(target.gate.begun(), 3, "{}", target.name);
    }
}

#[tokio::test]
async fn a_page_of_another_origin_opens_no_socket() {
    let allowed = |http: &mut graphql_transport::HttpSettings, _: &mut _| {
        http.cors_origins = vec!["https://app.example".to_owned()];
    };
    for target in support::with(allowed).await {
        let own = format!("http://{}", target.address);
        for (header, is_allowed) in [
            (("sec-fetch-site", "cross-site"), false),
            (("origin", "https://evil.example"), false),
            (("origin", "null"), false),
            (("origin", own.as_str()), true),
            (("origin", "https://app.example"), true),
        ] {
            match Socket::try_open(target.address, &[header]).await {
                Ok(_) => assert!(is_allowed, "{} {header:?}", target.name),
                Err(Error::Http(response)) => {
                    assert!(!is_allowed, "{} {header:?}", target.name);
                    assert_eq!(response.status(), 403);
                    let body = response.body().as_deref().unwrap_or_default();
                    let body: Value = serde_json::from_slice(body).expect("a GraphQL error");
                    assert_eq!(body["errors"][0]["extensions"]["code"], "CSRF_REFUSED");
                }
                Err(error) => panic!("{} {header:?}: {error}", target.name),
            }
        }
    }
}
