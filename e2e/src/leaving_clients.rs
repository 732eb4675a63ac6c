//! Clients that send a request and disconnect before the response.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// How long a client stays, in milliseconds: long enough for its request to be begun, too short for
/// an answer under load.
const STAYS_MS: std::ops::RangeInclusive<u64> = 5..=50;

/// The bodies that leaving clients send: a list, an update, a new comment, a list of two subgraphs.
pub fn bodies(post_id: &str) -> Vec<String> {
    let id = json!({ "id": post_id });
    let bodies = [
        (
            "{ posts(first: 10) { edges { node { id title } } } }",
            json!({}),
        ),
        (
            "mutation ($id: ID!) { updatePost(input: { id: $id, title: \"Left\" }) { post { id } } }",
            id.clone(),
        ),
        (
            "mutation ($id: ID!) { createComment(input: { postId: $id, text: \"Left\" }) { comment { id } } }",
            id.clone(),
        ),
        (
            "query ($id: ID!) { _entities(representations: [{ __typename: \"Post\", id: $id }]) { __typename } }",
            id,
        ),
        (
            "{ posts(first: 5) { edges { node { id comments(first: 5) { edges { node { text } } } } } } }",
            json!({}),
        ),
    ];
    let body = |(query, variables)| json!({ "query": query, "variables": variables }).to_string();
    bodies.into_iter().map(body).collect()
}

/// Lets `count` clients ask at once, spread over the servers and the bodies, and leave. Servers may
/// find a body that is not theirs: they refuse it.
pub fn ask_and_leave<'a>(
    servers: &'a [SocketAddr],
    bodies: &'a [String],
    count: usize,
) -> BoxFuture<'a, ()> {
    ask_all_and_leave(servers, bodies, count).boxed()
}

async fn ask_all_and_leave(servers: &[SocketAddr], bodies: &[String], count: usize) {
    let clients = (0..count).map(|number| {
        let server = servers[number % servers.len()];
        let body = &bodies[number / servers.len() % bodies.len()];
        ask_one_and_leave(server, body)
    });
    join_all(clients).await;
}

async fn ask_one_and_leave(server: SocketAddr, body: &str) {
    // A server that is too busy to accept has been asked enough.
    let Ok(mut socket) = TcpStream::connect(server).await else {
        return;
    };
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: {server}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    if socket.write_all(request.as_bytes()).await.is_ok() {
        // How long a client stays is what this is about: there is nothing to wait for.
        sleep(Duration::from_millis(fastrand::u64(STAYS_MS))).await;
    }
}
