//! GraphQL over a WebSocket, by the graphql-transport-ws protocol.
//!
//! Source: <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>. Queries and mutations
//! come this way too. The older subprotocol `graphql-ws` is not spoken: its `start` without
//! `connection_init` has been a way around authorisation.

mod close;
mod connection;
mod frames;
mod lean;
mod message;
mod metered;
mod operations;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts, WebSocketUpgrade},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use socket_outlet::Outlet;
use tokio_tungstenite::tungstenite::{handshake::derive_accept_key, protocol::WebSocketConfig};

use crate::{
    client_key::ClientKey,
    code::{Code, Refusal},
    http::csrf,
    service::Service,
};
pub use close::{Close, is_about_a_message};
use connection::ClientConnection;
use lean::LeanSocket;
pub use message::{ClientMessage, ServerMessage};
pub(crate) use message::{next_head, write_frame_head};
use metered::{Meter, Metered};

/// The value of `Sec-WebSocket-Protocol` that is accepted.
pub const SUBPROTOCOL: &str = "graphql-transport-ws";

/// Most connections are quiet: they should cost little while they are.
const READ_BUFFER_BYTES: usize = 512;
/// Every message is flushed, so that nothing is gained by a larger one.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;

/// Whether a GET asks for a WebSocket.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Opens the WebSocket. A client that does not offer the subprotocol gets close code 4406.
///
/// # Errors
/// `CSRF_REFUSED` for pages of other origins; `BAD_REQUEST` where the handshake is not well-formed.
pub(crate) async fn upgrade<S: Service>(
    service: &Arc<S>,
    key: ClientKey,
    parts: &mut Parts,
) -> Result<Response, Refusal> {
    let serving = service.serving();
    csrf::check_upgrade(&parts.headers, &serving.settings.http)?;
    let upgraded = parts.extensions.get::<OnUpgrade>().cloned();
    let outlet = parts.extensions.get::<Arc<Outlet>>().cloned();
    // Checks the handshake. The stream itself is opened here, to count what is read from it.
    let handshake = WebSocketUpgrade::from_request_parts(parts, &()).await;
    drop(handshake.map_err(|error| Refusal::new(Code::BadRequest, error.body_text()))?);
    let challenge = parts.headers.get(header::SEC_WEBSOCKET_KEY);
    let (Some(upgraded), Some(challenge)) = (upgraded, challenge) else {
        let message = "this connection cannot become a WebSocket";
        return Err(Refusal::new(Code::BadRequest, message));
    };
    let is_offered = offers_subprotocol(&parts.headers);
    let response = switching(challenge, is_offered);
    let headers = headers_of_client(&**service, &parts.headers);
    let bytes_max = serving.settings.websocket.ws_message_bytes_max;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max));
    // Counted before the connection's task exists, so that a shutdown cannot miss it.
    let token = serving.sockets.token();
    let turns = serving.turns.of(key);
    let service = Arc::clone(service);
    let of_operations = turns.clone();
    let open = Box::pin(async move {
        // A client may leave before it reads the answer.
        let upgraded = upgraded.await.ok()?;
        let share = service.serving().bodies.share(key);
        let stream = Metered::new(TokioIo::new(upgraded), Meter::new(share));
        let socket = LeanSocket::new(stream, config).await;
        let turns = of_operations;
        Some(ClientConnection::new(
            service, socket, outlet, headers, key, turns,
        ))
    });
    let serve = async move {
        let _counted_until_closed = token;
        if let Some(connection) = open.await {
            connection.run(is_offered).await;
        }
    };
    tokio::spawn(turns.run(Box::pin(serve)));
    Ok(response)
}

/// The headers that say something of the client, or that the service asks for, not those of the upgrade. A copy: the
/// server's own are views of its whole read buffer, which they would keep for as long as the connection lives.
fn headers_of_client<S: Service>(service: &S, headers: &HeaderMap) -> HeaderMap {
    const OF_THE_UPGRADE: [HeaderName; 9] = [
        header::ACCEPT_ENCODING,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::PRAGMA,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_VERSION,
        header::UPGRADE,
    ];
    let of_client = headers.iter().filter(|(name, value)| {
        !OF_THE_UPGRADE.contains(name)
            || service.takes_from_init(name)
            || (*name == header::CONNECTION && names_headers(value))
    });
    let copies = of_client.filter_map(|(name, value)| {
        let mut copy = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        copy.set_sensitive(value.is_sensitive());
        Some((name.clone(), copy))
    });
    let copies: HeaderMap = copies.collect();
    // A clone has no room for more, which is half of a kilobyte.
    copies.clone()
}

/// Whether a value of `Connection` names headers of its own, which nobody may forward.
fn names_headers(connection: &HeaderValue) -> bool {
    let mut options = connection.as_bytes().split(|byte| *byte == b',');
    options.any(|option| {
        let option = option.trim_ascii();
        !option.eq_ignore_ascii_case(b"upgrade") && !option.eq_ignore_ascii_case(b"keep-alive")
    })
}

fn offers_subprotocol(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = offers.flat_map(|offer| offer.as_bytes().split(|byte| *byte == b','));
    names.any(|name| name.trim_ascii() == SUBPROTOCOL.as_bytes())
}

/// The answer to a handshake.
fn switching(challenge: &HeaderValue, is_offered: bool) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(challenge.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if is_offered {
        let protocol = HeaderValue::from_static(SUBPROTOCOL);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}
