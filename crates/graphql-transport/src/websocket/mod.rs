//! GraphQL over a WebSocket, by the graphql-transport-ws protocol.
//!
//! Source: <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>. Queries and mutations
//! come this way too. The older subprotocol `graphql-ws` is not spoken: its `start` without
//! `connection_init` has been a way around authorisation.

mod close;
mod connection;
mod message;
mod operations;

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, WebSocketUpgrade},
    response::Response,
};
use http::{HeaderMap, header, request::Parts};

use crate::{
    client_key::ClientKey,
    code::{Code, Refusal},
    http::csrf,
    metrics::Transport,
    service::Service,
};
use connection::Connection;

/// The one subprotocol.
pub const SUBPROTOCOL: &str = "graphql-transport-ws";

/// Most connections are quiet: they should cost little while they are.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Every message is flushed, so that nothing is gained by a larger one.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// Whether a GET asks for a WebSocket.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Opens the WebSocket. A client that does not offer the subprotocol is told so by close code 4406.
///
/// # Errors
/// `CSRF_REFUSED` for pages of other origins; `BAD_REQUEST` where the handshake is not well-formed.
pub(crate) async fn upgrade<S: Service>(
    service: &Arc<S>,
    parts: &mut Parts,
) -> Result<Response, Refusal> {
    let serving = service.serving();
    csrf::check_upgrade(&parts.headers, &serving.settings.http)?;
    let headers = parts.headers.clone();
    let key = ClientKey::of_peer(&parts.extensions);
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|error| Refusal::new(Code::BadRequest, error.body_text()))?;
    let bytes_max = serving.settings.websocket.ws_message_bytes_max;
    // Counted before the connection's task exists, so that a shutdown cannot miss it.
    let token = serving.sockets.token();
    let service = Arc::clone(service);
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
        .on_upgrade(async move |socket| {
            let _counted_until_closed = token;
            let client = service.serving().metrics.client(Transport::WebSocket);
            Connection::new(service, socket, headers, key).run().await;
            drop(client);
        }))
}
