//! A stream that counts what has come of an unfinished message, within the bounds of request bodies.
//!
//! A client decides how long a message is on its way, and what came of it takes memory for so long.

use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Message;

use crate::in_flight::{SMALL_BYTES_MAX, Share};

/// The head of a client's control frame, in bytes: those have no long lengths, and a mask.
const CONTROL_HEAD_BYTES: usize = 6;

/// Around a stream: a read fails once an unfinished message finds no room.
pub(super) struct Metered<S> {
    stream: S,
    share: Share,
    /// Bytes since the end of the last message. The first of the next message may be missing.
    unfinished: usize,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, share: Share) -> Self {
        Self {
            stream,
            share,
            unfinished: 0,
        }
    }

    /// Notes a message that has come. One of control may come between the pieces of another.
    pub(super) fn has_come(&mut self, message: &Message) {
        match message {
            Message::Text(_) | Message::Binary(_) => {
                self.unfinished = 0;
                self.share.clear();
            }
            control => {
                let bytes = control.len() + CONTROL_HEAD_BYTES;
                self.unfinished = self.unfinished.saturating_sub(bytes);
            }
        }
    }
}

/// Whether a read failed as there is no room.
pub(super) fn is_full(error: &Error) -> bool {
    error.kind() == ErrorKind::QuotaExceeded
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.unfinished += buffer.filled().len() - before;
        let bytes = self.unfinished;
        // Most messages are small, and whole at once.
        if bytes > SMALL_BYTES_MAX && self.share.grow_to(bytes).is_err() {
            let reason = "too many unfinished messages";
            return Poll::Ready(Err(Error::new(ErrorKind::QuotaExceeded, reason)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
