//! The crate's own client against both services, and against servers that are slow or wrong.

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::ws::{CloseFrame, Message, WebSocketUpgrade},
    routing::get,
};
use graphql_transport::{
    client::{Client, ClientEvent, ConnectError, PINGS_MAX},
    testing::PATIENCE,
    websocket::SUBPROTOCOL,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Error;

use crate::support::{self, Target};

const SHORT: Duration = Duration::from_millis(20);

async fn client(target: &Target) -> Client {
    let client = Client::open(&target.url(""), PATIENCE).await;
    client.expect("a connection")
}

async fn subscribe(client: &mut Client, id: &str, query: &str) {
    let request = json!({ "query": query }).to_string();
    client.subscribe(id, request).await.expect("sent");
}

#[tokio::test]
async fn a_client_hears_events_errors_and_the_end() {
    for mut target in support::both().await {
        let mut client = client(&target).await;
        subscribe(&mut client, "1", "subscription { numbers(to: 2) }").await;
        for number in 1..=2 {
            let next = json!({"data": {"numbers": number}});
            assert_eq!(
                client.next().await,
                ClientEvent::Next(next),
                "{}",
                target.name
            );
        }
        assert_eq!(
            client.next().await,
            ClientEvent::Complete,
            "{}",
            target.name
        );

        subscribe(&mut client, "1", "{ no }").await;
        let error = client.next().await;
        assert!(matches!(error, ClientEvent::Error(_)), "{error:?}");
        assert_eq!(error.code(), Some("GRAPHQL_VALIDATION_FAILED"));

        // An id that is complete is free: the server would close for one in use.
        for _ in 0..2 {
            subscribe(&mut client, "1", "subscription { never }").await;
            client.complete("1").await.expect("sent");
        }
        let (closed, ()) = tokio::join!(client.next(), target.end());
        assert_eq!(closed, ClientEvent::Closed(Some(1012)), "{}", target.name);
    }
}

/// A server that sends these texts after the upgrade, and then nothing more.
async fn server(texts: &'static [&'static str]) -> String {
    let texts = texts.iter().copied();
    server_of(texts.map(Message::text).collect()).await
}

/// A server that sends these messages after the upgrade, and then nothing more.
async fn server_of(messages: Vec<Message>) -> String {
    let upgrade = async move |upgrade: WebSocketUpgrade| {
        let (upgrade, messages) = (upgrade.protocols([SUBPROTOCOL]), messages.clone());
        upgrade.on_upgrade(async move |mut socket| {
            for message in messages {
                // The client may have left.
                let _ = socket.send(message).await;
            }
            while let Some(Ok(_)) = socket.recv().await {}
        })
    };
    let app = Router::new().route("/graphql", get(upgrade));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("ws://{address}/graphql")
}

#[tokio::test]
async fn a_server_that_is_silent_or_wrong_is_left() {
    const ACK: &str = r#"{"type":"connection_ack"}"#;
    let client = Client::open(&server(&[]).await, SHORT).await;
    assert!(matches!(client, Err(ConnectError::Timeout)));
    let client = Client::open(&server(&["[]"]).await, PATIENCE).await;
    assert!(matches!(client, Err(ConnectError::Protocol(_))));

    let client = Client::open(&server(&[ACK]).await, PATIENCE).await;
    let silence = client.expect("acknowledged").next_within(SHORT).await;
    assert_eq!(silence, ClientEvent::Closed(None));
    // A type that is unknown is passed over.
    let url = server(&[ACK, r#"{"type":"other"}"#, "[]"]).await;
    let client = Client::open(&url, PATIENCE).await;
    let closed = client.expect("acknowledged").next().await;
    assert_eq!(closed, ClientEvent::Closed(Some(4400)));
}

#[tokio::test]
async fn a_connection_that_is_not_acknowledged_says_why() {
    let close = CloseFrame {
        code: 4403,
        reason: "forbidden".into(),
    };
    let pings = vec![Message::Ping(Bytes::new()); PINGS_MAX + 1];
    for (messages, expected) in [
        (
            vec![Message::Close(Some(close))],
            "the connection was closed before it was acknowledged: 4403 \"forbidden\"",
        ),
        (
            vec![Message::Close(None)],
            "the connection ended before it was acknowledged",
        ),
        (pings, "not graphql-transport-ws: too many pings"),
    ] {
        let client = Client::open(&server_of(messages).await, PATIENCE).await;
        let error = client.err().expect("no connection");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn an_upgrade_that_is_refused_says_how() {
    for target in support::both().await {
        let url = target.url("").replace("/graphql", "/nothing");
        match Client::open(&url, PATIENCE).await {
            Err(ConnectError::WebSocket(Error::Http(answer))) => assert_eq!(answer.status(), 404),
            Err(error) => panic!("{}: {error}", target.name),
            Ok(_) => panic!("{}: an upgrade", target.name),
        }
    }
}
