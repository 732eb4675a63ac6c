//! WebSocket subscriptions: the protocol `graphql-transport-ws`.
//!
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>. One task reads the socket
//! and one task runs each operation; their messages meet in two bounded queues. A subscription whose
//! client does not read waits for a place, and is told by its source when it has missed something. A
//! query or a mutation runs only once it has a place for its answer, so nothing is computed for a
//! client that does not read. Answers have a queue of their own: slow ones keep no event waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Executor, Request, Response, ServerError, Value};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::Code;
use crate::endpoint::{Endpoint, Execution, MAX_BODY_BYTES, coded};
use crate::error::CodedError;
use crate::limits::json_size::has_too_many_values;

const PROTOCOL: &str = "graphql-transport-ws";
/// A client has this long to send `connection_init`.
const INIT_TIME_LIMIT: Duration = Duration::from_secs(5);
/// A ping is sent this often; a client that stays silent for two of them is gone.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Operations that one socket may have open.
const MAX_OPERATIONS: usize = 10_000;
/// Queries and mutations among them. Further ones are refused with `OVERLOADED`.
const MAX_ANSWERS: usize = 100;
/// Bytes of an operation's id: it is kept as long as the operation runs.
const ID_BYTES_MAX: usize = 1024;
/// Events that wait for the socket to take them, and so many answers that are computed or wait.
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
    messages: Vec<Message>,
    id: String,
    serial: u64,
    /// Whether these are the operation's last messages.
    last: bool,
}

struct Connection<E, X> {
    endpoint: Endpoint<E, X>,
    acknowledged: bool,
    tasks: JoinSet<()>,
    operations: HashMap<String, Operation>,
    serial: u64,
    /// Permits for queries and mutations.
    answers: Arc<Semaphore>,
    answer_sender: mpsc::Sender<Outgoing>,
    answer_queue: mpsc::Receiver<Outgoing>,
    event_sender: mpsc::Sender<Outgoing>,
    event_queue: mpsc::Receiver<Outgoing>,
}

impl<E: CodedError, X: Executor> Connection<E, X> {
    fn new(endpoint: Endpoint<E, X>) -> Self {
        let (answer_sender, answer_queue) = mpsc::channel(QUEUE_LENGTH);
        let (event_sender, event_queue) = mpsc::channel(QUEUE_LENGTH);
        Self {
            endpoint,
            acknowledged: false,
            tasks: JoinSet::new(),
            operations: HashMap::new(),
            serial: 0,
            answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
            answer_sender,
            answer_queue,
            event_sender,
            event_queue,
        }
    }

    /// Serves the socket until either side closes it. Dropping the connection ends its operations.
    async fn serve(mut self, socket: &mut WebSocket) -> Option<Close> {
        let shutdown = self.endpoint.shutdown.clone();
        let init_deadline = Instant::now() + INIT_TIME_LIMIT;
        let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        let mut silent_pings = 0;
        loop {
            let messages = tokio::select! {
                received = socket.recv() => {
                    silent_pings = 0;
                    match self.received(received?.ok()?) {
                        Ok(reply) => Vec::from_iter(reply),
                        Err(close) => return Some(close),
                    }
                }
                Some(outgoing) = self.answer_queue.recv() => self.released(outgoing),
                Some(outgoing) = self.event_queue.recv() => self.released(outgoing),
                // Ended tasks are taken out, so that the set does not grow.
                Some(_) = self.tasks.join_next() => Vec::new(),
                _ = ping.tick() => {
                    silent_pings += 1;
                    if silent_pings > 2 {
                        return Some(Close(4408, "Client is silent"));
                    }
                    vec![ServerMessage::Ping.text()]
                }
                () = tokio::time::sleep_until(init_deadline), if !self.acknowledged => {
                    return Some(Close(4408, "Connection initialisation timeout"));
                }
                () = shutdown.cancelled() => return Some(Close(1001, "The service is stopping")),
            };
            for message in messages {
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
        if id.len() > ID_BYTES_MAX {
            return Err(Close(4400, "The id is too long"));
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
            answers: self.answer_sender.clone(),
            events: self.event_sender.clone(),
        };
        let answers = Arc::clone(&self.answers);
        let task = self
            .tasks
            .spawn(run(self.endpoint.clone(), request, queue, answers));
        self.operations.insert(
            id,
            Operation {
                serial: self.serial,
                task,
            },
        );
        Ok(())
    }

    /// The messages, unless their operation was completed by the client meanwhile.
    fn released(&mut self, outgoing: Outgoing) -> Vec<Message> {
        let Outgoing {
            messages,
            id,
            serial,
            last,
        } = outgoing;
        if self.operations.get(&id).map(|known| known.serial) != Some(serial) {
            return Vec::new();
        }
        if last {
            self.operations.remove(&id);
        }
        messages
    }
}

/// The way of one operation's messages to the socket.
struct OperationQueue {
    id: String,
    serial: u64,
    answers: mpsc::Sender<Outgoing>,
    events: mpsc::Sender<Outgoing>,
}

impl OperationQueue {
    /// Waits for a place among the events, then writes the message; tells whether the socket is still there.
    async fn send(&self, message: ServerMessage<'_>, last: bool) -> bool {
        let Ok(place) = self.events.reserve().await else {
            return false;
        };
        place.send(self.outgoing(vec![message.text()], last));
        true
    }

    fn outgoing(&self, messages: Vec<Message>, last: bool) -> Outgoing {
        Outgoing {
            messages,
            id: self.id.clone(),
            serial: self.serial,
            last,
        }
    }
}

/// Runs one operation and queues its messages.
async fn run<E: CodedError, X: Executor>(
    endpoint: Endpoint<E, X>,
    request: Request,
    queue: OperationQueue,
    answers: Arc<Semaphore>,
) {
    let id = &queue.id;
    let mut events = match endpoint.execute_any(request, false).await {
        Execution::Events(events) => events,
        Execution::Answer(answer) => {
            let Ok(_permit) = answers.try_acquire() else {
                // What waits for the socket must be small.
                drop(answer);
                let refusal = too_many_answers();
                queue.send(ended_by(id, &refusal), true).await;
                return;
            };
            let Ok(place) = queue.answers.reserve().await else {
                return;
            };
            // It holds the turn until the messages are written.
            let outcome = answer.await;
            let response = &outcome.response;
            let messages = match was_refused(response) {
                true => vec![ended_by(id, response).text()],
                false => vec![
                    next(id, response).text(),
                    ServerMessage::Complete { id }.text(),
                ],
            };
            place.send(queue.outgoing(messages, true));
            return;
        }
    };
    let mut is_first = true;
    while let Some(response) = events.next().await {
        // An operation that fails before its first result ends with `error`; later errors are
        // part of the results.
        if is_first && was_refused(&response) {
            queue.send(ended_by(id, &response), true).await;
            return;
        }
        is_first = false;
        if !queue.send(next(id, &response), false).await {
            return;
        }
    }
    queue.send(ServerMessage::Complete { id }, true).await;
}

fn was_refused(response: &Response) -> bool {
    !response.errors.is_empty() && response.data == Value::Null
}

fn ended_by<'a>(id: &'a str, response: &'a Response) -> ServerMessage<'a> {
    let payload = &response.errors;
    ServerMessage::Error { id, payload }
}

fn next<'a>(id: &'a str, payload: &'a Response) -> ServerMessage<'a> {
    ServerMessage::Next { id, payload }
}

fn too_many_answers() -> Response {
    let reason = format!("a socket may have {MAX_ANSWERS} queries and mutations at a time");
    coded(ServerError::new(reason, None), Code::Overloaded)
}
