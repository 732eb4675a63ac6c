//! A comfortable client: one WebSocket, and one caller who reads its events.

use std::{borrow::Cow, time::Duration};

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message},
};

use super::{ConnectError, connect, upgrade_request};
use crate::websocket::{ClientMessage, Close, ServerMessage};

/// The largest message of a server, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Stands for a close without a code.
const NO_CODE: u16 = 1005;

/// A WebSocket on which `connection_ack` has come, without TLS.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
}

/// What a server says of an operation, or the end of the connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// One execution result: `data`, `errors`.
    Next(Value),
    /// The operation failed, with a list of errors.
    Error(Value),
    /// The operation is complete.
    Complete,
    /// The connection is over, with the code of the server's close if there was one, 1005 where it
    /// named none (RFC 6455); 4400 where this side closed it, for a message that is not of the
    /// protocol.
    Closed(Option<u16>),
}

impl Client {
    /// Connects to an endpoint, `ws://` or `http://`, within `time_limit`.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open(url: &str, time_limit: Duration) -> Result<Self, ConnectError> {
        Self::open_with(url, HeaderMap::new(), time_limit).await
    }

    /// [`Client::open`] with these headers in the upgrade request.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn open_with(
        url: &str,
        headers: HeaderMap,
        time_limit: Duration,
    ) -> Result<Self, ConnectError> {
        let deadline = Instant::now() + time_limit;
        let authority = url.split('/').nth(2).unwrap_or_default();
        let stream = timeout_at(deadline, TcpStream::connect(authority)).await;
        let stream = stream
            .map_err(|_| ConnectError::Timeout)?
            .map_err(Error::Io)?;
        stream.set_nodelay(true).map_err(Error::Io)?;
        Self::upgrade(stream, url, headers, deadline).await
    }

    /// [`Client::open`] over a stream that is open already.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn over(
        stream: TcpStream,
        url: &str,
        deadline: Instant,
    ) -> Result<Self, ConnectError> {
        Self::upgrade(stream, url, HeaderMap::new(), deadline).await
    }

    async fn upgrade(
        stream: TcpStream,
        url: &str,
        headers: HeaderMap,
        deadline: Instant,
    ) -> Result<Self, ConnectError> {
        let request = upgrade_request(url, headers)?;
        let socket = connect(stream, request, MESSAGE_BYTES_MAX, deadline).await?;
        Ok(Self { socket })
    }

    /// Starts an operation. `request` is JSON text, sent as it is.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn subscribe(&mut self, id: &str, request: impl AsRef<[u8]>) -> Result<(), Error> {
        let subscribe = ClientMessage::Subscribe(Cow::Borrowed(id), request.as_ref());
        self.socket.send(subscribe.write()).await
    }

    /// Ends an operation.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn complete(&mut self, id: &str) -> Result<(), Error> {
        let complete = ClientMessage::Complete(Cow::Borrowed(id));
        self.socket.send(complete.write()).await
    }

    /// The next event of any operation. Nothing is lost where the caller does not wait for its end.
    pub async fn next(&mut self) -> ClientEvent {
        self.next_within(Duration::MAX).await
    }

    /// [`Client::next`], where a connection on which nothing comes for `silence_max`, not even a ping,
    /// counts as closed.
    pub async fn next_within(&mut self, silence_max: Duration) -> ClientEvent {
        loop {
            let message = timeout(silence_max, self.socket.next()).await;
            let text = match message.ok().flatten() {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(NO_CODE, |frame| frame.code.into());
                    return ClientEvent::Closed(Some(code));
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return ClientEvent::Closed(None),
            };
            let event = match ServerMessage::read(&text) {
                Ok(Some(ServerMessage::Ping)) => {
                    // Where it cannot be sent, the next read says so.
                    let _ = self.socket.send(ClientMessage::Pong.write()).await;
                    continue;
                }
                Ok(message) => ClientEvent::of(message),
                Err(reason) => Err(reason),
            };
            match event {
                Ok(Some(event)) => return event,
                Ok(None) => {}
                Err(reason) => {
                    let close = Close::Invalid(reason);
                    // The server may be gone.
                    let _ = self.socket.send(close.frame()).await;
                    return ClientEvent::Closed(Some(close.code()));
                }
            }
        }
    }
}

impl ClientEvent {
    /// The code of the first error, if there is one.
    pub fn code(&self) -> Option<&str> {
        let errors = match self {
            Self::Next(result) => &result["errors"],
            Self::Error(errors) => errors,
            Self::Complete | Self::Closed(_) => return None,
        };
        errors[0]["extensions"]["code"].as_str()
    }

    fn of(message: Option<ServerMessage<'_>>) -> Result<Option<Self>, String> {
        let read = |json| serde_json::from_slice(json).map_err(|error| error.to_string());
        Ok(Some(match message {
            Some(ServerMessage::Next(_, response)) => Self::Next(read(response)?),
            Some(ServerMessage::Error(_, errors)) => Self::Error(read(errors)?),
            Some(ServerMessage::Complete(_)) => Self::Complete,
            _ => return Ok(None),
        }))
    }
}
