//! The crate's own client against both services, and against servers that are slow or wrong.

use std::{net::SocketAddr, time::Duration};

use graphql_transport::{
    client::{Client, ConnectError, Event},
    testing::PATIENCE,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{Error, Message};

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
            assert_eq!(client.next().await, Event::Next(next), "{}", target.name);
        }
        assert_eq!(client.next().await, Event::Complete, "{}", target.name);

        subscribe(&mut client, "1", "{ no }").await;
        let error = client.next().await;
        assert!(matches!(error, Event::Error(_)), "{error:?}");
        assert_eq!(error.code(), Some("GRAPHQL_VALIDATION_FAILED"));

        // An id that is complete is free: the server would close for one in use.
        for _ in 0..2 {
            subscribe(&mut client, "1", "subscription { never }").await;
            client.complete("1").await.expect("sent");
        }
        let (closed, ()) = tokio::join!(client.next(), target.end());
        assert_eq!(closed, Event::Closed(Some(1012)), "{}", target.name);
    }
}

/// A server of one connection, which is acknowledged where `says` has something to send after that.
async fn server(says: Option<Vec<Message>>) -> SocketAddr {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let accept = |request: &Request, mut response: Response| {
            let protocol = request.headers()["sec-websocket-protocol"].clone();
            let headers = response.headers_mut();
            headers.insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, accept).await;
        let mut socket = socket.expect("a handshake");
        let ack = Message::text(r#"{"type":"connection_ack"}"#);
        for message in says
            .into_iter()
            .flat_map(|says| [vec![ack.clone()], says].concat())
        {
            socket.send(message).await.expect("sent");
        }
        while let Some(Ok(_)) = socket.next().await {}
    });
    address
}

#[tokio::test]
async fn a_server_that_does_not_acknowledge_is_left() {
    let url = format!("http://{}/graphql", server(None).await);
    let client = Client::open(&url, SHORT).await;
    assert!(matches!(client, Err(ConnectError::Timeout)));
}

#[tokio::test]
async fn a_server_that_is_silent_counts_as_closed() {
    let url = format!("http://{}/graphql", server(Some(vec![])).await);
    let client = Client::open(&url, PATIENCE).await;
    let mut client = client.expect("acknowledged");
    assert_eq!(client.next_within(SHORT).await, Event::Closed(None));
}

#[tokio::test]
async fn a_server_that_is_wrong_is_closed() {
    let says = ["{\"type\":\"unheard of\"}", "[]"].map(Message::text);
    let url = format!("http://{}/graphql", server(Some(says.into())).await);
    let client = Client::open(&url, PATIENCE).await;
    let mut client = client.expect("acknowledged");
    assert_eq!(client.next().await, Event::Closed(Some(4400)));
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
