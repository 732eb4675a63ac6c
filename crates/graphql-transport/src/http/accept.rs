//! Which media types the client wants, by its `Accept` header.

use http::{HeaderMap, header};

use crate::code::{Code, Refusal};

/// A media type for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/graphql-response+json`: the status tells whether the request was executed.
    GraphqlResponse,
    /// `application/json`: 200 for every well-formed request.
    Json,
}

/// A media type for a stream of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// Server-sent events, one operation a response: `text/event-stream`.
    Sse,
    /// Multipart subscriptions: `multipart/mixed; subscriptionSpec=1.0`.
    Multipart,
}

/// The media types that were negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// For one answer; none where only a stream is wanted.
    pub single: Option<Media>,
    /// How a subscription is answered; `None` where the client accepts no stream.
    pub streaming: Option<Streaming>,
}

impl Accepted {
    /// Negotiates. Without the header, or with wildcards alone, it is `application/json`, which
    /// every client reads. The streaming types have to be named.
    ///
    /// # Errors
    /// `NOT_ACCEPTABLE` where nothing fits.
    pub fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        const JSON: Accepted = Accepted {
            single: Some(Media::Json),
            streaming: None,
        };
        const GRAPHQL_RESPONSE: Accepted = Accepted {
            single: Some(Media::GraphqlResponse),
            streaming: None,
        };
        // What most clients send needs no list of ranges.
        let mut values = headers.get_all(header::ACCEPT).iter();
        let first_two = (values.next().map(|value| value.as_bytes()), values.next());
        match first_two {
            (None | Some(b"application/json" | b"*/*"), None) => return Ok(JSON),
            (Some(FROM_GATEWAYS), None) => return Ok(GRAPHQL_RESPONSE),
            _ => {}
        }
        let ranges = ranges(headers);
        if ranges.is_empty() {
            return Ok(JSON);
        }
        let graphql = quality(&ranges, "application", "graphql-response+json");
        let json = quality(&ranges, "application", "json");
        let single = match (graphql, json) {
            (None, None) => None,
            (Some(_), None) => Some(Media::GraphqlResponse),
            (None, Some(_)) => Some(Media::Json),
            (Some(graphql), Some(json)) => {
                let graphql_wins =
                    graphql.0 > json.0 || (graphql.0 == json.0 && graphql.1 == EXACT);
                Some(if graphql_wins {
                    Media::GraphqlResponse
                } else {
                    Media::Json
                })
            }
        };
        let named = |media_type: &str| {
            ranges
                .iter()
                .filter(|range| range.media_type == media_type && range.quality > 0)
                .filter(|range| media_type == SSE || range.speaks_subscriptions)
                .map(|range| range.quality)
                .max()
        };
        let streaming = match (named(SSE), named(MULTIPART)) {
            (None, None) => None,
            (sse, multipart) if sse >= multipart => Some(Streaming::Sse),
            _ => Some(Streaming::Multipart),
        };
        if single.is_none() && streaming.is_none() {
            return Err(Refusal::new(
                Code::NotAcceptable,
                "the answers are application/graphql-response+json or application/json; those of \
                 subscriptions also text/event-stream or multipart/mixed;subscriptionSpec=1.0",
            ));
        }
        Ok(Self { single, streaming })
    }
}

/// Whether a browser asks for a page: it names `text/html` and likes nothing of ours better.
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let ranges = ranges(headers);
    let Some((html, EXACT)) = quality(&ranges, "text", "html") else {
        return false;
    };
    let json = quality(&ranges, "application", "json").map_or(0, |(quality, _)| quality);
    let graphql =
        quality(&ranges, "application", "graphql-response+json").map_or(0, |(quality, _)| quality);
    html >= json.max(graphql)
}

/// Whether a client reads HTML, though it may like other types better. Without the header it reads everything.
pub fn accepts_html(headers: &HeaderMap) -> bool {
    let html = quality(&ranges(headers), "text", "html");
    !headers.contains_key(header::ACCEPT) || html.is_some_and(|(quality, _)| quality > 0)
}

const SSE: &str = "text/event-stream";
const MULTIPART: &str = "multipart/mixed";
/// The `Accept` header that gateways send their subgraphs.
const FROM_GATEWAYS: &[u8] = b"application/graphql-response+json, application/json";
/// How closely a range names a type: exactly, by its first half, or not at all.
const EXACT: u8 = 2;

struct Range {
    media_type: String,
    /// The `q` parameter in thousandths: 0 refuses, 1000 is the default.
    quality: u16,
    speaks_subscriptions: bool,
}

fn ranges(headers: &HeaderMap) -> Vec<Range> {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(read_range)
        .collect()
}

fn read_range(text: &str) -> Option<Range> {
    let mut parts = text.split(';');
    let media_type = parts.next()?.trim().to_ascii_lowercase();
    if media_type.is_empty() {
        return None;
    }
    let mut range = Range {
        media_type,
        quality: 1000,
        speaks_subscriptions: false,
    };
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => {
                let quality = value.parse::<f32>().unwrap_or(0.0).clamp(0.0, 1.0);
                range.quality = (quality * 1000.0) as u16;
            }
            "subscriptionspec" => range.speaks_subscriptions = value == "1.0",
            _ => {}
        }
    }
    Some(range)
}

/// The quality of a type by the range that names it most closely, and how closely.
fn quality(ranges: &[Range], kind: &str, subtype: &str) -> Option<(u16, u8)> {
    ranges
        .iter()
        .filter_map(|range| {
            let (range_kind, range_subtype) = range.media_type.split_once('/')?;
            let closeness = match (range_kind, range_subtype) {
                (k, s) if k == kind && s == subtype => EXACT,
                (k, "*") if k == kind => 1,
                ("*", "*") => 0,
                _ => return None,
            };
            Some((range.quality, closeness))
        })
        .max_by_key(|(_, closeness)| *closeness)
        .filter(|(quality, _)| *quality > 0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))])
    }

    #[test]
    fn one_answer_comes_in_the_type_liked_best() {
        for (accept, media) in [
            ("application/json", Media::Json),
            ("application/graphql-response+json", Media::GraphqlResponse),
            ("*/*", Media::Json),
            ("application/*", Media::Json),
            (
                "application/graphql-response+json, application/json;q=0.9",
                Media::GraphqlResponse,
            ),
            (
                "application/graphql-response+json, application/json",
                Media::GraphqlResponse,
            ),
            (
                "application/json, application/graphql-response+json",
                Media::GraphqlResponse,
            ),
            (
                "application/graphql-response+json;q=0.5, application/json",
                Media::Json,
            ),
            ("application/graphql-response+json;q=0, */*", Media::Json),
            ("application/json;q=0, */*", Media::GraphqlResponse),
            ("text/html, Application/JSON; charset=utf-8", Media::Json),
        ] {
            let accepted = Accepted::read(&headers(accept)).expect(accept);
            assert_eq!(accepted.single, Some(media), "{accept}");
            assert_eq!(accepted.streaming, None, "{accept}");
        }
        assert_eq!(
            Accepted::read(&HeaderMap::new()).expect("a default").single,
            Some(Media::Json)
        );
    }

    #[test]
    fn a_stream_has_to_be_named() {
        for (accept, single, streaming) in [
            ("text/event-stream", None, Streaming::Sse),
            (
                "multipart/mixed;subscriptionSpec=1.0",
                None,
                Streaming::Multipart,
            ),
            (
                "multipart/mixed;boundary=\"graphql\";subscriptionSpec=\"1.0\",application/json",
                Some(Media::Json),
                Streaming::Multipart,
            ),
            (
                "application/json, text/event-stream",
                Some(Media::Json),
                Streaming::Sse,
            ),
        ] {
            let accepted = Accepted::read(&headers(accept)).expect(accept);
            assert_eq!(
                (accepted.single, accepted.streaming),
                (single, Some(streaming)),
                "{accept}"
            );
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for accept in [
            "image/png",
            "text/html",
            "multipart/mixed",
            "text/*",
            "application/json;q=0",
        ] {
            let error = Accepted::read(&headers(accept)).expect_err(accept);
            assert_eq!(error.code, Code::NotAcceptable);
        }
    }

    #[test]
    fn only_a_browser_prefers_html() {
        assert!(prefers_html(&headers(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        )));
        assert!(!prefers_html(&headers("*/*")));
        assert!(!prefers_html(&headers("application/json, text/html;q=0.5")));
        assert!(!prefers_html(&HeaderMap::new()));
    }

    #[test]
    fn a_program_that_makes_previews_accepts_html() {
        for accept in ["*/*", "text/*;q=0.1", "application/json, text/html;q=0.5"] {
            assert!(accepts_html(&headers(accept)), "{accept}");
        }
        assert!(accepts_html(&HeaderMap::new()));
        for accept in ["application/json", "*/*, text/html;q=0", ""] {
            assert!(!accepts_html(&headers(accept)), "{accept}");
        }
    }
}
