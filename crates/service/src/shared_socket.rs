//! A client's socket that others than its connection may write to.
//!
//! An event for thousands of clients is written fastest by one loop over their sockets. Requests to become a WebSocket, and
//! those for server-sent events or a multipart subscription, have such a way around the connection's task in their
//! extensions: an [`Outlet`](socket_outlet::Outlet).

use std::{
    io::{ErrorKind, IoSlice, Result},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use socket_outlet::TryWrite;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// A socket, and how much was written to it by [`TryWrite`].
pub(crate) struct SharedSocket {
    stream: TcpStream,
    written_directly: AtomicU64,
}

impl SharedSocket {
    pub(crate) fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self {
            stream,
            written_directly: AtomicU64::new(0),
        })
    }

    pub(crate) fn try_write(self: &Arc<Self>) -> TryWrite {
        let socket = Arc::clone(self);
        Arc::new(move |slices| {
            let written = match slices {
                [slice] => socket.stream.try_write(slice)?,
                slices => socket.stream.try_write_vectored(slices)?,
            };
            socket
                .written_directly
                .fetch_add(written as u64, Ordering::Relaxed);
            Ok(written)
        })
    }

    /// The bytes written by [`TryWrite`] since the last call.
    pub(crate) fn take_written_directly(&self) -> u64 {
        self.written_directly.swap(0, Ordering::Relaxed)
    }
}

/// The connection's own way to the socket.
pub(crate) struct ConnectionSocket(pub(crate) Arc<SharedSocket>);

impl AsyncRead for ConnectionSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let stream = &self.0.stream;
        loop {
            ready!(stream.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            let mut read = None;
            let tried = stream.try_io(Interest::READABLE, || {
                let bytes = rustix::io::read(stream, &mut *room)?;
                read = Some(bytes);
                // Less than there was room for: the socket is empty. Saying so here spares a read that finds nothing,
                // as tokio's own way of reading does.
                match (1..room.len()).contains(&bytes) {
                    true => Err(ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                }
            });
            match (read, tried) {
                (Some(bytes), _) => {
                    buffer.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() != ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }
}

impl ConnectionSocket {
    fn poll_with(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> Result<usize>,
    ) -> Poll<Result<usize>> {
        let stream = &self.0.stream;
        loop {
            ready!(stream.poll_write_ready(context))?;
            match write(stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for ConnectionSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.poll_with(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.poll_with(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        // A TCP socket of tokio has no buffer of its own.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        let shut_down = rustix::net::shutdown(&self.0.stream, rustix::net::Shutdown::Write);
        Poll::Ready(match shut_down {
            Err(rustix::io::Errno::NOTCONN) => Ok(()),
            done => Ok(done?),
        })
    }
}
