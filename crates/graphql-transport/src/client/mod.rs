//! The client's side of graphql-transport-ws and of event streams.
//!
//! | item | gives |
//! |---|---|
//! | [`ClientMessage`], [`ServerMessage`] | the messages, which the server's side uses too |
//! | [`upgrade_request`], [`connect`] | a WebSocket after `connection_ack`, with bounds of size and time |
//! | [`Client`], [`ClientEvent`] | one WebSocket with few operations, for tests and tools |
//! | [`EventReader`], [`StreamEvent`] | the events in the bytes of a `text/event-stream` |
//!
//! A program that keeps many operations on one socket, as the gateway does, takes the socket of
//! [`connect`] and reads and writes the messages itself: payloads stay slices of what came.

mod event_reader;
mod socket;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use crate::websocket::{ClientMessage, SUBPROTOCOL, ServerMessage};
pub use event_reader::{EventReader, StreamEvent};
pub use socket::{Client, ClientEvent};

/// Pings of a server, those of the WebSocket, since the last of this side. Each is answered, and a server
/// that does not read has the answers fill the memory.
pub const PINGS_MAX: usize = 1_000;
/// Most sockets are quiet: they should cost little while they are.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL, the stream or the WebSocket handshake; an answer that refuses the upgrade, too.
    #[error(transparent)]
    WebSocket(#[from] Error),
    /// The server sends what is not of graphql-transport-ws.
    #[error("not graphql-transport-ws: {0}")]
    Protocol(String),
    /// The server ends the connection in place of `connection_ack`.
    #[error("the connection ended before it was acknowledged")]
    Ended,
    /// The same, with a close that has a code.
    #[error("the connection was closed before it was acknowledged: {code} {reason:?}")]
    Closed {
        /// The close code of RFC 6455, or of graphql-transport-ws (4400 to 4499).
        code: u16,
        /// The text that the server sent with it; may be empty.
        reason: String,
    },
    /// No `connection_ack` before the deadline.
    #[error("no connection in time")]
    Timeout,
}

/// The upgrade request for an endpoint (`ws`, `wss`, `http` or `https`), with `headers` and the offer
/// of the subprotocol.
///
/// # Errors
/// When the URL is malformed.
pub fn upgrade_request(url: &str, headers: HeaderMap) -> Result<Request<()>, Error> {
    let mut request = match url.strip_prefix("http") {
        Some(rest) => format!("ws{rest}").into_client_request(),
        None => url.into_client_request(),
    }?;
    request.headers_mut().extend(headers);
    request.headers_mut().insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    Ok(request)
}

/// Upgrades a stream, sends `connection_init` and waits for `connection_ack`. A message of the server
/// has at most `message_bytes_max` bytes: a larger one fails the read.
///
/// # Errors
/// When the server refuses the upgrade, does not speak the subprotocol, or takes until `deadline`.
pub async fn connect<S>(
    stream: S,
    request: Request<()>,
    message_bytes_max: usize,
    deadline: Instant,
) -> Result<WebSocketStream<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    let connected = async {
        let (mut socket, _response) =
            client_async_with_config(request, stream, Some(config)).await?;
        acknowledged(&mut socket).await?;
        Ok(socket)
    };
    let connected = timeout_at(deadline, connected).await;
    connected.unwrap_or(Err(ConnectError::Timeout))
}

async fn acknowledged<S>(socket: &mut WebSocketStream<S>) -> Result<(), ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket
        .send(ClientMessage::ConnectionInit(None).write())
        .await?;
    let mut pings = 0;
    while let Some(message) = socket.next().await {
        let text = match message? {
            Message::Text(text) => text,
            Message::Ping(_) if pings == PINGS_MAX => {
                return Err(ConnectError::Protocol("too many pings".to_owned()));
            }
            Message::Close(Some(frame)) => {
                return Err(ConnectError::Closed {
                    code: frame.code.into(),
                    reason: frame.reason.to_string(),
                });
            }
            other => {
                pings += usize::from(other.is_ping());
                continue;
            }
        };
        match ServerMessage::read(&text).map_err(ConnectError::Protocol)? {
            Some(ServerMessage::ConnectionAck) => return Ok(()),
            Some(ServerMessage::Ping) => socket.send(ClientMessage::Pong.write()).await?,
            _ => {}
        }
    }
    Err(ConnectError::Ended)
}
