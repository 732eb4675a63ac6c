//! A client of graphql-transport-ws.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message},
};

use super::PATIENCE;
use crate::client::upgrade_request;

/// A WebSocket that sends what a test tells it to, valid or not.
pub struct Socket(
    /// For what the methods do not offer.
    pub WebSocketStream<TcpStream>,
);

impl Socket {
    /// Offers the subprotocol, unless `headers` say otherwise.
    pub async fn open(address: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        Self::try_open(address, headers)
            .await
            .expect("the handshake succeeds")
    }

    /// [`Socket::open`], where the handshake may be refused.
    ///
    /// # Errors
    /// What the handshake failed with.
    pub async fn try_open(
        address: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        Self::over(stream, headers).await
    }

    /// [`Socket::try_open`] over a connection that is open.
    ///
    /// # Errors
    /// What the handshake failed with.
    pub async fn over(stream: TcpStream, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let url = format!("ws://{}/graphql", stream.peer_addr()?);
        let mut request = upgrade_request(&url, HeaderMap::new())?;
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            match *value {
                "" => request.headers_mut().remove(name),
                value => request
                    .headers_mut()
                    .insert(name, HeaderValue::from_str(value).expect("a value")),
            };
        }
        Ok(Self(client_async(request, stream).await?.0))
    }

    /// Sends `connection_init` and waits for `connection_ack`.
    pub async fn init(&mut self, payload: Value) {
        self.send(json!({"type": "connection_init", "payload": payload}))
            .await;
        assert_eq!(self.next().await, json!({"type": "connection_ack"}));
    }

    /// Sends `subscribe` with this id and document.
    pub async fn subscribe(&mut self, id: &str, query: &str) {
        self.send(json!({"id": id, "type": "subscribe", "payload": {"query": query}}))
            .await;
    }

    /// Starts an operation that has variables.
    pub async fn subscribe_with(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({ "query": query, "variables": variables });
        self.send(json!({ "id": id, "type": "subscribe", "payload": payload }))
            .await;
    }

    /// Sends a message, which need not be one of the protocol.
    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Sends a text, whatever it is.
    pub async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("sent");
    }

    /// The next message, or the close frame as `{"close": code}`.
    pub async fn next(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).expect("JSON"),
            Message::Close(frame) => json!({ "close": frame.map(|frame| u16::from(frame.code)) }),
            other => panic!("a text message was expected, not {other:?}"),
        }
    }

    /// The payload of the next message, which is an event of this operation.
    pub async fn next_payload(&mut self, id: &str) -> Value {
        let mut message = self.next().await;
        assert_eq!(
            (&message["type"], &message["id"]),
            (&json!("next"), &json!(id)),
            "{message}"
        );
        message["payload"].take()
    }

    /// The code and the reason of the close that comes next; events before it are passed over.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.message().await {
                Message::Close(Some(frame)) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Message::Close(None) => panic!("a close without a code"),
                _ => {}
            }
        }
    }

    async fn message(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.0.next())
                .await
                .expect("a message in time");
            match message
                .expect("the connection is open")
                .expect("a whole message")
            {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }
}
