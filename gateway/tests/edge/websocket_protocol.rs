//! graphql-transport-ws to the letter: every message and every close code.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

use crate::support::{Socket, Wire, eventually, gateway::TestGateway};
use futures_util::SinkExt;

async fn closed_after(gateway: &TestGateway, init: bool, messages: &[&str]) -> (u16, String) {
    let mut socket = Socket::open(gateway.address, &[]).await;
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
    let gateway = TestGateway::start().await;
    for message in [
        "nonsense",
        "[]",
        "{}",
        r#"{"type":"start","id":"1","payload":{"query":"{greeting}"}}"#,
        r#"{"type":"subscribe","payload":{"query":"{greeting}"}}"#,
        r#"{"type":"subscribe","id":"","payload":{"query":"{greeting}"}}"#,
        r#"{"type":"subscribe","id":"1"}"#,
        r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
        r#"{"type":"subscribe","id":"1","payload":{"query":"{greeting}","variables":[]}}"#,
        r#"{"type":"complete"}"#,
        r#"{"type":"ping","payload":3}"#,
    ] {
        let (code, reason) = closed_after(&gateway, true, &[message]).await;
        assert_eq!(code, 4400, "{message}");
        assert!(!reason.is_empty(), "{message}");
    }
    let mut socket = gateway.socket().await;
    socket
        .0
        .send(Message::binary(b"{}".to_vec()))
        .await
        .expect("sent");
    assert_eq!(socket.closed().await.0, 4400);
}

#[tokio::test]
async fn subscribing_before_the_acknowledgement_closes_with_4401() {
    let gateway = TestGateway::start().await;
    let subscribe = r#"{"type":"subscribe","id":"1","payload":{"query":"{greeting}"}}"#;
    assert_eq!(
        closed_after(&gateway, false, &[subscribe]).await,
        (4401, "Unauthorized".into())
    );
}

#[tokio::test]
async fn a_header_that_cannot_be_one_closes_with_4403() {
    let gateway = TestGateway::with(&["--forward-headers=authorization"]).await;
    let init = r#"{"type":"connection_init","payload":{"authorization":"a\nb"}}"#;
    assert_eq!(closed_after(&gateway, false, &[init]).await.0, 4403);
}

#[tokio::test]
async fn another_subprotocol_closes_with_4406() {
    let gateway = TestGateway::start().await;
    // This client library refuses a handshake without its subprotocol, so this one offers none.
    let mut socket = Socket::open(gateway.address, &[("sec-websocket-protocol", "")]).await;
    assert_eq!(
        socket.closed().await,
        (4406, "Subprotocol not acceptable".into())
    );
}

#[tokio::test]
async fn the_older_subprotocol_closes_with_4406() {
    let gateway = TestGateway::start().await;
    // Client libraries give up on a handshake that does not take what they offer.
    let mut wire = Wire::open(gateway.address).await;
    wire.send(
        "GET /graphql HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: graphql-ws\r\n\r\n",
    )
    .await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        !head.to_ascii_lowercase().contains("sec-websocket-protocol"),
        "{head}"
    );
    // A close frame: opcode, length, code, reason.
    let frame = wire.take(2 + 2 + "Subprotocol not acceptable".len()).await;
    assert_eq!(frame[..2], [0x88, 28]);
    assert_eq!(u16::from_be_bytes([frame[2], frame[3]]), 4406);
    assert_eq!(&frame[4..], b"Subprotocol not acceptable");
}

#[tokio::test]
async fn a_silent_client_is_closed_with_4408() {
    let gateway = TestGateway::with(&["--ws-init-timeout=50ms"]).await;
    let close = closed_after(&gateway, false, &[]).await;
    assert_eq!(close, (4408, "Connection initialisation timeout".into()));
}

#[tokio::test]
async fn an_id_in_use_closes_with_4409() {
    let gateway = TestGateway::start().await;
    let subscribe =
        r#"{"type":"subscribe","id":"a","payload":{"query":"subscription{messages{id}}"}}"#;
    let close = closed_after(&gateway, true, &[subscribe, subscribe]).await;
    assert_eq!(close, (4409, "Subscriber for a already exists".into()));
}

#[tokio::test]
async fn a_second_init_closes_with_4429() {
    let gateway = TestGateway::start().await;
    let close = closed_after(&gateway, true, &[r#"{"type":"connection_init"}"#]).await;
    assert_eq!(close, (4429, "Too many initialisation requests".into()));
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_with_1009() {
    let gateway = TestGateway::with(&["--ws-message-bytes-max=1000"]).await;
    let mut socket = gateway.socket().await;
    // The gateway may close before it has read all of it.
    let _ = socket.0.send(Message::text("x".repeat(2000))).await;
    assert_eq!(socket.closed().await.0, 1009);
    let counted = "gateway_refusals_total{code=\"REQUEST_TOO_LARGE\"}";
    assert_eq!(gateway.metric(counted).await, 1.0);
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_even_before_the_init() {
    let gateway = TestGateway::start().await;
    let mut socket = Socket::open(gateway.address, &[]).await;
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await, json!({"type": "pong"}));
    socket
        .send(json!({"type": "ping", "payload": {"n": 1}}))
        .await;
    assert_eq!(
        socket.next().await,
        json!({"type": "pong", "payload": {"n": 1}})
    );
    socket.send(json!({"type": "pong"})).await;
    socket.init(json!({})).await;
}

#[tokio::test]
async fn queries_and_mutations_are_answered_once_and_completed() {
    let gateway = TestGateway::start().await;
    let mut socket = gateway.socket().await;
    socket.subscribe("q", "{ greeting(name: \"there\") }").await;
    assert_eq!(
        socket.next_payload("q").await,
        json!({"data": {"greeting": "hello there"}})
    );
    assert_eq!(socket.next().await, json!({"id": "q", "type": "complete"}));
    // The id is free again.
    socket
        .subscribe("q", "mutation { publish(text: \"new\") { id text } }")
        .await;
    let published = json!({"data": {"publish": {"id": "0", "text": "new"}}});
    assert_eq!(socket.next_payload("q").await, published);
    assert_eq!(socket.next().await, json!({"id": "q", "type": "complete"}));
}

#[tokio::test]
async fn an_operation_that_is_refused_ends_with_error_and_the_connection_goes_on() {
    let gateway = TestGateway::start().await;
    let mut socket = gateway.socket().await;
    socket.subscribe("bad", "{ nothing }").await;
    let error = socket.next().await;
    assert_eq!(
        (&error["type"], &error["id"]),
        (&json!("error"), &json!("bad"))
    );
    assert_eq!(
        error["payload"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED",
        "{error}"
    );
    socket.subscribe("bad", "{ greeting }").await;
    assert_eq!(
        socket.next_payload("bad").await,
        json!({"data": {"greeting": "hello you"}})
    );
}

#[tokio::test]
async fn a_connection_has_so_many_operations_and_no_more() {
    let gateway = TestGateway::with(&["--ws-operations-max=2"]).await;
    let mut socket = gateway.socket().await;
    for id in ["1", "2", "3"] {
        socket
            .subscribe(id, "subscription { messages { id } }")
            .await;
    }
    let error = socket.next().await;
    assert_eq!(
        (&error["type"], &error["id"]),
        (&json!("error"), &json!("3")),
        "{error}"
    );
    assert_eq!(
        error["payload"][0]["extensions"]["code"],
        "TOO_MANY_SUBSCRIPTIONS"
    );
    assert_eq!(
        gateway
            .metric("gateway_refusals_total{code=\"TOO_MANY_SUBSCRIPTIONS\"}")
            .await,
        1.0
    );
}

#[tokio::test]
async fn complete_ends_the_subscription_here_and_at_the_subgraph() {
    let gateway = TestGateway::start().await;
    let mut socket = gateway.socket().await;
    socket
        .subscribe("1", "subscription { messages { text } }")
        .await;
    eventually("the subgraph is asked", || async {
        gateway.news.log.open() == 1
    })
    .await;
    socket.send(json!({"id": "1", "type": "complete"})).await;
    eventually("the subgraph is told", || async {
        gateway.news.log.open() == 0
    })
    .await;
    // Nothing of it comes any more, and its id is free.
    gateway.news.log.publish("unheard");
    socket.subscribe("1", "{ greeting }").await;
    assert_eq!(
        socket.next_payload("1").await,
        json!({"data": {"greeting": "hello you"}})
    );
}

#[tokio::test]
async fn a_client_that_closes_gets_its_close_back() {
    let gateway = TestGateway::start().await;
    let mut socket = gateway.socket().await;
    let frame = CloseFrame {
        code: 1000.into(),
        reason: "Normal Closure".into(),
    };
    socket
        .0
        .send(Message::Close(Some(frame)))
        .await
        .expect("sent");
    assert_eq!(socket.closed().await.0, 1000);
}

#[tokio::test]
async fn a_page_of_another_origin_opens_no_socket() {
    let gateway = TestGateway::with(&["--cors-origins=https://app.example"]).await;
    let own = format!("http://{}", gateway.address);
    for (origin, allowed) in [
        ("https://evil.example", false),
        ("null", false),
        (own.as_str(), true),
        ("https://app.example", true),
    ] {
        let opened = Socket::try_open(gateway.address, &[("origin", origin)]).await;
        match opened {
            Ok(_) => assert!(allowed, "{origin}"),
            Err(Error::Http(response)) => {
                assert!(!allowed, "{origin}");
                assert_eq!(response.status(), 403);
                let body: Value =
                    serde_json::from_slice(response.body().as_deref().unwrap_or_default())
                        .expect("a GraphQL error");
                assert_eq!(body["errors"][0]["extensions"]["code"], "CSRF_REFUSED");
            }
            Err(error) => panic!("{origin}: {error}"),
        }
    }
}

#[tokio::test]
async fn what_init_brings_stands_for_headers() {
    let gateway = TestGateway::with(&["--forward-headers=authorization"]).await;
    for payload in [
        json!({"Authorization": "Bearer 1", "x-other": "2"}),
        json!({"headers": {"authorization": "Bearer 1"}}),
    ] {
        let mut socket = Socket::open(gateway.address, &[]).await;
        socket.init(payload).await;
        socket
            .subscribe(
                "q",
                "{ a: header(name: \"authorization\") o: header(name: \"x-other\") }",
            )
            .await;
        assert_eq!(
            socket.next_payload("q").await,
            json!({"data": {"a": "Bearer 1", "o": null}})
        );
    }
}
