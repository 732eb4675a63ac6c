//! A stream that gives up on a peer who takes nothing for too long.

use std::{
    future::Future,
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Around a stream: a write that waits for longer than the limit fails, and with it the connection.
/// However little the peer takes, the time begins anew.
///
/// A server's buffers are bounded, but without this a peer that stops reading would hold them, and
/// whatever feeds them, for as long as it keeps its side open.
pub(crate) struct WriteLimit<S> {
    stream: S,
    limit: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteLimit<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            waiting: None,
        }
    }

    /// Hands on what came of a write, or that it has waited for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, write: Poll<Result<T>>) -> Poll<Result<T>> {
        if write.is_ready() {
            self.waiting = None;
            return write;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(Error::new(
            ErrorKind::TimedOut,
            format!("the client took nothing for {limit:?}"),
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteLimit<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteLimit<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, write)
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_given_up() {
        let (stream, _peer) = duplex(4);
        let mut stream = WriteLimit::new(stream, Duration::from_millis(10));
        let error = stream.write_all(b"too long").await.expect_err("a limit");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_takes_a_little_has_all_the_time_again() {
        let (stream, mut peer) = duplex(1);
        let mut stream = WriteLimit::new(stream, Duration::from_secs(60));
        let mut context = Context::from_waker(Waker::noop());
        let mut write = |stream: &mut WriteLimit<_>| {
            Pin::new(stream)
                .poll_write(&mut context, b"x")
                .map(|written| written.expect("no error"))
        };
        assert_eq!(write(&mut stream), Poll::Ready(1));
        assert_eq!(write(&mut stream), Poll::Pending);
        assert!(stream.waiting.is_some());
        peer.read_u8().await.expect("a byte");
        assert_eq!(write(&mut stream), Poll::Ready(1));
        assert!(stream.waiting.is_none());
    }
}
