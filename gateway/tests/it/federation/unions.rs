//! Unions and interfaces whose members are in several subgraphs.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

/// `a` knows Oven and Toaster as nodes, `b` other fields of them and a third implementation.
async fn kitchen() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { things: [Thing!]! nodes: [Node] toasters: [Toaster!]! }
         interface Node { id: ID! }
         union Thing = Oven | Toaster
         type Oven implements Node @key(fields: \"id\") { id: ID! }
         type Toaster implements Node @key(fields: \"id\") { id: ID! warranty: Int }",
    )
    .query(json!({
        "things": [{"__typename": "Oven", "id": "o"}, {"__typename": "Toaster", "id": "t", "warranty": 3}],
        "nodes": [null, {"__typename": "Toaster", "id": "t", "warranty": 3}, {"__typename": "Oven", "id": "o"}],
        "toasters": [{"id": "t"}, {"id": "t2"}],
    }))
    .entities(json!([
        {"__typename": "Oven", "id": "o"}, {"__typename": "Toaster", "id": "t", "warranty": 3},
        {"__typename": "Toaster", "id": "t2", "warranty": null},
    ]));
    let b = Subgraph::new(
        "b",
        "type Query { plugged: [Plug!]! }
         interface Plug { watt: Int! near: [Plug!] }
         type Oven implements Plug @key(fields: \"id\") { id: ID! watt: Int! near: [Plug!] warranty: Int }
         type Toaster implements Plug @key(fields: \"id\") { id: ID! watt: Int! near: [Plug!] }
         type Lamp implements Plug { watt: Int! near: [Plug!] colour: String }",
    )
    .query(json!({"plugged": [
        {"__typename": "Lamp", "watt": 5, "near": [{"__typename": "Oven", "id": "o"}], "colour": "red"},
        {"__typename": "Toaster", "id": "t"},
    ]}))
    .entities(json!([
        {"__typename": "Oven", "id": "o", "watt": 2000, "warranty": 5, "near": []},
        {"__typename": "Toaster", "id": "t", "watt": 800, "near": [{"__typename": "Lamp", "watt": 4, "colour": null}, {"__typename": "Toaster", "id": "t2"}]},
        {"__typename": "Toaster", "id": "t2", "watt": 900, "near": null},
    ]));
    graph(vec![a, b]).await
}

#[tokio::test]
async fn one_field_of_two_members_comes_from_two_subgraphs() {
    let graph = kitchen().await;
    assert_snapshot!(graph.told("{ things { ... on Oven { warranty } ... on Toaster { warranty } } }").await, @r#"
    {"data":{"things":[{"warranty":5},{"warranty":3}]}}
    a: {things{__typename ...on Oven{id} ...on Toaster{warranty}}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Oven{warranty}}}
    "#);
    assert_snapshot!(graph.query("{ nodes { id ... on Toaster { watt warranty } ... on Oven { warranty } } toasters { id warranty } }").await, @r#"{"data":{"nodes":[null,{"id":"t","watt":800,"warranty":3},{"id":"o","warranty":5}],"toasters":[{"id":"t","warranty":3},{"id":"t2","warranty":null}]}}"#);
}

/// The client's interface is one that the subgraph at hand does not know.
#[tokio::test]
async fn fragments_on_an_interface_of_another_subgraph_hold() {
    let graph = kitchen().await;
    assert_snapshot!(graph.query("{ things { __typename ... on Plug { watt } } }").await, @r#"{"data":{"things":[{"__typename":"Oven","watt":2000},{"__typename":"Toaster","watt":800}]}}"#);
    assert_snapshot!(graph.query("{ nodes { ... on Plug { watt near { watt ... on Lamp { colour } } } id } }").await, @r#"{"data":{"nodes":[null,{"watt":800,"near":[{"watt":4,"colour":null},{"watt":900}],"id":"t"},{"watt":2000,"near":[],"id":"o"}]}}"#);
    assert_snapshot!(graph.query("{ plugged { __typename ... on Node { id } watt ... on Lamp { colour near { ... on Node { key: id } } } } }").await, @r#"{"data":{"plugged":[{"__typename":"Lamp","watt":5,"colour":"red","near":[{"key":"o"}]},{"__typename":"Toaster","id":"t","watt":800}]}}"#);
    assert_snapshot!(graph.query("{ things { ... on Node { id ... on Plug { w: watt ... on Toaster { warranty } } } } }").await, @r#"{"data":{"things":[{"id":"o","w":2000},{"id":"t","w":800,"warranty":3}]}}"#);
}

#[tokio::test]
async fn fragments_in_fragments_narrow_the_types() {
    let graph = kitchen().await;
    let query = "{ plugged { ...P } nodes { ...N } }
      fragment P on Plug { watt ... on Toaster { ...T } ...L }
      fragment L on Lamp { colour ... on Plug { near { ...P2 } } }
      fragment P2 on Plug { __typename ... on Oven { warranty ... on Oven { id } } }
      fragment T on Toaster { id warranty }
      fragment N on Node { ... on Oven { ... on Node { id } ... on Plug { watt } } ... on Toaster { ...T } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"plugged":[{"watt":5,"colour":"red","near":[{"__typename":"Oven","warranty":5,"id":"o"}]},{"watt":800,"id":"t","warranty":3}],"nodes":[null,{"id":"t","warranty":3},{"id":"o","watt":2000}]}}"#);
}

#[tokio::test]
async fn conditions_on_fragments_of_members_hold() {
    let graph = kitchen().await;
    let query = "query($o: Boolean!, $t: Boolean!) {
      things {
        ... on Oven @include(if: $o) { warranty watt }
        ... on Toaster @skip(if: $t) { watt }
        ... on Plug @include(if: $t) { watt }
      }
    }";
    let mut told = Vec::new();
    for (o, t) in [(true, true), (true, false), (false, true), (false, false)] {
        told.push(
            graph
                .ask(query, Some(json!({"o": o, "t": t})))
                .await
                .to_string(),
        );
    }
    assert_snapshot!(told.join("\n"), @r#"
    {"data":{"things":[{"warranty":5,"watt":2000},{"watt":800}]}}
    {"data":{"things":[{"warranty":5,"watt":2000},{"watt":800}]}}
    {"data":{"things":[{"watt":2000},{"watt":800}]}}
    {"data":{"things":[{},{"watt":800}]}}
    "#);
}

/// Two subgraphs know other members of a union, so their lists of the same field are not the same:
/// what both know is found by its key, not by where it stands.
#[tokio::test]
async fn members_that_a_subgraph_does_not_know_do_not_shift_the_others() {
    let a = Subgraph::new(
        "a",
        "type Query { shelf: Shelf }
         union Item = Book | Film
         type Shelf @key(fields: \"id\") { id: ID! items: [Item] @shareable }
         type Book @key(fields: \"id\") { id: ID! title: String }
         type Film @key(fields: \"id\") { id: ID! minutes: Int }",
    )
    .query(json!({"shelf": {"id": "s", "items": [
        {"__typename": "Film", "id": "f", "minutes": 90}, {"__typename": "Book", "id": "b", "title": "B"},
    ]}}));
    let b = Subgraph::new(
        "b",
        "union Item = Book
         type Shelf @key(fields: \"id\") { id: ID! items: [Item] @shareable }
         type Book @key(fields: \"id\") { id: ID! pages: Int }",
    )
    .entities(json!([
        {"__typename": "Shelf", "id": "s", "items": [{"__typename": "Book", "id": "b"}]},
        {"__typename": "Book", "id": "b", "pages": 300},
    ]));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.told("{ shelf { items { ... on Book { title pages } ... on Film { minutes } } } }").await, @r#"
    {"data":{"shelf":{"items":[{"minutes":90},{"title":"B","pages":300}]}}}
    a: {shelf{items{__typename ...on Book{title id} ...on Film{minutes}}}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Book{pages}}}
    "#);
}

/// Subgraphs that should agree and do not: the fields of one object never end up in another one.
#[tokio::test]
async fn objects_of_two_types_are_not_made_one() {
    let schema = "type Owner @key(fields: \"id\") { id: ID! pets: [Pet] @shareable }
         union Pet = Cat | Dog type Cat { OWN: Int } type Dog { OWN: Int }";
    let a = Subgraph::new(
        "a",
        &format!(
            "type Query {{ owner: Owner }} {}",
            schema.replace("OWN", "age")
        ),
    )
    .query(json!({"owner": {"id": "o", "pets": [
        {"__typename": "Cat", "age": 1}, {"__typename": "Dog", "age": 2},
    ]}}));
    let b = Subgraph::new("b", &schema.replace("OWN", "size")).entities(json!([
        {"__typename": "Owner", "id": "o", "pets": [
            {"__typename": "Dog", "size": 3}, {"__typename": "Dog", "size": 4},
        ]},
    ]));
    let graph = graph(vec![a, b]).await;
    let query = "{ owner { pets { __typename ... on Cat { age size } ... on Dog { age size } } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"owner":{"pets":[{"__typename":"Cat","age":1,"size":null},{"__typename":"Dog","age":2,"size":4}]}}}"#);
}
