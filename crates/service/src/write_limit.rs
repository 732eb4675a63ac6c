//! A stream whose writes fail when the client reads nothing, or too little, for too long.

use std::{
    future::Future,
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::{connections::ConnectionPermit, shared_socket::SharedSocket};

/// How fast a client has to read what is written to it.
#[derive(Clone, Copy, Debug)]
pub struct WriteLimits {
    /// A write that waits for longer fails.
    pub time: Duration,
    /// The bytes per second that a client has to read while writes wait. Checked each time that writes have
    /// waited for [`WriteLimits::time`] in total; time in which nothing waits does not count.
    pub bytes_per_second_min: u64,
}

/// Around a stream: a write beyond the limits fails, and with it the connection.
///
/// A server's buffers are bounded, but without this a peer that stops reading, or reads a byte now and
/// then, would hold them, and whatever feeds them, for as long as it keeps its side open.
pub(crate) struct WriteLimit<S> {
    stream: S,
    limits: WriteLimits,
    /// Runs while a write waits.
    waiting: Option<Waiting>,
    /// Whether a flush waits.
    flushes: bool,
    /// How long writes have waited, and how much was written, since the client was last judged.
    waited: Duration,
    written: u64,
    /// What was written around this stream counts too.
    written_directly: Option<Arc<SharedSocket>>,
    /// The connection counts as open for as long as this stream exists, whoever owns it.
    permit: Option<Arc<ConnectionPermit>>,
}

struct Waiting {
    since: Instant,
    limit: Pin<Box<Sleep>>,
}

impl<S> WriteLimit<S> {
    pub(crate) fn new(
        stream: S,
        limits: WriteLimits,
        permit: Option<Arc<ConnectionPermit>>,
    ) -> Self {
        Self {
            stream,
            limits,
            waiting: None,
            flushes: false,
            waited: Duration::ZERO,
            written: 0,
            written_directly: None,
            permit,
        }
    }

    /// Counts what others write to the socket.
    pub(crate) fn counting(self, socket: Arc<SharedSocket>) -> Self {
        Self {
            written_directly: Some(socket),
            ..self
        }
    }

    /// Hands on what came of a write, or that the client takes too little.
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        write: Poll<Result<usize>>,
    ) -> Poll<Result<usize>> {
        let Poll::Ready(written) = write else {
            self.set_unsent(true);
            let time = self.limits.time;
            let waiting = self.waiting.get_or_insert_with(|| Waiting {
                since: Instant::now(),
                limit: Box::pin(sleep(time)),
            });
            ready!(waiting.limit.as_mut().poll(context));
            let reason = format!("the client read nothing for {time:?}");
            return Poll::Ready(Err(self.too_slow(reason)));
        };
        self.written += written.as_ref().map_or(0, |bytes| *bytes as u64);
        if let Some(waiting) = self.waiting.take() {
            self.waited += waiting.since.elapsed();
            if let Err(error) = self.judge() {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(written)
    }

    fn set_unsent(&self, is_unsent: bool) {
        if let Some(permit) = &self.permit {
            permit.activity.set_unsent(is_unsent);
        }
    }

    fn judge(&mut self) -> Result<()> {
        if self.waited < self.limits.time {
            return Ok(());
        }
        let direct = self.written_directly.as_ref();
        self.written += direct.map_or(0, |socket| socket.take_written_directly());
        let least = self.waited.as_secs_f64() * self.limits.bytes_per_second_min as f64;
        if (self.written as f64) < least {
            let reason = format!(
                "the client took {} bytes in {:?}",
                self.written, self.waited
            );
            return Err(self.too_slow(reason));
        }
        (self.waited, self.written) = (Duration::ZERO, 0);
        Ok(())
    }

    fn too_slow(&self, reason: String) -> Error {
        if let Some(permit) = &self.permit {
            permit.activity.note_stalled();
        }
        Error::new(ErrorKind::TimedOut, reason)
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
        // TLS has taken what is written and may not have sent it.
        let flush = Pin::new(&mut self.stream).poll_flush(context);
        if flush.is_pending() {
            self.flushes = true;
            return self.watch(context, Poll::Pending).map_ok(|_| ());
        }
        // The writer flushes when nothing is left to be written.
        self.set_unsent(false);
        if std::mem::take(&mut self.flushes)
            && ready!(self.watch(context, Poll::Ready(Ok(0)))).is_err()
        {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        flush
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(context) {
            // The end of TLS is a message, too.
            Poll::Pending => self.watch(context, Poll::Pending).map_ok(|_| ()),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, task::Waker};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::{ConnectionLimits, connections::Connections};

    fn limited<S>(stream: S, time: Duration, bytes_per_second_min: u64) -> WriteLimit<S> {
        let limits = WriteLimits {
            time,
            bytes_per_second_min,
        };
        WriteLimit::new(stream, limits, None)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_too_little_in_all_is_given_up() {
        for (takes, outcome) in [(1, Some(ErrorKind::TimedOut)), (1_000, None)] {
            let (stream, mut peer) = duplex(1_000);
            let mut stream = limited(stream, Duration::from_secs(30), 100);
            let reader = tokio::spawn(async move {
                let mut taken = vec![0; takes];
                for _ in 0..40 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if peer.read_exact(&mut taken).await.is_err() {
                        break;
                    }
                }
            });
            let size = if takes == 1 { 1_100 } else { 35_000 };
            let written = stream.write_all(&vec![0; size]).await;
            assert_eq!(written.err().map(|error| error.kind()), outcome);
            drop(stream);
            reader.await.expect("no panic");
        }
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_up() {
        let (stream, _peer) = duplex(4);
        let mut stream = limited(stream, Duration::from_millis(10), 0);
        let one = ConnectionLimits {
            max: 1,
            per_address_max: 1,
            first_request: Duration::from_secs(10),
        };
        let permit = Connections::new(one, None).admit(Ipv4Addr::LOCALHOST.into());
        let activity = Arc::clone(&permit.as_ref().expect("it is open").activity);
        stream.permit = permit.map(Arc::new);
        let error = stream.write_all(b"too long").await.expect_err("a limit");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(activity.is_stalled(), "it is counted");
    }

    /// A stream that takes everything and sends nothing of it, as TLS does for a while.
    struct Hoarder;

    impl AsyncWrite for Hoarder {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_and_not_sent_has_its_time_too() {
        let time = Duration::from_secs(30);
        let mut stream = limited(Hoarder, time, 0);
        stream.write_all(b"taken").await.expect("taken");
        let began = Instant::now();
        let error = stream.flush().await.expect_err("a limit");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= time);
        let mut stream = limited(Hoarder, time, 0);
        let error = stream.shutdown().await.expect_err("a limit");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_takes_a_little_has_all_the_time_again() {
        let (stream, mut peer) = duplex(1);
        let mut stream = limited(stream, Duration::from_secs(60), 0);
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
