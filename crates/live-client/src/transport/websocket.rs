//! Subscriptions over a WebSocket, by graphql-transport-ws.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Signal, headers_of, lost, retry_after};
use crate::client::Settings;
use crate::connect::Stream;
use crate::errors;
use crate::failure::Failure;

const SUBPROTOCOL: &str = "graphql-transport-ws";
/// The socket's one operation.
const ID: &str = "1";
/// Most sockets are quiet: they should cost little while they are.
const READ_BUFFER_BYTES: usize = 8 * 1024;

pub(crate) struct WebSocket {
    socket: WebSocketStream<Stream>,
    keep_alive: Duration,
    pong_within: Duration,
    message_bytes_max: usize,
    /// A ping was sent, and nothing has come since.
    is_pinged: bool,
}

/// A message of the server.
#[derive(Deserialize)]
struct ServerMessage<'text> {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    #[serde(borrow)]
    payload: Option<&'text RawValue>,
}

impl WebSocket {
    pub(crate) async fn open(settings: &Settings, request: &[u8]) -> Result<Self, Failure> {
        let headers = headers_of(settings).await?;
        let init = match &settings.init_payload {
            Some(asked) => {
                json!({ "type": "connection_init", "payload": asked().await.map_err(Failure::new)? })
            }
            None => json!({ "type": "connection_init" }),
        };
        let stream = settings.endpoint.connect().await.map_err(lost)?;
        let upgrade = settings.endpoint.websocket_url().into_client_request();
        let mut upgrade = upgrade.map_err(lost)?;
        upgrade.headers_mut().extend(headers);
        let protocol = HeaderValue::from_static(SUBPROTOCOL);
        upgrade
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(settings.message_bytes_max))
            .max_frame_size(Some(settings.message_bytes_max));
        let upgraded = client_async_with_config(upgrade, stream, Some(config)).await;
        let (socket, _) =
            upgraded.map_err(|error| failure_of(error, settings.message_bytes_max))?;
        let mut opened = Self {
            socket,
            keep_alive: settings.keep_alive,
            pong_within: settings.pong_within,
            message_bytes_max: settings.message_bytes_max,
            is_pinged: false,
        };
        opened.send(init.to_string()).await?;
        opened.acknowledged().await?;
        let request: &RawValue = serde_json::from_slice(request).map_err(Failure::new)?;
        let subscribe = json!({ "id": ID, "type": "subscribe", "payload": request });
        opened.send(subscribe.to_string()).await?;
        Ok(opened)
    }

    async fn acknowledged(&mut self) -> Result<(), Failure> {
        loop {
            let text = self.text().await?;
            match parse(&text)?.kind.as_str() {
                "connection_ack" => return Ok(()),
                "ping" => self.pong().await?,
                _ => {}
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Signal, Failure> {
        loop {
            let limit = match self.is_pinged {
                true => self.pong_within,
                false => self.keep_alive,
            };
            let text = match timeout(limit, self.text()).await {
                Ok(text) => text?,
                Err(_) if self.is_pinged => {
                    return Err(Failure::new("The server does not answer a ping."));
                }
                Err(_) => {
                    self.is_pinged = true;
                    self.send(json!({ "type": "ping" }).to_string()).await?;
                    continue;
                }
            };
            if let Some(signal) = self.signal(&text).await? {
                return Ok(signal);
            }
        }
    }

    async fn signal(&mut self, text: &str) -> Result<Option<Signal>, Failure> {
        let message = parse(text)?;
        let is_ours = message.id.as_deref() == Some(ID);
        let payload = message.payload.map_or("null", RawValue::get);
        match message.kind.as_str() {
            "next" if is_ours => Ok(Some(Signal::Message {
                json: payload.to_owned(),
                id: None,
            })),
            "error" if is_ours => Err(Failure::from_errors(errors::first_of(payload))),
            "complete" if is_ours => Ok(Some(Signal::Complete)),
            "ping" => {
                self.pong().await?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// The next text. The library answers the WebSocket's own pings.
    async fn text(&mut self) -> Result<String, Failure> {
        loop {
            let Some(message) = self.socket.next().await else {
                return Err(Failure::new("The connection has ended."));
            };
            let message = message.map_err(|error| failure_of(error, self.message_bytes_max))?;
            self.is_pinged = false;
            match message {
                Message::Text(text) => return Ok(text.as_str().to_owned()),
                Message::Close(Some(frame)) => {
                    return Err(Failure::closed(frame.code.into(), &frame.reason));
                }
                Message::Binary(_) => {
                    return Err(Failure::new("The server sent a binary message."));
                }
                _ => {}
            }
        }
    }

    async fn pong(&mut self) -> Result<(), Failure> {
        self.send(json!({ "type": "pong" }).to_string()).await
    }

    /// A server that does not read has as long as one that does not write.
    async fn send(&mut self, text: String) -> Result<(), Failure> {
        let sent = timeout(self.pong_within, self.socket.send(Message::text(text))).await;
        match sent {
            Ok(sent) => sent.map_err(lost),
            Err(_) => Err(Failure::new("The server does not read.")),
        }
    }
}

fn parse(text: &str) -> Result<ServerMessage<'_>, Failure> {
    serde_json::from_str(text)
        .map_err(|_| Failure::new("The server sent a message that is not of graphql-transport-ws."))
}

fn failure_of(error: Error, message_bytes_max: usize) -> Failure {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let wait = retry_after(response.headers());
            Failure::refused(response.status().as_u16(), wait, body)
        }
        Error::Capacity(_) => Failure::too_large(message_bytes_max),
        other => lost(other),
    }
}
