//! Watchers: one subscription each, which never starts a second time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use graphql_transport::client::{Client, ClientEvent, EventReader, StreamEvent};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Shared;

const QUERIES: [&str; 2] = [
    "subscription ($post: ID!) { commentAdded(postId: $post) { id text } }",
    "subscription ($post: ID!) { commentChanges(postId: $post) { ... on CommentAdded { cursor comment { id text } } } }",
];
const INTERRUPTED: &str = "SUBSCRIPTION_INTERRUPTED";
/// A connection that takes longer is a fault.
const CONNECT_TIME_LIMIT: Duration = Duration::from_secs(30);
/// Faults of one watcher that are kept.
const FAULTS_MAX: usize = 20;

/// A client that watches one post.
pub(super) struct Watcher {
    post: usize,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// The events that one subscriber received, in order.
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

async fn over_socket(shared: &Shared, request: Value, seen: &Mutex<Seen>) -> Result<(), String> {
    let mut client = subscribed(shared, &request).await?;
    loop {
        match client.next().await {
            ClientEvent::Next(result) | ClientEvent::Error(result) => locked(seen).take(&result),
            ClientEvent::Complete => return Ok(()),
            closed @ ClientEvent::Closed(_) => return Err(format!("{closed:?}")),
        }
    }
}

/// A socket with one subscription.
pub(super) async fn subscribed(shared: &Shared, request: &Value) -> Result<Client, String> {
    let url = format!("ws://{}/graphql", shared.gateway);
    let client = Client::open(&url, CONNECT_TIME_LIMIT).await;
    let mut client = client.map_err(text)?;
    let sent = client.subscribe("1", request.to_string()).await;
    sent.map_err(text)?;
    Ok(client)
}

async fn by_events(shared: &Shared, body: Value, seen: &Mutex<Seen>) -> Result<(), String> {
    let request = reqwest::Client::new()
        .post(format!("http://{}/graphql", shared.gateway))
        .header("content-type", "application/json")
        .header("accept", "text/event-stream")
        .body(body.to_string());
    let mut response = request.send().await.map_err(text)?;
    let mut reader = EventReader::default();
    while let Some(chunk) = response.chunk().await.map_err(text)? {
        reader.extend(&chunk);
        while let Some(event) = reader.event() {
            let StreamEvent::Next(result) = event else {
                return Ok(());
            };
            let result = serde_json::from_slice(&result).map_err(text)?;
            locked(seen).take(&result);
        }
    }
    Ok(())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
