//! New documents of 5.8 KB on many connections: each has to be parsed, validated and planned.

use std::fmt::Write as _;

use super::client::Attacker;

const CONNECTIONS: usize = 32;
const BYTES: usize = 5_800;
/// Below the gateway's limit of 200.
const ALIASES: usize = 190;

pub(super) async fn run(attacker: Attacker) {
    attacker.ask_each(CONNECTIONS, usize::MAX, document).await;
}

fn document(_: &Attacker, number: usize) -> String {
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
