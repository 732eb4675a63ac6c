//! Reads multipart subscriptions, as Apollo's clients do.
//!
//! Their text format: <https://www.rfc-editor.org/rfc/rfc2046#section-5.1>.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Signal;
use super::answer::Framing;
use crate::failure::Failure;

const DEFAULT_BOUNDARY: &str = "-";

/// Finds the parts in the bytes of a body, however they are cut.
pub(crate) struct Multipart {
    /// With the line end before it.
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    /// Before it, everything is read.
    from: usize,
    /// Before it, no delimiter begins.
    looked_at: usize,
    /// The first delimiter has come.
    has_begun: bool,
}

/// A part.
#[derive(Deserialize)]
struct Part<'text> {
    #[serde(borrow, default)]
    payload: Option<&'text RawValue>,
    #[serde(default)]
    #[serde(deserialize_with = "crate::errors::first")]
    errors: Value,
}

impl Framing for Multipart {
    const ACCEPT: &'static str = "multipart/mixed;subscriptionSpec=1.0";

    fn of(content_type: &str) -> Option<Self> {
        let mut parameters = content_type.split(';').map(str::trim);
        if !parameters.next()?.eq_ignore_ascii_case("multipart/mixed") {
            return None;
        }
        let boundary = parameters.find_map(|it| {
            let (name, value) = it.split_once('=')?;
            let is_boundary = name.trim().eq_ignore_ascii_case("boundary");
            is_boundary.then(|| value.trim().trim_matches('"'))
        });
        Some(Self {
            delimiter: format!("\r\n--{}", boundary.unwrap_or(DEFAULT_BOUNDARY)).into_bytes(),
            // The first delimiter may have no line before it.
            buffer: b"\r\n".to_vec(),
            from: 0,
            looked_at: 0,
            has_begun: false,
        })
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.from);
        self.looked_at -= self.from;
        self.from = 0;
        self.buffer.extend_from_slice(bytes);
    }

    fn signal(&mut self) -> Option<Result<Signal, Failure>> {
        loop {
            // After a delimiter: the end, or the end of its line.
            if self.has_begun && self.buffer[self.from..].starts_with(b"--") {
                return Some(Ok(Signal::Complete));
            }
            let end = self.delimiter_at()?;
            let part = self.from..end;
            self.from = end + self.delimiter.len();
            self.looked_at = self.from;
            if !std::mem::replace(&mut self.has_begun, true) {
                continue;
            }
            if let Some(signal) = read(&self.buffer[part]) {
                return Some(signal);
            }
        }
    }

    fn unfinished_bytes(&self) -> usize {
        self.buffer.len() - self.from
    }
}

impl Multipart {
    fn delimiter_at(&mut self) -> Option<usize> {
        loop {
            let rest = &self.buffer[self.looked_at..];
            let Some(found) = rest.iter().position(|byte| *byte == self.delimiter[0]) else {
                self.looked_at = self.buffer.len();
                return None;
            };
            self.looked_at += found;
            let rest = &self.buffer[self.looked_at..];
            if rest.starts_with(&self.delimiter) {
                return Some(self.looked_at);
            }
            if self.delimiter.starts_with(rest) {
                return None;
            }
            self.looked_at += 1;
        }
    }
}

/// A part's headers and body. `None` for a sign of life.
fn read(part: &[u8]) -> Option<Result<Signal, Failure>> {
    let unknown = |_| Failure::new("The server sent a part that is not of the protocol.");
    let body = match part.windows(4).position(|it| it == b"\r\n\r\n") {
        Some(end) => &part[end + 4..],
        None => part,
    };
    let part: Part<'_> = match serde_json::from_slice(body) {
        Ok(part) => part,
        Err(error) => return Some(Err(unknown(error))),
    };
    if part.errors.as_array().is_some_and(|it| !it.is_empty()) {
        return Some(Err(Failure::from_errors(part.errors)));
    }
    let json = part.payload?.get().to_owned();
    Some(Ok(Signal::Message { json, id: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0";

    fn read_all(bytes: &[u8], length: usize) -> Vec<Result<Signal, String>> {
        let mut stream = Multipart::of(TYPE).expect("its content type");
        let mut signals = Vec::new();
        for piece in bytes.chunks(length) {
            stream.extend(piece);
            while let Some(signal) = stream.signal() {
                let is_end = matches!(signal, Ok(Signal::Complete) | Err(_));
                signals.push(signal.map_err(|it| it.code().to_owned()));
                if is_end {
                    return signals;
                }
            }
        }
        signals
    }

    fn message(json: &str) -> Result<Signal, String> {
        let json = json.to_owned();
        Ok(Signal::Message { json, id: None })
    }

    #[test]
    fn parts_are_read_however_they_are_cut() {
        let text = "\r\n--graphql\r\ncontent-type: application/json\r\n\r\n{}\
            \r\n--graphql\r\ncontent-type: application/json\r\n\r\n{\"payload\":{\"data\":1}}\
            \r\n--graphql\r\nContent-Type: application/json\r\n\r\n{\"payload\":{\"data\":\"\\r\\n--graph\"}}\
            \r\n--graphql--\r\n";
        for text in [text, &text[2..]] {
            for length in 1..=text.len() {
                let expected = [
                    message("{\"data\":1}"),
                    message("{\"data\":\"\\r\\n--graph\"}"),
                    Ok(Signal::Complete),
                ];
                assert_eq!(read_all(text.as_bytes(), length), expected, "{length}");
            }
        }
    }

    #[test]
    fn an_event_is_whole_as_soon_as_the_next_boundary_is() {
        let mut stream = Multipart::of(TYPE).expect("its content type");
        stream.extend(b"--graphql\r\n\r\n{\"payload\":{}}\r\n--graphql");
        let signal = stream.signal().map(|it| it.map_err(|_| String::new()));
        assert_eq!(signal, Some(message("{}")));
        assert!(stream.signal().is_none());
    }

    #[test]
    fn errors_beside_the_payload_end_it() {
        let text = b"--graphql\r\n\r\n{\"payload\":null,\"errors\":[{\"extensions\":{\"code\":\"X\"}}]}\r\n--graphql--";
        assert_eq!(read_all(text, text.len()), [Err("X".to_owned())]);
        let text = b"--graphql\r\n\r\n{\"pay\r\n--graphql";
        assert_eq!(read_all(text, text.len()), [Err(String::new())]);
        assert!(Multipart::of("application/json").is_none());
    }
}
