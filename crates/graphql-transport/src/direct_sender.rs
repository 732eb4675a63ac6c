//! Sends the events of one operation straight to its client, around the connection's task.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use socket_outlet::{Outlet, Sent};

use crate::{sse, websocket};

/// Bodies up to this size are copied into one buffer with what is around them; larger ones are written from where they
/// are.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// A direct way to the client of one operation, on a WebSocket or as server-sent events. It never waits: what it cannot
/// send now, the operation's stream has to yield.
pub struct DirectSender {
    outlet: Arc<Outlet>,
    framing: Framing,
    deliveries: Counter,
}

enum Framing {
    /// One text frame (RFC 6455), which begins with the `next` message up to its payload.
    WebSocket { head: Box<[u8]> },
    /// One chunk (RFC 9112, section 7.1). An event that the operation's stream has yielded may wait in the server's buffer
    /// until the connection has been flushed more often than this.
    EventStream { flushes_before: AtomicU64 },
}

impl DirectSender {
    pub(crate) fn of_websocket(outlet: Arc<Outlet>, id: &str, deliveries: Counter) -> Self {
        let head = websocket::next_head(id).into();
        Self {
            outlet,
            framing: Framing::WebSocket { head },
            deliveries,
        }
    }

    pub(crate) fn of_event_stream(outlet: Arc<Outlet>, deliveries: Counter) -> Self {
        // The head of the response has not been written.
        let flushes_before = AtomicU64::new(outlet.flushes());
        Self {
            outlet,
            framing: Framing::EventStream { flushes_before },
            deliveries,
        }
    }

    /// Whether an event could be sent now, as far as is known without trying.
    pub fn is_free(&self) -> bool {
        self.awaited_flush().is_none() && self.outlet.is_free()
    }

    /// Notes that the operation's stream yields an event. Nothing can be sent directly until the connection has written it.
    pub fn note_yielded(&self) {
        if let Framing::EventStream { flushes_before } = &self.framing {
            flushes_before.store(self.outlet.flushes(), Relaxed);
        }
    }

    /// Waits until the connection has written what the operation's stream has yielded; forever if nothing is awaited.
    /// Cancelling the wait loses nothing.
    pub async fn until_flushed(&self) {
        match self.awaited_flush() {
            Some(flushes) => self.outlet.until_flushed(flushes).await,
            None => std::future::pending().await,
        }
    }

    fn awaited_flush(&self) -> Option<u64> {
        match &self.framing {
            Framing::WebSocket { .. } => None,
            Framing::EventStream { flushes_before } => {
                let flushes = flushes_before.load(Relaxed);
                (flushes == self.outlet.flushes()).then_some(flushes)
            }
        }
    }

    /// Sends a response, which has to be JSON, and thus UTF-8, with its cursor. `buffer` is scratch space, to be used again
    /// for the next client.
    pub fn send(&self, body: &Bytes, cursor: Option<&str>, buffer: &mut Vec<u8>) -> Sent {
        buffer.clear();
        let sent = match &self.framing {
            Framing::WebSocket { head } => self.send_frame(head, body, buffer),
            Framing::EventStream { .. } => self.send_chunk(body, cursor, buffer),
        };
        if sent != Sent::Nothing {
            self.deliveries.inc();
        }
        sent
    }

    fn send_frame(&self, head: &[u8], body: &Bytes, buffer: &mut Vec<u8>) -> Sent {
        const TAIL: &[u8] = b"}";
        write_frame_head(buffer, head.len() + body.len() + TAIL.len());
        buffer.extend_from_slice(head);
        if body.len() > COPIED_BYTES_MAX {
            return self.outlet.send(buffer, [body, &Bytes::from_static(TAIL)]);
        }
        buffer.extend_from_slice(body);
        buffer.extend_from_slice(TAIL);
        self.outlet.send(buffer, NOTHING_SHARED)
    }

    fn send_chunk(&self, body: &Bytes, cursor: Option<&str>, buffer: &mut Vec<u8>) -> Sent {
        /// Room for the chunk's size in hexadecimal digits, and a line break.
        const SIZE_BYTES: usize = 18;
        const END: &[u8] = b"\r\n";
        buffer.resize(SIZE_BYTES, 0);
        sse::write_event_head(buffer, cursor);
        let is_shared = body.len() > COPIED_BYTES_MAX && !body.iter().any(sse::is_line_break);
        let mut size = buffer.len() - SIZE_BYTES;
        if is_shared {
            size += body.len() + sse::EVENT_END.len();
        } else {
            sse::write_data(buffer, body);
            buffer.extend_from_slice(sse::EVENT_END);
            size = buffer.len() - SIZE_BYTES;
            buffer.extend_from_slice(END);
        }
        let digits = format!("{size:x}\r\n");
        let start = SIZE_BYTES - digits.len();
        buffer[start..SIZE_BYTES].copy_from_slice(digits.as_bytes());
        match is_shared {
            true => {
                const TAIL: &[u8] = b"\n\n\r\n";
                self.outlet
                    .send(&buffer[start..], [body, &Bytes::from_static(TAIL)])
            }
            false => self.outlet.send(&buffer[start..], NOTHING_SHARED),
        }
    }
}

static EMPTY: Bytes = Bytes::new();
const NOTHING_SHARED: [&Bytes; 2] = [&EMPTY; 2];

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

impl fmt::Debug for DirectSender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DirectSender")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::Mutex,
        task::{Context, Waker},
    };

    use socket_outlet::{OutletPlace, ThroughOutlet};
    use tokio::io::AsyncWrite;
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };

    use super::*;

    /// What one sender sends, beyond the socket's buffer.
    fn sent(
        body: &Bytes,
        cursor: Option<&str>,
        sender: fn(Arc<Outlet>) -> DirectSender,
    ) -> Vec<u8> {
        let taken = Arc::<Mutex<Vec<u8>>>::default();
        let (place, socket) = (OutletPlace::default(), Arc::clone(&taken));
        let outlet = place.get_or_new(|| {
            Arc::new(move |slices| {
                let mut taken = socket.lock().expect("not poisoned");
                let before = taken.len();
                slices
                    .iter()
                    .for_each(|slice| taken.extend_from_slice(slice));
                Ok(taken.len() - before)
            })
        });
        let sender = sender(outlet);
        assert!(!sender.is_free(), "the head is not written");
        let mut connection = ThroughOutlet::new(tokio::io::sink(), place);
        let flushed = Pin::new(&mut connection).poll_flush(&mut Context::from_waker(Waker::noop()));
        assert!(flushed.is_ready() && sender.is_free());
        assert_eq!(sender.send(body, cursor, &mut vec![1; 5]), Sent::Whole);
        let taken = taken.lock().expect("not poisoned");
        taken.clone()
    }

    const LENGTHS: [usize; 10] = [0, 1, 60, 113, 114, 4_000, 5_000, 65_000, 65_524, 70_000];

    #[test]
    fn frames_are_those_of_the_protocol() {
        for length in LENGTHS {
            let body = Bytes::from(vec![b'1'; length]);
            let payload = [websocket::next_head("id").as_slice(), &body, b"}"].concat();
            let frame = Frame::message(payload, OpCode::Data(Data::Text), true);
            let mut bytes = Vec::new();
            frame.format(&mut bytes).expect("a frame");
            let sent = sent(&body, Some("c"), |outlet| {
                DirectSender::of_websocket(outlet, "id", Counter::default())
            });
            assert_eq!(sent, bytes, "{length}");
        }
    }

    #[test]
    fn chunks_have_the_event_that_the_stream_would_yield() {
        let of_events = |outlet| DirectSender::of_event_stream(outlet, Counter::default());
        for length in LENGTHS {
            for (text, cursor) in [("1", None), ("1", Some("c1")), ("\n1", Some("a\nb"))] {
                let body = Bytes::from(text.repeat(length));
                let event = crate::Event::Next {
                    body: body.clone(),
                    cursor: cursor.map(Into::into),
                };
                let event = sse::event(&event);
                let chunk = [format!("{:x}\r\n", event.len()).as_bytes(), &event, b"\r\n"].concat();
                assert_eq!(sent(&body, cursor, of_events), chunk, "{length} {cursor:?}");
            }
        }
    }

    #[test]
    fn nothing_overtakes_an_event_that_was_yielded() {
        let place = OutletPlace::default();
        let outlet = place.get_or_new(|| Arc::new(|_| Ok(0)));
        let sender = DirectSender::of_event_stream(outlet, Counter::default());
        let mut connection = ThroughOutlet::new(tokio::io::sink(), place);
        let mut context = Context::from_waker(Waker::noop());
        let mut flush = || {
            Pin::new(&mut connection)
                .poll_flush(&mut context)
                .is_ready()
        };
        assert!(flush() && sender.is_free());
        sender.note_yielded();
        assert!(!sender.is_free(), "it may be in the server's buffer");
        assert!(flush() && sender.is_free());
    }
}
