//! The protocol's messages, as a server and a client read and write them.
//!
//! Payloads are borrowed JSON text: nothing decodes them here, and nothing copies them before they
//! are written.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::event::Event;

/// Bytes of an operation's id: it is kept as long as the operation runs, and sent with each event.
const ID_BYTES_MAX: usize = 1024;

/// The client's name for an operation.
pub type Id<'a> = Cow<'a, str>;

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// The connection begins, with a JSON object if there is one.
    ConnectionInit(Option<&'a [u8]>),
    /// A sign of life is wanted; the answer carries the same payload.
    Ping(Option<&'a [u8]>),
    /// A sign of life.
    Pong,
    /// An operation begins: the client's name for it, and a GraphQL request's JSON.
    Subscribe(Id<'a>, &'a [u8]),
    /// The client wants no more of an operation.
    Complete(Id<'a>),
}

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// The connection may be used.
    ConnectionAck,
    /// A sign of life is wanted.
    Ping,
    /// A sign of life, with the ping's payload.
    Pong(Option<&'a [u8]>),
    /// One execution result: a GraphQL response's JSON.
    Next(Id<'a>, &'a [u8]),
    /// An operation ends with errors: a JSON list.
    Error(Id<'a>, &'a [u8]),
    /// An operation is complete.
    Complete(Id<'a>),
}

impl<'a> ClientMessage<'a> {
    /// Reads a text message.
    ///
    /// # Errors
    /// What is wrong with it, for close code 4400.
    pub fn read(text: &'a str) -> Result<Self, String> {
        let Envelope { kind, id, payload } = Envelope::read(text)?;
        if payload.is_some_and(|payload| !payload.get().starts_with('{')) {
            return Err(format!("the payload of {} has to be an object", kind.0));
        }
        let payload = payload.map(bytes_of);
        let id = |kind: &str| match id {
            Some(Text(id)) if id.len() > ID_BYTES_MAX => {
                Err(format!("an id has at most {ID_BYTES_MAX} bytes"))
            }
            Some(Text(id)) if !id.is_empty() => Ok(id),
            _ => Err(format!("{kind} needs an id that is a non-empty string")),
        };
        match &*kind.0 {
            "connection_init" => Ok(Self::ConnectionInit(payload)),
            "ping" => Ok(Self::Ping(payload)),
            "pong" => Ok(Self::Pong),
            "subscribe" => {
                let request = payload.ok_or("subscribe needs a payload")?;
                Ok(Self::Subscribe(id("subscribe")?, request))
            }
            "complete" => Ok(Self::Complete(id("complete")?)),
            kind => Err(format!("there is no message type {kind:?}")),
        }
    }

    /// The message as a text frame.
    pub fn write(&self) -> Message {
        match self {
            Self::ConnectionInit(payload) => frame(None, "connection_init", *payload),
            Self::Ping(payload) => frame(None, "ping", *payload),
            Self::Pong => frame(None, "pong", None),
            Self::Subscribe(id, request) => frame(Some(id), "subscribe", Some(request)),
            Self::Complete(id) => frame(Some(id), "complete", None),
        }
    }
}

impl<'a> ServerMessage<'a> {
    /// `next` or `error`, by the event.
    pub fn of(id: &'a str, event: &'a Event) -> Self {
        let id = Cow::Borrowed(id);
        match event {
            Event::Next { body, .. } => Self::Next(id, body),
            Event::Status(status) => Self::Next(id, status.text()),
            Event::Failed { body } => Self::Error(id, errors_of(body)),
        }
    }

    /// Reads a text message; `None` where the protocol has no such type. A payload that is missing is
    /// read as `null`, an id that is missing as an empty one.
    ///
    /// # Errors
    /// What is wrong with it, for close code 4400.
    pub fn read(text: &'a str) -> Result<Option<Self>, String> {
        let Envelope { kind, id, payload } = Envelope::read(text)?;
        let id = id.map(|Text(id)| id).unwrap_or_default();
        let payload = payload.map(bytes_of);
        let json = payload.unwrap_or(b"null");
        Ok(Some(match &*kind.0 {
            "connection_ack" => Self::ConnectionAck,
            "ping" => Self::Ping,
            "pong" => Self::Pong(payload),
            "next" => Self::Next(id, json),
            "error" => Self::Error(id, json),
            "complete" => Self::Complete(id),
            _ => return Ok(None),
        }))
    }

    /// The message as a text frame.
    pub fn write(&self) -> Message {
        match self {
            Self::ConnectionAck => frame(None, "connection_ack", None),
            Self::Ping => frame(None, "ping", None),
            Self::Pong(payload) => frame(None, "pong", *payload),
            Self::Next(id, response) => frame(Some(id), "next", Some(response)),
            Self::Error(id, errors) => frame(Some(id), "error", Some(errors)),
            Self::Complete(id) => frame(Some(id), "complete", None),
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// A string, borrowed where it has no escapes. In an `Option`, a bare `Cow` would always be copied.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Envelope<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        // A list would be read as the members in their order.
        if !text.trim_start().starts_with('{') {
            return Err("a message has to be a JSON object".to_owned());
        }
        serde_json::from_str(text)
            .map_err(|error| format!("a message has to be JSON with a type: {error}"))
    }
}

fn bytes_of(payload: &RawValue) -> &[u8] {
    payload.get().as_bytes()
}

/// A `next` message up to its payload, which a closing brace has to follow.
pub(crate) fn next_head(id: &str) -> Vec<u8> {
    let mut head = Vec::with_capacity(id.len() + 48);
    write_head(&mut head, Some(id), "next");
    head.extend_from_slice(PAYLOAD);
    head
}

const PAYLOAD: &[u8] = b",\"payload\":";

fn write_head(message: &mut Vec<u8>, id: Option<&str>, kind: &str) {
    message.push(b'{');
    if let Some(id) = id {
        message.extend_from_slice(b"\"id\":");
        // Writing to a vector does not fail, and every text is a string of JSON.
        let _ = serde_json::to_writer(&mut *message, id);
        message.push(b',');
    }
    message.extend_from_slice(b"\"type\":\"");
    message.extend_from_slice(kind.as_bytes());
    message.push(b'"');
}

fn frame(id: Option<&str>, kind: &str, payload: Option<&[u8]>) -> Message {
    let bytes = id.map_or(0, str::len) + payload.map_or(0, <[u8]>::len);
    let mut frame = Vec::with_capacity(bytes + 64);
    write_head(&mut frame, id, kind);
    if let Some(payload) = payload {
        frame.extend_from_slice(PAYLOAD);
        frame.extend_from_slice(payload);
    }
    frame.push(b'}');
    let frame = Bytes::from(frame);
    Message::Text(Utf8Bytes::try_from(frame.clone()).unwrap_or_else(|_| {
        // JSON is UTF-8, so that this does not happen.
        String::from_utf8_lossy(&frame).into_owned().into()
    }))
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

/// The head of a server's unmasked text frame (RFC 6455, section 5.2) with a payload of this many bytes.
pub(crate) fn write_frame_head(buffer: &mut Vec<u8>, payload_bytes: usize) {
    const FINAL_TEXT: u8 = 0x81;
    buffer.push(FINAL_TEXT);
    if let Ok(bytes) = u8::try_from(payload_bytes)
        && bytes <= 125
    {
        buffer.push(bytes);
    } else if let Ok(bytes) = u16::try_from(payload_bytes) {
        buffer.push(126);
        buffer.extend_from_slice(&bytes.to_be_bytes());
    } else {
        buffer.push(127);
        buffer.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let id = || Cow::Borrowed("a\"b");
        for message in [
            ClientMessage::ConnectionInit(None),
            ClientMessage::ConnectionInit(Some(b"{}")),
            ClientMessage::Ping(Some(b"{\"n\":1}")),
            ClientMessage::Pong,
            ClientMessage::Subscribe(id(), b"{\"query\":\"{a}\"}"),
            ClientMessage::Complete(id()),
        ] {
            let frame = message.write().into_text().expect("text");
            assert_eq!(ClientMessage::read(&frame), Ok(message), "{frame}");
        }
        for message in [
            ServerMessage::ConnectionAck,
            ServerMessage::Ping,
            ServerMessage::Pong(Some(b"{\"n\":1}")),
            ServerMessage::Next(id(), b"{\"data\":{ \"n\": 1.0 }}"),
            ServerMessage::Error(id(), b"[]"),
            ServerMessage::Complete(id()),
        ] {
            let frame = message.write().into_text().expect("text");
            assert_eq!(ServerMessage::read(&frame), Ok(Some(message)), "{frame}");
        }
    }

    #[test]
    fn the_head_of_an_event_is_that_of_its_message() {
        let whole = ServerMessage::Next(Cow::Borrowed("a\"b"), b"{}").write();
        let parts = [next_head("a\"b"), b"{}}".to_vec()].concat();
        assert_eq!(whole.into_data(), parts);
    }

    #[test]
    fn what_a_client_may_not_send_is_refused() {
        let id = "i".repeat(ID_BYTES_MAX + 1);
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
            &format!(r#"{{"type":"complete","id":"{id}"}}"#),
        ] {
            assert!(ClientMessage::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn null_members_are_as_good_as_absent() {
        let pong = r#" {"type":"pong","id":null,"payload":null}"#;
        assert_eq!(ClientMessage::read(pong), Ok(ClientMessage::Pong));
        let read = ServerMessage::read(pong);
        assert_eq!(read, Ok(Some(ServerMessage::Pong(None))));
    }

    #[test]
    fn a_server_is_read_with_patience() {
        let none = ServerMessage::Next(Cow::Borrowed("1"), b"null");
        let read = ServerMessage::read(r#"{"type":"next","id":"1"}"#);
        assert_eq!(read, Ok(Some(none)));
        assert_eq!(ServerMessage::read(r#"{"type":"ka"}"#), Ok(None));
        for text in ["[\"next\",\"1\",{}]", r#"{"type":"next","id":1}"#, "ka"] {
            assert!(ServerMessage::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_without_escapes_is_not_copied() {
        let complete = ServerMessage::read(r#"{"id":"7","type":"complete"}"#);
        let is_borrowed = matches!(
            complete,
            Ok(Some(ServerMessage::Complete(Cow::Borrowed("7"))))
        );
        assert!(is_borrowed, "{complete:?}");
    }

    #[test]
    fn an_end_with_errors_is_the_protocols_error() {
        let failed = Event::Failed {
            body: Bytes::from_static(b"{\"errors\":[{\"message\":\"m\"}]}"),
        };
        assert_eq!(
            ServerMessage::of("a\"b", &failed).write().to_text().ok(),
            Some(r#"{"id":"a\"b","type":"error","payload":[{"message":"m"}]}"#)
        );
    }
}
