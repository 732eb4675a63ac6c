//! The client's side of graphql-transport-ws and of event streams.
//!
//! | item | gives |
//! |---|---|
//! | [`ClientMessage`], [`ServerMessage`] | the messages, which the server's side uses too |
//! | [`upgrade_request`], [`connect`] | a WebSocket after `connection_ack`, with bounds of size and time |
//! | [`send`] | a message in frames of a bounded size |
//! | [`Client`], [`ClientEvent`] | one WebSocket with few operations, for tests and tools |
//! | [`EventReader`], [`StreamEvent`] | the events in the bytes of a `text/event-stream` |
//!
//! A program that keeps many operations on one socket, as the gateway does, takes the socket of
//! [`connect`] and reads and writes the messages itself: payloads stay slices of what came.

mod event_reader;
mod socket;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        protocol::{
            WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::websocket::{ClientMessage, SUBPROTOCOL, ServerMessage};
pub use event_reader::{EventReader, StreamEvent};
pub use socket::{Client, ClientEvent};

/// Pings of a server, those of the WebSocket, since the last of this side. Each is answered, and a server
/// that does not read has the answers fill the memory.
pub const PINGS_MAX: usize = 1_000;
/// Most sockets are quiet: they should cost little while they are.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// The largest payload of a frame that [`send`] sends.
const FRAME_BYTES_MAX: usize = 64 * 1024;

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

/// Sends a message; a text of more than 64 KiB in several frames (RFC 6455, section 5.4). The library keeps a buffer of
/// the size of the largest frame for as long as the socket is open, and a socket to a subgraph may be open for days.
///
/// A socket on which this future was dropped before its end can only be closed.
///
/// # Errors
/// When the connection is over.
pub async fn send<S>(socket: &mut WebSocketStream<S>, message: Message) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let text = match message {
        Message::Text(text) if text.len() > FRAME_BYTES_MAX => text,
        short => return socket.send(short).await,
    };
    let mut rest = Bytes::from(text);
    let mut data = Data::Text;
    while !rest.is_empty() {
        let part = rest.split_to(rest.len().min(FRAME_BYTES_MAX));
        let frame = Frame::message(part, OpCode::Data(data), rest.is_empty());
        socket.send(Message::Frame(frame)).await?;
        data = Data::Continue;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[tokio::test]
    async fn a_long_text_comes_whole_in_frames_of_a_bounded_size() {
        let (here, there) = tokio::io::duplex(1_024);
        let mut client = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
        // A larger frame fails the read.
        let config = WebSocketConfig::default().max_frame_size(Some(FRAME_BYTES_MAX));
        let mut server = WebSocketStream::from_raw_socket(there, Role::Server, Some(config)).await;
        for length in [
            0,
            1,
            FRAME_BYTES_MAX,
            FRAME_BYTES_MAX + 1,
            5 * FRAME_BYTES_MAX,
        ] {
            // Characters of three bytes, which do not end where frames end.
            let text = "\u{20ac}".repeat(length.div_ceil(3));
            let sent = send(&mut client, Message::text(text.clone()));
            let (sent, received) = tokio::join!(sent, server.next());
            sent.expect("it is sent");
            let received = received.expect("a message").expect("no error");
            assert_eq!(received, Message::text(text), "{length}");
        }
    }
}
