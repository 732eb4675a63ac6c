//! A GraphQL request by POST.

use std::{future::Future, pin::pin, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{HeaderMap, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as _;

use super::{
    batch::{self, Entry},
    csrf, request_json,
};
use crate::{
    code::{Code, Refusal},
    coding::{self, Bounds, Coding, Side, Undecoded},
    in_flight::Share,
    request::GraphqlRequest,
    settings::HttpSettings,
    signature::Verifier,
    uploads,
};

/// How much of a body that is refused is still taken in and thrown away: a client that writes its
/// whole body before it reads would else see a broken connection instead of the refusal.
const DRAINED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many times as large a compressed body may become. JSON of requests hardly gets a tenth of it.
const RATIO_MAX: usize = 100;

/// What came by POST.
pub(super) enum Posted {
    One(GraphqlRequest),
    Batch(Vec<Entry>),
}

/// Reads the request, or the batch where batches are answered.
///
/// # Errors
/// With the code of what is wrong: its site, its content type, its size, its text; or with
/// `TOO_MANY_REQUEST_BYTES` while too many others are on the way.
pub(super) async fn read(
    parts: &Parts,
    body: Body,
    settings: &HttpSettings,
    verifier: &Verifier,
    mut share: Share,
) -> Result<Posted, Refusal> {
    let limit = settings.request_body_timeout;
    let reading = read_body(parts, body, settings, verifier, &mut share);
    let (body, kind) = in_time(limit, reading).await?;
    match (kind, settings.batch_max) {
        (Kind::Form(boundary), _) => {
            let request = Box::pin(uploads::read(body, boundary, settings, share)).await;
            request.map(Posted::One)
        }
        (Kind::Json, 1..) if batch::is_one(&body) => {
            batch::read(&body, settings.batch_max).map(Posted::Batch)
        }
        (Kind::Json, _) => request_json::read(&body).map(Posted::One),
    }
}

/// What a body is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Json,
    /// A form with files, and its boundary.
    Form(String),
}

async fn in_time<T>(
    limit: Duration,
    reading: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
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
    share: &mut Share,
) -> Result<(Bytes, Kind), Refusal> {
    let signed = verifier.verify_head(&parts.method, &parts.uri, &parts.headers);
    let checked = signed.and_then(|head| Ok((head, check_head(&parts.headers, settings)?)));
    let (head, (kind, coding)) = match checked {
        Ok(checked) => checked,
        Err(refusal) => {
            // Who waits for a word before sending gets the refusal as that word.
            if !parts.headers.contains_key(header::EXPECT) {
                drain(body).await;
            }
            return Err(refusal);
        }
    };
    let bytes_max = kind.bytes_max(settings);
    let collected = collect(&mut body, bytes_max, share).await;
    if matches!(&collected, Err(refusal) if refusal.code == Code::RequestTooLarge) {
        drain(body).await;
    }
    let body = collected?;
    // Its digest is that of what was sent.
    head.verify_body(&body)?;
    match coding {
        None => Ok((body, kind)),
        Some(coding) => {
            let decoded = Box::pin(decoded(coding, &body, bytes_max, share)).await;
            decoded.map(|body| (body, kind))
        }
    }
}

impl Kind {
    fn bytes_max(&self, settings: &HttpSettings) -> usize {
        match self {
            Self::Json => settings.request_bytes_max,
            Self::Form(_) => settings.upload_bytes_max,
        }
    }
}

/// Decompresses a body. While it waits for a thread, the share has as much as may come out.
async fn decoded(
    coding: Coding,
    body: &Bytes,
    bytes_max: usize,
    share: &mut Share,
) -> Result<Bytes, Refusal> {
    let bounds = Bounds {
        bytes_max,
        ratio_max: Some(RATIO_MAX),
    };
    let refused = |error| match error {
        Undecoded::TooLarge => Refusal::new(
            Code::RequestTooLarge,
            format!(
                "decompressed, the request body is larger than {bytes_max} bytes, or {RATIO_MAX} times what was sent"
            ),
        ),
        Undecoded::Malformed => Refusal::new(
            Code::BadRequest,
            "the request body is not one whole body in its content coding",
        ),
    };
    if let Some(small) = coding::decoded_at_once(coding, body, bounds).map_err(refused)? {
        return Ok(small);
    }
    share
        .grow_to(body.len() + bounds.of(body))
        .map_err(|_full| too_many())?;
    let large = coding::decoded(coding, body, bounds, Side::Request);
    large.await.map_err(refused)
}

/// Takes the whole body, of at most `bytes_max`. While more of it is awaited, the share has what came.
async fn collect(body: &mut Body, bytes_max: usize, share: &mut Share) -> Result<Bytes, Refusal> {
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

/// What can be refused before the body is there. Returns what the body is, and its coding.
fn check_head(
    headers: &HeaderMap,
    settings: &HttpSettings,
) -> Result<(Kind, Option<Coding>), Refusal> {
    csrf::check(headers, settings)?;
    let boundary = match settings.uploads_max {
        0 => None,
        _ => form(headers),
    };
    let kind = match boundary {
        Some(boundary) => Kind::Form(boundary),
        None => check_content_type(headers).map(|()| Kind::Json)?,
    };
    let bytes_max = kind.bytes_max(settings);
    let coding = coding_of(headers)?;
    let announced: Option<usize> = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok());
    match announced {
        Some(length) if length > bytes_max => Err(too_large(bytes_max)),
        _ => Ok((kind, coding)),
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

/// The coding of a body; `None` for one that is sent as it is.
fn coding_of(headers: &HeaderMap) -> Result<Option<Coding>, Refusal> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let (value, more) = (values.next(), values.next());
    let name = value.map_or(&b""[..], |value| value.as_bytes().trim_ascii());
    if more.is_none() && (name.is_empty() || name.eq_ignore_ascii_case(b"identity")) {
        return Ok(None);
    }
    let coding = Coding::named(name).filter(|_| more.is_none());
    coding.map(Some).ok_or_else(|| {
        Refusal::new(
            Code::UnsupportedContentEncoding,
            format!("the body may have one content encoding of {}", coding::READ),
        )
    })
}

/// The boundary of a form.
fn form(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    multer::parse_boundary(value).ok()
}

/// `application/json`, in UTF-8.
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
            let mut share = bodies.share(ClientKey::default());
            let collected = collect(&mut body, 2, &mut share).await;
            assert_eq!(collected, Ok(Bytes::from("ab")));
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
            refused.err().expect("a refusal"),
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
    fn a_body_has_one_coding_that_is_read() {
        let coding = |names: &[&'static str]| {
            let name = |name: &&'static str| {
                let value = HeaderValue::from_static(name);
                (header::CONTENT_ENCODING, value)
            };
            let mut headers = HeaderMap::new();
            for (name, value) in names.iter().map(name) {
                headers.append(name, value);
            }
            coding_of(&headers).map_err(|refusal| refusal.code)
        };
        for none in [&[][..], &[""], &["identity"], &["Identity"]] {
            assert_eq!(coding(none), Ok(None));
        }
        assert_eq!(coding(&["gzip"]), Ok(Some(Coding::Gzip)));
        assert_eq!(coding(&["BR"]), Ok(Some(Coding::Brotli)));
        for other in [&["deflate"][..], &["gzip, br"], &["gzip", "br"], &["*"]] {
            assert_eq!(coding(other), Err(Code::UnsupportedContentEncoding));
        }
    }
}
