//! Small documents that request very large results.

use std::fmt::Write as _;

use serde_json::json;

use super::client::Attacker;

const LOOP_CLIENTS: usize = 4;
const ALIAS_CLIENTS: usize = 2;
const ALIASES: usize = 150;
const LOOP: &str = "{posts(first:100){edges{node{comments(first:100){edges{node{post{comments(first:100){edges{node{id}}}}}}}}}}}";

pub(super) async fn loops(attacker: Attacker) {
    let clients = attacker.share_of(LOOP_CLIENTS);
    attacker
        .keep_up(clients, |attacker, _| ask(attacker, LOOP.to_owned()))
        .await;
}

pub(super) async fn aliases(attacker: Attacker) {
    let mut pages = String::new();
    for number in 0..ALIASES {
        // Writing to a text cannot fail. Each page differs, so that none is fetched for two.
        let first = 100 - number % 50;
        let _ = write!(
            pages,
            " p{number}: comments(first: {first}) {{ edges {{ node {{ id text }} }} }}"
        );
    }
    let query = format!("{{ posts(first: 100) {{ edges {{ node {{{pages} }} }} }} }}");
    let clients = attacker.share_of(ALIAS_CLIENTS);
    attacker
        .keep_up(clients, move |attacker, _| ask(attacker, query.clone()))
        .await;
}

async fn ask(attacker: Attacker, query: String) {
    let http = attacker.http();
    let body = json!({ "query": query }).to_string();
    // A few of them on one connection; then it comes again.
    for _ in 0..10 {
        attacker.ask(&http, body.clone()).await;
    }
}
