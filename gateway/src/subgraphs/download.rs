//! Reads a small resource at an address that the settings name: one GET on a connection of its own.

use std::time::Duration;

use super::{
    Endpoint, FetchError, HttpResponse, Tls,
    http_connection::{HttpConnection, ResponseLimits},
};

/// Bytes of interim heads, chunk framing and trailers, in addition to half of the body.
const OVERHEAD_BYTES_MAX: usize = 16 * 1024;

/// Reads a resource of at most `bytes_max`, within `time_limit` in all. Follows no redirect.
///
/// # Errors
/// If there is no whole response within the limits.
pub(crate) async fn download(
    endpoint: &Endpoint,
    tls: &Tls,
    bytes_max: usize,
    time_limit: Duration,
) -> Result<HttpResponse, FetchError> {
    let mut head = format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\naccept: application/jwk-set+json, application/json\r\n\
         accept-encoding: identity\r\nconnection: close\r\n",
        endpoint.path(),
        endpoint.authority(),
    )
    .into_bytes();
    if let Some(authorization) = endpoint.authorization() {
        head.extend_from_slice(&[super::AUTHORIZATION, authorization.as_bytes(), b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    let limits = ResponseLimits {
        body_bytes_max: bytes_max,
        overhead_bytes_max: OVERHEAD_BYTES_MAX,
    };
    let exchange = async {
        let stream = endpoint.connect(tls, time_limit).await?;
        let mut connection = HttpConnection::new(stream);
        connection.exchange(&head, b"", false, limits).await
    };
    tokio::time::timeout(time_limit, exchange)
        .await
        .unwrap_or(Err(FetchError::Timeout(time_limit)))
}
