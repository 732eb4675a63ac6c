//! A GraphQL request as every transport hands it to the service.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::client_key::ClientKey;

/// The members of a GraphQL request. `variables` and `extensions` stay as the client's own
/// JSON text, so that numbers keep every digit; the transport has checked that each is an object
/// (or absent).
#[derive(Clone, Debug, Default)]
pub struct GraphqlRequest {
    /// The document; absent where `documentId` or `extensions.persistedQuery` names it.
    pub query: Option<String>,
    /// The identifier of a persisted document (GraphQL over HTTP, appendix A).
    pub document_id: Option<String>,
    /// The operation of the document to run.
    pub operation_name: Option<String>,
    /// A JSON object's text.
    pub variables: Option<Bytes>,
    /// A JSON object's text.
    pub extensions: Option<Bytes>,
}

impl GraphqlRequest {
    /// Whether it has a document, or may name one.
    pub(crate) fn names_a_document(&self) -> bool {
        self.query.is_some() || self.document_id.is_some() || self.extensions.is_some()
    }
}

/// What the service knows of the client beside the request itself.
#[derive(Clone, Debug)]
pub struct ClientContext {
    /// The headers of the HTTP request, or of the WebSocket's upgrade request.
    pub headers: Arc<HeaderMap>,
    /// False over GET: a mutation is refused.
    pub mutations_allowed: bool,
    /// False where the transport has no way to stream: a subscription is refused.
    pub subscriptions_allowed: bool,
    /// True over a WebSocket, where many operations share one client's attention: a query or a
    /// mutation is returned unrun ([`Outcome::Deferred`](crate::Outcome::Deferred)), and runs when
    /// there is room for its answer.
    pub answers_deferred: bool,
    /// With whom the client takes turns; all whose address is not known are one client.
    pub key: ClientKey,
}
