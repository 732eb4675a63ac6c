//! The request's id and its trace context, which are forwarded to subgraphs. The id is also
//! returned to the client.
//!
//! A valid W3C `traceparent` is forwarded (<https://www.w3.org/TR/trace-context/>), an invalid one is replaced. Where the
//! gateway records the trace, each request to a subgraph has the id of its span in it.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use traces::context::{TraceContext, check_baggage};

/// The header of a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of the trace and of the client's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with further data of tracing systems.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest request id that is accepted from a client, in characters.
const ID_LENGTH_MAX: usize = 128;
/// The length of `version-trace-parent-flags`.
const TRACEPARENT_LENGTH: usize = 55;
/// The largest size of all `tracestate` headers together, in bytes: the specification requires no
/// more.
const TRACESTATE_BYTES_MAX: usize = 512;

/// A random number that distinguishes the request ids of this process.
static PROCESS: LazyLock<u64> = LazyLock::new(|| uuid::Uuid::new_v4().as_u64_pair().0);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Replaces the `traceparent` among the lines of a request's head, or adds one.
pub fn set_parent(lines: &mut Vec<u8>, context: &TraceContext) {
    const NAME: &[u8] = b"traceparent: ";
    let parent = context.to_bytes();
    let mut places = lines.windows(NAME.len());
    let place = match lines.starts_with(NAME) {
        true => Some(0),
        false => places
            .position(|it| it == NAME)
            .filter(|place| lines[..*place].ends_with(b"\r\n")),
    };
    let value = place.and_then(|place| {
        let start = place + NAME.len();
        let length = lines[start..].windows(2).position(|it| it == b"\r\n")?;
        lines
            .get_mut(start..start + length)
            .filter(|value| value.len() == TRACEPARENT_LENGTH)
    });
    match value {
        Some(value) => value.copy_from_slice(&parent),
        None => {
            for piece in [NAME, &parent, b"\r\n"] {
                lines.extend_from_slice(piece);
            }
        }
    }
}

/// Normalises the request's id and trace context for forwarding, and returns the id: the client's
/// own, or a new one if it sent none, or one that is not 1 to 128 characters of `A-Za-z0-9_.-`.
pub fn ensure_request_id(headers: &mut HeaderMap) -> HeaderValue {
    ensure_trace(headers);
    check_baggage(headers);
    if let Some(id) = headers.get(REQUEST_ID).filter(|id| is_plain(id)) {
        let id = id.clone();
        // If there are several, the first one is used.
        headers.insert(REQUEST_ID, id.clone());
        return id;
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut text = [0; 32];
    write_hex(*PROCESS, &mut text[..16]);
    write_hex(count, &mut text[16..]);
    let id = HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// The id of a request that [`ensure_request_id`] has marked.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(REQUEST_ID)
        .filter(|id| is_plain(id))?
        .to_str()
        .ok()
}

/// The id of the trace in a valid `traceparent`, in hexadecimal digits.
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    let parts = of_version_00(headers.get(TRACEPARENT)?.as_bytes())?;
    std::str::from_utf8(&parts[3..35]).ok().map(str::to_owned)
}

fn is_plain(id: &HeaderValue) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
    (1..=ID_LENGTH_MAX).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
}

/// Leaves one `traceparent` of version 00 with its `tracestate`, or neither if the client sent no
/// `traceparent`.
fn ensure_trace(headers: &mut HeaderMap) {
    // Most requests have neither. Comparing all names is cheaper than two look-ups.
    let is_traced = |name: &HeaderName| *name == TRACEPARENT || *name == TRACESTATE;
    if !headers.keys().any(is_traced) {
        return;
    }
    if !headers.contains_key(TRACEPARENT) {
        headers.remove(TRACESTATE);
        return;
    }
    let mut all = headers.get_all(TRACEPARENT).iter();
    let sent = match (all.next(), all.next()) {
        (Some(one), None) => of_version_00(one.as_bytes()),
        _ => None,
    };
    let is_the_clients = sent.is_some();
    let value = HeaderValue::from_bytes(&sent.unwrap_or_else(new_traceparent));
    if let Ok(value) = value {
        headers.insert(TRACEPARENT, value);
    }
    let states = headers.get_all(TRACESTATE);
    let state_bytes: usize = states.iter().map(HeaderValue::len).sum();
    let is_text = |value: &HeaderValue| {
        value
            .as_bytes()
            .iter()
            .all(|byte| (0x20..0x7f).contains(byte))
    };
    let is_passed_on =
        is_the_clients && state_bytes <= TRACESTATE_BYTES_MAX && states.iter().all(is_text);
    if !is_passed_on {
        headers.remove(TRACESTATE);
    }
}

/// `00-trace-parent-flags` of a `traceparent`. A later version begins with the same parts, and may have
/// more after them.
fn of_version_00(sent: &[u8]) -> Option<[u8; TRACEPARENT_LENGTH]> {
    let (parts, rest) = sent.split_first_chunk::<TRACEPARENT_LENGTH>()?;
    let is_version_00 = parts.starts_with(b"00");
    let ends_well = rest.is_empty() || (!is_version_00 && rest[0] == b'-');
    let is_hex = |range: std::ops::Range<usize>| {
        parts[range]
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |range: std::ops::Range<usize>| parts[range].iter().all(|byte| *byte == b'0');
    let has_form = [2, 35, 52].iter().all(|at| parts[*at] == b'-')
        && is_hex(0..2)
        && is_hex(3..35)
        && is_hex(36..52)
        && is_hex(53..55);
    if !ends_well || !has_form || parts.starts_with(b"ff") || is_zero(3..35) || is_zero(36..52) {
        return None;
    }
    let mut value = *parts;
    value[..2].copy_from_slice(b"00");
    Some(value)
}

/// A `traceparent` that starts a new trace, not sampled.
fn new_traceparent() -> [u8; TRACEPARENT_LENGTH] {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    let (span, _) = uuid::Uuid::new_v4().as_u64_pair();
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(high, &mut value[3..19]);
    write_hex(low, &mut value[19..35]);
    write_hex(span, &mut value[36..52]);
    value
}

/// Writes the last hexadecimal digits of `number`, as many as fit.
fn write_hex(number: u64, digits: &mut [u8]) {
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place) & 0xf) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_an_id_of_its_own_and_keeps_one_that_it_brings() {
        let mut headers = [HeaderMap::new(), HeaderMap::new()];
        let ids = headers.each_mut().map(ensure_request_id);
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids[0].as_bytes()[..16], ids[1].as_bytes()[..16]);
        assert!(ids[0].as_bytes().iter().all(u8::is_ascii_hexdigit));
        assert_eq!(ensure_request_id(&mut headers[0]), ids[0]);
        let mut two = HeaderMap::new();
        two.append(REQUEST_ID, HeaderValue::from_static("first.of_2"));
        two.append(REQUEST_ID, HeaderValue::from_static("second"));
        assert_eq!(ensure_request_id(&mut two), "first.of_2");
        assert_eq!(two.get_all(REQUEST_ID).iter().count(), 1);
        for odd in [&b""[..], b"a b", b"caf\xc3\xa9", b"<b>", &[b'a'; 129]] {
            let odd = HeaderValue::from_bytes(odd).expect("a value");
            let mut headers = HeaderMap::from_iter([(REQUEST_ID, odd.clone())]);
            assert_ne!(ensure_request_id(&mut headers), odd);
            assert_ne!(headers[REQUEST_ID], odd);
        }
        let mut digits = [0; 4];
        write_hex(0x1_2ab0, &mut digits);
        assert_eq!(&digits, b"2ab0");
    }

    #[test]
    fn the_parent_of_a_request_is_replaced_or_added() {
        let context = TraceContext::parse(SENT.as_bytes()).expect("valid");
        let other = SENT.replace("00f067aa0ba902b7", "1111111111111111");
        for (before, after) in [
            (String::new(), format!("traceparent: {SENT}\r\n")),
            (
                format!("traceparent: {other}\r\nx: 1\r\n"),
                format!("traceparent: {SENT}\r\nx: 1\r\n"),
            ),
            (
                format!("x: 1\r\ntraceparent: {other}\r\n"),
                format!("x: 1\r\ntraceparent: {SENT}\r\n"),
            ),
            (
                "x: traceparent: \r\n".to_owned(),
                format!("x: traceparent: \r\ntraceparent: {SENT}\r\n"),
            ),
        ] {
            let mut lines = before.into_bytes();
            set_parent(&mut lines, &context);
            assert_eq!(String::from_utf8(lines).expect("text"), after);
        }
    }

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn passed_on(parents: &[&str], states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in [(TRACEPARENT, parents), (TRACESTATE, states)] {
            for value in values {
                headers.append(&name, HeaderValue::from_str(value).expect("a value"));
            }
        }
        ensure_request_id(&mut headers);
        headers.remove(REQUEST_ID);
        headers
    }

    #[test]
    fn a_trace_context_in_its_form_passes() {
        let headers = passed_on(&[SENT], &["a=1", "b=2"]);
        assert_eq!(headers[TRACEPARENT], SENT);
        assert_eq!(headers.get_all(TRACESTATE).iter().count(), 2);
        let later = SENT.replacen("00", "cc", 1);
        for later in [later.clone(), format!("{later}-more")] {
            assert_eq!(passed_on(&[&later], &[])[TRACEPARENT], SENT);
        }
        assert!(passed_on(&[], &["a=1"]).is_empty());
    }

    #[test]
    fn another_trace_context_is_replaced() {
        for odd in [
            "00-1-2-01",
            &SENT.to_uppercase(),
            &SENT.replacen("00", "ff", 1),
            &format!("{SENT}-more"),
            &format!("{SENT}{}", "0".repeat(300_000)),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let headers = passed_on(&[odd], &["a=1"]);
            let value = headers[TRACEPARENT].as_bytes();
            assert_ne!(value, odd.as_bytes());
            assert!(of_version_00(value).is_some(), "{value:?}");
            assert!(!headers.contains_key(TRACESTATE));
        }
        let headers = passed_on(&[SENT, SENT], &[]);
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        assert_ne!(headers[TRACEPARENT], SENT);
        let long = format!("a={}", "1".repeat(TRACESTATE_BYTES_MAX));
        assert!(!passed_on(&[SENT], &[&long]).contains_key(TRACESTATE));
    }
}
