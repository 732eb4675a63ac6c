//! 2,000 documents of 27 KB, each with a plan of many fields: checks that the cache of plans is bounded in
//! bytes.

use std::fmt::Write as _;

use super::client::Attacker;

const CONNECTIONS: usize = 4;
const DOCUMENTS: usize = 2_000;
/// Below the gateway's limit of 100.
const ROOT_FIELDS: usize = 75;

pub(super) async fn run(attacker: Attacker) {
    let documents = attacker.share_of(DOCUMENTS);
    attacker.ask_each(CONNECTIONS, documents, document).await;
}

fn document(attacker: &Attacker, number: usize) -> String {
    let post = attacker.watched(number);
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
