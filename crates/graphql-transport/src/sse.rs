//! Server-sent events, as graphql-sse's "distinct connections mode" has them.
//!
//! Source: <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>. Beyond it, an event
//! that can be resumed from carries its cursor as `id`, which browsers send back as `Last-Event-ID`.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};

use crate::{
    event::Event,
    metrics::Transport,
    response::GraphqlResponse,
    service::{Outcome, Service},
    streaming::{self, Framing},
};

/// What an EventSource that was told to come again later waits the next time: about what browsers wait by themselves.
const RETRY: &[u8] = b"retry: 3000\n\n";

/// Answers with `next` events and a last `complete`.
pub(crate) fn respond<S: Service>(
    service: &Arc<S>,
    outcome: Outcome,
    is_event_source: bool,
) -> Response {
    let opening = match is_event_source {
        true => Bytes::from_static(RETRY),
        false => Sse::open(),
    };
    streaming::respond::<Sse, S>(service, outcome, opening)
}

/// Has an EventSource come again after the refusal's `retry-after`. Any status but 200 would end it for good, by the HTML
/// standard; a stream that ends makes it come back, after the time in the stream.
pub(crate) fn come_again(refusal: &GraphqlResponse) -> Response {
    let after = refusal.headers.get(header::RETRY_AFTER);
    let after = after.and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
    let ms = after.unwrap_or(1).saturating_mul(1_000);
    let mut response = Response::new(Body::from(format!("retry: {ms}\n\n")));
    for (name, value) in [
        (header::CONTENT_TYPE, Sse::CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

pub(crate) struct Sse;

impl Framing for Sse {
    const TRANSPORT: Transport = Transport::Sse;
    const CONTENT_TYPE: &'static str = "text/event-stream; charset=utf-8";

    /// A comment: it makes the response's headers travel at once.
    fn open() -> Bytes {
        Bytes::from_static(b":\n\n")
    }

    fn keep_alive() -> Bytes {
        Bytes::from_static(b":\n\n")
    }

    fn event(event: &Event) -> Bytes {
        self::event(event)
    }

    fn close() -> Bytes {
        Bytes::from_static(b"event: complete\ndata:\n\n")
    }
}

/// The end of an event.
pub(crate) const EVENT_END: &[u8] = b"\n\n";

/// The bytes of one event.
pub(crate) fn event(event: &Event) -> Bytes {
    let (body, cursor) = match event {
        Event::Next { body, cursor } => (&body[..], cursor.as_deref()),
        Event::Status(status) => (status.text(), None),
        Event::Failed { body } => (&body[..], None),
    };
    let mut frame = Vec::with_capacity(body.len() + 64);
    write_event_head(&mut frame, cursor);
    write_data(&mut frame, body);
    frame.extend_from_slice(EVENT_END);
    frame.into()
}

/// An event up to its data.
pub(crate) fn write_event_head(frame: &mut Vec<u8>, cursor: Option<&str>) {
    frame.extend_from_slice(b"event: next\n");
    // A line break inside an id would begin another field.
    if let Some(cursor) = cursor.filter(|cursor| !cursor.contains(['\n', '\r', '\0'])) {
        frame.extend_from_slice(b"id: ");
        frame.extend_from_slice(cursor.as_bytes());
        frame.push(b'\n');
    }
    frame.extend_from_slice(b"data: ");
}

/// A body as one line, without a copy if it is one.
pub(crate) fn data(body: &Bytes) -> Bytes {
    if !body.iter().any(is_line_break) {
        return body.clone();
    }
    let mut line = Vec::with_capacity(body.len());
    write_data(&mut line, body);
    line.into()
}

/// A body as one line. JSON has line breaks only between its tokens, where leaving them out changes nothing.
fn write_data(frame: &mut Vec<u8>, body: &[u8]) {
    for line in body.split(is_line_break) {
        frame.extend_from_slice(line);
    }
}

/// Whether a byte would end a line.
fn is_line_break(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_one_event() {
        let event = Event::Next {
            body: Bytes::from_static(b"{\n  \"data\": 1\r\n}"),
            cursor: Some("c1".into()),
        };
        assert_eq!(
            &Sse::event(&event)[..],
            b"event: next\nid: c1\ndata: {  \"data\": 1}\n\n"
        );
        let forged = Event::Next {
            body: Bytes::from_static(b"{}"),
            cursor: Some("a\ndata: x".into()),
        };
        assert_eq!(&Sse::event(&forged)[..], b"event: next\ndata: {}\n\n");
    }
}
