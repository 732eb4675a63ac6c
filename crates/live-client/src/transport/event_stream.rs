//! Reads server-sent events, as graphql-sse's "distinct connections mode" has them.
//!
//! Their text format: <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.

use super::Signal;
use super::answer::Framing;
use crate::failure::Failure;

/// May begin a stream.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Finds the events in the bytes of a body, however they are cut.
#[derive(Default)]
pub(crate) struct EventStream {
    buffer: Vec<u8>,
    /// Before it, everything is read.
    from: usize,
    /// Before it, there is no end of a line.
    looked_at: usize,
    /// The last line ended in a return: a new line that follows belongs to it.
    ends_in_return: bool,
    has_begun: bool,
    name: String,
    data: Option<String>,
    id: Option<String>,
}

impl Framing for EventStream {
    const ACCEPT: &'static str = "text/event-stream";

    fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next()?.trim();
        kind.eq_ignore_ascii_case("text/event-stream")
            .then(Self::default)
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.from);
        self.looked_at -= self.from;
        self.from = 0;
        self.buffer.extend_from_slice(bytes);
    }

    fn signal(&mut self) -> Option<Result<Signal, Failure>> {
        while let Some(line) = self.line() {
            let signal = match std::str::from_utf8(&line) {
                Ok(line) => self.take_line(line),
                Err(_) => Some(Err(Failure::new("The server sent what is not UTF-8."))),
            };
            if signal.is_some() {
                return signal;
            }
        }
        None
    }

    fn unfinished_bytes(&self) -> usize {
        self.buffer.len() - self.from + self.data.as_ref().map_or(0, String::len)
    }
}

impl EventStream {
    /// The next whole line, without its end.
    fn line(&mut self) -> Option<Vec<u8>> {
        if self.ends_in_return && self.from < self.buffer.len() {
            self.ends_in_return = false;
            if self.buffer[self.from] == b'\n' {
                self.from += 1;
                self.looked_at = self.looked_at.max(self.from);
            }
        }
        let rest = &self.buffer[self.looked_at..];
        let Some(found) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.looked_at = self.buffer.len();
            return None;
        };
        let end = self.looked_at + found;
        let line = self.buffer[self.from..end].to_vec();
        self.ends_in_return = self.buffer[end] == b'\r';
        self.from = end + 1;
        self.looked_at = self.from;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let mark = is_first.then_some(BYTE_ORDER_MARK);
        match mark.and_then(|it| line.strip_prefix(it)) {
            Some(line) => Some(line.to_vec()),
            None => Some(line),
        }
    }

    fn take_line(&mut self, line: &str) -> Option<Result<Signal, Failure>> {
        if line.is_empty() {
            return self.take_end().map(Ok);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }

    fn take_end(&mut self) -> Option<Signal> {
        let (name, data, id) = (
            std::mem::take(&mut self.name),
            self.data.take(),
            self.id.take(),
        );
        match name.as_str() {
            "next" => Some(Signal::Message { json: data?, id }),
            "complete" => Some(Signal::Complete),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signals of `bytes` that come in pieces of `length`.
    fn read(bytes: &[u8], length: usize) -> Vec<Signal> {
        let mut stream = EventStream::default();
        let mut signals = Vec::new();
        for piece in bytes.chunks(length) {
            stream.extend(piece);
            signals.extend(std::iter::from_fn(|| stream.signal()).map(|it| it.expect("UTF-8")));
        }
        assert_eq!(stream.unfinished_bytes(), 0);
        signals
    }

    #[test]
    fn events_are_read_however_they_are_written_and_cut() {
        for end in ["\n", "\r\n", "\r"] {
            let lines = [
                "\u{feff}: a comment",
                "",
                "event: next",
                "id: c1",
                "data: {\"a\":",
                "data:1}",
                "",
                "",
                "event: other",
                "data: x",
                "",
                "data: 2",
                "event:next",
                "",
                "event: next",
                "",
                "event: complete",
                "data",
                "",
                "",
            ];
            let text = lines.join(end);
            for length in 1..=text.len() {
                let message = |json: &str, id: Option<&str>| Signal::Message {
                    json: json.to_owned(),
                    id: id.map(str::to_owned),
                };
                let expected = [
                    message("{\"a\":\n1}", Some("c1")),
                    message("2", None),
                    Signal::Complete,
                ];
                assert_eq!(read(text.as_bytes(), length), expected, "{end:?} {length}");
            }
        }
    }

    #[test]
    fn what_is_not_whole_is_counted() {
        let mut stream = EventStream::default();
        stream.extend(b"event: next\ndata: 12345\ndata: 6");
        assert!(stream.signal().is_none());
        assert_eq!(stream.unfinished_bytes(), 5 + 7);
    }
}
