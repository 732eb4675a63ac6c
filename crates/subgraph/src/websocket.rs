//! WebSocket subscriptions: the protocol `graphql-transport-ws`.
//!
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>. One task reads the socket
//! and one task runs each operation; their messages meet in one bounded queue. An operation whose
//! client does not read waits there, and is told by its source when it has missed something.

use std::collections::HashMap;
use std::time::Duration;

use async_graphql::{Executor, Request, Response, ServerError, Value};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::endpoint::{Endpoint, MAX_BODY_BYTES};
use crate::error::CodedError;
use crate::limits::json_size::has_too_many_values;

const PROTOCOL: &str = "graphql-transport-ws";
/// A client has this long to send `connection_init`.
const INIT_TIME_LIMIT: Duration = Duration::from_secs(5);
/// A ping is sent this often; a client that stays silent for two of them is gone.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Operations that one socket may have open.
const MAX_OPERATIONS: usize = 10_000;
/// Messages that wait for the socket to take them.
const QUEUE_LENGTH: usize = 64;

/// Answers the handshake; a client without our protocol is told so by a close code.
pub(crate) fn accept<E: CodedError, X: Executor>(
    upgrade: WebSocketUpgrade,
    endpoint: Endpoint<E, X>,
) -> HttpResponse {
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(MAX_BODY_BYTES)
        .on_upgrade(move |mut socket| async move {
            let close = if socket.protocol().is_some() {
                Connection::new(endpoint).serve(&mut socket).await
            } else {
                Some(Close(4406, "Subprotocol not acceptable"))
            };
            if let Some(Close(code, reason)) = close {
                let frame = CloseFrame {
                    code,
                    reason: reason.into(),
                };
                // The client may be gone already, which is what a close is for.
                let _ = socket.send(Message::Close(Some(frame))).await;
            }
        })
        .into_response()
}

/// The code and reason with which the socket is closed.
struct Close(u16, &'static str);

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientMessage {
    ConnectionInit,
    Ping,
    Pong,
    Subscribe { id: String, payload: Box<Request> },
    Complete { id: String },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ServerMessage<'a> {
    ConnectionAck,
    Ping,
    Pong,
    Next {
        id: &'a str,
        payload: &'a Response,
    },
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

impl ServerMessage<'_> {
    fn text(&self) -> Message {
        let text = serde_json::to_string(self).unwrap_or_else(|error| {
            tracing::error!(%error, "a message could not be written");
            String::new()
        });
        Message::Text(text.into())
    }
}

/// An operation that runs on this socket. A client may use an id again once it is complete; the
/// serial number tells apart what belongs to the earlier one.
struct Operation {
    serial: u64,
    task: AbortHandle,
}

/// What an operation's task hands to the socket's task.
struct Outgoing {
    message: Message,
    id: String,
    serial: u64,
    /// Whether this is the operation's last message.
    last: bool,
}

struct Connection<E, X> {
    endpoint: Endpoint<E, X>,
    acknowledged: bool,
    tasks: JoinSet<()>,
    operations: HashMap<String, Operation>,
    serial: u64,
    outgoing: mpsc::Sender<Outgoing>,
    queue: mpsc::Receiver<Outgoing>,
}

impl<E: CodedError, X: Executor> Connection<E, X> {
    fn new(endpoint: Endpoint<E, X>) -> Self {
        let (outgoing, queue) = mpsc::channel(QUEUE_LENGTH);
        Self {
            endpoint,
            acknowledged: false,
            tasks: JoinSet::new(),
            operations: HashMap::new(),
            serial: 0,
            outgoing,
            queue,
        }
    }

    /// Serves the socket until either side closes it. Dropping the connection ends its operations.
    async fn serve(mut self, socket: &mut WebSocket) -> Option<Close> {
        let shutdown = self.endpoint.shutdown.clone();
        let init_deadline = Instant::now() + INIT_TIME_LIMIT;
        let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        let mut silent_pings = 0;
        loop {
            let reply = tokio::select! {
                received = socket.recv() => {
                    silent_pings = 0;
                    match self.received(received?.ok()?) {
                        Ok(reply) => reply,
                        Err(close) => return Some(close),
                    }
                }
                Some(outgoing) = self.queue.recv() => self.released(outgoing),
                // Ended tasks are taken out, so that the set does not grow.
                Some(_) = self.tasks.join_next() => None,
                _ = ping.tick() => {
                    silent_pings += 1;
                    if silent_pings > 2 {
                        return Some(Close(4408, "Client is silent"));
                    }
                    Some(ServerMessage::Ping.text())
                }
                () = tokio::time::sleep_until(init_deadline), if !self.acknowledged => {
                    return Some(Close(4408, "Connection initialisation timeout"));
                }
                () = shutdown.cancelled() => return Some(Close(1001, "The service is stopping")),
            };
            if let Some(message) = reply {
                socket.send(message).await.ok()?;
            }
        }
    }

    fn received(&mut self, message: Message) -> Result<Option<Message>, Close> {
        let json = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(None),
        };
        if has_too_many_values(json) {
            return Err(Close(4400, "Message has too many values"));
        }
        let parsed = serde_json::from_slice(json);
        match parsed.map_err(|_| Close(4400, "Invalid message received"))? {
            ClientMessage::ConnectionInit if self.acknowledged => {
                Err(Close(4429, "Too many initialisation requests"))
            }
            ClientMessage::ConnectionInit => {
                self.acknowledged = true;
                Ok(Some(ServerMessage::ConnectionAck.text()))
            }
            ClientMessage::Ping => Ok(Some(ServerMessage::Pong.text())),
            ClientMessage::Pong => Ok(None),
            ClientMessage::Subscribe { id, payload } => self.subscribe(id, *payload).map(|()| None),
            ClientMessage::Complete { id } => {
                if let Some(operation) = self.operations.remove(&id) {
                    operation.task.abort();
                }
                Ok(None)
            }
        }
    }

    fn subscribe(&mut self, id: String, request: Request) -> Result<(), Close> {
        if !self.acknowledged {
            return Err(Close(4401, "Unauthorized"));
        }
        if self.operations.contains_key(&id) {
            return Err(Close(4409, "Subscriber already exists"));
        }
        if self.operations.len() >= MAX_OPERATIONS {
            return Err(Close(4429, "Too many operations"));
        }
        self.serial += 1;
        let queue = OperationQueue {
            id: id.clone(),
            serial: self.serial,
            outgoing: self.outgoing.clone(),
        };
        let task = self.tasks.spawn(run(self.endpoint.clone(), request, queue));
        self.operations.insert(
            id,
            Operation {
                serial: self.serial,
                task,
            },
        );
        Ok(())
    }

    /// The message, unless its operation was completed by the client meanwhile.
    fn released(&mut self, outgoing: Outgoing) -> Option<Message> {
        let Outgoing {
            message,
            id,
            serial,
            last,
        } = outgoing;
        if self.operations.get(&id)?.serial != serial {
            return None;
        }
        if last {
            self.operations.remove(&id);
        }
        Some(message)
    }
}

/// The way of one operation's messages to the socket.
struct OperationQueue {
    id: String,
    serial: u64,
    outgoing: mpsc::Sender<Outgoing>,
}

impl OperationQueue {
    /// Waits for room; tells whether the socket is still there.
    async fn send(&self, message: ServerMessage<'_>, last: bool) -> bool {
        let (message, id) = (message.text(), self.id.clone());
        let outgoing = Outgoing {
            message,
            id,
            serial: self.serial,
            last,
        };
        self.outgoing.send(outgoing).await.is_ok()
    }
}

/// Runs one operation and queues its messages.
async fn run<E: CodedError, X: Executor>(
    endpoint: Endpoint<E, X>,
    request: Request,
    queue: OperationQueue,
) {
    let id = &queue.id;
    let mut responses = endpoint.execute_stream(request, false);
    let mut first = true;
    while let Some(response) = responses.next().await {
        // An operation that fails before its first result ends with `error`; later errors are
        // part of the results.
        if first && !response.errors.is_empty() && response.data == Value::Null {
            queue
                .send(
                    ServerMessage::Error {
                        id,
                        payload: &response.errors,
                    },
                    true,
                )
                .await;
            return;
        }
        first = false;
        if !queue
            .send(
                ServerMessage::Next {
                    id,
                    payload: &response,
                },
                false,
            )
            .await
        {
            return;
        }
    }
    queue.send(ServerMessage::Complete { id }, true).await;
}
