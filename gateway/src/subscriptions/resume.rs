//! Builds the upstream operation, from the start or after a cursor.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use bytes::Bytes;
use graphql_transport::{Delivery, delivery};
use http::HeaderMap;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    coerce::Variables,
    json::{scan::JsonScanner, write},
    prepare::{UpstreamSubscription, resume::Begin},
};

/// The operation to send to the subgraph.
pub(super) struct UpstreamOperation<'a> {
    /// The GraphQL document, which has this operation only.
    pub operation: &'a str,
    /// The document without any cursor: the same wherever it starts.
    pub without_cursor: &'a str,
    /// The variables, as the text of a JSON object.
    pub variables: Bytes,
    /// The same without the cursor that the gateway has added, if it has: they identify the
    /// operation.
    pub variables_without_cursor: Bytes,
    /// The cursor to start after, if there is one, for subgraphs that take it from `extensions.delivery`.
    pub after: Option<&'a str>,
}

/// The operation that starts after `cursor`, or where the client asked to start.
pub(super) fn operation<'a>(
    upstream: &'a UpstreamSubscription,
    variables: &Variables,
    cursor: Option<&'a str>,
) -> UpstreamOperation<'a> {
    let variables = upstream.variables(variables);
    let after = cursor.filter(|cursor| delivery::is_cursor(cursor));
    match (&upstream.resume, cursor) {
        (Some(resume), Some(cursor)) => UpstreamOperation {
            operation: &resume.resumed,
            without_cursor: &upstream.operation,
            variables: with_cursor(&variables, &resume.cursor_variable, cursor),
            variables_without_cursor: variables,
            after,
        },
        _ => UpstreamOperation {
            operation: &upstream.operation,
            without_cursor: &upstream.operation,
            variables_without_cursor: variables.clone(),
            variables,
            after,
        },
    }
}

fn with_cursor(variables: &[u8], name: &str, cursor: &str) -> Bytes {
    // The text is an object, so it ends with a closing brace.
    let members = String::from_utf8_lossy(variables);
    let members = members.trim_end();
    let members = members.strip_suffix('}').unwrap_or(members).trim_end();
    let mut text = String::with_capacity(members.len() + cursor.len() + 32);
    text.push_str(if members.is_empty() { "{" } else { members });
    if !members.trim_start_matches('{').trim().is_empty() {
        text.push(',');
    }
    text.push('"');
    text.push_str(name);
    text.push_str("\":");
    write::string(&mut text, cursor);
    text.push('}');
    text.into()
}

/// The cursor of an event, if it has one.
pub(super) fn cursor_of(upstream: &UpstreamSubscription, payload: &[u8]) -> Option<Arc<str>> {
    upstream.resume.as_ref()?.cursor_of(payload)
}

/// Whether an event has data. One without ends most subscriptions: GraphQL servers report an error of the stream so.
pub(super) fn has_data(payload: &[u8]) -> bool {
    let mut scanner = JsonScanner::new(payload);
    if !scanner.eat(b'{') {
        return false;
    }
    loop {
        let Ok(key) = scanner.key() else {
            return false;
        };
        if key == b"data" {
            return scanner.peek() != b'n';
        }
        if scanner.value().is_err() || !scanner.eat(b',') {
            return false;
        }
    }
}

/// An event without `extensions`, if these have its cursor and nothing else, and there are no errors.
pub(super) fn without_cursor(payload: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Response<'p> {
        #[serde(borrow)]
        data: &'p RawValue,
        #[serde(rename = "extensions")]
        _extensions: Cursor,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Cursor {
        #[serde(rename = "cursor")]
        _cursor: IgnoredAny,
    }
    let response: Response<'_> = serde_json::from_slice(payload).ok()?;
    Some(
        [b"{\"data\":", response.data.get().as_bytes(), b"}"]
            .concat()
            .into(),
    )
}

/// Whether a response without data refuses the cursor to start after, by the codes of `docs/resumable-subscriptions.md`.
pub(super) fn refuses_cursor(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Response {
        errors: Vec<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        extensions: Extensions,
    }
    #[derive(Deserialize)]
    struct Extensions {
        code: String,
    }
    let first = |response: Response| response.errors.into_iter().next();
    let refusal = serde_json::from_slice(payload).ok().and_then(first);
    refusal.is_some_and(|refusal| {
        matches!(
            &*refusal.extensions.code,
            "RESYNC_REQUIRED" | "BAD_USER_INPUT"
        )
    })
}

/// The cursor to start after: that of a reconnecting `EventSource`, or else the one in `extensions.delivery`, or else the
/// client's own argument. It is needed from the start, so that an interruption before the first event leaves no gap.
pub(super) fn first_cursor(
    headers: &HeaderMap,
    delivery: Option<&Delivery>,
    upstream: &UpstreamSubscription,
    variables: &Variables,
) -> Option<Arc<str>> {
    if let Some(after) = delivery.and_then(|delivery| delivery.after.as_ref()) {
        return Some(Arc::clone(after));
    }
    let resume = upstream.resume.as_ref()?;
    let last_event_id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    if let Some(id) = last_event_id.filter(|id| !id.is_empty()) {
        return Some(id.into());
    }
    match resume.begin.as_ref()? {
        Begin::Text(cursor) => Some(cursor.as_str().into()),
        Begin::Variable(name) => {
            let json = upstream.variables(variables);
            let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(&json).ok()?;
            let cursor: String = serde_json::from_str(members.get(name.as_str())?.get()).ok()?;
            Some(cursor.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_data_unless_it_is_null_or_missing() {
        for with in [
            r#"{"data":{"a":1}}"#,
            r#" { "errors" : [{"message":"x"}] , "data" : {"a":null} }"#,
        ] {
            assert!(has_data(with.as_bytes()), "{with}");
        }
        for without in [
            r#"{"data":null,"errors":[{"message":"x"}]}"#,
            r#"{"errors":[{"message":"data"}],"data": null}"#,
            r#"{"errors":[{"message":"x"}]}"#,
            r#"[{"message":"x"}]"#,
            "{}",
            "",
        ] {
            assert!(!has_data(without.as_bytes()), "{without}");
        }
    }

    #[test]
    fn an_event_is_forwarded_without_its_cursor() {
        let payload = br#"{"data":{"a": 1},"extensions":{"cursor":"c"}}"#;
        let without = without_cursor(payload);
        assert_eq!(without.as_deref(), Some(&br#"{"data":{"a": 1}}"#[..]));
        for other in [
            r#"{"data":1,"extensions":{"cursor":"c","more":1}}"#,
            r#"{"data":1,"errors":[],"extensions":{"cursor":"c"}}"#,
            r#"{"data":1}"#,
            "",
        ] {
            assert_eq!(without_cursor(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_cursor_is_refused_by_two_codes() {
        let refusal = |code: &str| {
            let errors =
                format!(r#"{{"errors":[{{"message":"x","extensions":{{"code":"{code}"}}}}]}}"#);
            refuses_cursor(errors.as_bytes())
        };
        assert!(refusal("RESYNC_REQUIRED") && refusal("BAD_USER_INPUT"));
        assert!(!refusal("OVERLOADED"));
        for other in [
            "",
            "{}",
            r#"{"errors":[]}"#,
            r#"{"errors":[{"message":"x"}]}"#,
        ] {
            assert!(!refuses_cursor(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_cursor_is_one_more_variable() {
        assert_eq!(
            &with_cursor(b"{}", "_resumeAfter", "c\"1")[..],
            br#"{"_resumeAfter":"c\"1"}"#
        );
        assert_eq!(
            &with_cursor(br#"{"a":{"b":{}}}"#, "_resumeAfter", "c")[..],
            br#"{"a":{"b":{}},"_resumeAfter":"c"}"#
        );
    }
}
