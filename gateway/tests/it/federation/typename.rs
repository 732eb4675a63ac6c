//! `__typename` has the client's type names, wherever it is selected.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

async fn zoo() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { pet: Pet pets: [[Pet!]]! found: Found cage: Cage }
         type Mutation { feed: Pet }
         interface Pet { name: String } union Found = Dog | Cage
         type Dog implements Pet @key(fields: \"id\") { id: ID! name: String }
         type Secret implements Pet @inaccessible { id: ID! name: String }
         type Cage { pet: Pet! maybe: Pet }",
    )
    .query(json!({
        "pet": {"__typename": "Dog", "id": "1", "name": "Rex"},
        "pets": [[{"__typename": "Dog", "id": "1", "name": "Rex"}], null, []],
        "found": {"__typename": "Cage", "pet": {"__typename": "Dog", "id": "1", "name": "Rex"}},
        "cage": {"pet": {"__typename": "Dog", "id": "2", "name": null}, "maybe": {"__typename": "Secret", "id": "9", "name": "S"}},
    }))
    .field("Mutation", "feed", |_, _| Ok(json!({"__typename": "Dog", "id": "1", "name": "Rex"})));
    let b = Subgraph::new("b", "type Query { b: Int } type Dog @key(fields: \"id\") { id: ID! age: Int }")
        .query(json!({"b": 1}))
        .entities(json!([{"__typename": "Dog", "id": "1", "age": 3}, {"__typename": "Dog", "id": "2", "age": null}]));
    graph(vec![a, b]).await
}

#[tokio::test]
async fn it_stands_alone_or_beside_others() {
    let graph = zoo().await;
    assert_snapshot!(graph.query("{ __typename }").await, @r#"{"data":{"__typename":"Query"}}"#);
    assert_snapshot!(graph.query("query { x: __typename __typename ... { y: __typename } ...Q } fragment Q on Query { z: __typename b }").await, @r#"{"data":{"x":"Query","__typename":"Query","y":"Query","z":"Query","b":1}}"#);
    assert_snapshot!(graph.query("{ pet { __typename } pets { __typename } found { __typename } cage { __typename pet { __typename } } }").await, @r#"{"data":{"pet":{"__typename":"Dog"},"pets":[[{"__typename":"Dog"}],null,[]],"found":{"__typename":"Cage"},"cage":{"__typename":"Cage","pet":{"__typename":"Dog"}}}}"#);
    assert_snapshot!(graph.query("mutation { __typename feed { kind: __typename ... on Dog { age t: __typename } } }").await, @r#"{"data":{"__typename":"Mutation","feed":{"kind":"Dog","age":3,"t":"Dog"}}}"#);
    assert_snapshot!(graph.query("{ found { ... on Cage { __typename pet { ... on Dog { t: __typename age } } } ... on Dog { id } } }").await, @r#"{"data":{"found":{"__typename":"Cage","pet":{"t":"Dog","age":3}}}}"#);
}

#[tokio::test]
async fn conditions_on_it_hold() {
    let graph = zoo().await;
    let query = "query($y: Boolean!) { __typename @include(if: $y) pet { __typename @skip(if: $y) x: __typename @include(if: $y) } }";
    assert_snapshot!(graph.ask(query, Some(json!({"y": true}))).await, @r#"{"data":{"__typename":"Query","pet":{"x":"Dog"}}}"#);
    assert_snapshot!(graph.ask(query, Some(json!({"y": false}))).await, @r#"{"data":{"pet":{"__typename":"Dog"}}}"#);
    assert_snapshot!(graph.query("{ __typename @skip(if: true) }").await, @r#"{"data":{}}"#);
    assert_snapshot!(graph.query("{ a: __typename @skip(if: true) b pet @include(if: false) { name } }").await, @r#"{"data":{"b":1}}"#);
    assert_snapshot!(graph.query("{ b found { ... on Dog { id @skip(if: true) } ...F @include(if: false) } pet { ...F } } fragment F on Dog { name @skip(if: true) }").await, @r#"{"data":{"b":1,"found":{},"pet":{}}}"#);
    assert_snapshot!(graph.query("mutation { feed @skip(if: true) { name } }").await, @r#"{"data":{}}"#);
}

/// An object of a type that clients must not see is no value of theirs.
#[tokio::test]
async fn objects_of_hidden_types_are_null() {
    let graph = zoo().await;
    assert_snapshot!(graph.query("{ cage { pet { name } maybe { name } } }").await, @r#"{"data":{"cage":{"pet":{"name":null},"maybe":null}},"errors":[{"message":"the subgraph returned an object of a type that is not in the API schema","path":["cage","maybe"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
    assert_snapshot!(graph.query("{ cage { maybe { __typename } } }").await, @r#"{"data":{"cage":{"maybe":null}},"errors":[{"message":"the subgraph returned an object of a type that is not in the API schema","path":["cage","maybe"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
    assert_snapshot!(graph.query("{ cage { maybe { ... on Dog { id age } } pet { ... on Dog { age } } } }").await, @r#"{"data":{"cage":{"maybe":null,"pet":{"age":null}}},"errors":[{"message":"the subgraph returned an object of a type that is not in the API schema","path":["cage","maybe"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
}

/// Clients of introspection see neither hidden parts nor the federation's own.
#[tokio::test]
async fn hidden_types_are_not_in_the_schema() {
    let graph = zoo().await;
    assert_snapshot!(graph.query("{ __type(name: \"Pet\") { possibleTypes { name } } hidden: __type(name: \"Secret\") { name } any: __type(name: \"_Any\") { name } join: __type(name: \"join__Graph\") { name } }").await, @r#"{"data":{"__type":{"possibleTypes":[{"name":"Dog"}]},"hidden":null,"any":null,"join":null}}"#);
    assert_snapshot!(graph.query("{ _service { sdl } }").await, @r#"{"errors":[{"message":"Cannot query field \"_service\" on type \"Query\".","locations":[{"line":1,"column":3}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    assert_snapshot!(graph.query("{ _entities(representations: []) { __typename } }").await, @r#"{"errors":[{"message":"Cannot query field \"_entities\" on type \"Query\".","locations":[{"line":1,"column":3}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
}
