//! A GraphQL request as every transport hands it to the service.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::HeaderMap;
use prometheus_client::metrics::counter::Counter;
use socket_outlet::Outlet;
use tokio::time::Instant;

use crate::{
    client_key::ClientKey, direct_sender::DirectSender, http::accept::Streaming, uploads::Uploads,
};

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
    /// The files that came with it.
    pub uploads: Option<Arc<Uploads>>,
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
    /// The WebSocket on which the operation came; absent for an HTTP request.
    pub socket: Option<Arc<ClientSocket>>,
    /// The client's name for the operation on that WebSocket.
    pub operation: Option<Arc<str>>,
    /// The socket of an HTTP/1.1 connection whose response is a stream of events.
    pub event_stream: Option<EventStreamSocket>,
}

impl ClientContext {
    /// A direct way to the client for events of this operation, if it came on a WebSocket, or gets a streamed response, and
    /// the server allows one. Each event that is sent counts as one of `deliveries`.
    pub fn direct_sender(&self, deliveries: &Counter) -> Option<DirectSender> {
        let deliveries = deliveries.clone();
        if let Some(EventStreamSocket { outlet, streaming }) = self.event_stream.clone() {
            return Some(DirectSender::of_response(outlet, streaming, deliveries));
        }
        let outlet = self.socket.as_ref()?.outlet.clone()?;
        let id = self.operation.as_deref()?;
        Some(DirectSender::of_websocket(outlet, id, deliveries))
    }
}

/// The way to write events around a connection's task.
#[derive(Clone)]
pub struct EventStreamSocket {
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) streaming: Streaming,
}

impl fmt::Debug for EventStreamSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventStreamSocket")
            .finish_non_exhaustive()
    }
}

/// Until when, and as whom, a service serves the client of a WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// Who the client is; stays the same as long as the WebSocket does. Absent: nobody that is known.
    pub subject: Option<Arc<str>>,
    /// What the client may see, as a text of the service's. A new token may change it.
    pub rights: Option<Arc<str>>,
    /// When the client's token ends; absent where it has none.
    pub valid_until: Option<Instant>,
}

impl Admitted {
    /// Whether the client's token has ended.
    pub fn has_ended(&self) -> bool {
        self.valid_until
            .is_some_and(|until| until <= Instant::now())
    }
}

/// Why the client of a WebSocket is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// Its credentials are refused (close code 4403), for this reason, which is safe to show.
    Forbidden(String),
    /// They cannot be checked now (close code 1013), for this reason.
    Unavailable(String),
}

/// What all operations of one WebSocket share: as whom the service has admitted its client, and a direct way to it. A
/// client may bring a new token while operations run.
#[derive(Default)]
pub struct ClientSocket {
    admitted: Mutex<Admitted>,
    outlet: Option<Arc<Outlet>>,
}

impl ClientSocket {
    pub(crate) fn new(outlet: Option<Arc<Outlet>>) -> Self {
        Self {
            admitted: Mutex::default(),
            outlet,
        }
    }

    /// Whether the rest of an event that was begun directly has to be written.
    pub(crate) fn has_rest(&self) -> bool {
        let outlet = self.outlet.as_ref();
        outlet.is_some_and(|outlet| outlet.has_rest())
    }

    /// Events go through the connection's task from now on.
    pub(crate) fn close_outlet(&self) {
        if let Some(outlet) = &self.outlet {
            outlet.close();
        }
    }

    /// As whom the client is admitted now.
    pub fn admitted(&self) -> Admitted {
        self.lock().clone()
    }

    pub(crate) fn admit(&self, admitted: Admitted) {
        *self.lock() = admitted;
    }

    fn lock(&self) -> MutexGuard<'_, Admitted> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ClientSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let admitted = self.admitted();
        let mut socket = formatter.debug_struct("ClientSocket");
        socket.field("admitted", &admitted).finish_non_exhaustive()
    }
}
