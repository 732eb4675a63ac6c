//! The gateway's own errors: codes, messages, and the response that reports them.

mod code;

use std::{borrow::Cow, fmt::Write as _};

use bytes::Bytes;
use graphql_transport::response::{GraphqlResponse, ResponseKind};
use http::{HeaderName, HeaderValue};

pub use code::Code;

use crate::json::write;

/// A location in the client's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// The largest number of errors reported for one document: a small request must not get a huge
/// response.
pub const FAULTS_MAX: usize = 50;

/// The longest message of a refusal, in characters: messages quote what the client sent.
pub const MESSAGE_CHARS_MAX: usize = 300;

/// A request that was refused before execution. Its messages are safe to show to clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", code.as_str(), errors.first().map_or("refused", |error| error.message.as_str()))]
pub struct RequestError {
    /// The code that all of `errors` carry.
    pub code: Code,
    /// The errors to report, at least one.
    pub errors: Vec<Message>,
    /// Further members of `extensions` that are numbers.
    pub numbers: Vec<(&'static str, u64)>,
    /// Further members of `extensions` that are texts.
    pub texts: Vec<(&'static str, String)>,
    /// A header for the HTTP response.
    pub header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// One entry of a refusal's `errors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message, safe to show to clients.
    pub message: String,
    /// Its locations in the document, if they are known.
    pub locations: Vec<Location>,
}

impl RequestError {
    /// A refusal with one message and no location.
    pub fn new(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            errors: vec![Message {
                message: message.into(),
                locations: Vec::new(),
            }],
            numbers: Vec::new(),
            texts: Vec::new(),
            header: None,
        }
    }

    /// Adds a number to `extensions`.
    #[must_use]
    pub fn with_number(mut self, name: &'static str, number: u64) -> Self {
        self.numbers.push((name, number));
        self
    }

    /// Adds a text to `extensions`.
    #[must_use]
    pub fn with_text(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.texts.push((name, text.into()));
        self
    }

    /// Sets a header of the HTTP response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// Says where a subscription that ends with this error is resumed: after the cursor. Without one, it says that events
    /// may be missing.
    #[must_use]
    pub fn resumed_after(self, cursor: Option<&str>) -> Self {
        match cursor {
            Some(cursor) => self.with_text("cursor", cursor),
            None => self.with_text("reason", "EVENTS_MAY_BE_MISSING"),
        }
    }

    /// A refusal for a document with `all` errors, of which the first [`FAULTS_MAX`] are reported.
    pub fn several(code: Code, all: usize, faults: impl Iterator<Item = Message>) -> Self {
        let mut errors: Vec<Message> = faults.take(FAULTS_MAX).collect();
        if all > FAULTS_MAX {
            errors.push(Message {
                message: format!("{} more errors are left out", all - FAULTS_MAX),
                locations: Vec::new(),
            });
        }
        Self {
            code,
            errors,
            numbers: Vec::new(),
            texts: Vec::new(),
            header: None,
        }
    }

    /// The refusal as a GraphQL response.
    pub fn into_response(self) -> GraphqlResponse {
        let mut body = String::from("{\"errors\":[");
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                body.push(',');
            }
            body.push_str("{\"message\":");
            write::string(&mut body, &cut(&error.message));
            if !error.locations.is_empty() {
                body.push_str(",\"locations\":[");
                for (index, location) in error.locations.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    // Writing to a String cannot fail.
                    let _ = write!(
                        body,
                        "{comma}{{\"line\":{},\"column\":{}}}",
                        location.line, location.column
                    );
                }
                body.push(']');
            }
            body.push_str(",\"extensions\":{\"code\":\"");
            body.push_str(self.code.as_str());
            body.push('"');
            for (name, number) in &self.numbers {
                // Writing to a String cannot fail.
                let _ = write!(body, ",\"{name}\":{number}");
            }
            for (name, text) in &self.texts {
                body.push_str(",\"");
                body.push_str(name);
                body.push_str("\":");
                write::string(&mut body, text);
            }
            body.push_str("}}");
        }
        body.push_str("]}");
        GraphqlResponse {
            body: Bytes::from(body),
            kind: ResponseKind::RequestError,
            refused: Some(self.code.into()),
            overloaded: self.code == Code::PrepareQueueFull,
            headers: self.header.map(|header| *header).into_iter().collect(),
        }
    }
}

impl From<RequestError> for GraphqlResponse {
    fn from(error: RequestError) -> Self {
        error.into_response()
    }
}

/// Cuts a message to [`MESSAGE_CHARS_MAX`]. One that was longer ends in three dots.
fn cut(message: &str) -> Cow<'_, str> {
    if message.char_indices().nth(MESSAGE_CHARS_MAX).is_none() {
        return message.into();
    }
    let kept = message.char_indices().nth(MESSAGE_CHARS_MAX - 3);
    let end = kept.map_or(message.len(), |(at, _)| at);
    format!("{}...", &message[..end]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let longest = "\u{e9}".repeat(MESSAGE_CHARS_MAX);
        assert_eq!(cut(&longest), longest);
        let longer = cut(&format!("{longest}.")).into_owned();
        assert_eq!(longer.chars().count(), MESSAGE_CHARS_MAX);
        assert!(longer.ends_with("\u{e9}..."));
    }
}
