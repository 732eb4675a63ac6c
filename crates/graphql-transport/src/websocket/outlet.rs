//! Writes events straight to a client's socket, from whatever task has them.
//!
//! An event for thousands of clients costs less if one loop writes it to all their sockets than if each connection's task
//! wakes to write it. Both ways lead through the client's [`Outlet`], which keeps frames whole: an event is written
//! directly only between two frames, and what the socket has no room for is written by the connection's task, before
//! anything else.
//!
//! Where the server hands no [`TryWrite`] with the upgrade request, every message goes through the connection's task.

use std::{
    collections::VecDeque,
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Writes as many bytes as the socket has room for, without waiting; `WouldBlock` if that is none. Servers put it into
/// the extensions of an upgrade request.
pub type TryWrite = Arc<dyn Fn(&[IoSlice<'_>]) -> Result<usize> + Send + Sync>;

/// Bodies up to this size are copied into one buffer with the frame around them; larger ones are written from where they
/// are.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// The write side of one client's socket.
pub(crate) struct Outlet {
    state: Mutex<State>,
    /// Wakes the connection's task, which writes the rest.
    task: AtomicWaker,
}

struct State {
    /// None once the connection has begun to end: nothing may follow its close, and the socket is to go with it.
    try_write: Option<TryWrite>,
    /// Whether the last write of the connection's task ended within a frame.
    is_within_frame: bool,
    /// What is left of a frame that was written in part.
    rest: VecDeque<Bytes>,
}

/// What came of an event.
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
    pub(crate) fn new(try_write: TryWrite) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                try_write: Some(try_write),
                is_within_frame: false,
                rest: VecDeque::new(),
            }),
            task: AtomicWaker::new(),
        })
    }

    /// Whether an event could be written now, as far as is known here.
    pub(crate) fn is_free(&self) -> bool {
        self.lock().is_free()
    }

    /// Writes one text message, `head`, `body` and `tail`. `buffer` is scratch space.
    pub(crate) fn send(
        &self,
        head: &[u8],
        body: &Bytes,
        tail: &'static [u8],
        buffer: &mut Vec<u8>,
    ) -> Sent {
        buffer.clear();
        write_frame_head(buffer, head.len() + body.len() + tail.len());
        buffer.extend_from_slice(head);
        let is_copied = body.len() <= COPIED_BYTES_MAX;
        if is_copied {
            buffer.extend_from_slice(body);
            buffer.extend_from_slice(tail);
        }
        let mut state = self.lock();
        let try_write = state.try_write.as_ref().filter(|_| state.is_free());
        let Some(try_write) = try_write else {
            return Sent::Nothing;
        };
        let written = match is_copied {
            true => try_write(&[IoSlice::new(buffer)]),
            false => try_write(&[buffer.as_slice(), body, tail].map(IoSlice::new)),
        };
        // The connection's task meets the error where it reads or writes.
        let Ok(mut written) = written else {
            return Sent::Nothing;
        };
        if written == 0 {
            return Sent::Nothing;
        }
        let mut rest = |part: &[u8], shared: Option<&Bytes>| {
            let taken = written.min(part.len());
            written -= taken;
            if taken < part.len() {
                state.rest.push_back(match shared {
                    Some(shared) => shared.slice(taken..),
                    None => Bytes::copy_from_slice(&part[taken..]),
                });
            }
        };
        rest(buffer, None);
        if !is_copied {
            rest(body, Some(body));
            rest(tail, None);
        }
        if state.rest.is_empty() {
            return Sent::Whole;
        }
        drop(state);
        self.task.wake();
        Sent::Begun
    }

    /// Writes nothing directly any more.
    pub(crate) fn close(&self) {
        self.lock().try_write = None;
    }

    /// Whether the connection's task has to write the rest of an event.
    pub(crate) fn has_rest(&self) -> bool {
        !self.lock().rest.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_free(&self) -> bool {
        self.try_write.is_some() && !self.is_within_frame && self.rest.is_empty()
    }
}

/// The head of a server's unmasked text frame (RFC 6455, section 5.2) with a payload of this many bytes.
fn write_frame_head(buffer: &mut Vec<u8>, payload_bytes: usize) {
    const FINAL_TEXT: u8 = 0x81;
    buffer.push(FINAL_TEXT);
    if let Ok(bytes) = u8::try_from(payload_bytes)
        && bytes <= 125
    {
        buffer.push(bytes);
    } else if let Ok(bytes) = u16::try_from(payload_bytes) {
        buffer.push(126);
        buffer.extend_from_slice(&bytes.to_be_bytes());
    } else {
        buffer.push(127);
        buffer.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
    }
}

/// The connection's own way to the socket.
pub(super) struct ThroughOutlet<S> {
    stream: S,
    outlet: Option<Arc<Outlet>>,
}

impl<S> ThroughOutlet<S> {
    pub(super) fn new(stream: S, outlet: Option<Arc<Outlet>>) -> Self {
        Self { stream, outlet }
    }

    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S> Drop for ThroughOutlet<S> {
    fn drop(&mut self) {
        if let Some(outlet) = &self.outlet {
            outlet.close();
        }
    }
}

/// Writes what is left of an event that was begun directly.
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
    /// A connection's task always waits for messages: so it wakes here when there is a rest to be written.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let Self { stream, outlet } = &mut *self;
        if let Some(outlet) = outlet {
            outlet.task.register(context.waker());
            let mut state = outlet.lock();
            if !state.rest.is_empty() {
                match poll_rest(stream, &mut state, context) {
                    Poll::Ready(Ok(())) => {
                        let _ = Pin::new(&mut *stream).poll_flush(context)?;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
        }
        Pin::new(stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ThroughOutlet<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let Self { stream, outlet } = &mut *self;
        let Some(outlet) = outlet else {
            return Pin::new(stream).poll_write(context, bytes);
        };
        let mut state = outlet.lock();
        ready!(poll_rest(stream, &mut state, context))?;
        let written = Pin::new(stream).poll_write(context, bytes);
        // The WebSocket always offers all that it has, which ends with a frame.
        state.is_within_frame =
            !matches!(&written, Poll::Ready(Ok(written)) if *written == bytes.len());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { stream, outlet } = &mut *self;
        if let Some(outlet) = outlet {
            ready!(poll_rest(stream, &mut outlet.lock(), context))?;
        }
        Pin::new(stream).poll_flush(context)
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

        fn outlet(self: &Arc<Self>) -> Arc<Outlet> {
            let socket = Arc::clone(self);
            Outlet::new(Arc::new(move |slices| {
                let mut all = 0;
                for slice in slices {
                    match socket.take(slice) {
                        Ok(taken) => all += taken,
                        Err(error) if all == 0 => return Err(error),
                        Err(_) => break,
                    }
                }
                Ok(all)
            }))
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

    const HEAD: &[u8] = b"{\"payload\":";

    fn send(outlet: &Outlet, body: &Bytes) -> Sent {
        outlet.send(HEAD, body, b"}", &mut Vec::new())
    }

    /// The frame as the WebSocket library writes it.
    fn frame(body: &[u8]) -> Vec<u8> {
        use tokio_tungstenite::tungstenite::protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        };
        let payload = [HEAD, body, b"}"].concat();
        let frame = Frame::message(payload, OpCode::Data(Data::Text), true);
        let mut bytes = Vec::new();
        frame.format(&mut bytes).expect("a frame");
        bytes
    }

    #[test]
    fn frames_are_those_of_the_protocol() {
        for length in [0, 1, 113, 114, 4_000, 5_000, 65_523, 65_524, 70_000] {
            let socket = Socket::with_room(usize::MAX);
            let body = Bytes::from(vec![b'1'; length]);
            assert_eq!(send(&socket.outlet(), &body), Sent::Whole);
            assert_eq!(socket.taken(), frame(&body), "{length}");
        }
    }

    #[test]
    fn what_was_begun_is_finished_before_anything_else() {
        for length in [100, 10_000] {
            let body = Bytes::from(vec![b'1'; length]);
            let whole = frame(&body);
            for room in [1, 5, length / 2, whole.len() - 1] {
                let socket = Socket::with_room(room);
                let outlet = socket.outlet();
                assert_eq!(send(&outlet, &body), Sent::Begun, "{length} {room}");
                socket.room.store(usize::MAX, Ordering::SeqCst);
                assert_eq!(send(&outlet, &body), Sent::Nothing, "not within a frame");
                let mut stream = ThroughOutlet::new(Writer(Arc::clone(&socket)), Some(outlet));
                let mut context = Context::from_waker(Waker::noop());
                let written = Pin::new(&mut stream).poll_write(&mut context, b"next");
                assert!(matches!(written, Poll::Ready(Ok(4))));
                assert_eq!(socket.taken(), [&whole[..], b"next"].concat());
            }
        }
    }

    #[test]
    fn nothing_comes_between_the_halves_of_the_connections_own_frame() {
        let socket = Socket::with_room(2);
        let outlet = socket.outlet();
        let mut stream = ThroughOutlet::new(Writer(Arc::clone(&socket)), Some(Arc::clone(&outlet)));
        let mut context = Context::from_waker(Waker::noop());
        let mut write = |bytes: &[u8]| Pin::new(&mut stream).poll_write(&mut context, bytes);
        assert!(matches!(write(b"pong"), Poll::Ready(Ok(2))));
        socket.room.store(usize::MAX, Ordering::SeqCst);
        let body = Bytes::from_static(b"1");
        assert!(!outlet.is_free());
        assert_eq!(send(&outlet, &body), Sent::Nothing);
        assert!(matches!(write(b"ng"), Poll::Ready(Ok(2))));
        assert_eq!(send(&outlet, &body), Sent::Whole);
        assert_eq!(socket.taken(), [b"pong", &frame(&body)[..]].concat());
    }

    #[test]
    fn a_full_socket_and_a_closed_outlet_take_nothing() {
        let socket = Socket::with_room(0);
        let outlet = socket.outlet();
        let body = Bytes::from_static(b"1");
        assert_eq!(send(&outlet, &body), Sent::Nothing);
        assert!(outlet.is_free(), "as far as is known here");
        socket.room.store(usize::MAX, Ordering::SeqCst);
        outlet.close();
        assert_eq!(send(&outlet, &body), Sent::Nothing);
        assert!(socket.taken().is_empty());
    }
}
