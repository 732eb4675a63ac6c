//! The errors of an executed operation, with paths and messages for the client.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::merge::PathItem;
use crate::{error::Code, graph::Graph, json::write, subgraphs::FetchError};

/// Errors beyond this number are dropped: one broken list must not make the response huge.
pub const ERRORS_MAX: usize = 1_000;

/// The extensions, beside the code, that clients need from an error that is meant for them: where
/// to resume a subscription, how much it has missed, why it cannot be resumed, and when to try again.
const TOLD: [&str; 4] = ["cursor", "missed", "reason", "retryAfter"];

/// The longest code of a subgraph error that clients see, in bytes.
const CODE_BYTES_MAX: usize = 64;

/// The code of a subgraph that has too much to do, as JSON.
const OVERLOADED: &str = "\"OVERLOADED\"";

/// The message of [`Code::ReadAfterWriteFailed`].
const READ_AFTER_WRITE: &str = "the mutation's field was executed, but this could not be read: the \
                                subgraph has more to do than it can. Read it by a query; do not send \
                                the mutation again";

/// The message in the place of one that is hidden.
const MASKED: &str = "the subgraph reported an error";

/// One entry of the response's `errors`.
#[derive(Clone, Debug)]
pub struct FieldError {
    /// The message for the client.
    pub message: Cow<'static, str>,
    /// The path from the root of the response; empty for an error without one.
    pub path: Vec<PathItem>,
    /// `extensions.code`, unless `extensions` has a code.
    pub code: Code,
    /// `extensions.service`: the name of the subgraph that reported or caused the error.
    pub service: Option<String>,
    /// The subgraph's own extensions, as JSON texts.
    pub extensions: BTreeMap<String, Box<RawValue>>,
}

impl FieldError {
    /// An error of the gateway's own.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>, path: Vec<PathItem>) -> Self {
        Self {
            message: message.into(),
            path,
            code,
            service: None,
            extensions: BTreeMap::new(),
        }
    }

    /// Whether a subgraph refused the work because it has too much to do.
    pub fn is_overload(&self) -> bool {
        is_overload(&self.extensions)
    }

    /// Its code as clients see it. A text with escapes is no code, and stays as it is.
    pub fn shown_code(&self) -> &str {
        match self.extensions.get("code") {
            Some(code) => code.get().trim_matches('"'),
            None => self.code.as_str(),
        }
    }

    /// Hides what a subgraph reported, except its name and that it was an overload.
    pub fn mask(&mut self) {
        if self.service.is_some() {
            let is_overload = self.is_overload();
            self.message = MASKED.into();
            self.extensions
                .retain(|name, _| name == "code" && is_overload);
        }
    }

    /// Turns an overload into the error of a read after a mutation's root field. `OVERLOADED` would
    /// mean that the field was not executed.
    pub fn read_after_write(&mut self) {
        self.message = READ_AFTER_WRITE.into();
        self.code = Code::ReadAfterWriteFailed;
        self.extensions.remove("code");
    }

    /// Whether this error explains a null at `path`: its own path leads there, above or below.
    pub fn explains(&self, path: &[PathItem]) -> bool {
        self.path.iter().zip(path).all(|(a, b)| a == b)
    }

    /// Appends the error as JSON. `keys` are the plan's client keys.
    pub fn write(&self, keys: &[Box<str>], out: &mut String) {
        out.push_str("{\"message\":");
        write::string(out, &self.message);
        if !self.path.is_empty() {
            out.push_str(",\"path\":[");
            for (index, item) in self.path.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                match item {
                    PathItem::Key(key) => {
                        write::string(out, keys.get(key.0 as usize).map_or("", |name| name));
                    }
                    PathItem::Name(name) => write::string(out, name),
                    PathItem::Index(index) => out.push_str(itoa::Buffer::new().format(*index)),
                }
            }
            out.push(']');
        }
        out.push_str(",\"extensions\":{");
        if !self.extensions.contains_key("code") {
            out.push_str("\"code\":\"");
            out.push_str(self.code.as_str());
            out.push('"');
        }
        for (name, value) in &self.extensions {
            comma(out);
            write::string(out, name);
            out.push(':');
            out.push_str(value.get());
        }
        if let Some(service) = &self.service
            && !self.extensions.contains_key("service")
        {
            comma(out);
            out.push_str("\"service\":");
            write::string(out, service);
        }
        out.push_str("}}");
    }
}

fn comma(out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
}

/// The message of a subgraph error that has none.
const MALFORMED: &str = "the subgraph reported an error that is not a valid GraphQL error";

/// An error as a subgraph wrote it.
#[derive(Debug, Default, Deserialize)]
pub struct SubgraphError {
    #[serde(default, deserialize_with = "lenient")]
    message: String,
    /// The path in the subgraph's own response.
    #[serde(default, deserialize_with = "lenient")]
    pub path: Vec<SubgraphPathItem>,
    #[serde(default, deserialize_with = "lenient")]
    extensions: BTreeMap<String, Box<RawValue>>,
}

/// A segment of a path in a subgraph's response.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum SubgraphPathItem {
    /// The index of a list's item.
    Index(usize),
    /// The response key of a field.
    Name(String),
}

/// Reads a malformed member of an error as a missing one: the message is still useful.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned + Default,
{
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}

impl SubgraphError {
    /// Reads a response's `errors`. A malformed entry counts as an error, too.
    pub fn read_all(json: &[u8]) -> Vec<Self> {
        let Ok(entries) = serde_json::from_slice::<Vec<&RawValue>>(json) else {
            return vec![Self::malformed()];
        };
        let read = |entry: &RawValue| {
            let error: Self = serde_json::from_str(entry.get()).unwrap_or_default();
            match error.message.is_empty() {
                true => Self {
                    message: MALFORMED.into(),
                    ..error
                },
                false => error,
            }
        };
        entries.into_iter().map(read).collect()
    }

    /// The code that the subgraph gave it; absent if it gave none.
    pub fn code(&self) -> Option<&str> {
        let code = self.extensions.get("code")?;
        Some(code.get().trim_matches('"'))
    }

    /// Whether the subgraph had too much to do.
    pub fn is_overload(&self) -> bool {
        is_overload(&self.extensions)
    }

    fn malformed() -> Self {
        Self {
            message: MALFORMED.into(),
            ..Self::default()
        }
    }

    /// The error as clients see it, at `path`: masked unless its code is meant for them.
    pub fn at(&self, graph: &Graph, service: &str, path: Vec<PathItem>) -> FieldError {
        let settings = &graph.settings;
        let is_for_clients = || {
            let code = self.extensions.get("code");
            let code = code.and_then(|code| serde_json::from_str::<String>(code.get()).ok());
            code.is_some_and(|code| settings.shown_error_codes.contains(&code))
        };
        let is_masked = settings.mask_subgraph_errors;
        let is_for_clients = is_masked && is_for_clients();
        let is_shown = !is_masked || is_for_clients;
        let mut extensions = BTreeMap::new();
        for (name, value) in &self.extensions {
            let passes = match name.as_str() {
                "code" => is_for_clients || is_code(value),
                name => is_for_clients && TOLD.contains(&name) && is_plain(value),
            };
            if !is_masked || passes {
                extensions.insert(name.clone(), value.clone());
            }
        }
        FieldError {
            message: if !is_shown {
                MASKED.into()
            } else {
                self.message.clone().into()
            },
            path,
            code: Code::DownstreamServiceError,
            service: Some(service.to_owned()),
            extensions,
        }
    }
}

fn is_overload(extensions: &BTreeMap<String, Box<RawValue>>) -> bool {
    let code = extensions.get("code");
    code.is_some_and(|code| code.get() == OVERLOADED)
}

/// Whether the JSON is a code and nothing else: other text might reveal what the mask hides.
fn is_code(json: &RawValue) -> bool {
    let text = json.get().as_bytes();
    let code = text
        .strip_prefix(b"\"")
        .and_then(|it| it.strip_suffix(b"\""));
    code.is_some_and(|code| {
        code.len() <= CODE_BYTES_MAX
            && code.first().is_some_and(u8::is_ascii_uppercase)
            && code
                .iter()
                .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
    })
}

fn is_plain(json: &RawValue) -> bool {
    json.get()
        .starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// The error of a whole failed request, as clients see it at one path.
pub fn fetch_failed(
    graph: &Graph,
    service: &str,
    failure: &Failure,
    path: Vec<PathItem>,
) -> FieldError {
    let message = if graph.settings.mask_subgraph_errors {
        format!("subgraph \"{service}\" returned no usable response")
    } else {
        format!("subgraph \"{service}\" returned no usable response: {failure}")
    };
    let mut error = FieldError::new(failure.code(), message, path);
    error.service = Some(service.to_owned());
    error
}

/// The error of a response with data whose HTTP status says that it failed.
pub fn odd_status(service: &str, status: u16) -> FieldError {
    let message = format!("subgraph \"{service}\" answered with HTTP status {status}");
    let mut error = FieldError::new(Code::SubrequestHttpError, message, Vec::new());
    error.service = Some(service.to_owned());
    error
}

/// Why a whole request gave no data.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There was no HTTP response.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The body is not a GraphQL response of the requested shape.
    #[error("{0}")]
    Malformed(String),
    /// An HTTP error without a GraphQL response.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The request would have had more representations than this limit; it was not sent.
    #[error("the request would have more than {0} representations")]
    TooManyRepresentations(usize),
}

impl Failure {
    /// The code of the errors that report it.
    pub fn code(&self) -> Code {
        match self {
            Self::Fetch(FetchError::Timeout(_)) => Code::SubrequestTimeout,
            Self::Fetch(FetchError::TooLarge(_)) => Code::SubrequestTooLarge,
            Self::Fetch(FetchError::Overloaded(_) | FetchError::NotSent(_)) => {
                Code::SubgraphOverloaded
            }
            Self::Fetch(FetchError::Unavailable) => Code::SubgraphUnavailable,
            Self::Fetch(_) | Self::Status(_) => Code::SubrequestHttpError,
            Self::Malformed(_) => Code::SubrequestMalformedResponse,
            Self::TooManyRepresentations(_) => Code::MaxRepresentations,
        }
    }
}
