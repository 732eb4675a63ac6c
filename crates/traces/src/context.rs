//! The trace context of W3C: `traceparent`, and the baggage beside it.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of the trace and of the sender's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with further data of tracing systems.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The header with data of applications that goes with a trace.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The length of `version-trace-parent-flags`, in bytes.
pub const TRACEPARENT_LENGTH: usize = 55;
/// The largest size of all `tracestate` headers together, in bytes: the specification requires no more.
const TRACESTATE_BYTES_MAX: usize = 512;
/// The same of all `baggage` headers.
const BAGGAGE_BYTES_MAX: usize = 8_192;
/// The largest number of members of baggage that are passed on.
const BAGGAGE_MEMBERS_MAX: usize = 64;

/// A span of a trace, as others name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// Never all zero.
    pub trace_id: [u8; 16],
    /// Never all zero.
    pub span_id: [u8; 8],
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent` of version 00. A later version begins with the same parts, and may have more after them.
    /// Anything else, whatever its length, is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (parts, rest) = text.split_first_chunk::<TRACEPARENT_LENGTH>()?;
        let is_version_00 = parts.starts_with(b"00");
        let ends_well = rest.is_empty() || (!is_version_00 && rest[0] == b'-');
        let has_dashes = [2, 35, 52].iter().all(|at| parts[*at] == b'-');
        let [version] = hex(&parts[..2])?;
        if !ends_well || !has_dashes || version == 0xff {
            return None;
        }
        let (trace_id, span_id) = (hex(&parts[3..35])?, hex(&parts[36..52])?);
        let [flags] = hex(&parts[53..55])?;
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self {
            trace_id,
            span_id,
            is_sampled: flags & 1 == 1,
        })
    }

    /// The context in a request's headers; none if there are several.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        match (all.next(), all.next()) {
            (Some(one), None) => Self::parse(one.as_bytes()),
            _ => None,
        }
    }

    /// The first context of a new trace.
    pub(crate) fn new_trace(is_sampled: bool) -> Self {
        Self {
            trace_id: fastrand::u128(1..).to_be_bytes(),
            span_id: fastrand::u64(1..).to_be_bytes(),
            is_sampled,
        }
    }

    /// Another span of the same trace.
    pub(crate) fn with_new_span(self) -> Self {
        Self {
            span_id: fastrand::u64(1..).to_be_bytes(),
            ..self
        }
    }

    /// As a `traceparent`.
    pub fn to_bytes(self) -> [u8; TRACEPARENT_LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id, &mut text[3..35]);
        write_hex(&self.span_id, &mut text[36..52]);
        text[54] = if self.is_sampled { b'1' } else { b'0' };
        text
    }

    /// As the value of a header.
    pub fn to_header(self) -> HeaderValue {
        // Digits and dashes are allowed there.
        HeaderValue::from_bytes(&self.to_bytes()).unwrap_or(HeaderValue::from_static(""))
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.to_bytes();
        formatter.write_str(std::str::from_utf8(&bytes).unwrap_or_default())
    }
}

/// The `tracestate` of a request with a valid `traceparent`; empty if it has none, or one that is too large or not text.
pub(crate) fn trace_state(headers: &HeaderMap) -> String {
    let values = headers.get_all(TRACESTATE).iter();
    let texts: Option<Vec<&str>> = values.map(|value| value.to_str().ok()).collect();
    let state = texts.unwrap_or_default().join(",");
    match state.len() <= TRACESTATE_BYTES_MAX {
        true => state,
        false => String::new(),
    }
}

/// Removes baggage that is larger than W3C's limits, or not text: it is passed on as it is, or not at all.
pub fn check_baggage(headers: &mut HeaderMap) {
    if !headers.contains_key(BAGGAGE) {
        return;
    }
    let values = || headers.get_all(BAGGAGE).iter();
    let bytes: usize = values().map(|value| value.len() + 1).sum();
    let members: usize = values()
        .map(|value| value.as_bytes().split(|byte| *byte == b',').count())
        .sum();
    let is_text = values().all(|value| {
        let mut bytes = value.as_bytes().iter();
        bytes.all(|byte| matches!(byte, 0x20..=0x7e))
    });
    if bytes > BAGGAGE_BYTES_MAX + 1 || members > BAGGAGE_MEMBERS_MAX || !is_text {
        headers.remove(BAGGAGE);
    }
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], digits: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_reads_back() {
        let context = TraceContext::parse(SENT.as_bytes()).expect("valid");
        assert!(context.is_sampled);
        assert_eq!(context.to_string(), SENT);
        let later = SENT.replacen("00", "cc", 1);
        assert_eq!(TraceContext::parse(later.as_bytes()), Some(context));
        let more = format!("{later}-more");
        assert_eq!(TraceContext::parse(more.as_bytes()), Some(context));
        let new = TraceContext::new_trace(false);
        assert_eq!(TraceContext::parse(&new.to_bytes()), Some(new));
    }

    #[test]
    fn anything_else_is_none() {
        for odd in [
            "",
            "00-1-2-01",
            &SENT.to_uppercase(),
            &SENT.replacen("00", "ff", 1),
            &format!("{SENT}-more"),
            &format!("{SENT}{}", "0".repeat(300_000)),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            &SENT.replace('-', "\n"),
        ] {
            assert_eq!(TraceContext::parse(odd.as_bytes()), None, "{odd:.80}");
        }
    }

    #[test]
    fn baggage_passes_within_its_limits() {
        let has = |values: &[String]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(
                    BAGGAGE,
                    HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
                );
            }
            check_baggage(&mut headers);
            headers.contains_key(BAGGAGE)
        };
        assert!(has(&["a=1,b=2;p=3".to_owned(), "c=4".to_owned()]));
        assert!(has(&["x".repeat(BAGGAGE_BYTES_MAX)]));
        assert!(!has(&["x".repeat(BAGGAGE_BYTES_MAX + 1)]));
        assert!(!has(&["a=1,".repeat(64)]));
        assert!(!has(&["a=\u{e9}".to_owned()]));
        assert!(!has(&["a=1\tb".to_owned()]));
    }
}
