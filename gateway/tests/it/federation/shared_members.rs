//! Fields that several subgraphs resolve, with different members of a union or an interface in
//! each.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, graph};

/// The two resolve `media` differently, which they should not: `a` has a song, `b` a film.
async fn libraries() -> TestGraph {
    let song = json!({"__typename": "Song", "id": "s", "title": "S", "a": 1});
    let film = json!({"__typename": "Film", "id": "f", "title": "F", "b": 2});
    let a = Subgraph::new(
        "a",
        "type Query { media: Media @shareable aMedia: Media node: Node @shareable onlyA: Int
           viewer: Viewer @shareable page: Page }
         union Media = Book | Song interface Node { id: ID }
         type Book implements Node @key(fields: \"id\") { id: ID title: String @shareable a: Int }
         type Song implements Node @key(fields: \"id\") { id: ID title: String @shareable a: Int }
         type Viewer @shareable { media: [Media] } type Page @shareable { media: Media }",
    )
    .query(json!({
        "media": song, "aMedia": song, "node": song, "onlyA": 1,
        "viewer": {"media": [song]}, "page": {"media": song},
    }))
    .entities(json!([song]));
    let b = Subgraph::new(
        "b",
        "type Query { media: Media @shareable bMedia: Media node: Node @shareable onlyB: Int
           viewer: Viewer @shareable }
         union Media = Book | Film interface Node { id: ID }
         type Book implements Node @key(fields: \"id\") { id: ID title: String @shareable b: Int }
         type Film implements Node @key(fields: \"id\") { id: ID title: String @shareable b: Int }
         type Viewer @shareable { media: [Media] } type Page @shareable { media: Media }",
    )
    .query(json!({
        "media": film, "bMedia": film, "node": film, "onlyB": 2, "viewer": {"media": [film]},
    }))
    .entities(json!([film]));
    graph(vec![a, b]).await
}

const SELECTIONS: &str =
    "{ ... on Book { title } ... on Song { title a } ... on Film { title b } }";

async fn data(graph: &TestGraph, query: &str) -> Value {
    let mut answer = graph.query(query).await;
    assert_eq!(answer.get("errors"), None, "{query}");
    answer["data"].take()
}

/// Whatever else is selected, and so whichever subgraph is asked.
#[tokio::test]
async fn members_that_not_all_subgraphs_know_have_no_fields() {
    let graph = libraries().await;
    for field in ["media", "node"] {
        for (selection, expected) in [
            ("{ ... on Song { title } }", json!({"title": null})),
            ("{ ... on Film { title } }", json!({"title": null})),
            (
                "{ ... on Book { title } ... on Song { a } ... on Film { b } }",
                json!({}),
            ),
        ] {
            for other in ["", "onlyA", "onlyB"] {
                let query = format!("{{ {other} x: {field} {selection} }}");
                let answer = data(&graph, &query).await;
                let is_none = |it: &Value| {
                    it.as_object()
                        .is_some_and(|it| it.values().all(Value::is_null))
                };
                assert!(is_none(&answer["x"]), "{query} {answer} {expected}");
            }
        }
    }
    let answer = data(&graph, &format!("{{ viewer {{ media {SELECTIONS} }} }}")).await;
    assert_eq!(
        answer["viewer"]["media"][0]["title"],
        Value::Null,
        "{answer}"
    );
}

#[tokio::test]
async fn where_one_subgraph_has_the_field_its_members_hold() {
    let graph = libraries().await;
    let query =
        format!("{{ aMedia {SELECTIONS} bMedia {SELECTIONS} page {{ media {SELECTIONS} }} }}");
    assert_snapshot!(data(&graph, &query).await, @r#"{"aMedia":{"title":"S","a":1},"bMedia":{"title":"F","b":2},"page":{"media":{"title":"S","a":1}}}"#);
}

/// `b` could only be asked by the key of what `a` has, and `a` has all of it.
#[tokio::test]
async fn a_subgraph_that_a_key_leads_to_does_not_hide_members() {
    let types = "type Shelf @key(fields: \"id\") { id: ID! items: [Item] @shareable }
         type Book @key(fields: \"id\") { id: ID! title: String @shareable }";
    let a = Subgraph::new(
        "a",
        &format!(
            "type Query {{ shelf: Shelf }} union Item = Book | Film
             type Film {{ minutes: Int }} {types}"
        ),
    )
    .query(json!({"shelf": {"id": "s", "items": [
        {"__typename": "Film", "minutes": 90}, {"__typename": "Book", "id": "b", "title": "B"},
    ]}}));
    let b = Subgraph::new("b", &format!("union Item = Book {types}"));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.query("{ shelf { items { ... on Film { minutes } ... on Book { title } } } }").await, @r#"{"data":{"shelf":{"items":[{"minutes":90},{"title":"B"}]}}}"#);
}

/// Both are reached by a key.
#[tokio::test]
async fn members_of_entities_that_two_subgraphs_extend_are_those_of_both() {
    let x = Subgraph::new(
        "x",
        "type Query { shelf: Shelf } type Shelf @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"shelf": {"id": "s"}}));
    let part = |name: &str, member: &str| {
        let own = format!("{member} {{ {name}: Int }}");
        Subgraph::new(
            name,
            &format!(
                "type Shelf @key(fields: \"id\") {{ id: ID! item: Item @shareable {name}: Int }}
                 union Item = Book | {member} type Book @shareable {{ title: String }} type {own}"
            ),
        )
        .entities(json!([{"__typename": "Shelf", "id": "s", name: 1, "item": {"__typename": member, name: 7}}]))
    };
    let graph = graph(vec![x, part("a", "Song"), part("b", "Film")]).await;
    for other in ["", "a", "b", "a b"] {
        let query = format!(
            "{{ shelf {{ {other} item {{ ... on Song {{ x: a }} ... on Film {{ x: b }} }} }} }}"
        );
        let answer = data(&graph, &query).await;
        assert_eq!(
            answer["shelf"]["item"]["x"],
            Value::Null,
            "{query} {answer}"
        );
    }
}
