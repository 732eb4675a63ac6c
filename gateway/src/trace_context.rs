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
    let id = HeaderValue::try_from(format!("{:016x}{count:08x}", *PROCESS))
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
    headers.insert(REQUEST_ID, id.clone());
    id
}
