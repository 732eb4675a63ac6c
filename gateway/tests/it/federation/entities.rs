//! Entities are fetched once each, together, and only if they are needed.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

/// Posts with authors and readers of one type, in two subgraphs; texts elsewhere.
async fn blog() -> TestGraph {
    let posts = Subgraph::new(
        "posts",
        "type Query { posts: [Post!]! feed: [Entry] groups: [[Post!]] }
         union Entry = Post | User
         type Post @key(fields: \"id\") { id: ID! author: User readers: [[User]!] }
         type User @key(fields: \"id\") { id: ID! posts: [Post!] }",
    )
    .query(json!({
        "posts": [{"id": "1"}, {"id": "2"}],
        "feed": [{"__typename": "User", "id": "a"}, {"__typename": "Post", "id": "1"}, null],
        "groups": [[{"id": "1"}, {"id": "1"}], null, []],
    }))
    .entities(json!([
        {"__typename": "Post", "id": "1", "author": {"id": "a"}, "readers": [[{"id": "b"}, null], [], [{"id": "a"}]]},
        {"__typename": "Post", "id": "2", "author": null, "readers": null},
        {"__typename": "User", "id": "a", "posts": [{"id": "1"}]},
        {"__typename": "User", "id": "b", "posts": null},
    ]));
    let users = Subgraph::new("users", "type User @key(fields: \"id\") { id: ID! name: String! friend: User best: User }")
        .entities(json!([
            {"__typename": "User", "id": "a", "name": "Ada", "friend": {"id": "b"}, "best": {"id": "b"}},
            {"__typename": "User", "id": "b", "name": "Bob", "friend": null, "best": {"id": "a"}},
        ]));
    let texts = Subgraph::new("texts", "type Post @key(fields: \"id\") { id: ID! text: String }")
        .entities(json!([{"__typename": "Post", "id": "1", "text": "one"}, {"__typename": "Post", "id": "2", "text": null}]));
    graph(vec![posts, users, texts]).await
}

#[tokio::test]
async fn entities_in_lists_of_lists_are_completed() {
    let graph = blog().await;
    assert_snapshot!(graph.told("{ posts { readers { name } } }").await, @r#"
    {"data":{"posts":[{"readers":[[{"name":"Bob"},null],[],[{"name":"Ada"}]]},{"readers":null}]}}
    posts: {posts{readers{id}}}
    users: query($representations:[_Any!]!){_entities(representations: $representations){...on User{name}}}
    "#);
    assert_snapshot!(graph.query("{ groups { text readers { id name } } }").await, @r#"{"data":{"groups":[[{"text":"one","readers":[[{"id":"b","name":"Bob"},null],[],[{"id":"a","name":"Ada"}]]},{"text":"one","readers":[[{"id":"b","name":"Bob"},null],[],[{"id":"a","name":"Ada"}]]}],null,[]]}}"#);
}

#[tokio::test]
async fn one_entity_under_two_selections_keeps_them_apart() {
    let graph = blog().await;
    assert_snapshot!(graph.query("{ posts { author { name } readers { id } } feed { ... on User { n: name posts { text } } ... on Post { text author { id } } } }").await, @r#"{"data":{"posts":[{"author":{"name":"Ada"},"readers":[[{"id":"b"},null],[],[{"id":"a"}]]},{"author":null,"readers":null}],"feed":[{"n":"Ada","posts":[{"text":"one"}]},{"text":"one","author":{"id":"a"}},null]}}"#);
    let query = "{ posts { author { friend { name best { name friend { name } } } best { id n: name friend { n: name } } } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"posts":[{"author":{"friend":{"name":"Bob","best":{"name":"Ada","friend":{"name":"Bob"}}},"best":{"id":"b","n":"Bob","friend":null}}},{"author":null}]}}"#);
}

/// The same key with different meanings below one shared entity.
#[tokio::test]
async fn aliases_below_one_entity_do_not_mix() {
    let graph = blog().await;
    let query = "{ posts { author { x: friend { x: name } y: friend { x: id } } } feed { ... on User { x: best { x: id } y: friend { x: name } } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"posts":[{"author":{"x":{"x":"Bob"},"y":{"x":"b"}}},{"author":null}],"feed":[{"x":{"x":"b"},"y":{"x":"Bob"}},{},null]}}"#);
}

#[tokio::test]
async fn nothing_is_asked_for_where_nothing_was_found() {
    let graph = blog().await;
    graph
        .subgraph("posts")
        .fail(crate::support::subgraph::Fault::Answer(
            200,
            json!({"data": {"posts": []}}).to_string(),
        ));
    assert_snapshot!(graph.told("{ posts { text author { name } } }").await, @r#"
    {"data":{"posts":[]}}
    posts: {posts{id author{id}}}
    "#);
}

#[tokio::test]
async fn equal_entities_are_asked_for_once() {
    let graph = blog().await;
    let bodies = graph
        .told("{ groups { text } posts { text author { name } } }")
        .await;
    let texts = bodies
        .lines()
        .filter(|line| line.starts_with("texts:"))
        .count();
    assert_eq!(texts, 1, "{bodies}");
}

/// `b` is asked about the shelf anyway, but does not know each: what stands on it is found by its own
/// key, in the same request.
#[tokio::test]
async fn a_holder_that_a_subgraph_does_not_know_does_not_hide_an_entity() {
    let a = Subgraph::new(
        "a",
        "type Query { shelves: [Shelf] }
         type Shelf @key(fields: \"id\") { id: ID! best: Book @shareable }
         type Book @key(fields: \"id\") { id: ID! title: String }",
    )
    .query(json!({"shelves": [
        {"id": "1", "best": {"id": "b1", "title": "T1"}}, {"id": "2", "best": {"id": "b2", "title": "T2"}},
    ]}));
    let b = Subgraph::new(
        "b",
        "type Shelf @key(fields: \"id\") { id: ID! size: Int best: Book @shareable }
         type Book @key(fields: \"id\") { id: ID! pages: Int }",
    )
    .entities(json!([
        {"__typename": "Shelf", "id": "1", "size": 5, "best": {"id": "b1", "pages": 100}},
        {"__typename": "Book", "id": "b1", "pages": 100}, {"__typename": "Book", "id": "b2", "pages": 200},
    ]));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.told("{ shelves { size best { title pages } } }").await, @r#"
    {"data":{"shelves":[{"size":5,"best":{"title":"T1","pages":100}},{"size":null,"best":{"title":"T2","pages":200}}]}}
    a: {shelves{id best{title id}}}
    b: query($representations0:[_Any!]!, $representations1:[_Any!]!){_e0: _entities(representations: $representations0){...on Shelf{size}} _e1: _entities(representations: $representations1){...on Book{pages}}}
    "#);
}
