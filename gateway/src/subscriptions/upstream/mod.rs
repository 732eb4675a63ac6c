//! Subscriptions at subgraphs: many on one WebSocket, or each on a server-sent-event stream.

mod connection;
mod quarantine;
mod sockets;
mod sse;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::resume::UpstreamOperation;
use crate::{
    config::SubscriptionConfig, graph::SubgraphAddress, metrics::GatewayMetrics, subgraphs::Tls,
};
use quarantine::Quarantine;
use sockets::{Opening, Sockets, Unsubscribe};

/// Events of one subscription that wait to be completed. Beyond it the subscription is broken off
/// and begun again from its cursor, so that it never holds up the others on its connection.
const WAITING_EVENTS_MAX: usize = 1024;

/// What a subgraph says of one subscription.
#[derive(Debug)]
pub(super) enum UpstreamMessage {
    /// The subgraph has taken the operation.
    Accepted,
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
    #[error("too many operations wait for a connection of their own")]
    Busy,
    #[error("its connection ends when the operation arrives: {0}")]
    Refused(Arc<str>),
    #[error("the operation and its variables are larger than {0} bytes")]
    TooLarge(usize),
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
    quarantine: Arc<Quarantine>,
    request_bytes_max: usize,
    sse_subgraphs: Vec<String>,
    tls: Tls,
}

impl Upstreams {
    pub(super) fn new(config: &SubscriptionConfig, tls: &Tls, metrics: &GatewayMetrics) -> Self {
        let quarantine = Arc::new(Quarantine::new(
            config.subscription_quarantine_max,
            &metrics.upstream_quarantined,
        ));
        Self {
            sockets: Sockets::new(config, tls, Arc::clone(&quarantine), metrics),
            quarantine,
            request_bytes_max: config.subscription_request_bytes_max,
            tls: tls.clone(),
            sse_subgraphs: config.subscription_sse_subgraphs.clone(),
        }
    }

    /// Begins a subscription; returns when the subgraph has been sent the operation. `is_proven` says
    /// that the subgraph has taken it before.
    ///
    /// # Errors
    /// [`UpstreamError::TooLarge`] and [`UpstreamError::Refused`] will not go away by themselves.
    pub(super) async fn open(
        &self,
        address: SubgraphAddress<'_>,
        operation: UpstreamOperation<'_>,
        headers: HeaderMap,
        is_proven: bool,
    ) -> Result<Messages, UpstreamError> {
        let request = self.request(&operation)?;
        if self.sse_subgraphs.iter().any(|name| name == address.name) {
            return sse::open(address.url, &self.tls, request, headers).await;
        }
        let opening = Opening {
            key: self.quarantine.key(
                address.url,
                operation.operation,
                &operation.variables_without_cursor,
            ),
            request,
            headers,
            is_proven,
        };
        self.sockets.open(address.url, opening).await
    }

    /// A GraphQL request's JSON: `{"query": ..., "variables": ...}`.
    ///
    /// # Errors
    /// [`UpstreamError::TooLarge`]: a subgraph ends the connection for too large a message.
    pub(super) fn request(
        &self,
        operation: &UpstreamOperation<'_>,
    ) -> Result<Vec<u8>, UpstreamError> {
        let request = request_json(operation);
        match request.len() > self.request_bytes_max {
            true => Err(UpstreamError::TooLarge(self.request_bytes_max)),
            false => Ok(request),
        }
    }
}

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
