//! Compresses large responses with gzip, for clients that accept it.
//!
//! Only whole JSON responses: events of a stream must not wait for a compressor. Source of the negotiation:
//! <https://www.rfc-editor.org/rfc/rfc9110#name-accept-encoding>.

use std::{io::Write, sync::LazyLock};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::{sync::Semaphore, task};

/// JSON of lists gets about five times smaller at this level, at about 200 MB/s; a higher level saves little more.
const LEVEL: u32 = 3;
/// Up to this many bytes are compressed in the request's own task: it takes less than a millisecond.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Larger responses are compressed by other threads, one for each core. While all of them are busy, responses are
/// sent as they are.
static THREADS: LazyLock<Semaphore> = LazyLock::new(|| {
    Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
});

/// Whether the client accepts gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let refused = |part: &str| {
                let quality = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
                quality
                    .is_some_and(|quality| !quality.bytes().any(|byte| matches!(byte, b'1'..=b'9')))
            };
            (name.eq_ignore_ascii_case("gzip") || name == "*") && !parts.any(refused)
        })
}

/// The response, compressed if it has at least `bytes_min` bytes and the client accepts it. 0 turns it off.
pub(super) async fn compressed(
    mut response: Response,
    accepts: bool,
    bytes_min: usize,
) -> Response {
    let size = response.body().size_hint().exact();
    let size = size.and_then(|size| usize::try_from(size).ok());
    let Some(size) = size.filter(|&size| bytes_min > 0 && size >= bytes_min) else {
        return response;
    };
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    // A cache must not give the one form to a client that asked for the other.
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !accepts {
        return response;
    }
    let permit = match size > INLINE_BYTES_MAX {
        true => match THREADS.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) => return response,
        },
        false => None,
    };
    let (mut parts, body) = response.into_parts();
    // A body of a known size is in memory: reading it does not wait and does not fail.
    let Ok(collected) = body.collect().await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let plain = collected.to_bytes();
    let packed = match permit {
        Some(permit) => {
            let source = plain.clone();
            task::spawn_blocking(move || {
                let packed = gzip(&source);
                drop(permit);
                packed
            })
            .await
            .ok()
            .flatten()
        }
        None => gzip(&plain),
    };
    let body = match packed {
        Some(packed) => {
            parts
                .headers
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.remove(header::CONTENT_LENGTH);
            packed
        }
        None => plain,
    };
    Response::from_parts(parts, Body::from(body))
}

/// The compressed form; none if it is no shorter.
fn gzip(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::new(LEVEL));
    encoder.write_all(plain).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < plain.len()).then(|| packed.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn accepts(value: &'static str) -> bool {
        let value = HeaderValue::from_static(value);
        accepts_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]))
    }

    #[test]
    fn a_client_says_what_it_accepts() {
        assert!(!accepts_gzip(&HeaderMap::new()));
        for yes in [
            "gzip",
            "br, gzip",
            "GZIP;q=0.5",
            "*",
            "deflate, gzip;q=1.0, *;q=0.5",
        ] {
            assert!(accepts(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip; q=0.000", "identity", "x-gzip2"] {
            assert!(!accepts(no), "{no}");
        }
    }

    async fn sent(bytes: usize, accepts: bool, bytes_min: usize) -> (HeaderMap, Bytes) {
        let response = Response::new(Body::from(vec![b'a'; bytes]));
        let (parts, body) = compressed(response, accepts, bytes_min).await.into_parts();
        (
            parts.headers,
            body.collect().await.expect("a body").to_bytes(),
        )
    }

    #[tokio::test]
    async fn a_large_response_is_compressed_for_those_who_accept_it() {
        for bytes in [4_096, INLINE_BYTES_MAX + 1] {
            let (headers, body) = sent(bytes, true, 4_096).await;
            assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
            assert_eq!(headers[header::VARY], "accept-encoding");
            let mut plain = Vec::new();
            GzDecoder::new(&*body)
                .read_to_end(&mut plain)
                .expect("gzip");
            assert_eq!(plain, vec![b'a'; bytes]);

            let (headers, body) = sent(bytes, false, 4_096).await;
            assert!(!headers.contains_key(header::CONTENT_ENCODING));
            assert_eq!(headers[header::VARY], "accept-encoding");
            assert_eq!(body.len(), bytes);
        }
        for (bytes, bytes_min) in [(4_095, 4_096), (100_000, 0)] {
            let (headers, body) = sent(bytes, true, bytes_min).await;
            assert!(headers.is_empty(), "{headers:?}");
            assert_eq!(body.len(), bytes);
        }
    }

    #[test]
    fn what_does_not_get_shorter_stays() {
        assert_eq!(gzip(b"short"), None);
    }
}
