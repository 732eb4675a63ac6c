//! The request's id, which goes on to subgraphs and back to the client.
//!
//! `traceparent` and `tracestate` pass as they are, as W3C Trace Context allows to one that makes no
//! spans of its own.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A client's id is taken up to this length.
const LENGTH_MAX: usize = 128;

/// Tells this process's requests from all others'.
static PROCESS: LazyLock<u64> = LazyLock::new(|| uuid::Uuid::new_v4().as_u64_pair().0);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The client's own id, or a new one, which is added to `headers`.
pub fn ensure_request_id(headers: &mut HeaderMap) -> HeaderValue {
    if let Some(id) = headers.get(REQUEST_ID).filter(|id| id.len() <= LENGTH_MAX) {
        return id.clone();
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut text = [0; 32];
    write_hex(*PROCESS, &mut text[..16]);
    write_hex(count, &mut text[16..]);
    let id = HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// The last digits of `number`, as many as fit.
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
        let mut digits = [0; 4];
        write_hex(0x1_2ab0, &mut digits);
        assert_eq!(&digits, b"2ab0");
    }
}
