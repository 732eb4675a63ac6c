//! Subscriptions at subgraphs: many on one WebSocket, or each on a server-sent-event stream.

mod connection;
mod sockets;
mod sse;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::resume::UpstreamOperation;
use crate::{config::SubscriptionConfig, graph::SubgraphAddress, subgraphs::Tls};
use sockets::{Sockets, Unsubscribe};

/// Events of one subscription that wait to be completed. Beyond it the subscription is broken off
/// and begun again from its cursor, so that it never holds up the others on its connection.
const WAITING_EVENTS_MAX: usize = 1024;

/// What a subgraph says of one subscription.
#[derive(Debug)]
pub(super) enum UpstreamMessage {
    /// An event: a GraphQL response.
    Next(Bytes),
    /// It ends with errors: a GraphQL response without data.
    Errors(Bytes),
    /// It ends.
    Complete,
}

/// Why a subgraph cannot be heard.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("no connection: {0}")]
    Connect(Arc<str>),
    #[error("not understood: {0}")]
    Protocol(&'static str),
    #[error("the connection is lost")]
    Lost,
    #[error("no answer in time")]
    Timeout,
}

/// What one subscription's subgraph says. Dropping it ends the subscription there.
pub(super) struct Messages {
    receiver: mpsc::Receiver<UpstreamMessage>,
    _ends_when_dropped: Ends,
}

/// How a subscription is ended at its subgraph.
#[expect(dead_code, reason = "both act when they are dropped")]
enum Ends {
    OnSocket(Unsubscribe),
    OnStream(DropGuard),
}

impl Messages {
    /// The next one; none when the connection is lost.
    pub(super) async fn next(&mut self) -> Option<UpstreamMessage> {
        self.receiver.recv().await
    }
}

/// The ways to subgraphs.
pub(super) struct Upstreams {
    sockets: Sockets,
    sse_subgraphs: Vec<String>,
    tls: Tls,
}

impl Upstreams {
    pub(super) fn new(config: &SubscriptionConfig, tls: &Tls) -> Self {
        Self {
            sockets: Sockets::new(config.subscription_keep_alive, tls),
            tls: tls.clone(),
            sse_subgraphs: config.subscription_sse_subgraphs.clone(),
        }
    }

    /// Begins a subscription; returns when the subgraph has been told of it.
    pub(super) async fn open(
        &self,
        address: SubgraphAddress<'_>,
        operation: UpstreamOperation<'_>,
        headers: HeaderMap,
    ) -> Result<Messages, UpstreamError> {
        if self.sse_subgraphs.iter().any(|name| name == address.name) {
            sse::open(address.url, &self.tls, operation, headers).await
        } else {
            self.sockets.open(address.url, operation, headers).await
        }
    }
}

/// `{"query": ..., "variables": ...}`.
fn request_json(operation: &UpstreamOperation<'_>) -> Vec<u8> {
    let mut query = String::with_capacity(operation.operation.len() + 32);
    query.push_str("{\"query\":");
    crate::json::write::string(&mut query, operation.operation);
    query.push_str(",\"variables\":");
    let mut request = query.into_bytes();
    request.extend_from_slice(&operation.variables);
    request.push(b'}');
    request
}

/// A list of errors as a GraphQL response.
fn errors_response(errors: &[u8]) -> Bytes {
    [b"{\"data\":null,\"errors\":", errors, b"}"]
        .concat()
        .into()
}
