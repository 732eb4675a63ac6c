//! A GraphQL request by POST.

use std::{future::Future, pin::pin, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as _;

use super::{csrf, request_json};
use crate::{
    code::{Code, Refusal},
    in_flight::Share,
    request::GraphqlRequest,
    settings::HttpSettings,
    signature::Verifier,
};

/// How much of a body that is refused is still taken in and thrown away: a client that writes its
/// whole body before it reads would else see a broken connection instead of the refusal.
const DRAINED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Reads the request.
///
/// # Errors
/// With the code of what is wrong: its site, its content type, its size, its text; or with
/// `TOO_MANY_REQUEST_BYTES` while too many others are on the way.
pub(super) async fn read(
    parts: &Parts,
    body: Body,
    settings: &HttpSettings,
    verifier: &Verifier,
    share: Share,
) -> Result<GraphqlRequest, Refusal> {
    let limit = settings.request_body_timeout;
    let reading = read_body(parts, body, settings, verifier, share);
    let body = in_time(limit, reading).await?;
    request_json::read(&body)
}

async fn in_time(
    limit: Duration,
    reading: impl Future<Output = Result<Bytes, Refusal>>,
) -> Result<Bytes, Refusal> {
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
    parts: &Parts,
    mut body: Body,
    settings: &HttpSettings,
    verifier: &Verifier,
    share: Share,
) -> Result<Bytes, Refusal> {
    let bytes_max = settings.request_bytes_max;
    let signed = verifier.verify_head(&parts.method, &parts.uri, &parts.headers);
    let checked = signed.and_then(|head| {
        check_head(&parts.headers, settings)?;
        Ok(head)
    });
    let head = match checked {
        Ok(head) => head,
        Err(refusal) => {
            // Who waits for a word before sending gets the refusal as that word.
            if !parts.headers.contains_key(header::EXPECT) {
                drain(body).await;
            }
            return Err(refusal);
        }
    };
    let collected = collect(&mut body, bytes_max, share).await;
    if matches!(&collected, Err(refusal) if refusal.code == Code::RequestTooLarge) {
        drain(body).await;
    }
    let body = collected?;
    head.verify_body(&body)?;
    Ok(body)
}

/// Takes the whole body, of at most `bytes_max`. While more of it is awaited, the share has what came.
async fn collect(body: &mut Body, bytes_max: usize, mut share: Share) -> Result<Bytes, Refusal> {
    let mut read = Pieces::default();
    while !body.is_end_stream() {
        let frame = match poll_immediate(body.frame()).await {
            Some(frame) => frame,
            None => {
                share.grow_to(read.len()).map_err(|_| too_many())?;
                body.frame().await
            }
        };
        match frame {
            None => break,
            Some(Ok(frame)) => {
                // Trailers say nothing here.
                let data = frame.into_data().unwrap_or_default();
                if read.len() + data.len() > bytes_max {
                    return Err(too_large(bytes_max));
                }
                read.add(data);
            }
            Some(Err(error)) => {
                return Err(Refusal::new(
                    Code::BadRequest,
                    format!("the body did not arrive whole: {error}"),
                ));
            }
        }
    }
    Ok(read.whole())
}

/// What has come of a body. A single piece stays as it is; several are copied into one, as a list of
/// small pieces would take many times the memory of their bytes.
#[derive(Default)]
struct Pieces {
    first: Bytes,
    copied: Vec<u8>,
}

impl Pieces {
    fn len(&self) -> usize {
        self.first.len() + self.copied.len()
    }

    fn add(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if !self.first.is_empty() {
            self.copied.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.copied.extend_from_slice(&piece);
    }

    fn whole(self) -> Bytes {
        match self.copied.is_empty() {
            true => self.first,
            false => self.copied.into(),
        }
    }
}

/// What can be refused before the body is there.
fn check_head(headers: &HeaderMap, settings: &HttpSettings) -> Result<(), Refusal> {
    csrf::check(headers, settings)?;
    check_content_type(headers)?;
    let announced: Option<usize> = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok());
    match announced {
        Some(length) if length > settings.request_bytes_max => {
            Err(too_large(settings.request_bytes_max))
        }
        _ => Ok(()),
    }
}

async fn drain(body: Body) {
    let mut body = Limited::new(body, DRAINED_BYTES_MAX);
    while let Some(Ok(_)) = body.frame().await {}
}

fn too_slow(limit: Duration) -> Refusal {
    Refusal::new(
        Code::RequestBodyTimeout,
        format!("the body did not arrive within {limit:?}"),
    )
}

fn too_many() -> Refusal {
    Refusal::new(
        Code::TooManyRequestBytes,
        "too many request bodies are on the way, of this client or of all: send the request again",
    )
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::new(
        Code::RequestTooLarge,
        format!("the request body is larger than {bytes_max} bytes"),
    )
}

/// `application/json`, in UTF-8, not compressed.
fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default());
    let refused = |found: &str| {
        Err(Refusal::new(
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
        return Err(Refusal::new(
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
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::{ClientKey, in_flight::InFlight};

    #[tokio::test]
    async fn pieces_of_a_body_are_put_together() {
        for pieces in [&["ab"][..], &["a", "", "b"], &["", "ab"], &["a", "b", ""]] {
            let pieces: Vec<_> = pieces
                .iter()
                .map(|it| Ok::<_, std::io::Error>(*it))
                .collect();
            let mut body = Body::from_stream(stream::iter(pieces));
            let bodies = InFlight::bodies(&HttpSettings::default(), Gauge::default());
            let share = bodies.share(ClientKey::default());
            assert_eq!(collect(&mut body, 2, share).await, Ok(Bytes::from("ab")));
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_to_its_end_is_given_up() {
        let begun = stream::iter([Ok::<_, std::io::Error>("{\"query\":")]);
        let body = Body::from_stream(begun.chain(stream::pending()));
        let request = http::Request::post("/graphql")
            .header(header::CONTENT_TYPE, "application/json")
            .body(())
            .expect("a request");
        let settings = HttpSettings {
            request_body_timeout: Duration::from_millis(1),
            ..HttpSettings::default()
        };
        let bodies = InFlight::bodies(&settings, Gauge::default());
        let refused = read(
            &request.into_parts().0,
            body,
            &settings,
            &Verifier::default(),
            bodies.share(ClientKey::default()),
        )
        .await;
        assert_eq!(
            refused.expect_err("a refusal"),
            Refusal::new(
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
