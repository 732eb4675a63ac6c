//! Several GraphQL requests in one: a JSON array by POST, answered by an array in the same order.
//!
//! No specification has this; it is what Apollo Client's `BatchHttpLink` and urql send. Each request goes through the
//! service as if it had come alone, at the same time as the others, and has an answer or a refusal of its own.

use std::{fmt, sync::Arc, time::Instant};

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, header, request::Parts};
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{accept::Accepted, request_json, respond};
use crate::{
    client_key::ClientKey,
    code::{Code, Refusal, Refused},
    isolation,
    metrics::Transport,
    request::{ClientContext, GraphqlRequest},
    response::{GraphqlResponse, ResponseKind},
    service::{Outcome, Service},
};

/// An entry of a batch, or why it is none.
pub(super) type Entry = Result<GraphqlRequest, Refusal>;

/// Whether a body is a batch, if it is anything.
pub(super) fn is_one(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"[")
}

/// Reads a batch of at most `entries_max`.
///
/// # Errors
/// `BAD_REQUEST` where it is no array or an empty one; `BATCH_TOO_LARGE`.
pub(super) fn read(body: &Bytes, entries_max: usize) -> Result<Vec<Entry>, Refusal> {
    let mut is_too_large = false;
    let mut json = serde_json::Deserializer::from_slice(body);
    let entries = Entries {
        max: entries_max,
        is_too_large: &mut is_too_large,
    };
    let entries = entries.deserialize(&mut json);
    let entries = entries.and_then(|entries| json.end().map(|()| entries));
    let refused = |message: String| Refusal::new(Code::BadRequest, message);
    match entries {
        Ok(entries) if entries.is_empty() => Err(refused("the batch is empty".to_owned())),
        Ok(entries) => {
            let read = |entry: &RawValue| request_json::read_part(entry.get(), body);
            Ok(entries.into_iter().map(read).collect())
        }
        Err(_) if is_too_large => Err(Refusal::new(
            Code::BatchTooLarge,
            format!("the batch has more than {entries_max} requests"),
        )),
        Err(error) => Err(refused(format!("the batch is not a JSON array: {error}"))),
    }
}

/// Reads an array, up to its first entry that is too many.
struct Entries<'m> {
    max: usize,
    is_too_large: &'m mut bool,
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of GraphQL requests")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = sequence.next_element()? {
            if entries.len() == self.max {
                *self.is_too_large = true;
                return Err(A::Error::custom("too many entries"));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// Answers all entries.
pub(super) async fn exchange<S: Service>(
    service: &Arc<S>,
    entries: Vec<Entry>,
    key: ClientKey,
    parts: &mut Parts,
) -> Result<Response, Refusal> {
    let accepted = Accepted::read(&parts.headers)?;
    let Some(media) = accepted.single else {
        return Err(Refusal::new(
            Code::NotAcceptable,
            "a batch is answered as application/json or application/graphql-response+json",
        ));
    };
    let headers = Arc::new(std::mem::take(&mut parts.headers));
    let answers = entries.into_iter();
    let answers = answers.map(|entry| answer(service, entry, &headers, key));
    let mut answers = join_all(answers).await;
    let whole = array(&answers);
    // What they hold of the bounds is free before the whole is counted.
    for answer in &mut answers {
        answer.body = Bytes::new();
    }
    let whole = isolation::untaken(service.serving(), key, whole);
    let body = whole.map_err(|_full| {
        Refusal::new(
            Code::TooManyAnswerBytes,
            "the operations have run, but too many answers have not been taken, of this client or of all",
        )
    })?;
    Ok(respond::single(joined(answers, body), media))
}

async fn answer<S: Service>(
    service: &Arc<S>,
    entry: Entry,
    headers: &Arc<HeaderMap>,
    key: ClientKey,
) -> GraphqlResponse {
    let request = match entry {
        Ok(request) => request,
        Err(refusal) => {
            let instead = service.refused(refusal.code, headers, key);
            let response = instead.unwrap_or_else(|| refusal.into());
            if let Some(refused) = response.refused {
                service.serving().metrics.refusal(refused);
            }
            return response;
        }
    };
    let client = ClientContext {
        headers: Arc::clone(headers),
        mutations_allowed: true,
        subscriptions_allowed: false,
        answers_deferred: false,
        key,
        socket: None,
        operation: None,
        event_stream: None,
    };
    let began = Instant::now();
    match isolation::answer(service, Transport::Post, request, client).await {
        Outcome::Single(response) => response,
        // No service should: neither was allowed.
        Outcome::Deferred(work) => {
            isolation::deferred(service.serving(), Transport::Post, key, began, work).await
        }
        Outcome::Stream(_) => {
            let message = "a batch has no way to stream";
            Refusal::new(Code::SubscriptionForbidden, message).into()
        }
    }
}

/// The bodies as a JSON array.
fn array(answers: &[GraphqlResponse]) -> Bytes {
    let bytes: usize = answers.iter().map(|it| it.body.len() + 1).sum();
    let mut array = Vec::with_capacity(bytes + 1);
    for answer in answers {
        array.push(if array.is_empty() { b'[' } else { b',' });
        array.extend_from_slice(&answer.body);
    }
    array.push(b']');
    array.into()
}

/// One response for all. It has the status of a refusal if that is the same for each; otherwise 200.
fn joined(answers: Vec<GraphqlResponse>, body: Bytes) -> GraphqlResponse {
    let status = |answer: &GraphqlResponse| answer.refused.and_then(|refused| refused.status);
    let first: Option<Refused> = answers.first().and_then(|answer| answer.refused);
    let first = first.filter(|it| it.status.is_some());
    let refused = first.filter(|it| answers.iter().all(|other| status(other) == it.status));
    let overloaded = answers.iter().all(|answer| answer.overloaded);
    let mut headers = HeaderMap::new();
    for (name, value) in answers.iter().flat_map(|answer| &answer.headers) {
        // Who has to come again, or to sign in, learns it from each error.
        let is_of_refusal = *name == header::RETRY_AFTER || *name == header::WWW_AUTHENTICATE;
        if *name == header::SET_COOKIE {
            headers.append(name, value.clone());
        } else if !headers.contains_key(name) && (!is_of_refusal || refused.is_some()) {
            headers.insert(name, value.clone());
        }
    }
    GraphqlResponse {
        body,
        kind: ResponseKind::Executed,
        refused,
        overloaded,
        headers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(body: &'static str) -> Result<Vec<Entry>, Refusal> {
        read(&Bytes::from_static(body.as_bytes()), 3)
    }

    #[test]
    fn each_entry_is_a_request_or_a_refusal() {
        let entries =
            reading(r#" [{"query":"{a}","variables":{"n":1.0}}, 5, [], {"query":"{b}"}] "#);
        assert_eq!(entries.expect_err("four").code, Code::BatchTooLarge);
        let entries = reading(r#" [{"query":"{a}","variables":{"n":1.0}}, 5, [{"query":"{b}"}]] "#);
        let entries = entries.expect("three");
        let first = entries[0].as_ref().expect("a request");
        assert_eq!(first.variables.as_deref(), Some(&br#"{"n":1.0}"#[..]));
        for other in &entries[1..] {
            let refusal = other.as_ref().expect_err("no request");
            assert_eq!(refusal.code, Code::BadRequest);
        }
    }

    #[test]
    fn what_is_no_batch_is_refused_as_a_whole() {
        for body in ["[]", "[{\"query\":\"{a}\"}", "[] x", "[1,]", "{}"] {
            let refusal = reading(body).expect_err(body);
            assert_eq!(refusal.code, Code::BadRequest, "{body}");
        }
        // A long one is not read to its end.
        let long = format!("[{}", "1,".repeat(1_000_000));
        let refusal = read(&long.into(), 3).expect_err("too many");
        assert_eq!(refusal.code, Code::BatchTooLarge);
    }

    fn refused(code: Code) -> GraphqlResponse {
        Refusal::new(code, "no").into()
    }

    #[test]
    fn the_status_of_all_is_the_status_of_the_batch() {
        let status = |answers: Vec<GraphqlResponse>| {
            let joined = joined(answers, Bytes::new());
            (joined.refused.and_then(|it| it.status), joined.overloaded)
        };
        let executed = || GraphqlResponse::executed(Bytes::new());
        let bad = || refused(Code::BadRequest);
        assert_eq!(
            status(vec![bad(), bad()]),
            (Code::BadRequest.status(), false)
        );
        assert_eq!(status(vec![bad(), executed()]), (None, false));
        assert_eq!(
            status(vec![bad(), refused(Code::RequestTimeout)]),
            (None, false)
        );
        let overloaded = || GraphqlResponse {
            overloaded: true,
            ..executed()
        };
        assert_eq!(status(vec![overloaded(), overloaded()]), (None, true));
        assert_eq!(status(vec![overloaded(), executed()]), (None, false));
    }

    #[test]
    fn answers_stand_in_their_order() {
        let answers = ["{\"data\":1}", "{}"].map(|it| GraphqlResponse::executed(it.into()));
        assert_eq!(&array(&answers)[..], b"[{\"data\":1},{}]");
    }
}
