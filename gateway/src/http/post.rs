//! A GraphQL request by POST.

use std::{future::Future, pin::pin, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::request_json;
use crate::{
    error::{Code, RequestError},
    request::GraphqlRequest,
};

/// How much of a body that is too large is still taken in and thrown away: a client that writes
/// its whole body before it reads would else see a broken connection instead of the refusal.
const DRAINED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a client may take to send its body.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(30);

/// Reads the request.
///
/// # Errors
/// With the code of what is wrong: its content type, its size, its text.
pub(super) async fn read(
    parts: &Parts,
    body: Body,
    bytes_max: usize,
) -> Result<GraphqlRequest, RequestError> {
    check_content_type(&parts.headers)?;
    let reading = read_body(&parts.headers, body, bytes_max);
    let body = in_time(BODY_TIME_LIMIT, reading).await?;
    request_json::read(&body)
}

async fn in_time(
    limit: Duration,
    reading: impl Future<Output = Result<Bytes, RequestError>>,
) -> Result<Bytes, RequestError> {
    let mut reading = pin!(reading);
    // Most bodies come with their head, and need no clock.
    match poll_immediate(&mut reading).await {
        Some(body) => body,
        None => tokio::time::timeout(limit, reading)
            .await
            .unwrap_or_else(|_| Err(too_slow(limit))),
    }
}

async fn read_body(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, RequestError> {
    let announced: Option<usize> = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok());
    if announced.is_some_and(|length| length > bytes_max) {
        drain(body).await;
        return Err(too_large(bytes_max));
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Err(error) => Err(RequestError::new(
            Code::BadRequest,
            format!("the body did not arrive whole: {error}"),
        )),
    }
}

async fn drain(body: Body) {
    let mut body = Limited::new(body, DRAINED_BYTES_MAX);
    while let Some(Ok(_)) = body.frame().await {}
}

fn too_slow(limit: Duration) -> RequestError {
    RequestError::new(
        Code::RequestBodyTimeout,
        format!("the body did not arrive within {limit:?}"),
    )
}

fn too_large(bytes_max: usize) -> RequestError {
    RequestError::new(
        Code::RequestTooLarge,
        format!("the request body is larger than {bytes_max} bytes"),
    )
}

/// `application/json`, in UTF-8, not compressed.
fn check_content_type(headers: &HeaderMap) -> Result<(), RequestError> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default());
    let refused = |found: &str| {
        Err(RequestError::new(
            Code::UnsupportedMediaType,
            format!("the content type has to be application/json in UTF-8, not {found}"),
        ))
    };
    let Some(value) = value else {
        return refused("absent");
    };
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(RequestError::new(
            Code::UnsupportedMediaType,
            "the body has to be sent as it is, without a content encoding",
        ));
    }
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return refused(value);
    }
    for parameter in parts {
        let (name, charset) = parameter.split_once('=').unwrap_or((parameter, ""));
        let charset = charset.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("charset") && !charset.eq_ignore_ascii_case("utf-8") {
            return refused(value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_to_its_end_is_given_up() {
        let begun = stream::iter([Ok::<_, std::io::Error>("{\"query\":")]);
        let body = Body::from_stream(begun.chain(stream::pending()));
        let headers = HeaderMap::new();
        let reading = read_body(&headers, body, 1000);
        let refused = in_time(Duration::from_millis(1), reading).await;
        assert_eq!(
            refused.expect_err("a refusal"),
            RequestError::new(
                Code::RequestBodyTimeout,
                "the body did not arrive within 1ms"
            )
        );
    }

    #[test]
    fn only_json_in_utf8_is_read() {
        let check = |value: &'static str| {
            check_content_type(&HeaderMap::from_iter([(
                header::CONTENT_TYPE,
                HeaderValue::from_static(value),
            )]))
        };
        for value in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
        ] {
            assert!(check(value).is_ok(), "{value}");
        }
        for value in [
            "text/plain",
            "application/json; charset=utf-16",
            "application/graphql",
            "application/jsonx",
        ] {
            assert!(check(value).is_err(), "{value}");
        }
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_compressed_body_is_refused_for_what_it_is() {
        for (encoding, code) in [
            ("identity", None),
            ("gzip", Some(Code::UnsupportedMediaType)),
        ] {
            let headers = HeaderMap::from_iter([
                (
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                ),
                (header::CONTENT_ENCODING, HeaderValue::from_static(encoding)),
            ]);
            let refused = check_content_type(&headers).err();
            assert_eq!(refused.map(|error| error.code), code);
        }
    }
}
