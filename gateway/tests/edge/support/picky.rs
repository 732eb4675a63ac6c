//! A subgraph that closes a whole WebSocket for an operation that it does not accept.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::server::Server;

/// Closes the socket with 4400 where a message has it.
pub const POISON: &str = "poison";
/// Drops the socket without a close where a message has it.
pub const BOMB: &str = "bomb";

/// Reads nothing any more where a message has it.
pub const FREEZE: &str = "freeze";

pub struct Picky {
    pub server: Server,
    log: Arc<Log>,
}

struct Log {
    events: broadcast::Sender<String>,
    sockets: AtomicUsize,
    /// Of one socket, at most: more end it with 4429.
    operations_max: usize,
    /// Each operation's socket and text, as it came.
    subscribed: Mutex<Vec<(usize, String)>>,
    /// Operations that run now.
    running: AtomicUsize,
}

impl Picky {
    pub fn start() -> Self {
        Self::with(usize::MAX)
    }

    /// A subgraph that accepts at most this many operations on one socket.
    pub fn with(operations_max: usize) -> Self {
        let log = Arc::new(Log {
            events: broadcast::Sender::new(64),
            sockets: AtomicUsize::new(0),
            operations_max,
            subscribed: Mutex::default(),
            running: AtomicUsize::new(0),
        });
        let app = Router::new()
            .route("/graphql", get(upgrade))
            .with_state(Arc::clone(&log));
        Self {
            server: Server::start(app),
            log,
        }
    }

    /// The setting that puts it in the place of a subgraph.
    pub fn instead_of(&self, subgraph: &str) -> String {
        format!("--subgraph-url={subgraph}={}", self.server.url())
    }

    /// An event of `messages` for every operation.
    pub fn publish(&self, text: &str) {
        // Without operations, it is for none.
        let _ = self.log.events.send(text.to_owned());
    }

    /// The sockets on which operations with this text arrived, by their numbers.
    pub fn sockets_of(&self, text: &str) -> Vec<usize> {
        let subscribed = self.log.subscribed.lock().expect("not poisoned");
        let those = subscribed.iter().filter(|(_, it)| it.contains(text));
        those.map(|(socket, _)| *socket).collect()
    }

    pub fn running(&self) -> usize {
        self.log.running.load(Ordering::SeqCst)
    }
}

async fn upgrade(State(log): State<Arc<Log>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .protocols(["graphql-transport-ws"])
        .on_upgrade(async move |socket| {
            let number = log.sockets.fetch_add(1, Ordering::SeqCst);
            let mut operations = Operations(HashSet::new(), Arc::clone(&log));
            serve(&log, number, socket, &mut operations).await;
        })
}

/// Of one socket, by the ids that the gateway gave them.
struct Operations(HashSet<String>, Arc<Log>);

impl Drop for Operations {
    fn drop(&mut self) {
        self.1.running.fetch_sub(self.0.len(), Ordering::SeqCst);
    }
}

async fn serve(
    log: &Log,
    number: usize,
    mut socket: WebSocket,
    operations: &mut Operations,
) -> Option<()> {
    let mut events = log.events.subscribe();
    loop {
        let message = tokio::select! {
            message = socket.recv() => message?.ok()?,
            Ok(text) = events.recv() => {
                for id in operations.0.iter() {
                    // A type that the protocol does not have ends nothing.
                    let other = json!({"type": "other", "id": id});
                    socket.send(Message::text(other.to_string())).await.ok()?;
                    let payload = json!({"data": {"messages": {"text": text}}});
                    let next = json!({"type": "next", "id": id, "payload": payload});
                    socket.send(Message::text(next.to_string())).await.ok()?;
                }
                continue;
            }
        };
        let Message::Text(text) = message else {
            continue;
        };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        let id = message["id"].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str()? {
            "connection_init" => {
                let ack = Message::text(r#"{"type":"connection_ack"}"#);
                socket.send(ack).await.ok()?;
            }
            "subscribe" => {
                log.subscribed
                    .lock()
                    .expect("not poisoned")
                    .push((number, message["payload"].to_string()));
                let close = if text.contains(POISON) {
                    Some((4400, "it is poison"))
                } else if operations.0.len() == log.operations_max {
                    Some((4429, "too many operations"))
                } else {
                    None
                };
                if let Some((code, reason)) = close {
                    let reason = reason.into();
                    let frame = CloseFrame { code, reason };
                    socket.send(Message::Close(Some(frame))).await.ok()?;
                    return None;
                }
                if text.contains(BOMB) {
                    return None;
                }
                if text.contains(FREEZE) {
                    std::future::pending::<()>().await;
                }
                operations.0.insert(id);
                log.running.fetch_add(1, Ordering::SeqCst);
            }
            "complete" if operations.0.remove(&id) => {
                log.running.fetch_sub(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}
