//! Watchers: one subscription each, which is never begun a second time.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::Shared;

const QUERIES: [&str; 2] = [
    "subscription ($post: ID!) { commentAdded(postId: $post) { id text } }",
    "subscription ($post: ID!) { commentChanges(postId: $post) { ... on CommentAdded { cursor comment { id text } } } }",
];
const INTERRUPTED: &str = "SUBSCRIPTION_INTERRUPTED";
/// Faults of one watcher that are kept.
const FAULTS_MAX: usize = 20;

/// A client that watches one post.
pub(super) struct Watcher {
    post: usize,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) comments: Vec<String>,
    pub(super) interruptions: usize,
    pub(super) faults: Vec<String>,
}

impl Watcher {
    pub(super) fn start(shared: &Arc<Shared>, number: usize) -> Self {
        let post = number % shared.posts.len();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (context, into) = (Arc::clone(shared), Arc::clone(&seen));
        // Every other one has cursors; every fourth one is not a WebSocket.
        let query = QUERIES[number % QUERIES.len()];
        let body = json!({ "query": query, "variables": { "post": shared.posts[post] } });
        let task = tokio::spawn(async move {
            let ended = if number % 4 < 3 {
                over_socket(&context, body, &into).await
            } else {
                by_events(&context, body, &into).await
            };
            let reason = ended
                .err()
                .unwrap_or_else(|| "the subscription ended".to_owned());
            locked(&into).fault(reason);
        });
        Self { post, seen, task }
    }

    pub(super) fn post(&self) -> usize {
        self.post
    }

    pub(super) fn seen(&self) -> Seen {
        locked(&self.seen).clone()
    }

    pub(super) fn is_live(&self) -> bool {
        !locked(&self.seen).comments.is_empty()
    }

    pub(super) fn faults(&self) -> Vec<String> {
        locked(&self.seen).faults.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    /// One execution result, or a list of errors.
    fn take(&mut self, result: &Value) {
        let data = &result["data"];
        let added = &data["commentAdded"]["id"];
        let changed = &data["commentChanges"]["comment"]["id"];
        let id = added.as_str().or(changed.as_str());
        if let Some(id) = id {
            self.comments.push(id.to_owned());
        }
        let errors = result["errors"].as_array().or(result.as_array());
        for error in errors.into_iter().flatten() {
            match error["extensions"]["code"].as_str() {
                Some(INTERRUPTED) => self.interruptions += 1,
                Some(code) => self.fault(code.to_owned()),
                None => self.fault(error.to_string()),
            }
        }
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

fn locked(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn over_socket(shared: &Shared, payload: Value, seen: &Mutex<Seen>) -> Result<(), String> {
    let mut socket = subscribed(shared, &payload).await?;
    loop {
        let message = next(&mut socket).await?;
        match message["type"].as_str() {
            Some("next" | "error") => locked(seen).take(&message["payload"]),
            _ => return Ok(()),
        }
    }
}

/// A socket with one subscription.
pub(super) async fn subscribed(shared: &Shared, payload: &Value) -> Result<Socket, String> {
    let url = format!("ws://{}/graphql", shared.gateway);
    let mut request = url.into_client_request().map_err(text)?;
    let protocol = "graphql-transport-ws".parse().map_err(text)?;
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let (mut socket, _) = connect_async(request).await.map_err(text)?;
    send(&mut socket, &json!({ "type": "connection_init" })).await?;
    let ack = next(&mut socket).await?;
    if ack["type"] != "connection_ack" {
        return Err(format!("not a connection_ack: {ack}"));
    }
    send(
        &mut socket,
        &json!({ "id": "1", "type": "subscribe", "payload": payload }),
    )
    .await?;
    Ok(socket)
}

pub(super) type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// The next message that is not about the connection's health.
pub(super) async fn next(socket: &mut Socket) -> Result<Value, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(message))) => {
                let message: Value = serde_json::from_str(&message).map_err(text)?;
                if message["type"] != "ping" {
                    return Ok(message);
                }
                send(socket, &json!({ "type": "pong" })).await?;
            }
            Some(Ok(Message::Close(frame))) => {
                return Err(format!("the socket was closed: {frame:?}"));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(text(error)),
            None => return Err("the socket ended".to_owned()),
        }
    }
}

async fn send(socket: &mut Socket, message: &Value) -> Result<(), String> {
    socket
        .send(Message::text(message.to_string()))
        .await
        .map_err(text)
}

async fn by_events(shared: &Shared, body: Value, seen: &Mutex<Seen>) -> Result<(), String> {
    let request = reqwest::Client::new()
        .post(format!("http://{}/graphql", shared.gateway))
        .header("content-type", "application/json")
        .header("accept", "text/event-stream")
        .body(body.to_string());
    let mut response = request.send().await.map_err(text)?;
    let mut received = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(text)? {
        received.extend_from_slice(&chunk);
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data:")
                && !data.trim_ascii().is_empty()
            {
                let result: Value = serde_json::from_slice(data).map_err(text)?;
                locked(seen).take(&result);
            }
        }
    }
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
