//! Answers: async-graphql's responses as bytes, with what a transport has to know of them.

use async_graphql::{CacheControl, Response, ServerError, Value};
use async_graphql_axum::GraphQLResponse;
use axum::body::to_bytes;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::FutureExt;
use graphql_transport::{Event, GraphqlResponse, Refused, ResponseKind};
use http::{HeaderMap, header};

use crate::{Code, JsonText};

/// What an answer gets at first, in bytes.
const ANSWER_BYTES: usize = 4096;

/// The response to a query or a mutation. `overloaded`: nothing of the operation was begun, as the
/// service has too much to do.
pub(crate) fn write(response: Response, overloaded: bool) -> GraphqlResponse {
    let refused = refused(&response);
    let (kind, (body, headers)) = match refused {
        Some(_) => (
            ResponseKind::RequestError,
            (errors(&response), HeaderMap::new()),
        ),
        None => (ResponseKind::Executed, render(response)),
    };
    GraphqlResponse {
        body,
        kind,
        refused,
        overloaded,
        headers,
    }
}

/// One event of a subscription. One that fails before its first result has failed as a whole; later
/// errors are part of the results.
pub(crate) fn write_event(response: Response, is_first: bool) -> Event {
    let has_failed = is_first && !response.errors.is_empty() && response.data == Value::Null;
    if has_failed {
        return Event::Failed {
            body: errors(&response),
        };
    }
    let (body, _headers) = render(response);
    Event::Next { body, cursor: None }
}

/// Why nothing was executed, if nothing was: without a path, an error came before execution.
fn refused(response: &Response) -> Option<Refused> {
    let first = response.errors.first()?;
    let is_refusal =
        response.data == Value::Null && response.errors.iter().all(|error| error.path.is_empty());
    is_refusal.then(|| Refused {
        code: code(first).map_or("NONE", Code::as_str),
        status: None,
        is_status_of_streams: false,
    })
}

fn code(error: &ServerError) -> Option<Code> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => Code::find(code),
        _ => None,
    }
}

/// The JSON of a response to what was not executed: it has no `data`, not even null.
fn errors(response: &Response) -> Bytes {
    let errors = serde_json::json!({ "errors": response.errors });
    errors.to_string().into()
}

/// The response's JSON and its headers. A plain one, which most are, is written without another look
/// at what is JSON already; the others, with errors, extensions or headers, by async-graphql-axum.
fn render(response: Response) -> (Bytes, HeaderMap) {
    let is_plain = response.errors.is_empty()
        && response.extensions.is_empty()
        && response.http_headers.is_empty()
        && response.cache_control == CacheControl::default();
    if is_plain {
        let mut json = JsonText::with_capacity(ANSWER_BYTES);
        json.object([&response.data], |json, data| {
            json.key("data");
            json.value(data);
        });
        return (json.into_bytes().into(), HeaderMap::new());
    }
    let (parts, body) = GraphQLResponse::from(response).into_response().into_parts();
    let mut headers = parts.headers;
    // The media type is negotiated by the transport.
    headers.remove(header::CONTENT_TYPE);
    // The body is one text in memory: nothing is waited for.
    let body = to_bytes(body, usize::MAX).now_or_never();
    (body.and_then(Result::ok).unwrap_or_default(), headers)
}

#[cfg(test)]
mod tests {
    use async_graphql::value;

    use super::*;

    #[test]
    fn headers_of_resolvers_and_hints_for_caches_are_headers_of_the_answer() {
        let headers =
            HeaderMap::from_iter([(header::ETAG, http::HeaderValue::from_static("\"7\""))]);
        let hint = CacheControl {
            public: false,
            max_age: 60,
        };
        let response = Response::new(value!({ "a": 1 }))
            .http_headers(headers)
            .cache_control(hint);
        let answer = write(response, false);
        assert_eq!(&answer.body[..], br#"{"data":{"a":1}}"#);
        assert_eq!(answer.headers[header::ETAG], "\"7\"");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "max-age=60, private");
        assert!(!answer.headers.contains_key(header::CONTENT_TYPE));
    }

    #[test]
    fn only_what_was_not_executed_is_a_refusal() {
        let mut error = ServerError::new("no", None);
        error
            .extensions
            .get_or_insert_default()
            .set("code", "NOT_FOUND");
        let mut response = Response::from_errors(vec![error.clone()]);
        let answer = write(response, false);
        assert_eq!(answer.kind, ResponseKind::RequestError);
        let body = String::from_utf8_lossy(&answer.body);
        assert!(!body.contains("data"), "{body}");
        assert_eq!(
            answer.refused.map(|refused| refused.code),
            Some("NOT_FOUND")
        );
        error.path = vec![async_graphql::PathSegment::Field("a".to_owned())];
        response = Response::from_errors(vec![error]);
        assert_eq!(write(response, false).kind, ResponseKind::Executed);
    }
}
