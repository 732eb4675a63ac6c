//! Subscriptions over multipart HTTP, as Apollo Client speaks them.
//!
//! Source: <https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol>.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;

use crate::{
    event::Event,
    metrics::Transport,
    service::{Outcome, Service},
    streaming::{self, Framing},
};

/// Answers with one part an event.
pub(crate) fn respond<S: Service>(service: &Arc<S>, outcome: Outcome) -> Response {
    streaming::respond::<Multipart, S>(service, outcome, Multipart::open())
}

pub(crate) struct Multipart;

const PART: &[u8] = b"\r\ncontent-type: application/json\r\n\r\n";

/// An event up to its response.
pub(crate) const PAYLOAD_HEAD: &[u8] = b"\r\ncontent-type: application/json\r\n\r\n{\"payload\":";
/// The rest of an event after its response.
pub(crate) const PAYLOAD_END: &[u8] = b"}\r\n--graphql";

impl Framing for Multipart {
    const TRANSPORT: Transport = Transport::Multipart;
    const CONTENT_TYPE: &'static str = "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0";

    /// Each part ends with the boundary of the next one, so that clients need not wait for the next
    /// event to know that this one is whole.
    fn open() -> Bytes {
        Bytes::from_static(b"\r\n--graphql")
    }

    fn keep_alive() -> Bytes {
        part(&[b"{}"])
    }

    /// A response is the part's `payload`; what ends the subscription stands outside of it.
    fn event(event: &Event) -> Bytes {
        match event {
            Event::Next { body, .. } => payload(body),
            Event::Status(status) => payload(status.text()),
            Event::Failed { body } => match body.strip_prefix(b"{") {
                Some(members) => part(&[b"{\"payload\":null,", members]),
                None => part(&[body]),
            },
        }
    }

    fn close() -> Bytes {
        Bytes::from_static(b"--\r\n")
    }
}

/// A part with a response.
fn payload(body: &[u8]) -> Bytes {
    [PAYLOAD_HEAD, body, PAYLOAD_END].concat().into()
}

fn part(content: &[&[u8]]) -> Bytes {
    let mut frame = Vec::with_capacity(content.iter().map(|piece| piece.len()).sum::<usize>() + 64);
    frame.extend_from_slice(PART);
    for piece in content {
        frame.extend_from_slice(piece);
    }
    frame.extend_from_slice(b"\r\n--graphql");
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_a_payload_and_the_end_is_not() {
        let next = Event::Next {
            body: Bytes::from_static(b"{\"data\":1}"),
            cursor: None,
        };
        assert_eq!(
            &Multipart::event(&next)[..],
            b"\r\ncontent-type: application/json\r\n\r\n{\"payload\":{\"data\":1}}\r\n--graphql"
        );
        let failed = Event::Failed {
            body: Bytes::from_static(b"{\"errors\":[]}"),
        };
        assert_eq!(
            &Multipart::event(&failed)[..],
            b"\r\ncontent-type: application/json\r\n\r\n{\"payload\":null,\"errors\":[]}\r\n--graphql"
        );
    }
}
