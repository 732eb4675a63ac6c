//! A stream whose reads are counted, and fail where the count says so.

use std::{
    io::{IoSlice, Result},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Takes note of bytes that have come.
pub trait Count: Unpin {
    /// After each read, with its bytes.
    ///
    /// # Errors
    /// What the read fails with.
    fn read(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Around a stream. Writes pass by.
pub struct Counted<S, C> {
    stream: S,
    /// Counts the bytes that are read.
    pub count: C,
}

impl<S, C> Counted<S, C> {
    pub fn new(stream: S, count: C) -> Self {
        Self { stream, count }
    }
}

impl<S: AsyncRead + Unpin, C: Count> AsyncRead for Counted<S, C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.count.read(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin, C: Unpin> AsyncWrite for Counted<S, C> {
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
