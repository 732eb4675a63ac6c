//! Interfaces that extend interfaces, and that other subgraphs give to the same types.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

/// `Priced` is of `b` alone, `Node` and `Media` of `a`; a cup is no type of `a`, a film none of `b`.
async fn shop() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { nodes: [Node!]! found: [Found] }
         interface Node { id: ID! }
         interface Media implements Node { id: ID! title: String }
         union Found = Book | Film | Pen
         type Book implements Media & Node @key(fields: \"id\") { id: ID! title: String next: Node }
         type Film implements Media & Node @key(fields: \"id\") { id: ID! title: String next: Media }
         type Pen implements Node @key(fields: \"id\") { id: ID! next: Pen }",
    )
    .query(json!({
        "nodes": [
            {"__typename": "Book", "id": "1", "title": "B", "next": {"__typename": "Pen", "id": "3"}},
            {"__typename": "Film", "id": "2", "title": "F", "next": {"__typename": "Book", "id": "1", "title": "B"}},
            {"__typename": "Pen", "id": "3", "next": {"id": "3"}},
        ],
        "found": [
            {"__typename": "Pen", "id": "3"}, null, {"__typename": "Book", "id": "1", "title": "B"},
            {"__typename": "Film", "id": "2", "title": "F"},
        ],
    }));
    let b = Subgraph::new(
        "b",
        "type Query { priced: [Priced] } interface Priced { price: Int }
         type Book implements Priced @key(fields: \"id\") { id: ID! price: Int }
         type Pen implements Priced @key(fields: \"id\") { id: ID! price: Int }
         type Cup implements Priced { price: Int }",
    )
    .query(json!({"priced": [{"__typename": "Cup", "price": 1}, {"__typename": "Pen", "id": "3", "price": 5}]}))
    .entities(json!([
        {"__typename": "Book", "id": "1", "price": 9}, {"__typename": "Pen", "id": "3", "price": 5},
    ]));
    graph(vec![a, b]).await
}

#[tokio::test]
async fn an_interface_of_another_subgraph_narrows_to_the_types_that_have_it() {
    let graph = shop().await;
    assert_snapshot!(graph.told("{ nodes { ... on Priced { price } } }").await, @r#"
    {"data":{"nodes":[{"price":9},{},{"price":5}]}}
    a: {nodes{__typename ...on Book{id} ...on Pen{id}}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Book{price} ...on Pen{price}}}
    "#);
    assert_snapshot!(graph.told("{ priced { price ... on Node { id } ... on Media { title } } }").await, @r#"
    {"data":{"priced":[{"price":1},{"price":5,"id":"3"}]}}
    b: {priced{__typename price ...on Book{id} ...on Pen{id}}}
    "#);
}

#[tokio::test]
async fn interfaces_narrow_each_other() {
    let graph = shop().await;
    assert_snapshot!(graph.told("{ nodes { ... on Media { title ... on Priced { price ... on Node { id } } } } }").await, @r#"
    {"data":{"nodes":[{"title":"B","price":9,"id":"1"},{"title":"F"},{}]}}
    a: {nodes{__typename ...on Media{__typename title ...on Book{id}}}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Book{price}}}
    "#);
    assert_snapshot!(graph.query("{ found { ... on Node { key: id ... on Priced { price } } ... on Priced { price } } }").await, @r#"{"data":{"found":[{"key":"3","price":5},null,{"key":"1","price":9},{"key":"2"}]}}"#);
    assert_snapshot!(graph.query("{ found { ...P ...M __typename } } fragment P on Priced { price ... on Pen { id } } fragment M on Media { title ...P }").await, @r#"{"data":{"found":[{"price":5,"id":"3","__typename":"Pen"},null,{"price":9,"title":"B","__typename":"Book"},{"title":"F","__typename":"Film"}]}}"#);
}

/// `next` is another type in each implementation.
#[tokio::test]
async fn implementations_lead_on_to_types_of_their_own() {
    let graph = shop().await;
    let query = "{ nodes {
      ... on Media { ... on Book { next { ... on Priced { price kind: __typename } } } ... on Film { next { title } } }
      ... on Pen { next { price } }
    } }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"nodes":[{"next":{"price":5,"kind":"Pen"}},{"next":{"title":"B"}},{"next":{"price":5}}]}}
    a: {nodes{__typename ...on Media{__typename ...on Book{next{__typename ...on Book{id kind: __typename} ...on Pen{id kind: __typename}}} ...on Film{next{title}}} ...on Pen{next{id}}}}
    b: query($representations0:[_Any!]!, $representations1:[_Any!]!){_e0: _entities(representations: $representations0){...on Book{price}} _e1: _entities(representations: $representations1){...on Pen{price}}}
    "#);
}
