//! Reads server-sent events, as graphql-sse's "distinct connections mode" has them.
//!
//! Source: <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>; its text format:
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>. Ids, comments and events
//! of other names are passed over.

use bytes::{Bytes, BytesMut};

/// May begin a stream.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What a server says of its one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// A GraphQL response's JSON.
    Next(Bytes),
    /// The operation is complete.
    Complete,
}

/// Finds the events in the bytes of a body, however they are cut.
#[derive(Default)]
pub struct EventReader {
    buffer: BytesMut,
    /// Where the next event's end may be: what was looked at is not looked at again.
    from: usize,
    has_begun: bool,
}

impl EventReader {
    /// Takes in the body's next bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        let empty = match self.buffer.is_empty() {
            true => bytes.iter().take_while(|byte| is_line_end(**byte)).count(),
            false => 0,
        };
        self.buffer.extend_from_slice(&bytes[empty..]);
    }

    /// The next whole event. `None` until more bytes come.
    pub fn event(&mut self) -> Option<StreamEvent> {
        while let Some(end) = end_of_event(&self.buffer, self.from) {
            self.from = 0;
            let text = self.buffer.split_to(end);
            let mark = (!std::mem::replace(&mut self.has_begun, true)).then_some(BYTE_ORDER_MARK);
            let event = parse(mark.and_then(|it| text.strip_prefix(it)).unwrap_or(&text));
            if event.is_some() {
                return event;
            }
        }
        self.from = self.buffer.len().saturating_sub(2);
        None
    }

    /// Bytes of the event that is not whole yet. It has no bound here.
    pub fn unfinished_bytes(&self) -> usize {
        self.buffer.len()
    }
}

/// The length of the first whole event: up to and with its empty line, which begins at `from` or later.
/// Where only the first half of that line's end has come, the other one begins the next event.
fn end_of_event(buffer: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = buffer[at..].iter().position(|byte| is_line_end(*byte)) {
        at += found;
        at += line_end(&buffer[at..]);
        let empty = line_end(&buffer[at..]);
        if empty > 0 {
            return Some(at + empty);
        }
    }
    None
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The length of the line end that begins here, if one does.
fn line_end(bytes: &[u8]) -> usize {
    match bytes {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

fn parse(event: &[u8]) -> Option<StreamEvent> {
    let (mut name, mut data) = (&b""[..], Vec::new());
    for line in event.split(|byte| is_line_end(*byte)) {
        let value = |field: &'static [u8]| -> Option<&[u8]> {
            let value = line.strip_prefix(field)?;
            Some(value.strip_prefix(b" ").unwrap_or(value))
        };
        if let Some(value) = value(b"event:") {
            name = value;
        } else if let Some(value) = value(b"data:") {
            data.extend_from_slice(value);
        }
    }
    match name {
        b"next" => Some(StreamEvent::Next(data.into())),
        b"complete" => Some(StreamEvent::Complete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Event, sse::Sse, streaming::Framing};

    /// The events of `bytes` that come in pieces of `length`.
    fn read(bytes: &[u8], length: usize) -> Vec<StreamEvent> {
        let mut reader = EventReader::default();
        let mut events = Vec::new();
        for piece in bytes.chunks(length) {
            reader.extend(piece);
            events.extend(std::iter::from_fn(|| reader.event()));
        }
        assert_eq!(reader.unfinished_bytes(), 0);
        events
    }

    #[test]
    fn what_the_server_writes_is_read_however_it_is_cut() {
        let event = Event::Next {
            body: Bytes::from_static(b"{\n\"data\":1}"),
            cursor: Some("c".into()),
        };
        let frames = [Sse::open(), Sse::event(&event), Sse::close()].concat();
        for length in 1..=frames.len() {
            let next = StreamEvent::Next(Bytes::from_static(b"{\"data\":1}"));
            let expected = [next, StreamEvent::Complete];
            assert_eq!(read(&frames, length), expected, "{length}");
        }
    }

    #[test]
    fn other_servers_write_it_otherwise() {
        let event =
            b":\r\n\r\nevent:next\r\nid: 1\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nevent: other\n\n";
        for length in 1..=event.len() {
            let next = StreamEvent::Next(Bytes::from_static(b"{\"a\":1}"));
            assert_eq!(read(event, length), [next], "{length}");
        }
    }

    #[test]
    fn every_end_of_a_line_is_one_and_a_mark_may_begin_the_stream() {
        for end in ["\n", "\r\n", "\r"] {
            let lines = [
                "\u{feff}event: next",
                "data: {\"a\":",
                "data: 1}",
                "",
                "",
                ": a comment",
                "id",
                "",
                "data: 2",
                "event:next",
                "",
                "event: complete",
                "",
                "",
            ];
            let text = lines.join(end);
            for length in 1..=text.len() {
                let next =
                    |json: &'static str| StreamEvent::Next(Bytes::from_static(json.as_bytes()));
                let expected = [next("{\"a\":1}"), next("2"), StreamEvent::Complete];
                assert_eq!(read(text.as_bytes(), length), expected, "{end:?} {length}");
            }
        }
    }

    #[test]
    fn an_event_that_is_not_whole_is_counted() {
        let mut reader = EventReader::default();
        reader.extend(b"event: next\n");
        assert_eq!((reader.event(), reader.unfinished_bytes()), (None, 12));
    }
}
