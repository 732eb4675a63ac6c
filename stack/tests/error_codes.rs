//! `docs/errors.md` explains every code that a client can meet, and no other.

use std::collections::BTreeSet;

const SOURCES: [&str; 3] = [
    include_str!("../../crates/graphql-transport/src/code.rs"),
    include_str!("../../gateway/src/error/code.rs"),
    include_str!("../../crates/subgraph/src/error.rs"),
];
const PAGE: &str = include_str!("../../docs/errors.md");

#[test]
fn every_error_code_is_explained() {
    let made: BTreeSet<&str> = SOURCES
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| {
            line.trim()
                .strip_prefix("Self::")?
                .split_once(" => \"")?
                .1
                .strip_suffix("\",")
        })
        .filter(|text| is_code(text))
        .chain([service::server::TOO_MANY_CONNECTIONS])
        .collect();
    let explained: BTreeSet<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(code, _)| code)
        .collect();
    assert!(made.len() > 40, "the codes were not found in the sources");
    assert_eq!(made, explained);
}

fn is_code(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}
