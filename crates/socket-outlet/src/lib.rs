//! Writes whole messages to a connection's socket, from whatever task has them.
//!
//! A message for thousands of clients costs less if one loop writes it to all their sockets than if each connection's task
//! wakes to write it. Both ways lead through the connection's [`Outlet`], which keeps messages whole: one is written
//! directly only while the connection has nothing half written, and what the socket has no room for is written by the
//! connection's task, before anything else.
//!
//! A message has to be complete in its protocol: a WebSocket frame, or a chunk of an HTTP/1.1 response.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes as many bytes as the socket has room for, without waiting. Fails with
/// [`WouldBlock`](ErrorKind::WouldBlock) if that is none.
pub type TryWrite = Arc<dyn Fn(&[IoSlice<'_>]) -> Result<usize> + Send + Sync>;

/// The write side of one connection's socket.
pub struct Outlet {
    state: Mutex<State>,
    /// Counts how often the connection's task has written all that it had.
    flushes: AtomicU64,
    /// Wakes who waits for the next one.
    flushed: AtomicWaker,
    /// Wakes the connection's task, which writes the rest.
    task: AtomicWaker,
}

struct State {
    /// None once the connection has begun to end: nothing may follow its last message, and the socket is to go with it.
    try_write: Option<TryWrite>,
    /// Whether the last write of the connection's task ended within a message.
    is_within_message: bool,
    /// What is left of a message that was written in part.
    rest: VecDeque<Bytes>,
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The socket has taken it whole.
    Whole,
    /// The socket has taken its beginning, and the connection's task writes the rest. Nothing else can be written
    /// directly until then.
    Begun,
    /// Nothing of it was written: the socket is full, its connection is writing, or ends.
    Nothing,
}

impl Outlet {
    /// An outlet that nothing is written through before the connection's task has written or flushed something.
    pub fn new(try_write: TryWrite) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                try_write: Some(try_write),
                is_within_message: true,
                rest: VecDeque::new(),
            }),
            flushes: AtomicU64::new(0),
            flushed: AtomicWaker::new(),
            task: AtomicWaker::new(),
        })
    }

    /// Whether a message could be written now, as far as is known here.
    pub fn is_free(&self) -> bool {
        self.lock().is_free()
    }

    /// Writes one message: `head`, and after it the shared bytes if there are any. Only they are kept, not copied, when
    /// the socket has no room for all.
    pub fn send(&self, head: &[u8], shared: [&Bytes; 2]) -> Sent {
        let mut state = self.lock();
        let try_write = state.try_write.as_ref().filter(|_| state.is_free());
        let Some(try_write) = try_write else {
            return Sent::Nothing;
        };
        let [body, tail] = shared;
        let written = match body.is_empty() && tail.is_empty() {
            true => try_write(&[IoSlice::new(head)]),
            false => try_write(&[head, body, tail].map(IoSlice::new)),
        };
        // The connection's task meets the error where it reads or writes.
        let Ok(mut written) = written else {
            return Sent::Nothing;
        };
        if written == 0 {
            return Sent::Nothing;
        }
        let taken = written.min(head.len());
        written -= taken;
        if taken < head.len() {
            state.rest.push_back(Bytes::copy_from_slice(&head[taken..]));
        }
        for part in shared {
            let taken = written.min(part.len());
            written -= taken;
            if taken < part.len() {
                state.rest.push_back(part.slice(taken..));
            }
        }
        if state.rest.is_empty() {
            return Sent::Whole;
        }
        drop(state);
        self.task.wake();
        Sent::Begun
    }

    /// How often the connection's task has written all that it had.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Relaxed)
    }

    /// Waits until the connection's task has written all that it had, after it has done so `flushes` times. One waits at
    /// a time. Cancelling the wait loses nothing.
    pub async fn until_flushed(&self, flushes: u64) {
        poll_fn(|context| {
            self.flushed.register(context.waker());
            match self.flushes() == flushes {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Writes nothing directly any more.
    pub fn close(&self) {
        self.lock().try_write = None;
    }

    /// Whether the connection's task has to write the rest of a message.
    pub fn has_rest(&self) -> bool {
        !self.lock().rest.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_free(&self) -> bool {
        self.try_write.is_some() && !self.is_within_message && self.rest.is_empty()
    }
}

/// Where a connection's outlet is, once somebody has asked for one. Until then the connection's writes cost nothing
/// more. Clones are the same place.
#[derive(Clone, Default)]
pub struct OutletPlace(Arc<OnceLock<Arc<Outlet>>>);

impl OutletPlace {
    /// The outlet, made with this now if there is none.
    pub fn get_or_new(&self, try_write: impl FnOnce() -> TryWrite) -> Arc<Outlet> {
        Arc::clone(self.0.get_or_init(|| Outlet::new(try_write())))
    }
}

/// The connection's own way to the socket.
pub struct ThroughOutlet<S> {
    stream: S,
    place: OutletPlace,
}

impl<S> ThroughOutlet<S> {
    /// Around the stream of the connection.
    pub fn new(stream: S, place: OutletPlace) -> Self {
        Self { stream, place }
    }
}

impl<S> Drop for ThroughOutlet<S> {
    fn drop(&mut self) {
        if let Some(outlet) = self.place.0.get() {
            outlet.close();
        }
    }
}

/// Writes what is left of a message that was begun directly.
fn poll_rest<S: AsyncWrite + Unpin>(
    stream: &mut S,
    state: &mut State,
    context: &mut Context<'_>,
) -> Poll<Result<()>> {
    while let Some(bytes) = state.rest.front_mut() {
        let written = ready!(Pin::new(&mut *stream).poll_write(context, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(Error::from(ErrorKind::WriteZero)));
        }
        bytes.advance(written);
        if bytes.is_empty() {
            state.rest.pop_front();
        }
    }
    Poll::Ready(Ok(()))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ThroughOutlet<S> {
    /// A connection's task always reads, or waits to: so it wakes here when there is a rest to be written.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let Self { stream, place } = &mut *self;
        if let Some(outlet) = place.0.get() {
            outlet.task.register(context.waker());
            let mut state = outlet.lock();
            // Not flushed here: the connection may have written nothing of its own yet.
            if let Poll::Ready(Err(error)) = poll_rest(stream, &mut state, context) {
                return Poll::Ready(Err(error));
            }
        }
        Pin::new(stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> ThroughOutlet<S> {
    /// A write of the connection's own, of `length` bytes.
    fn poll_own(
        &mut self,
        context: &mut Context<'_>,
        length: usize,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<Result<usize>>,
    ) -> Poll<Result<usize>> {
        let Self { stream, place } = self;
        let Some(outlet) = place.0.get() else {
            return write(Pin::new(stream), context);
        };
        let mut state = outlet.lock();
        ready!(poll_rest(stream, &mut state, context))?;
        let written = write(Pin::new(stream), context);
        // A connection offers all that it has, which ends with a message.
        state.is_within_message =
            !matches!(&written, Poll::Ready(Ok(written)) if *written == length);
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ThroughOutlet<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.poll_own(context, bytes.len(), |stream, context| {
            stream.poll_write(context, bytes)
        })
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.poll_own(context, length, |stream, context| {
            stream.poll_write_vectored(context, slices)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { stream, place } = &mut *self;
        let Some(outlet) = place.0.get() else {
            return Pin::new(stream).poll_flush(context);
        };
        // A connection may not read while it has a request that waits.
        outlet.task.register(context.waker());
        ready!(poll_rest(stream, &mut outlet.lock(), context))?;
        ready!(Pin::new(stream).poll_flush(context))?;
        // A connection flushes when it has written all.
        outlet.lock().is_within_message = false;
        outlet.flushes.fetch_add(1, Relaxed);
        outlet.flushed.wake();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Waker,
    };

    use super::*;

    /// What a socket took, and how much it takes next.
    #[derive(Default)]
    struct Socket {
        room: AtomicUsize,
        taken: Mutex<Vec<u8>>,
    }

    impl Socket {
        fn with_room(room: usize) -> Arc<Self> {
            let socket = Self::default();
            socket.room.store(room, Ordering::SeqCst);
            Arc::new(socket)
        }

        fn take(&self, bytes: &[u8]) -> Result<usize> {
            let room = self.room.load(Ordering::SeqCst);
            let taken = room.min(bytes.len());
            if taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room.fetch_sub(taken, Ordering::SeqCst);
            let mut all = self.taken.lock().expect("not poisoned");
            all.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn try_write(self: &Arc<Self>) -> TryWrite {
            let socket = Arc::clone(self);
            Arc::new(move |slices| {
                let mut all = 0;
                for slice in slices {
                    match socket.take(slice) {
                        Ok(taken) => all += taken,
                        Err(error) if all == 0 => return Err(error),
                        Err(_) => break,
                    }
                }
                Ok(all)
            })
        }

        fn taken(&self) -> Vec<u8> {
            std::mem::take(&mut self.taken.lock().expect("not poisoned"))
        }
    }

    struct Writer(Arc<Socket>);

    impl AsyncWrite for Writer {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<Result<usize>> {
            match self.0.take(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                taken => Poll::Ready(taken),
            }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    const HEAD: &[u8] = b"head:";

    /// Small bodies are copied behind the head, others are shared.
    fn send(outlet: &Outlet, body: &Bytes) -> Sent {
        match body.len() {
            0..1_000 => outlet.send(&[HEAD, body, b"."].concat(), [&Bytes::new(); 2]),
            _ => outlet.send(HEAD, [body, &Bytes::from_static(b".")]),
        }
    }

    fn message(body: &[u8]) -> Vec<u8> {
        [HEAD, body, b"."].concat()
    }

    /// The connection's side, which has written its first message.
    fn connection(socket: &Arc<Socket>) -> (ThroughOutlet<Writer>, Arc<Outlet>) {
        let place = OutletPlace::default();
        let outlet = place.get_or_new(|| socket.try_write());
        assert!(
            !outlet.is_free(),
            "before the connection has written anything"
        );
        let mut stream = ThroughOutlet::new(Writer(Arc::clone(socket)), place);
        let flushed = Pin::new(&mut stream).poll_flush(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(flushed, Poll::Ready(Ok(()))));
        (stream, outlet)
    }

    #[test]
    fn what_was_begun_is_finished_before_anything_else() {
        for length in [100, 10_000] {
            let body = Bytes::from(vec![b'1'; length]);
            let whole = message(&body);
            for room in [1, 5, length / 2, whole.len() - 1] {
                let socket = Socket::with_room(room);
                let (mut stream, outlet) = connection(&socket);
                assert_eq!(send(&outlet, &body), Sent::Begun, "{length} {room}");
                socket.room.store(usize::MAX, Ordering::SeqCst);
                assert_eq!(send(&outlet, &body), Sent::Nothing, "not within a message");
                let mut context = Context::from_waker(Waker::noop());
                let written = Pin::new(&mut stream).poll_write(&mut context, b"next");
                assert!(matches!(written, Poll::Ready(Ok(4))));
                assert_eq!(socket.taken(), [&whole[..], b"next"].concat());
            }
        }
    }

    #[test]
    fn nothing_comes_between_the_halves_of_the_connections_own_message() {
        let socket = Socket::with_room(2);
        let (mut stream, outlet) = connection(&socket);
        let mut context = Context::from_waker(Waker::noop());
        let mut write = |bytes: &[u8]| Pin::new(&mut stream).poll_write(&mut context, bytes);
        assert!(matches!(write(b"pong"), Poll::Ready(Ok(2))));
        socket.room.store(usize::MAX, Ordering::SeqCst);
        let body = Bytes::from_static(b"1");
        assert!(!outlet.is_free());
        assert_eq!(send(&outlet, &body), Sent::Nothing);
        assert!(matches!(write(b"ng"), Poll::Ready(Ok(2))));
        assert_eq!(send(&outlet, &body), Sent::Whole);
        assert_eq!(socket.taken(), [b"pong", &message(&body)[..]].concat());
    }

    #[test]
    fn a_full_socket_and_a_closed_outlet_take_nothing() {
        let socket = Socket::with_room(0);
        let (_stream, outlet) = connection(&socket);
        let body = Bytes::from_static(b"1");
        assert_eq!(send(&outlet, &body), Sent::Nothing);
        assert!(outlet.is_free(), "as far as is known here");
        socket.room.store(usize::MAX, Ordering::SeqCst);
        outlet.close();
        assert_eq!(send(&outlet, &body), Sent::Nothing);
        assert!(socket.taken().is_empty());
    }

    #[test]
    fn who_waits_for_a_flush_wakes_with_it() {
        let socket = Socket::with_room(0);
        let (mut stream, outlet) = connection(&socket);
        let flushes = outlet.flushes();
        let mut waiting = Box::pin(outlet.until_flushed(flushes));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        let written = Pin::new(&mut stream).poll_write(&mut context, b"full");
        assert!(written.is_pending() && !outlet.is_free());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert!(Pin::new(&mut stream).poll_flush(&mut context).is_ready());
        assert!(waiting.as_mut().poll(&mut context).is_ready() && outlet.is_free());
    }
}
