//! Server-sent events, as graphql-sse's "distinct connections mode" has them.
//!
//! Source: <https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>. Beyond it, an event
//! that can be resumed from carries its cursor as `id`, which browsers send back as `Last-Event-ID`.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;

use crate::{
    event::Event,
    metrics::Transport,
    service::{Outcome, Service},
    streaming::{self, Framing},
};

/// Answers with `next` events and a last `complete`.
pub(crate) fn respond<S: Service>(service: &Arc<S>, outcome: Outcome) -> Response {
    streaming::respond::<Sse, S>(service, outcome)
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
        let (body, cursor) = match event {
            Event::Next { body, cursor } => (body, cursor.as_deref()),
            Event::Failed { body } => (body, None),
        };
        let mut frame = Vec::with_capacity(body.len() + 64);
        frame.extend_from_slice(b"event: next\n");
        // A line break inside an id would begin another field.
        if let Some(cursor) = cursor.filter(|cursor| !cursor.contains(['\n', '\r', '\0'])) {
            frame.extend_from_slice(b"id: ");
            frame.extend_from_slice(cursor.as_bytes());
            frame.push(b'\n');
        }
        // JSON has line breaks only between its tokens, where leaving them out changes nothing.
        frame.extend_from_slice(b"data: ");
        for line in body.split(|byte| matches!(byte, b'\n' | b'\r')) {
            frame.extend_from_slice(line);
        }
        frame.extend_from_slice(b"\n\n");
        frame.into()
    }

    fn close() -> Bytes {
        Bytes::from_static(b"event: complete\ndata:\n\n")
    }
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
