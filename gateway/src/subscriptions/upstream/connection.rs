//! One WebSocket to a subgraph, by graphql-transport-ws, with many subscriptions on it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use graphql_transport::websocket::SUBPROTOCOL;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, Utf8Bytes, client::IntoClientRequest, protocol::WebSocketConfig},
};

use super::{
    UpstreamError, UpstreamMessage, errors_response,
    sockets::{Command, SubscriptionId},
};
use crate::subgraphs::{Endpoint, Stream, Tls};

/// Connection, handshake and acknowledgement together.
const CONNECT_TIME_LIMIT: Duration = Duration::from_secs(8);
/// A subgraph that takes nothing for this long is lost.
const WRITE_TIME_LIMIT: Duration = Duration::from_secs(10);
/// A connection without subscriptions stays this long for the next one.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// The largest event, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const READ_BUFFER_BYTES: usize = 16 * 1024;

type Socket = WebSocketStream<Stream>;

/// One WebSocket to a subgraph.
pub(super) struct Connection {
    socket: Socket,
    subscriptions: HashMap<SubscriptionId, mpsc::Sender<UpstreamMessage>>,
    next_id: SubscriptionId,
    /// Whether anything came since the last ping.
    heard: bool,
    idle_since: Instant,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: Option<&'a str>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl Connection {
    /// Connects, serves commands until the connection ends, and tells everyone on it by closing
    /// their channels.
    pub(super) async fn run(
        url: Arc<str>,
        tls: Tls,
        headers: HeaderMap,
        mut commands: mpsc::UnboundedReceiver<Command>,
        keep_alive: Duration,
    ) {
        let connected = timeout(CONNECT_TIME_LIMIT, connect(&url, &tls, headers)).await;
        let end = match connected.unwrap_or(Err(UpstreamError::Timeout)) {
            Ok(socket) => {
                let mut connection = Self {
                    socket,
                    subscriptions: HashMap::new(),
                    next_id: 1,
                    heard: true,
                    idle_since: Instant::now(),
                };
                let end = connection.serve(&mut commands, keep_alive).await;
                let _ = timeout(WRITE_TIME_LIMIT, connection.socket.close(None)).await;
                end
            }
            Err(error) => error,
        };
        commands.close();
        while let Some(command) = commands.recv().await {
            if let Command::Subscribe { opened, .. } = command {
                // Who does not wait any more need not know.
                let _ = opened.send(Err(end.clone()));
            }
        }
    }

    async fn serve(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        keep_alive: Duration,
    ) -> UpstreamError {
        let mut ticks = interval_at(Instant::now() + keep_alive, keep_alive);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                message = self.socket.next() => match message {
                    Some(Ok(message)) => self.receive(message).await,
                    Some(Err(_)) | None => Err(UpstreamError::Lost),
                },
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => Err(UpstreamError::Lost),
                },
                _ = ticks.tick() => self.tick().await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), UpstreamError> {
        match command {
            Command::Subscribe {
                request,
                messages,
                opened,
            } => {
                let id = self.next_id;
                self.next_id += 1;
                let mut frame =
                    format!("{{\"id\":\"{id}\",\"type\":\"subscribe\",\"payload\":").into_bytes();
                frame.extend_from_slice(&request);
                frame.push(b'}');
                self.subscriptions.insert(id, messages);
                let sent = self.send(&frame).await;
                let answer = sent.clone().map(|()| id);
                if opened.send(answer).is_err() {
                    return self.unsubscribe(id).await;
                }
                sent
            }
            Command::Unsubscribe(id) => self.unsubscribe(id).await,
        }
    }

    async fn unsubscribe(&mut self, id: SubscriptionId) -> Result<(), UpstreamError> {
        if self.subscriptions.remove(&id).is_none() {
            return Ok(());
        }
        self.idle_since = Instant::now();
        self.send(format!("{{\"id\":\"{id}\",\"type\":\"complete\"}}").as_bytes())
            .await
    }

    async fn receive(&mut self, message: Message) -> Result<(), UpstreamError> {
        self.heard = true;
        match message {
            Message::Text(text) => self.read(text).await,
            Message::Close(_) => Err(UpstreamError::Lost),
            _ => Ok(()),
        }
    }

    async fn read(&mut self, text: Utf8Bytes) -> Result<(), UpstreamError> {
        let envelope: Envelope = serde_json::from_str(&text).map_err(|_| {
            UpstreamError::Protocol("a message that is not of graphql-transport-ws")
        })?;
        if envelope.kind == "ping" {
            return self.send(br#"{"type":"pong"}"#).await;
        }
        let Some(id) = envelope.id.and_then(|id| id.parse::<SubscriptionId>().ok()) else {
            return Ok(());
        };
        let Some(messages) = self.subscriptions.get(&id) else {
            return Ok(());
        };
        let payload = || envelope.payload.map_or("null", |payload| payload.get());
        let message = match envelope.kind {
            "next" => {
                let whole: Bytes = text.clone().into();
                UpstreamMessage::Next(whole.slice_ref(payload().as_bytes()))
            }
            "error" => UpstreamMessage::Errors(errors_response(payload().as_bytes())),
            "complete" => UpstreamMessage::Complete,
            _ => return Err(UpstreamError::Protocol("a message type that is unknown")),
        };
        let is_over = !matches!(message, UpstreamMessage::Next(_));
        let taken = messages.try_send(message).is_ok();
        if is_over {
            self.subscriptions.remove(&id);
            self.idle_since = Instant::now();
        } else if !taken {
            // Its feed is too slow, or gone. Dropping its channel tells it to begin again.
            return self.unsubscribe(id).await;
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), UpstreamError> {
        let is_idle = self.subscriptions.is_empty() && self.idle_since.elapsed() >= IDLE_TIME;
        if is_idle || !std::mem::replace(&mut self.heard, false) {
            return Err(UpstreamError::Lost);
        }
        self.write(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, frame: &[u8]) -> Result<(), UpstreamError> {
        let text = String::from_utf8_lossy(frame).into_owned();
        self.write(Message::Text(text.into())).await
    }

    async fn write(&mut self, message: Message) -> Result<(), UpstreamError> {
        match timeout(WRITE_TIME_LIMIT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(UpstreamError::Lost),
            Err(_) => Err(UpstreamError::Timeout),
        }
    }
}

/// Connection, handshake, `connection_init`, `connection_ack`.
async fn connect(url: &str, tls: &Tls, headers: HeaderMap) -> Result<Socket, UpstreamError> {
    let failed = |error: &dyn std::fmt::Display| UpstreamError::Connect(error.to_string().into());
    let mut request = socket_url(url)
        .into_client_request()
        .map_err(|error| failed(&error))?;
    request.headers_mut().extend(headers);
    request.headers_mut().insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let endpoint = Endpoint::parse(url).map_err(|error| failed(&error))?;
    let stream = endpoint
        .connect(tls, CONNECT_TIME_LIMIT)
        .await
        .map_err(|error| failed(&error))?;
    let (mut socket, _response) = client_async_with_config(request, stream, Some(config))
        .await
        .map_err(|error| failed(&error))?;
    let init = Message::Text(Utf8Bytes::from_static(r#"{"type":"connection_init"}"#));
    socket.send(init).await.map_err(|error| failed(&error))?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message.map_err(|error| failed(&error))? else {
            continue;
        };
        let envelope: Envelope = serde_json::from_str(&text).map_err(|_| {
            UpstreamError::Protocol("a message that is not of graphql-transport-ws")
        })?;
        match envelope.kind {
            "connection_ack" => return Ok(socket),
            "ping" => {
                let pong = Message::Text(Utf8Bytes::from_static(r#"{"type":"pong"}"#));
                socket.send(pong).await.map_err(|error| failed(&error))?;
            }
            _ => {}
        }
    }
    Err(UpstreamError::Lost)
}

/// The same address with the WebSocket's scheme.
fn socket_url(url: &str) -> String {
    match url.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        _ => url.to_owned(),
    }
}
