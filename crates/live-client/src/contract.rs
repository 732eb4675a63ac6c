//! The words of "Resumable GraphQL subscriptions", version 1: what a client asks for, and what it gets.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::{Guarantee, errors};

/// The version of the contract that is spoken here.
const VERSION: u64 = 1;
const CURSOR_CHARS_MAX: usize = 4_096;

/// A GraphQL response, as far as it has to be understood: its data stays the server's text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Response {
    pub data: Option<Box<RawValue>>,
    /// Of a list that is too long, the first.
    #[serde(deserialize_with = "errors::first")]
    pub errors: Value,
    pub extensions: Value,
}

impl Response {
    /// `None` for what is no JSON object.
    pub(crate) fn parse(json: &str) -> Option<Self> {
        // An array would be read as the members in their order.
        let is_object = json.trim_ascii_start().starts_with('{');
        is_object.then(|| serde_json::from_str(json).ok()).flatten()
    }

    /// Errors and no data: an event that failed, or the end.
    pub(crate) fn is_refusal(&self) -> bool {
        self.data.is_none() && self.errors.as_array().is_some_and(|it| !it.is_empty())
    }
}

/// The first frame: the subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub kept: Guarantee,
}

impl Frame {
    /// The frame in a message's `extensions.delivery`. `None` where it is of no kind that is known here.
    pub(crate) fn of(delivery: &Value) -> Option<Self> {
        let kept = delivery["kept"].as_str().and_then(Guarantee::from_name)?;
        (delivery["version"] == VERSION).then_some(Self { kept })
    }
}

impl Guarantee {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "AT_LEAST_ONCE",
            Self::BestEffort => "BEST_EFFORT",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::AtLeastOnce, Self::BestEffort]
            .into_iter()
            .find(|it| it.name() == name)
    }
}

/// `extensions.delivery` of a request.
pub(crate) fn delivery(guarantee: Guarantee, cursor: Option<&str>) -> Value {
    let mut delivery = json!({ "version": VERSION, "guarantee": guarantee.name() });
    // Servers that do not know the contract may use other characters.
    if let Some(cursor) = cursor.filter(|it| it.bytes().all(|byte| byte.is_ascii_graphic())) {
        delivery["after"] = cursor.into();
    }
    delivery
}

/// A cursor that can be kept.
pub(crate) fn cursor_in(value: &Value) -> Option<&str> {
    value.as_str().filter(|it| is_cursor(it))
}

pub(crate) fn is_cursor(text: &str) -> bool {
    !text.is_empty() && text.len() <= CURSOR_CHARS_MAX
}

/// The `cursor` of an event's one field.
pub(crate) fn field_cursor_in(data: &RawValue) -> Option<String> {
    let fields: Map<String, Value> = serde_json::from_str(data.get()).ok()?;
    let (_, event) = fields.iter().next()?;
    cursor_in(event.get("cursor")?).map(str::to_owned)
}

/// Whether a document has this variable.
pub(crate) fn has_variable(query: &str, name: &str) -> bool {
    let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_';
    query
        .split('$')
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix(name))
        .any(|rest| !rest.starts_with(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_other_kinds_say_nothing() {
        let known = json!({ "version": 1, "asked": "AT_LEAST_ONCE", "kept": "BEST_EFFORT" });
        let kept = Guarantee::BestEffort;
        assert_eq!(Frame::of(&known), Some(Frame { kept }));
        for other in [
            json!({}),
            json!({ "version": 9, "kept": "AT_LEAST_ONCE" }),
            json!({ "version": 1, "kept": "EXACTLY_ONCE" }),
            json!({ "version": 1, "upstream": "INTERRUPTED" }),
            json!([1]),
        ] {
            assert_eq!(Frame::of(&other), None, "{other}");
        }
    }

    #[test]
    fn a_cursor_that_cannot_be_a_header_is_not_sent() {
        let sent = |cursor| delivery(Guarantee::AtLeastOnce, Some(cursor));
        assert_eq!(sent("c1")["after"], "c1");
        assert!(sent("c 1").get("after").is_none());
        assert!(sent("ç").get("after").is_none());
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        assert!(has_variable("subscription ($after: String) { x }", "after"));
        assert!(has_variable(
            "subscription ($ after: String) { x }",
            "after"
        ));
        assert!(!has_variable(
            "subscription ($afterwards: Int) { after }",
            "after"
        ));
    }

    #[test]
    fn only_objects_are_responses() {
        for text in ["[1]", "null", "7", "{", "", "[null,null,null]"] {
            assert!(Response::parse(text).is_none(), "{text}");
        }
        let odd = Response::parse(r#"{"data":null,"errors":"x","extensions":7}"#);
        assert!(!odd.expect("an object").is_refusal());
    }
}
