//! A WebSocket that lets go of the memory of large messages.
//!
//! tungstenite's buffers keep the size of the largest message that was read or written. A client that has sent or got one
//! large message would hold its memory for as long as it stays, and nothing would count it.

use futures_util::{SinkExt, StreamExt, future::poll_immediate, stream::FusedStream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{Role, WebSocketConfig},
    },
};

use super::metered::Metered;

/// Buffers may keep the size of smaller messages.
const LARGE_BYTES: usize = 2 * 1024;

/// The stream of a WebSocket, whose unfinished messages are counted.
pub(super) type Stream = Metered<TokioIo<Upgraded>>;

/// A server's WebSocket.
pub(super) struct LeanSocket {
    /// None only while it is replaced.
    socket: Option<WebSocketStream<Stream>>,
    /// Whether a large message has been read or written since the buffers were new.
    is_large: bool,
}

impl LeanSocket {
    /// After the handshake.
    pub(super) async fn new(stream: Stream, config: WebSocketConfig) -> Self {
        Self {
            socket: Some(open(stream, config).await),
            is_large: false,
        }
    }

    /// The next message. Cancelling the wait loses nothing.
    pub(super) async fn next(&mut self) -> Option<Result<Message, Error>> {
        let socket = self.socket.as_mut()?;
        let message = socket.next().await?;
        if let Ok(message) = &message {
            self.is_large |= message.len() >= LARGE_BYTES;
            socket.get_mut().count.has_come(message);
        }
        Some(message)
    }

    /// Writes a message to its end. It is lost if this is cancelled.
    pub(super) async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.is_large |= message.len() >= LARGE_BYTES;
        match &mut self.socket {
            Some(socket) => socket.send(message).await,
            None => Err(Error::AlreadyClosed),
        }
    }

    /// Writes what waits.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        match &mut self.socket {
            Some(socket) => socket.flush().await,
            None => Err(Error::AlreadyClosed),
        }
    }

    /// Whether its buffers may hold the memory of a large message.
    pub(super) fn is_large(&self) -> bool {
        self.is_large
    }

    /// Begins with new buffers if these are empty. Must not be cancelled.
    pub(super) async fn shrink(&mut self) {
        let Some(socket) = self.socket.as_mut() else {
            return;
        };
        if socket.is_terminated() || !socket.get_ref().count.is_between_messages() {
            return;
        }
        // An answer to a ping may wait to be written.
        if !matches!(poll_immediate(socket.flush()).await, Some(Ok(()))) {
            return;
        }
        if let Some(socket) = self.socket.take() {
            let config = *socket.get_config();
            self.socket = Some(open(socket.into_inner(), config).await);
            self.is_large = false;
        }
    }
}

/// Waits for nothing.
async fn open(stream: Stream, config: WebSocketConfig) -> WebSocketStream<Stream> {
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
}
