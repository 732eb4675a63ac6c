//! A rendered page as an HTTP response: compressed once, with a validator.
//!
//! A page has each text twice: as HTML, and in the answers that the live page starts from. gzip looks back 32 KiB, too
//! little to find the first one of a long text; brotli looks back over all of the page. Browsers accept brotli over
//! HTTPS.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::coding::{Coded, accepts};
use crate::failure::Failure;

/// Smaller bodies are not compressed.
const COMPRESSED_BYTES_MIN: usize = 1_024;
/// Larger ones are compressed on a thread for such work.
const COMPRESSED_HERE_BYTES_MAX: usize = 4 * 1024;
/// A page that costs more to render is kept longer, so many times.
const KEPT_LONGER: u32 = 12;

const HTML: &str = "text/html; charset=utf-8";
const ATOM: &str = "application/atom+xml; charset=utf-8";
const XML: &str = "application/xml; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A rendered page.
#[derive(Debug)]
pub struct Rendered {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
    /// Its compressed forms, the smallest first.
    coded: Vec<Coded>,
    etag: HeaderValue,
    is_kept_longer: bool,
}

impl Rendered {
    pub async fn html(status: StatusCode, body: String) -> Result<Self, Failure> {
        Self::new(status, HTML, body).await
    }

    /// A feed. Its validator is its tag alone: what is deleted or hidden changes it, and no date of it.
    pub async fn atom(body: String) -> Result<Self, Failure> {
        Self::new(StatusCode::OK, ATOM, body).await
    }

    pub async fn sitemap(body: String) -> Result<Self, Failure> {
        let rendered = Self::new(StatusCode::OK, XML, body).await?;
        Ok(Self {
            is_kept_longer: true,
            ..rendered
        })
    }

    pub async fn text(body: String) -> Result<Self, Failure> {
        Self::new(StatusCode::OK, TEXT, body).await
    }

    async fn new(
        status: StatusCode,
        content_type: &'static str,
        body: String,
    ) -> Result<Self, Failure> {
        let body = Bytes::from(body);
        let etag = etag(&body)?;
        let coded = match body.len() {
            0..COMPRESSED_BYTES_MIN => Vec::new(),
            COMPRESSED_BYTES_MIN..=COMPRESSED_HERE_BYTES_MAX => Coded::forms_of(&body),
            _ => {
                let body = body.clone();
                let coding = tokio::task::spawn_blocking(move || Coded::forms_of(&body));
                coding.await.unwrap_or_default()
            }
        };
        Ok(Self {
            status,
            content_type,
            body,
            coded,
            etag,
            is_kept_longer: false,
        })
    }

    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes of its smallest form.
    pub fn compressed_bytes(&self) -> usize {
        self.coded
            .first()
            .map_or(self.body.len(), |it| it.body.len())
    }

    /// How much memory it takes, about.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.coded.iter().map(|it| it.body.len()).sum::<usize>()
    }

    /// How long it is kept where others are kept for `time`.
    pub fn kept_for(&self, time: Duration) -> Duration {
        match self.is_kept_longer {
            true => time.saturating_mul(KEPT_LONGER),
            false => time,
        }
    }

    /// The response to a request with these headers: 304 if the client has it.
    pub fn respond(&self, headers: &HeaderMap) -> Response {
        let is_known = self.status == StatusCode::OK && self.is_known(headers);
        let coded = self.coded.iter().find(|it| accepts(headers, it.coding));
        let coded = coded.filter(|_| !is_known);
        let body = match coded {
            _ if is_known => Bytes::new(),
            Some(coded) => coded.body.clone(),
            None => self.body.clone(),
        };
        let status = if is_known {
            StatusCode::NOT_MODIFIED
        } else {
            self.status
        };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        if !is_known {
            let content_type = HeaderValue::from_static(self.content_type);
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        if let Some(coded) = coded {
            let coding = HeaderValue::from_static(coded.coding);
            headers.insert(header::CONTENT_ENCODING, coding);
        }
        let cached = HeaderValue::from_static("public, no-cache");
        headers.insert(header::CACHE_CONTROL, cached);
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::ETAG, self.etag.clone());
        response
    }

    /// By `If-None-Match` (RFC 9110, section 13.1.2).
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let own = weak(self.etag.as_bytes());
        let mut tags = headers.get_all(header::IF_NONE_MATCH).iter();
        tags.any(|tags| {
            let mut tags = tags.as_bytes().split(|byte| *byte == b',');
            tags.any(|tag| tag.trim_ascii() == b"*" || weak(tag.trim_ascii()) == own)
        })
    }
}

/// An entity tag without the sign of a weak one.
fn weak(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Weak, because the compressed form has the same.
fn etag(body: &[u8]) -> Result<HeaderValue, Failure> {
    let mut hasher = std::hash::DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("W/\"{:016x}\"", hasher.finish());
    HeaderValue::try_from(tag).map_err(|_| Failure::Defect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (name.clone(), value)
        });
        pairs.collect()
    }

    async fn feed() -> Rendered {
        let rendered = Rendered::atom("<feed/>".repeat(500)).await;
        rendered.expect("small enough")
    }

    #[tokio::test]
    async fn whoever_has_it_gets_no_body() {
        let feed = feed().await;
        let tag = feed.etag.to_str().expect("text").to_owned();
        let strong = tag.trim_start_matches("W/");
        let date = "Fri, 01 Jan 2100 00:00:00 GMT";
        for (asked, expected) in [
            (headers(&[]), 200),
            (headers(&[(header::IF_NONE_MATCH, &tag)]), 304),
            (headers(&[(header::IF_NONE_MATCH, strong)]), 304),
            (headers(&[(header::IF_NONE_MATCH, "\"a\", *")]), 304),
            (headers(&[(header::IF_MODIFIED_SINCE, date)]), 200),
            // The tag counts alone.
            (
                headers(&[
                    (header::IF_NONE_MATCH, "\"a\""),
                    (header::IF_MODIFIED_SINCE, date),
                ]),
                200,
            ),
        ] {
            let response = feed.respond(&asked);
            assert_eq!(response.status(), expected, "{asked:?}");
            assert_eq!(response.headers()["etag"], tag.as_str());
            assert!(!response.headers().contains_key("last-modified"));
        }
    }

    #[tokio::test]
    async fn it_is_compressed_for_those_who_accept_it() {
        let feed = feed().await;
        for (accepted, expected) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("br")),
            ("br;q=0, GZIP;q=0.5", Some("gzip")),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("BR", Some("br")),
            ("deflate", None),
        ] {
            let response = feed.respond(&headers(&[(header::ACCEPT_ENCODING, accepted)]));
            let coding = response.headers().get(header::CONTENT_ENCODING);
            let coding = coding.map(|coding| coding.to_str().expect("text"));
            assert_eq!(coding, expected, "{accepted}");
            assert_eq!(response.headers()["vary"], "accept-encoding");
        }
    }
}
