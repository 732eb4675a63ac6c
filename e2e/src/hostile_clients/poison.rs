//! Subscriptions that may make a subgraph close its socket: text that is not Unicode, and texts of 1.2 MB.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::client::{Attacker, code_in, kind_of_failure};
use super::socket::Socket;

/// Clients of each kind.
const CLIENTS: usize = 4;
/// More than a subgraph takes as one WebSocket message, less than the gateway takes as a body.
const LARGE: usize = 1_200_000;
/// Most of what the gateway takes as one WebSocket message.
const LARGE_MESSAGE: usize = 250_000;
/// A subscription that must be refused is refused within this time.
const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(2);
const ADDED: &str = "subscription ($post: ID!) { commentAdded(postId: $post) { id } }";

/// Half of the clients over a WebSocket, half by server-sent events.
pub(super) async fn surrogates(attacker: Attacker) {
    let payload = format!(r#"{{"query":"{ADDED}","variables":{{"post":"\ud800"}}}}"#);
    let clients = attacker.share_of(2 * CLIENTS);
    let client = move |attacker, number| subscribe(attacker, number % 2 == 0, payload.clone());
    attacker.keep_up(clients, client).await;
}

/// Variables and literals, by server-sent events; over a WebSocket what fits into a message, of
/// characters that take six bytes where they are escaped.
pub(super) async fn oversized(attacker: Attacker) {
    let variable = |bytes| json!({ "query": ADDED, "variables": { "post": "x".repeat(bytes) } });
    let literal = "x".repeat(LARGE);
    let literal = format!("subscription {{ commentAdded(postId: \"{literal}\") {{ id }} }}");
    let escaped = "\u{7f}\u{80}".repeat(LARGE_MESSAGE / 3);
    let bodies = [
        (false, variable(LARGE)),
        (false, json!({ "query": literal })),
        (
            true,
            json!({ "query": ADDED, "variables": { "post": escaped } }),
        ),
        (true, variable(LARGE)),
    ];
    let bodies = bodies.map(|(by_socket, body): (bool, Value)| (by_socket, body.to_string()));
    let client = move |attacker, number: usize| {
        let (by_socket, body) = bodies[number % bodies.len()].clone();
        subscribe(attacker, by_socket, body)
    };
    attacker
        .keep_up(attacker.share_of(4 * CLIENTS).max(4), client)
        .await;
}

async fn subscribe(attacker: Attacker, by_socket: bool, payload: String) {
    let answered = if by_socket {
        timeout(ANSWER_TIME_LIMIT, over_socket(&attacker, &payload)).await
    } else {
        timeout(ANSWER_TIME_LIMIT, by_events(&attacker, payload)).await
    };
    if answered.is_err() {
        attacker.tally.answered("no answer in time");
    }
}

async fn over_socket(attacker: &Attacker, payload: &str) {
    let Some(mut socket) = Socket::open(attacker).await else {
        return;
    };
    if socket.subscribe("1", payload).await {
        socket.next().await;
    }
}

async fn by_events(attacker: &Attacker, payload: String) {
    attacker.tally.requested(1);
    attacker.link.carry(payload.len()).await;
    let request = attacker
        .post(&attacker.http(), payload)
        .header("accept", "text/event-stream");
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return attacker.tally.answered(&kind_of_failure(error)),
    };
    let mut text = String::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => text.push_str(&String::from_utf8_lossy(&chunk)),
            Ok(None) => return attacker.tally.answered("ended without a code"),
            Err(error) => return attacker.tally.answered(&kind_of_failure(error)),
        }
        if let Some(code) = code_in(&text) {
            return attacker.tally.answered(&code);
        }
    }
}
