//! The operation at a subscription's subgraph, with the cursors to resume after: it must be valid
//! there.

use std::sync::Arc;

use apollo_compiler::{ExecutableDocument, Schema};
use bytes::Bytes;
use gateway::{
    graph::{Graph, Settings},
    prepare::{self, Serving},
};
use insta::assert_snapshot;

use crate::support::compose;

/// The operation that `a` receives, if `b` is the other subgraph. It is valid for `a`.
async fn asked(a: &str, b: &str, subscription: &str) -> String {
    let b = format!(
        "extend schema @link(url: \"https://specs.apollo.dev/federation/v2.3\", import: [\"@key\", \"@shareable\"])\n{b}"
    );
    let with_link = format!(
        "extend schema @link(url: \"https://specs.apollo.dev/federation/v2.3\", import: [\"@key\", \"@shareable\"])\n{a}"
    );
    let subgraphs = [
        ("a", "http://a.test/graphql", &*with_link),
        ("b", "http://b.test/graphql", &*b),
    ];
    let sdl = compose::supergraph(&subgraphs);
    let graph = Graph::load(&sdl, Settings::default()).expect("the supergraph loads");
    let serving = Arc::new(Serving::new(graph));
    let none: Option<&Bytes> = None;
    let prepared = prepare::with_variables(&serving, subscription, None, none).await;
    let (prepared, _) = prepared.unwrap_or_else(|refusal| panic!("{refusal}"));
    let upstream = prepared.subscription().expect("a subscription");
    let schema = format!("directive @shareable on OBJECT | FIELD_DEFINITION\n{a}");
    let schema = Schema::parse_and_validate(schema, "a").expect("the subgraph's schema");
    let resume = upstream.resume.as_ref();
    let resumed = resume.map(|resume| resume.resumed.as_str());
    for text in [Some(&*upstream.operation), resumed].into_iter().flatten() {
        if let Err(invalid) = ExecutableDocument::parse_and_validate(&schema, text, "asked") {
            panic!("{text}\n{}", invalid.errors);
        }
    }
    assert!(resume.is_some(), "it can be resumed");
    upstream.operation.clone()
}

const CHANGES: &str = "
    type Query { a: Int }
    type Subscription { changes(after: String): Change! }";

#[tokio::test]
async fn cursors_of_several_types_have_keys_of_their_own() {
    let a = format!(
        "{CHANGES} union Change = Added | Removed | Kept | Moved
         type Added {{ cursor: String! text: String }} type Removed {{ cursor: String }}
         type Kept {{ cursor: ID! }} type Moved {{ cursor: String! }}"
    );
    let operation = asked(
        &a,
        "type Query { b: Int }",
        "subscription { changes { ... on Added { text } } }",
    )
    .await;
    assert_snapshot!(operation, @"subscription { changes { __typename ... on Added { text } ... on Added { _resumeCursor: cursor } ... on Removed { _resumeCursor1: cursor } ... on Kept { _resumeCursor2: cursor } ... on Moved { _resumeCursor: cursor } } }");
}

#[tokio::test]
async fn members_that_only_another_subgraph_has_are_not_asked_for() {
    let a = format!(
        "{CHANGES} union Change = Added
         type Added {{ cursor: String! @shareable text: String @shareable }}"
    );
    let b = "type Query { b: Change } union Change = Added | Moved
         type Added { cursor: String! @shareable text: String @shareable } type Moved { cursor: String! }";
    let operation = asked(&a, b, "subscription { changes { ... on Added { text } } }").await;
    assert_snapshot!(operation, @"subscription { changes { __typename ... on Added { text } ... on Added { _resumeCursor: cursor } } }");
    let a = format!(
        "{CHANGES} union Change = Added
         type Added {{ cursor: String! @shareable text: String @shareable }}
         type Moved {{ cursor: String! @shareable }}"
    );
    let b = "type Query { b: Change } union Change = Added | Moved
         type Added { cursor: String! @shareable text: String @shareable } type Moved { cursor: String! @shareable }";
    let operation = asked(
        &a,
        b,
        "subscription { changes { ... on Added { text } ... on Moved { cursor } } }",
    )
    .await;
    assert_snapshot!(operation, @"subscription { changes { __typename ... on Added { text } ... on Added { _resumeCursor: cursor } } }");
}
