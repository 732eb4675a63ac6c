//! 2,000 documents of 27 KB, each with a plan of many fields: whether the cache of plans is bounded by
//! what it holds.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::client::Attacker;

const CONNECTIONS: usize = 4;
const DOCUMENTS: usize = 2_000;
/// Below the gateway's limit of 100.
const ROOT_FIELDS: usize = 75;

pub(super) async fn run(attacker: Attacker) {
    let next = Arc::new(AtomicUsize::new(0));
    let clients = attacker.share_of(CONNECTIONS);
    let client = move |attacker, _| ask(attacker, next.clone());
    attacker.keep_up(clients, client).await;
}

async fn ask(attacker: Attacker, next: Arc<AtomicUsize>) {
    let http = attacker.http();
    let documents = attacker.share_of(DOCUMENTS);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= documents {
            return std::future::pending().await;
        }
        let post = attacker.watched(number);
        attacker
            .ask(
                &http,
                json!({ "query": document(number, post) }).to_string(),
            )
            .await;
    }
}

fn document(number: usize, post: &str) -> String {
    let mut document = "{".to_owned();
    for alias in 0..ROOT_FIELDS {
        // Writing to a text cannot fail.
        let _ = write!(
            document,
            " post_{number}_{alias}: post(id: \"{post}\") {{ id title content author createdAt updatedAt \
             commentCount lastCommentAt latestComments(first: 1) {{ id text author createdAt }} \
             comments(first: 1) {{ edges {{ cursor node {{ id text author createdAt updatedAt edited \
             post {{ id title author }} }} }} pageInfo {{ endCursor hasNextPage }} }} }}"
        );
    }
    document.push_str(" }");
    document
}
