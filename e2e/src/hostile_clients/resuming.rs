//! Hundreds of subscriptions that read the same history again, each by a selection of its own.

use serde_json::json;

use super::client::Attacker;
use super::socket::Socket;

const SOCKETS: usize = 6;
const SUBSCRIPTIONS_PER_SOCKET: usize = 100;

pub(super) async fn run(attacker: Attacker) {
    attacker.keep_up(attacker.share_of(SOCKETS), resume).await;
}

async fn resume(attacker: Attacker, number: usize) {
    let Some(mut socket) = Socket::open(&attacker).await else {
        return;
    };
    let history = &attacker.target.history;
    let variables = json!({ "post": history.post, "after": history.cursor });
    for one in 0..SUBSCRIPTIONS_PER_SOCKET {
        // An alias of its own: the gateway shares equal subscriptions.
        let query = format!(
            "subscription ($post: ID!, $after: String) {{ c{number}_{one}: \
             commentChanges(postId: $post, after: $after) {{ __typename ... on CommentAdded {{ cursor }} }} }}"
        );
        let payload = json!({ "query": query, "variables": variables }).to_string();
        if !socket.subscribe(&one.to_string(), &payload).await {
            break;
        }
    }
    socket.read_to_end().await;
}
