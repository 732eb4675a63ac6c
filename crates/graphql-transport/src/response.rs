//! A finished GraphQL response: its bytes, and what transports need to send it.

use bytes::Bytes;
use http::HeaderMap;

use crate::code::Refused;

/// Whether the operation was executed; decides the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    /// `data` is present (it may be null, and `errors` may stand beside it).
    Executed,
    /// Refused before execution: `errors` only.
    RequestError,
}

/// A finished GraphQL response with what each transport needs to write it.
#[derive(Clone, Debug)]
pub struct GraphqlResponse {
    /// The whole JSON body.
    pub body: Bytes,
    /// Whether the operation was executed, which decides the HTTP status.
    pub kind: ResponseKind,
    /// Why it was refused, for metrics and for transports that answer a refusal in their own way.
    pub refused: Option<Refused>,
    /// No data came, because a service had too much to do, and nothing of a mutation was begun: the
    /// client may send the request again. The HTTP status is 503.
    pub overloaded: bool,
    /// Headers that the service adds to the HTTP response.
    pub headers: HeaderMap,
}

impl GraphqlResponse {
    /// An executed operation's answer.
    pub fn executed(body: Bytes) -> Self {
        Self {
            body,
            kind: ResponseKind::Executed,
            refused: None,
            overloaded: false,
            headers: HeaderMap::new(),
        }
    }
}
