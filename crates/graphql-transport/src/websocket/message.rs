//! The protocol's messages.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::event::Event;

/// Bytes of an operation's id: it is kept as long as the operation runs, and sent with each event.
const ID_BYTES_MAX: usize = 1024;

/// A message of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// The connection begins, with a JSON object if there is one.
    ConnectionInit(Option<Bytes>),
    /// A sign of life is wanted; the answer carries the same payload.
    Ping(Option<Bytes>),
    /// A sign of life.
    Pong,
    /// An operation begins.
    Subscribe {
        /// The client's name for it.
        id: String,
        /// A GraphQL request's JSON.
        request: Bytes,
    },
    /// The client wants no more of an operation.
    Complete {
        /// Which.
        id: String,
    },
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl ClientMessage {
    /// Reads a text message.
    ///
    /// # Errors
    /// What is wrong with it, for close code 4400.
    pub fn read(text: &Utf8Bytes) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            return Err("a message has to be a JSON object".to_owned());
        }
        let envelope: Envelope = serde_json::from_str(text)
            .map_err(|error| format!("a message has to be JSON with a type: {error}"))?;
        let whole: Bytes = text.clone().into();
        let payload = match envelope.payload {
            Some(payload) if !payload.get().starts_with('{') => {
                return Err(format!(
                    "the payload of {} has to be an object",
                    envelope.kind
                ));
            }
            payload => payload.map(|payload| whole.slice_ref(payload.get().as_bytes())),
        };
        let id = |kind: &str| match envelope.id {
            Some(id) if id.len() > ID_BYTES_MAX => {
                Err(format!("an id has at most {ID_BYTES_MAX} bytes"))
            }
            Some(id) if !id.is_empty() => Ok(id),
            _ => Err(format!("{kind} needs an id that is a non-empty string")),
        };
        match envelope.kind.as_str() {
            "connection_init" => Ok(Self::ConnectionInit(payload)),
            "ping" => Ok(Self::Ping(payload)),
            "pong" => Ok(Self::Pong),
            "subscribe" => {
                let request = payload.ok_or("subscribe needs a payload")?;
                Ok(Self::Subscribe {
                    id: id("subscribe")?,
                    request,
                })
            }
            "complete" => Ok(Self::Complete {
                id: id("complete")?,
            }),
            kind => Err(format!("there is no message type {kind:?}")),
        }
    }
}

/// `connection_ack`.
pub fn connection_ack() -> Message {
    Message::Text(Utf8Bytes::from_static(r#"{"type":"connection_ack"}"#))
}

/// `pong`, with the ping's payload.
pub fn pong(payload: Option<&Bytes>) -> Message {
    text(match payload {
        Some(payload) => [&br#"{"type":"pong","payload":"#[..], payload, b"}"].concat(),
        None => br#"{"type":"pong"}"#.to_vec(),
    })
}

/// `next` or `error`, by the event.
pub fn event(id: &str, event: &Event) -> Message {
    let (kind, payload) = match event {
        Event::Next { body, .. } => ("next", &body[..]),
        Event::Failed { body } => ("error", errors_of(body)),
    };
    let mut frame = head(id, kind, payload.len() + 16);
    frame.extend_from_slice(b",\"payload\":");
    frame.extend_from_slice(payload);
    frame.push(b'}');
    text(frame)
}

/// `complete`.
pub fn complete(id: &str) -> Message {
    let mut frame = head(id, "complete", 1);
    frame.push(b'}');
    text(frame)
}

/// An unfinished message, with room for so many bytes more.
fn head(id: &str, kind: &str, more: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(id.len() + 64 + more);
    head.extend_from_slice(b"{\"id\":");
    // Writing to a vector does not fail, and every text is a string of JSON.
    let _ = serde_json::to_writer(&mut head, id);
    head.extend_from_slice(b",\"type\":\"");
    head.extend_from_slice(kind.as_bytes());
    head.push(b'"');
    head
}

/// The list in `{"errors":[...]}`.
fn errors_of(body: &[u8]) -> &[u8] {
    #[derive(Deserialize)]
    struct Errors<'a> {
        #[serde(borrow)]
        errors: &'a RawValue,
    }
    serde_json::from_slice(body).map_or(b"[]", |errors: Errors| errors.errors.get().as_bytes())
}

fn text(frame: Vec<u8>) -> Message {
    let frame = Bytes::from(frame);
    Message::Text(Utf8Bytes::try_from(frame.clone()).unwrap_or_else(|_| {
        // JSON is UTF-8, so that this does not happen.
        String::from_utf8_lossy(&frame).into_owned().into()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<ClientMessage, String> {
        ClientMessage::read(&Utf8Bytes::from_static(text))
    }

    #[test]
    fn the_protocols_messages_are_read() {
        assert_eq!(
            read(r#"{"type":"connection_init"}"#),
            Ok(ClientMessage::ConnectionInit(None))
        );
        assert_eq!(
            read(r#"{"type":"pong","payload":null}"#),
            Ok(ClientMessage::Pong)
        );
        assert_eq!(
            read(r#" {"id":"1","type":"subscribe","payload":{"query":"{a}"}}"#),
            Ok(ClientMessage::Subscribe {
                id: "1".into(),
                request: Bytes::from_static(b"{\"query\":\"{a}\"}")
            })
        );
    }

    #[test]
    fn what_is_not_of_the_protocol_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            "nothing",
            r#"{"type":1}"#,
            r#"{"type":"start","id":"1"}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","payload":{}}"#,
            r#"{"type":"subscribe","id":"","payload":{}}"#,
            r#"{"type":"subscribe","id":1,"payload":{}}"#,
            r#"{"type":"connection_init","payload":"x"}"#,
            r#"{"type":"complete"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        let id = "i".repeat(ID_BYTES_MAX + 1);
        let long = format!(r#"{{"type":"complete","id":"{id}"}}"#);
        assert!(ClientMessage::read(&long.into()).is_err());
    }

    #[test]
    fn an_end_with_errors_is_the_protocols_error() {
        let failed = Event::Failed {
            body: Bytes::from_static(b"{\"errors\":[{\"message\":\"m\"}]}"),
        };
        let Message::Text(frame) = event("a\"b", &failed) else {
            panic!("text")
        };
        assert_eq!(
            frame.as_str(),
            r#"{"id":"a\"b","type":"error","payload":[{"message":"m"}]}"#
        );
    }
}
