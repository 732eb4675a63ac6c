//! An event for many clients, whose frames are built once for all of them.

use std::sync::Arc;

use bytes::Bytes;
use socket_outlet::{Outlet, Sent};

use crate::{delivery::Status, multipart, sse, websocket};

/// Bodies up to this size are copied into one buffer with what is around them; larger ones are written from where they
/// are.
const COPIED_BYTES_MAX: usize = 4 * 1024;
const CHUNK_END: &[u8] = b"\r\n";
/// Room for a chunk's size in hexadecimal digits, and a line break.
const CHUNK_SIZE_BYTES: usize = size_of::<usize>() * 2 + CHUNK_END.len();

/// An event on its way to many clients by [`DirectSender`](crate::DirectSender)s. Its chunks for streamed responses are
/// built for the first client that needs them. Their buffers are used again for the next event.
#[derive(Default)]
pub struct DirectEvent {
    body: Bytes,
    cursor: Option<Arc<str>>,
    /// A status is no event, and counts as no delivery.
    is_status: bool,
    /// The frame for one WebSocket: each client has its own name for its operation.
    frame: Vec<u8>,
    event_stream: Chunk,
    multipart: Chunk,
}

/// One chunk of a response (RFC 9112, section 7.1).
#[derive(Default)]
struct Chunk {
    is_built: bool,
    /// All up to the body, or the whole chunk if that is small; from `start` on.
    head: Vec<u8>,
    start: usize,
    body: Bytes,
    tail: Bytes,
}

impl DirectEvent {
    /// Takes another event: its response, which has to be JSON, and thus UTF-8, with its cursor.
    pub fn set(&mut self, body: Bytes, cursor: Option<Arc<str>>) {
        self.clear();
        (self.body, self.cursor) = (body, cursor);
    }

    /// Takes a status in place of an event.
    pub fn set_status(&mut self, status: Status) {
        self.set(status.body(), None);
        self.is_status = true;
    }

    /// Whether this is its event: the same response, not an equal one.
    pub fn is_of(&self, body: &Bytes) -> bool {
        (self.body.as_ptr(), self.body.len()) == (body.as_ptr(), body.len())
    }

    /// Lets go of the event.
    pub fn clear(&mut self) {
        (self.body, self.cursor, self.is_status) = (Bytes::new(), None, false);
        self.event_stream.clear();
        self.multipart.clear();
    }

    pub(crate) fn is_delivery(&self) -> bool {
        !self.is_status
    }

    /// Sends it as one text frame (RFC 6455), which begins with this head of a `next` message.
    pub(crate) fn send_frame(&mut self, head: &[u8], outlet: &Outlet) -> Sent {
        const TAIL: &[u8] = b"}";
        let Self { body, frame, .. } = self;
        frame.clear();
        websocket::write_frame_head(frame, head.len() + body.len() + TAIL.len());
        frame.extend_from_slice(head);
        if body.len() > COPIED_BYTES_MAX {
            return outlet.send(frame, [body, &Bytes::from_static(TAIL)]);
        }
        frame.extend_from_slice(body);
        frame.extend_from_slice(TAIL);
        outlet.send(frame, [&Bytes::new(); 2])
    }

    /// Sends it as a server-sent event.
    pub(crate) fn send_event(&mut self, outlet: &Outlet) -> Sent {
        let Self { body, cursor, .. } = self;
        let chunk = &mut self.event_stream;
        if !chunk.is_built {
            let write_head = |head: &mut Vec<u8>| sse::write_event_head(head, cursor.as_deref());
            chunk.build(write_head, sse::data(body), sse::EVENT_END, b"\n\n\r\n");
        }
        chunk.send(outlet)
    }

    /// Sends it as a part of a multipart response.
    pub(crate) fn send_part(&mut self, outlet: &Outlet) -> Sent {
        let chunk = &mut self.multipart;
        if !chunk.is_built {
            let write_head = |head: &mut Vec<u8>| head.extend_from_slice(multipart::PAYLOAD_HEAD);
            let (body, end) = (self.body.clone(), multipart::PAYLOAD_END);
            chunk.build(write_head, body, end, b"}\r\n--graphql\r\n");
        }
        chunk.send(outlet)
    }
}

impl Chunk {
    /// `tail` is `end` with the end of a chunk.
    fn build(
        &mut self,
        write_head: impl FnOnce(&mut Vec<u8>),
        body: Bytes,
        end: &'static [u8],
        tail: &'static [u8],
    ) {
        debug_assert_eq!(tail, [end, CHUNK_END].concat());
        self.clear();
        let head = &mut self.head;
        head.resize(CHUNK_SIZE_BYTES, 0);
        write_head(head);
        let size = head.len() - CHUNK_SIZE_BYTES + body.len() + end.len();
        if body.len() > COPIED_BYTES_MAX {
            (self.body, self.tail) = (body, Bytes::from_static(tail));
        } else {
            head.extend_from_slice(&body);
            head.extend_from_slice(tail);
        }
        let digits = format!("{size:x}\r\n");
        self.start = CHUNK_SIZE_BYTES - digits.len();
        head[self.start..CHUNK_SIZE_BYTES].copy_from_slice(digits.as_bytes());
        self.is_built = true;
    }

    fn send(&self, outlet: &Outlet) -> Sent {
        outlet.send(&self.head[self.start..], [&self.body, &self.tail])
    }

    fn clear(&mut self) {
        self.is_built = false;
        self.head.clear();
        (self.body, self.tail) = (Bytes::new(), Bytes::new());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::Mutex,
        task::{Context, Waker},
    };

    use prometheus_client::metrics::counter::Counter;
    use socket_outlet::{OutletPlace, ThroughOutlet};
    use tokio::io::AsyncWrite;
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };

    use super::*;
    use crate::{DirectSender, Event, http::accept::Streaming, streaming::Framing};

    /// What two senders of the same kind send of one event, each beyond its socket's buffer.
    fn sent(event: &mut DirectEvent, sender: impl Fn(Arc<Outlet>) -> DirectSender) -> Vec<u8> {
        let [first, second] = [(); 2].map(|()| {
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
            let mut context = Context::from_waker(Waker::noop());
            let flushed = Pin::new(&mut connection).poll_flush(&mut context);
            assert!(flushed.is_ready() && sender.is_free());
            assert_eq!(sender.send(event), Sent::Whole);
            let taken = taken.lock().expect("not poisoned");
            taken.clone()
        });
        assert_eq!(first, second);
        first
    }

    const LENGTHS: [usize; 10] = [0, 1, 60, 113, 114, 4_000, 5_000, 65_000, 65_524, 70_000];

    #[test]
    fn frames_are_those_of_the_protocol() {
        let mut event = DirectEvent::default();
        for length in LENGTHS {
            let body = Bytes::from(vec![b'1'; length]);
            let payload = [websocket::next_head("id").as_slice(), &body, b"}"].concat();
            let frame = Frame::message(payload, OpCode::Data(Data::Text), true);
            let mut bytes = Vec::new();
            frame.format(&mut bytes).expect("a frame");
            event.set(body, Some("c".into()));
            let sent = sent(&mut event, |outlet| {
                DirectSender::of_websocket(outlet, "id", Counter::default())
            });
            assert_eq!(sent, bytes, "{length}");
        }
    }

    /// A chunk has what the stream would yield.
    fn chunks_are_those_of<F: Framing>(streaming: Streaming) {
        let mut event = DirectEvent::default();
        for length in LENGTHS {
            for (text, cursor) in [("1", None), ("1", Some("c1")), ("\n1", Some("a\nb"))] {
                let (body, cursor) = (Bytes::from(text.repeat(length)), cursor.map(Arc::from));
                event.set(body.clone(), cursor.clone());
                let yielded = F::event(&Event::Next { body, cursor });
                let size = format!("{:x}\r\n", yielded.len());
                let chunk = [size.as_bytes(), &yielded, b"\r\n"].concat();
                let sent = sent(&mut event, |outlet| {
                    DirectSender::of_response(outlet, streaming, Counter::default())
                });
                assert_eq!(sent, chunk, "{length}");
            }
        }
    }

    #[test]
    fn a_status_is_framed_as_the_stream_would_and_is_no_delivery() {
        let mut event = DirectEvent::default();
        for status in [Status::Interrupted, Status::Live] {
            let deliveries = Counter::default();
            let mut written = |streaming| {
                event.set(Bytes::from_static(b"1"), Some("c".into()));
                event.set_status(status);
                sent(&mut event, |outlet| {
                    DirectSender::of_response(outlet, streaming, deliveries.clone())
                })
            };
            let chunk = |frame: Bytes| {
                let size = format!("{:x}\r\n", frame.len());
                [size.as_bytes(), &frame, b"\r\n"].concat()
            };
            let yielded = Event::Status(status);
            assert_eq!(written(Streaming::Sse), chunk(sse::Sse::event(&yielded)));
            let part = multipart::Multipart::event(&yielded);
            assert_eq!(written(Streaming::Multipart), chunk(part));
            let message = websocket::ServerMessage::of("id", &yielded).write();
            let framed = sent(&mut event, |outlet| {
                DirectSender::of_websocket(outlet, "id", deliveries.clone())
            });
            assert!(framed.ends_with(&message.into_data()));
            assert_eq!(deliveries.get(), 0);
        }
        event.set(Bytes::from_static(b"1"), None);
        assert!(event.is_delivery(), "the next event is one again");
    }

    #[test]
    fn chunks_have_the_event_that_the_stream_would_yield() {
        chunks_are_those_of::<sse::Sse>(Streaming::Sse);
        chunks_are_those_of::<multipart::Multipart>(Streaming::Multipart);
    }
}
