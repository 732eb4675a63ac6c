//! Text -> parsed, checked, planned, projected; kept in one cache.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    error::{Code, RequestError},
    graph::{Graph, SubgraphIndex},
    variables::Variables,
};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Reads.
    Query,
    /// Changes, in the order written.
    Mutation,
    /// Reads again at every event.
    Subscription,
}

/// An operation ready to be executed any number of times.
pub struct Prepared {
    kind: OperationKind,
    name: Option<String>,
    subscription: Option<UpstreamSubscription>,
}

impl Prepared {
    /// Query, mutation or subscription.
    pub fn kind(&self) -> OperationKind {
        self.kind
    }

    /// The operation's own name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// For a subscription: what to ask of which subgraph.
    pub fn subscription(&self) -> Option<&UpstreamSubscription> {
        self.subscription.as_ref()
    }
}

/// The subgraph's half of a subscription: its events are what [`crate::execute::event`] completes.
pub struct UpstreamSubscription {
    /// Which subgraph has the events.
    pub subgraph: SubgraphIndex,
    /// The operation's text in the subgraph's terms.
    pub operation: String,
    /// The whole operation in one normal form: two documents that mean the same have the same.
    /// With the variables' bytes it identifies what can be shared between clients.
    pub normal_form: Arc<str>,
    /// The argument that resumes the field from a cursor (`after`), where the field has one: the
    /// hub sends it as a variable of [`UpstreamSubscription::operation_resumed`].
    pub resume: Option<Resume>,
}

/// How a subscription field continues where it was.
pub struct Resume {
    /// The operation's text with the cursor as an additional variable, `$_resumeAfter`.
    pub operation: String,
    /// Where each event carries its cursor: response keys from `data` downwards. The plan adds
    /// the field where the client did not ask for it.
    pub cursor_path: Vec<String>,
}

impl UpstreamSubscription {
    /// The JSON object of the variables that the subgraph's operation uses, in one canonical
    /// order: equal bytes mean equal variables.
    pub fn variables(&self, _variables: &Variables) -> Bytes {
        Bytes::from_static(b"{}")
    }
}

/// Reads, checks and plans an operation, or takes it from the cache. The work itself runs off the
/// event loop, within `limits.prepare_timeout`; a panic in it is an internal error.
///
/// # Errors
/// With the code of the step that refused the operation.
pub async fn operation(
    _graph: &Arc<Graph>,
    _query: &str,
    _operation_name: Option<&str>,
) -> Result<Arc<Prepared>, RequestError> {
    Err(RequestError::new(
        Code::InternalServerError,
        "not built yet",
    ))
}
