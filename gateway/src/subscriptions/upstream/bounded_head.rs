//! A stream to a subgraph that ends where an answer does not begin in time, counted in bytes.

use std::{
    io::{Error, Result},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::subgraphs::Stream;

/// `hyper` takes interim heads (1xx) without a bound.
pub(super) struct BoundedHead {
    stream: Stream,
    left: BytesLeft,
}

/// The bytes that may still come before the answer.
#[derive(Clone)]
pub(super) struct BytesLeft(Arc<AtomicUsize>);

impl BytesLeft {
    /// The answer has begun: from now on there is no bound.
    pub(super) fn lift(&self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }

    /// Whether so many more may come.
    fn take(&self, bytes: usize) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left != usize::MAX {
            let rest = left.saturating_sub(bytes);
            // Where it is lifted at the same time, it stays lifted.
            let order = Ordering::Relaxed;
            let _ = self.0.compare_exchange(left, rest, order, order);
        }
        bytes < left
    }
}

impl BoundedHead {
    pub(super) fn new(stream: Stream, bytes_max: usize) -> (Self, BytesLeft) {
        let left = BytesLeft(Arc::new(AtomicUsize::new(bytes_max)));
        let bounded = Self {
            stream,
            left: left.clone(),
        };
        (bounded, left)
    }
}

impl AsyncRead for BoundedHead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let bytes = buffer.filled().len() - before;
        Poll::Ready(match self.left.take(bytes) {
            true => Ok(()),
            false => Err(Error::other("the answer has too many interim heads")),
        })
    }
}

impl AsyncWrite for BoundedHead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
