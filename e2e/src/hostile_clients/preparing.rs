//! New documents of 5.8 KB on many connections: each has to be parsed, validated and planned.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::client::Attacker;

const CONNECTIONS: usize = 32;
const BYTES: usize = 5_800;
/// Below the gateway's limit of 200.
const ALIASES: usize = 190;

pub(super) async fn run(attacker: Attacker) {
    let next = Arc::new(AtomicUsize::new(0));
    let clients = attacker.share_of(CONNECTIONS);
    let client = move |attacker, _| ask(attacker, next.clone());
    attacker.keep_up(clients, client).await;
}

async fn ask(attacker: Attacker, next: Arc<AtomicUsize>) {
    let http = attacker.http();
    loop {
        let body = json!({ "query": document(next.fetch_add(1, Ordering::Relaxed)) });
        attacker.ask(&http, body.to_string()).await;
    }
}

fn document(number: usize) -> String {
    let mut document = "{ posts(first: 1) { edges { node {".to_owned();
    for alias in 0..ALIASES {
        let field = ["title", "content", "author"][alias % 3];
        // Writing to a text cannot fail.
        let _ = write!(document, " field_{number:012}_{alias:03}: {field}");
    }
    document.push_str(" } } } }");
    debug_assert!(
        document.len().abs_diff(BYTES) < BYTES / 10,
        "{}",
        document.len()
    );
    document
}
