//! Over 10,000 subscriptions of which no two are equal: 15 conditions make 32,768 selections of one
//! document.

use std::fmt::Write as _;

use serde_json::{Map, json};

use super::client::Attacker;
use super::socket::Socket;

const SOCKETS: usize = 105;
const SUBSCRIPTIONS_PER_SOCKET: usize = 100;
const CONDITIONS: usize = 15;

pub(super) async fn run(attacker: Attacker) {
    let document = document();
    let sockets = attacker.share_of(SOCKETS);
    let client = move |attacker, number| subscribe(attacker, number, document.clone());
    attacker.keep_up(sockets, client).await;
}

async fn subscribe(attacker: Attacker, number: usize, document: String) {
    let Some(mut socket) = Socket::open(&attacker).await else {
        return;
    };
    for one in 0..SUBSCRIPTIONS_PER_SOCKET {
        let selection = number * SUBSCRIPTIONS_PER_SOCKET + one;
        let mut variables = Map::new();
        variables.insert("post".to_owned(), json!(attacker.watched(number)));
        for bit in 0..CONDITIONS {
            variables.insert(format!("c{bit}"), json!(selection >> bit & 1 == 1));
        }
        let payload = json!({ "query": document, "variables": variables }).to_string();
        if !socket.subscribe(&one.to_string(), &payload).await {
            break;
        }
    }
    socket.read_to_end().await;
}

fn document() -> String {
    let (mut variables, mut fields) = (String::new(), String::new());
    for bit in 0..CONDITIONS {
        // Writing to a text cannot fail.
        let _ = write!(variables, ", $c{bit}: Boolean!");
        let _ = write!(fields, " f{bit}: text @include(if: $c{bit})");
    }
    format!(
        "subscription ($post: ID!{variables}) {{ commentAdded(postId: $post) {{ id{fields} }} }}"
    )
}
