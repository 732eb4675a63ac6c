//! `@inaccessible`: fields that clients do not see can still join subgraphs.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

/// The key `code`, the required `hidden`, the argument `secret` and the type `Hid` are not for clients.
async fn items() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { things: [Thing] item(id: ID, secret: String = \"s\" @inaccessible): Item }
         interface Thing { id: ID! hidden: Int @inaccessible }
         type Item implements Thing @key(fields: \"code\") {
           id: ID! code: ID! @inaccessible hidden: Int @inaccessible }
         type Hid implements Thing @key(fields: \"id\") @inaccessible { id: ID! hidden: Int }",
    )
    .query(json!({"things": [
        {"__typename": "Item", "id": "1", "code": "c1", "hidden": 7}, {"__typename": "Hid", "id": "2"},
    ]}))
    .field("Query", "item", |_, arguments| {
        Ok(json!({"id": arguments["secret"], "code": "c1", "hidden": 1}))
    });
    let b = Subgraph::new(
        "b",
        "type Item @key(fields: \"code\") {
           code: ID! @inaccessible hidden: Int @external
           shown: Int @requires(fields: \"hidden\") stock: Int }",
    )
    .entities(json!([{"__typename": "Item", "code": "c1", "stock": 3}]))
    .field("Item", "shown", |it, _| {
        Ok(json!(it["hidden"].as_i64().ok_or("no hidden")? + 1))
    });
    graph(vec![a, b]).await
}

#[tokio::test]
async fn hidden_keys_and_requirements_are_used() {
    let graph = items().await;
    assert_snapshot!(graph.told("{ item(id: 1) { id shown stock } }").await, @r#"
    {"data":{"item":{"id":"s","shown":2,"stock":3}}}
    a: {item(id: 1){id code hidden}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Item{stock shown}}}
    "#);
    assert_snapshot!(graph.told("{ things { __typename ... on Item { shown code: stock hidden: stock } } }").await, @r#"
    {"data":{"things":[{"__typename":"Item","shown":8,"code":3,"hidden":3},null]},"errors":[{"message":"the subgraph returned an object of a type that is not in the API schema","path":["things",1],"extensions":{"code":"INVALID_VALUE"}}]}
    a: {things{__typename ...on Item{code hidden}}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Item{_meaning0_code: stock _meaning1_hidden: stock shown}}}
    "#);
}

#[tokio::test]
async fn hidden_parts_cannot_be_asked_for() {
    let graph = items().await;
    assert_snapshot!(graph.query("{ item(secret: \"x\") { id } }").await, @r#"{"errors":[{"message":"Unknown argument \"secret\" on field \"Query.item\".","locations":[{"line":1,"column":8}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    assert_snapshot!(graph.query("{ item { code } }").await, @r#"{"errors":[{"message":"Cannot query field \"code\" on type \"Item\".","locations":[{"line":1,"column":10}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    assert_snapshot!(graph.query("{ things { ... on Hid { id } } }").await, @r#"{"errors":[{"message":"Unknown type \"Hid\".","locations":[{"line":1,"column":19}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
}
