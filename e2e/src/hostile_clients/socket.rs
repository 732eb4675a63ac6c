//! A WebSocket of an attack.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::client::{Attacker, code_in};

/// An upgrade that takes longer has failed.
const UPGRADE_TIME_LIMIT: Duration = Duration::from_secs(10);

/// A socket after `connection_ack`.
pub(super) struct Socket {
    socket: WebSocketStream<TcpStream>,
    attacker: Attacker,
}

impl Socket {
    /// A socket, or nothing, where the gateway accepts none; that is counted.
    pub(super) async fn open(attacker: &Attacker) -> Option<Self> {
        let opened = timeout(UPGRADE_TIME_LIMIT, Self::upgrade(attacker)).await;
        let socket = match opened {
            Ok(socket) => socket,
            Err(_) => {
                attacker.tally.answered("no upgrade in time");
                None
            }
        };
        Some(Self {
            socket: socket?,
            attacker: attacker.clone(),
        })
    }

    async fn upgrade(attacker: &Attacker) -> Option<WebSocketStream<TcpStream>> {
        let stream = attacker.connect().await.ok()?;
        let url = format!("ws://{}/graphql", attacker.target.gateway);
        let mut request = url.into_client_request().ok()?;
        let protocol = "graphql-transport-ws".parse().ok()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let Ok((mut socket, _)) = client_async(request, stream).await else {
            attacker.tally.answered("no upgrade");
            return None;
        };
        let init = Message::text(json!({ "type": "connection_init" }).to_string());
        socket.send(init).await.ok()?;
        match socket.next().await {
            Some(Ok(Message::Text(_))) => Some(socket),
            _ => {
                attacker.tally.answered("no connection_ack");
                None
            }
        }
    }

    /// Subscribes; `payload` is JSON text, perhaps one that no serializer writes. Whether it was sent.
    pub(super) async fn subscribe(&mut self, id: &str, payload: &str) -> bool {
        let message = format!(r#"{{"id":"{id}","type":"subscribe","payload":{payload}}}"#);
        self.attacker.tally.requested(1);
        self.socket.send(Message::text(message)).await.is_ok()
    }

    /// Counts the next message, and returns its type; nothing at the socket's end.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            let text = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| u16::from(frame.code));
                    self.attacker.tally.answered(&format!("closed {code}"));
                    return None;
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => {
                    self.attacker.tally.answered("connection ended");
                    return None;
                }
            };
            let message: Value = serde_json::from_str(&text).ok()?;
            let kind = message["type"].as_str()?.to_owned();
            match kind.as_str() {
                "ping" => {
                    let pong = json!({ "type": "pong" }).to_string();
                    self.socket.send(Message::text(pong)).await.ok()?;
                    continue;
                }
                "next" | "error" => {
                    let code = code_in(&text);
                    self.attacker
                        .tally
                        .answered(code.as_deref().unwrap_or("event"));
                }
                _ => {}
            }
            return Some(kind);
        }
    }

    /// Counts messages until the socket's end.
    pub(super) async fn read_to_end(&mut self) {
        while self.next().await.is_some() {}
    }
}
