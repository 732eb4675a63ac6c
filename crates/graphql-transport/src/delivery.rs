//! The contract of resumable subscriptions, version 1: what a client asks for, the first frame, cursors in events, and
//! the status frame.
//!
//! Source: `docs/resumable-subscriptions.md`.

mod status;

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    code::{Code, Refusal},
    event::Event,
};
pub use status::Status;

/// The version of the contract.
pub const VERSION: u32 = 1;
/// The longest cursor, in bytes.
pub const CURSOR_BYTES_MAX: usize = 4096;

/// The highest version that a client may name.
const VERSION_MAX: u32 = i32::MAX as u32;

/// Whether events may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Guarantee {
    /// In order, none is missing without an error; one may come again after a resumption.
    AtLeastOnce,
    /// Events may be missing.
    BestEffort,
}

impl Guarantee {
    fn as_str(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "AT_LEAST_ONCE",
            Self::BestEffort => "BEST_EFFORT",
        }
    }
}

/// What a client asks for in `extensions.delivery`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The guarantee that it wants.
    pub asked: Guarantee,
    /// Begin after the event with this cursor.
    pub after: Option<Arc<str>>,
    /// Whether it wants to know when its subscription is interrupted.
    pub status: bool,
}

/// A client's `extensions`, as far as they concern delivery.
#[derive(Deserialize)]
struct Extensions<'a> {
    #[serde(borrow, default)]
    delivery: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DeliveryJson<'a> {
    version: u32,
    #[serde(default)]
    guarantee: Option<Guarantee>,
    #[serde(borrow, default)]
    after: Option<Cow<'a, str>>,
    #[serde(default)]
    status: Option<bool>,
}

impl Delivery {
    /// What the client of a subscription asks for: in the request's extensions, and after `Last-Event-ID`, which is newer,
    /// if the client is an EventSource that comes back. `None` if it does not know the contract.
    ///
    /// # Errors
    /// `BAD_USER_INPUT`: it is malformed.
    pub fn of(extensions: Option<&[u8]>, headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let Some(extensions) = extensions else {
            return Ok(None);
        };
        let read = serde_json::from_slice::<Extensions<'_>>(extensions).map_err(malformed)?;
        let Some(json) = read.delivery else {
            return Ok(None);
        };
        // Serde would read an array as the members in their order.
        if !json.get().starts_with('{') {
            return Err(malformed("it is not an object"));
        }
        let json: DeliveryJson<'_> = serde_json::from_str(json.get()).map_err(malformed)?;
        if json.version == 0 || json.version > VERSION_MAX {
            return Err(malformed("`version` is a whole number from 1"));
        }
        let last_event_id = headers.get("last-event-id").map(|id| id.as_bytes());
        let last_event_id = last_event_id.filter(|id| !id.is_empty());
        let after = match (last_event_id, json.after) {
            (Some(id), _) => Some(cursor("the header Last-Event-ID", id)?),
            (None, Some(after)) => Some(cursor("`after`", after.as_bytes())?),
            (None, None) => None,
        };
        Ok(Some(Self {
            asked: json.guarantee.unwrap_or(Guarantee::AtLeastOnce),
            after,
            status: json.status.unwrap_or_default(),
        }))
    }

    /// The first frame for this client: its subscription stands, and the events after `cursor` follow.
    pub fn first_frame(&self, stands: &Stands) -> Event {
        let (asked, kept) = (self.asked.as_str(), stands.kept.as_str());
        let status = stands.status.filter(|_| self.status);
        let status = status.map(|status| format!(",\"status\":\"{}\"", status.as_str()));
        let status = status.unwrap_or_default();
        let delivery = format!(
            "\"delivery\":{{\"version\":{VERSION},\"asked\":\"{asked}\",\"kept\":\"{kept}\"{status}}}"
        );
        let cursor = stands.cursor.clone().filter(|cursor| is_cursor(cursor));
        let cursor_member = cursor
            .as_deref()
            .map(|cursor| format!(",{}", member(cursor)));
        let cursor_member = cursor_member.unwrap_or_default();
        let body = format!("{{\"data\":null,\"extensions\":{{{delivery}{cursor_member}}}}}");
        Event::Next {
            body: body.into(),
            cursor,
        }
    }
}

fn cursor(place: &str, bytes: &[u8]) -> Result<Arc<str>, Refusal> {
    let text = std::str::from_utf8(bytes).ok();
    let text = text.filter(|text| is_cursor(text));
    text.map(Into::into).ok_or_else(|| {
        let message = format!(
            "{place} is not a cursor: 1 to {CURSOR_BYTES_MAX} printable ASCII characters, no spaces"
        );
        Refusal::new(Code::BadUserInput, message)
    })
}

fn malformed(reason: impl std::fmt::Display) -> Refusal {
    let message = format!(
        "`extensions.delivery` is not {{version, guarantee, after, status}} of resumable subscriptions: {reason}"
    );
    Refusal::new(Code::BadUserInput, message)
}

/// Whether a text can be a cursor of the contract: it fits into a header, and into one line.
pub fn is_cursor(text: &str) -> bool {
    (1..=CURSOR_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn member(cursor: &str) -> String {
    format!("\"cursor\":{}", serde_json::Value::from(cursor))
}

/// Where a subscription stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stands {
    /// The guarantee that holds.
    pub kept: Guarantee,
    /// The events after this cursor follow; absent if that is not known.
    pub cursor: Option<Arc<str>>,
    /// Whether changes reach it; absent if the server does not report that.
    pub status: Option<Status>,
}

#[derive(Deserialize)]
struct ResponseJson<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    errors: Option<&'a RawValue>,
    #[serde(borrow, default)]
    extensions: Option<ResponseExtensions<'a>>,
}

#[derive(Deserialize)]
struct ResponseExtensions<'a> {
    #[serde(borrow, default)]
    delivery: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cursor: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct KeptJson {
    #[serde(rename = "version")]
    _version: u32,
    kept: Guarantee,
    #[serde(default)]
    status: Value,
}

impl Stands {
    /// What a message of another server says, if it is a first frame.
    pub fn of_first_frame(message: &[u8]) -> Option<Self> {
        let response: ResponseJson<'_> = serde_json::from_slice(message).ok()?;
        if response.data.is_some() || response.errors.is_some() {
            return None;
        }
        let extensions = response.extensions?;
        let delivery: KeptJson = serde_json::from_str(extensions.delivery?.get()).ok()?;
        Some(Self {
            kept: delivery.kept,
            cursor: extensions.cursor.and_then(cursor_text),
            status: Status::of_json(&delivery.status),
        })
    }
}

/// The cursor in the `extensions` of an event of another server.
pub fn cursor_of_event(message: &[u8]) -> Option<Arc<str>> {
    let response: ResponseJson<'_> = serde_json::from_slice(message).ok()?;
    cursor_text(response.extensions?.cursor?)
}

fn cursor_text(json: &RawValue) -> Option<Arc<str>> {
    let text: Cow<'_, str> = serde_json::from_str(json.get()).ok()?;
    is_cursor(&text).then(|| text.into())
}

/// The event as a client that knows the contract gets it, with its cursor in `extensions`. `None` if it has no cursor
/// that could be there: then all clients get the same.
pub fn body_with_cursor(event: &Event) -> Option<Bytes> {
    let Event::Next {
        body,
        cursor: Some(cursor),
    } = event
    else {
        return None;
    };
    if !is_cursor(cursor) {
        return None;
    }
    let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body).ok()?;
    let cursor = member(cursor);
    let Some(extensions) = members.get("extensions").map(|extensions| extensions.get()) else {
        let (rest, comma) = (body.trim_ascii_end().strip_suffix(b"}")?, comma(&members));
        let added = format!("{comma}\"extensions\":{{{cursor}}}}}");
        return Some([rest, added.as_bytes()].concat().into());
    };
    let own: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(extensions).ok()?;
    if own.contains_key("cursor") {
        return None;
    }
    // A slice of the body: its place says where the member belongs.
    let at = extensions.as_ptr() as usize - body.as_ptr() as usize + 1;
    let added = format!("{cursor}{}", comma(&own));
    Some([&body[..at], added.as_bytes(), &body[at..]].concat().into())
}

fn comma<K, V>(members: &HashMap<K, V>) -> &'static str {
    match members.is_empty() {
        true => "",
        false => ",",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(extensions: &str, last_event_id: &str) -> Result<Option<Delivery>, Refusal> {
        let mut headers = HeaderMap::new();
        if !last_event_id.is_empty() {
            let id = http::HeaderValue::from_bytes(last_event_id.as_bytes()).expect("a value");
            headers.insert("last-event-id", id);
        }
        Delivery::of(Some(extensions.as_bytes()), &headers)
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let huge = format!(
            r#"{{"delivery":{{"version":1,"after":"{}"}}}}"#,
            "a".repeat(CURSOR_BYTES_MAX + 1)
        );
        for extensions in [
            r#"{"delivery":true}"#,
            r#"{"delivery":[1]}"#,
            r#"{"delivery":[1,"BEST_EFFORT","c"]}"#,
            r#"{"delivery":{}}"#,
            r#"{"delivery":{"version":0}}"#,
            r#"{"delivery":{"version":-1}}"#,
            r#"{"delivery":{"version":1.5}}"#,
            r#"{"delivery":{"version":"1"}}"#,
            r#"{"delivery":{"version":4294967296}}"#,
            r#"{"delivery":{"version":2147483648}}"#,
            r#"{"delivery":{"version":1,"guarantee":"EXACTLY_ONCE"}}"#,
            r#"{"delivery":{"version":1,"guarantee":1}}"#,
            r#"{"delivery":{"version":1,"status":"LIVE"}}"#,
            r#"{"delivery":{"version":1,"after":1}}"#,
            r#"{"delivery":{"version":1,"after":""}}"#,
            r#"{"delivery":{"version":1,"after":"a b"}}"#,
            r#"{"delivery":{"version":1,"after":"a\nid: b"}}"#,
            r#"{"delivery":{"version":1,"after":"\u0000"}}"#,
            r#"{"delivery":{"version":1,"after":"é"}}"#,
            r#"{"delivery":{"version":1},"delivery":{"version":1}}"#,
            huge.as_str(),
        ] {
            let refused = delivery(extensions, "").expect_err(extensions);
            assert_eq!(refused.code, Code::BadUserInput, "{extensions}");
        }
        let extensions = r#"{"delivery":{"version":1}}"#;
        assert!(delivery(extensions, "a b").is_err());
        assert!(delivery(extensions, "é").is_err());
    }

    #[test]
    fn who_does_not_know_the_contract_asks_for_nothing() {
        for extensions in [
            "{}",
            r#"{"delivery":null}"#,
            r#"{"persistedQuery":{"version":1}}"#,
        ] {
            assert_eq!(delivery(extensions, "c1"), Ok(None), "{extensions}");
        }
        assert_eq!(Delivery::of(None, &HeaderMap::new()), Ok(None));
    }

    #[test]
    fn the_newest_position_counts_and_unknown_members_do_not() {
        let asked = |text, id| delivery(text, id).expect("well-formed").expect("asked");
        let plain = asked(r#"{"delivery":{"version":7,"later":[1]},"x":1}"#, "");
        assert_eq!((plain.asked, plain.after), (Guarantee::AtLeastOnce, None));
        let text = r#"{"delivery":{"version":1,"guarantee":"BEST_EFFORT","after":"\u00631"}}"#;
        assert!(asked(r#"{"delivery":{"version":1,"status":true}}"#, "").status);
        let best = asked(text, "");
        assert!(!best.status);
        assert_eq!(best.asked, Guarantee::BestEffort);
        assert_eq!(best.after.as_deref(), Some("c1"));
        assert_eq!(asked(text, "c2").after.as_deref(), Some("c2"));
    }

    #[test]
    fn a_first_frame_is_known_by_its_reader() {
        let delivery = Delivery {
            asked: Guarantee::AtLeastOnce,
            after: None,
            status: false,
        };
        let stands = Stands {
            kept: Guarantee::AtLeastOnce,
            cursor: Some("c\"1".into()),
            status: None,
        };
        let Event::Next { body, cursor } = delivery.first_frame(&stands) else {
            panic!("it is no error");
        };
        assert_eq!(
            body,
            r#"{"data":null,"extensions":{"delivery":{"version":1,"asked":"AT_LEAST_ONCE","kept":"AT_LEAST_ONCE"},"cursor":"c\"1"}}"#
        );
        assert_eq!(cursor.as_deref(), Some("c\"1"));
        assert_eq!(Stands::of_first_frame(&body), Some(stands));
        let stands = Stands {
            kept: Guarantee::BestEffort,
            // It would begin another line of an event stream.
            cursor: Some("a\nb".into()),
            status: Some(Status::Live),
        };
        let Event::Next { body, cursor } = delivery.first_frame(&stands) else {
            panic!("it is no error");
        };
        assert_eq!(
            (cursor, body.ends_with(br#""BEST_EFFORT"}}}"#)),
            (None, true),
            "nor a status that it did not ask for"
        );
        let delivery = Delivery {
            status: true,
            ..delivery
        };
        for status in [None, Some(Status::Live), Some(Status::Interrupted)] {
            let stands = Stands {
                kept: Guarantee::BestEffort,
                cursor: None,
                status,
            };
            let Event::Next { body, .. } = delivery.first_frame(&stands) else {
                panic!("it is no error");
            };
            assert_eq!(Stands::of_first_frame(&body), Some(stands));
            assert_eq!(Status::of_message(&body), status.map(Some));
        }
    }

    #[test]
    fn an_event_or_an_error_is_no_first_frame() {
        for message in [
            r#"{"data":{"a":1},"extensions":{"delivery":{"version":1,"kept":"AT_LEAST_ONCE"}}}"#,
            r#"{"data":null,"errors":[],"extensions":{"delivery":{"version":1,"kept":"AT_LEAST_ONCE"}}}"#,
            r#"{"data":null,"extensions":{"delivery":{"version":1,"kept":"EXACTLY_ONCE"}}}"#,
            r#"{"data":null,"extensions":{"delivery":{"version":-1,"kept":"BEST_EFFORT"}}}"#,
            r#"{"data":null,"extensions":{"delivery":null}}"#,
            r#"{"data":null}"#,
            "[]",
            "",
        ] {
            assert_eq!(
                Stands::of_first_frame(message.as_bytes()),
                None,
                "{message}"
            );
        }
        // A cursor that is none is left out.
        let message = r#"{"data":null,"extensions":{"delivery":{"version":1,"kept":"BEST_EFFORT"},"cursor":7}}"#;
        let stands = Stands::of_first_frame(message.as_bytes()).expect("a first frame");
        assert_eq!(stands.cursor, None);
    }

    #[test]
    fn the_cursor_is_added_to_what_is_there() {
        let with = |body: &'static str, cursor: &str| {
            let event = Event::Next {
                body: Bytes::from_static(body.as_bytes()),
                cursor: Some(cursor.into()),
            };
            body_with_cursor(&event).map(|body| String::from_utf8(body.into()).expect("text"))
        };
        for (body, expected) in [
            (
                r#"{"data":{"a":1}}"#,
                r#"{"data":{"a":1},"extensions":{"cursor":"c"}}"#,
            ),
            ("{}", r#"{"extensions":{"cursor":"c"}}"#),
            (
                r#"{"extensions":{},"data":null}"#,
                r#"{"extensions":{"cursor":"c"},"data":null}"#,
            ),
            (
                r#"{"data":1,"extensions": {"cost":2}} "#,
                r#"{"data":1,"extensions": {"cursor":"c","cost":2}} "#,
            ),
        ] {
            assert_eq!(with(body, "c").as_deref(), Some(expected));
            assert_eq!(cursor_of_event(expected.as_bytes()).as_deref(), Some("c"));
        }
        assert_eq!(with("[1]", "c"), None);
        assert_eq!(with(r#"{"data":1}"#, "two words"), None);
        assert_eq!(
            with(r#"{"data":1}"#, "\"\\").as_deref(),
            Some(r#"{"data":1,"extensions":{"cursor":"\"\\"}}"#)
        );
        assert_eq!(with(r#"{"extensions":{"cursor":"own"}}"#, "c"), None);
    }
}
