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

use crate::{client_key::ClientKey, isolation::untaken, service::Serving};

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

/// The response, compressed if it is large enough and the client accepts it. The compressed form counts as an answer
/// until it is taken; where that finds no room, the response stays as it is, which has its room.
pub(super) async fn compressed(
    mut response: Response,
    accepts: bool,
    serving: &Serving,
    client: ClientKey,
) -> Response {
    let bytes_min = serving.settings.http.compression_bytes_min;
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
    let packed = packed.and_then(|packed| untaken(serving, client, packed).ok());
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
    use std::{io::Read, sync::Arc};

    use flate2::read::GzDecoder;
    use prometheus_client::registry::Registry;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        metrics::TransportMetrics,
        settings::{HttpSettings, Settings},
    };

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

    fn serving(bytes_min: usize, answers_bytes_max: usize) -> Serving {
        let metrics = TransportMetrics::register(&mut Registry::default(), "test");
        let http = HttpSettings {
            compression_bytes_min: bytes_min,
            answers_bytes_max,
            ..HttpSettings::default()
        };
        let settings = Settings {
            http,
            ..Settings::default()
        };
        Serving::new(settings, Arc::new(metrics), CancellationToken::new())
    }

    async fn sent(bytes: usize, accepts: bool, bytes_min: usize) -> (HeaderMap, Bytes) {
        let serving = serving(bytes_min, usize::MAX);
        let response = Response::new(Body::from(vec![b'a'; bytes]));
        let sent = compressed(response, accepts, &serving, ClientKey::default()).await;
        let (parts, body) = sent.into_parts();
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

    #[tokio::test]
    async fn the_compressed_form_counts_until_it_is_taken() {
        // Of random bytes as hexadecimal digits, about half is left.
        let mut state = 1_u32;
        let mut digits = String::new();
        while digits.len() < 400_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            digits.push_str(&format!("{:04x}", state >> 16));
        }
        for (room, is_compressed) in [(usize::MAX, true), (1, false)] {
            let serving = serving(4_096, room);
            let client = ClientKey::default();
            let counted = || serving.metrics.untaken_answer_bytes.get();
            // The response itself is counted, as a service's is.
            let plain = Bytes::from(digits.clone());
            let plain = untaken(&serving, client, plain).expect("the only one fits");
            let before = counted();
            let response = Response::new(Body::from(plain));
            let response = compressed(response, true, &serving, client).await;
            let encoding = response.headers().get(header::CONTENT_ENCODING);
            assert_eq!(encoding.is_some(), is_compressed);
            assert!(counted() > 0, "what is sent counts");
            assert_eq!(counted() < before, is_compressed, "and nothing else");
            drop(response);
            assert_eq!(counted(), 0);
        }
    }

    #[test]
    fn what_does_not_get_shorter_stays() {
        assert_eq!(gzip(b"short"), None);
    }
}
