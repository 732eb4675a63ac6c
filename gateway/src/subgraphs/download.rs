//! Reads a small resource at an address that the settings name: one request on a connection of its own.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{
    Endpoint, FetchError, HttpResponse, Tls,
    http_connection::{HttpConnection, ResponseLimits},
};

/// Bytes of interim heads, chunk framing and trailers, in addition to half of the body.
const OVERHEAD_BYTES_MAX: usize = 16 * 1024;

/// What to ask an address for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// The media types in `Accept`.
    pub accept: &'a str,
    /// Further headers.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// JSON to send by POST; without it the request is a GET.
    pub json: Option<&'a [u8]>,
    /// Whether the headers of the response are of interest.
    pub with_headers: bool,
}

/// Reads a resource of at most `bytes_max`, within `time_limit` in all. Follows no redirect.
///
/// # Errors
/// If there is no whole response within the limits.
pub(crate) async fn download(
    endpoint: &Endpoint,
    wanted: Wanted<'_>,
    tls: &Tls,
    bytes_max: usize,
    time_limit: Duration,
) -> Result<HttpResponse, FetchError> {
    let head = head(endpoint, &wanted);
    let limits = ResponseLimits {
        body_bytes_max: bytes_max,
        overhead_bytes_max: OVERHEAD_BYTES_MAX,
        may_be_encoded: false,
    };
    let exchange = async {
        let stream = endpoint.connect(tls, time_limit).await?;
        let mut connection = HttpConnection::new(stream);
        let body = wanted.json.unwrap_or_default();
        connection
            .exchange(&head, body, wanted.with_headers, limits)
            .await
    };
    tokio::time::timeout(time_limit, exchange)
        .await
        .unwrap_or(Err(FetchError::Timeout(time_limit)))
}

fn head(endpoint: &Endpoint, wanted: &Wanted<'_>) -> Vec<u8> {
    let method = match wanted.json {
        Some(_) => "POST",
        None => "GET",
    };
    let mut head = format!(
        "{method} {} HTTP/1.1\r\nhost: {}\r\nuser-agent: rejoinder-gateway/{}\r\naccept: {}\r\n\
         accept-encoding: identity\r\nconnection: close\r\n",
        endpoint.path(),
        endpoint.authority(),
        env!("CARGO_PKG_VERSION"),
        wanted.accept,
    )
    .into_bytes();
    if let Some(authorization) = endpoint.authorization() {
        head.extend_from_slice(&[super::AUTHORIZATION, authorization.as_bytes(), b"\r\n"].concat());
    }
    for (name, value) in wanted.headers {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(piece);
        }
    }
    if let Some(json) = wanted.json {
        let length = format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            json.len()
        );
        head.extend_from_slice(length.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}
