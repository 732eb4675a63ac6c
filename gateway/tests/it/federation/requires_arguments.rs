//! `@requires` with arguments inside of objects and lists.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

/// The same field inside of the same list is required by three fields with three arguments.
async fn boxes() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { boxes: [Box] }
         type Box @key(fields: \"id\") { id: ID! sides: [Side] }
         type Side { length(unit: String = \"mm\"): Int name(upper: Boolean): String }",
    )
    .query(json!({"boxes": [
        {"id": "1", "sides": [{"name": "a"}, null]}, null, {"id": "2", "sides": null},
    ]}))
    .field("Side", "length", |_, arguments| {
        Ok(match arguments["unit"].as_str() {
            Some("cm") => json!(1),
            Some("mm") => json!(10),
            _ => json!(null),
        })
    });
    let b = Subgraph::new(
        "b",
        "type Box @key(fields: \"id\") { id: ID! sides: [Side] @external
           cm: String @requires(fields: \"sides { length(unit: \\\"cm\\\") name }\")
           mm: String @requires(fields: \"sides { length(unit: \\\"mm\\\") }\")
           any: String @requires(fields: \"sides { length }\") }
         type Side { length(unit: String = \"mm\"): Int @external name(upper: Boolean): String @external }",
    )
    .entities(json!([{"__typename": "Box", "id": "1"}, {"__typename": "Box", "id": "2"}]))
    .field("Box", "cm", |it, _| Ok(json!(it["sides"].to_string())))
    .field("Box", "mm", |it, _| Ok(json!(it["sides"].to_string())))
    .field("Box", "any", |it, _| Ok(json!(it["sides"].to_string())));
    graph(vec![a, b]).await
}

/// A query's story with the keys of requirements numbered as they come: their own numbers depend on
/// the order of fields in the supergraph.
async fn told_renumbered(graph: &TestGraph, query: &str) -> String {
    let told = graph.told(query).await;
    let mut parts = told.split("_required");
    let mut renumbered = parts.next().unwrap_or_default().to_owned();
    let mut numbers: Vec<&str> = Vec::new();
    for part in parts {
        let (number, rest) = part.split_once('_').expect("a number");
        let known = numbers.iter().position(|it| *it == number);
        let number = known.unwrap_or_else(|| {
            numbers.push(number);
            numbers.len() - 1
        });
        renumbered.push_str(&format!("_required{number}_{rest}"));
    }
    renumbered
}

#[tokio::test]
async fn requirements_with_other_arguments_are_represented_apart() {
    let graph = boxes().await;
    let told = told_renumbered(&graph, "{ boxes { cm mm any } }").await;
    assert_snapshot!(told, @r#"
    {"data":{"boxes":[{"cm":"[{\"length\":1,\"name\":\"a\"},null]","mm":"[{\"length\":10},null]","any":"[{\"length\":10},null]"},null,{"cm":"null","mm":"null","any":"null"}]}}
    a: {boxes{sides{_required0_length: length(unit: "cm") _required1_name: name _required2_length: length(unit: "mm") _required3_length: length} id}}
    b: query($representations0:[_Any!]!, $representations1:[_Any!]!, $representations2:[_Any!]!){_e0: _entities(representations: $representations0){...on Box{cm}} _e1: _entities(representations: $representations1){...on Box{mm}} _e2: _entities(representations: $representations2){...on Box{any}}}
    "#);
}

#[tokio::test]
async fn arguments_of_the_client_and_of_requirements_do_not_meet() {
    let graph = boxes().await;
    let query = "query($u: String) { boxes { sides { length(unit: $u) name(upper: true) kind: __typename } x: cm length: mm } }";
    let told = told_renumbered(&graph, query).await;
    assert_snapshot!(told, @r#"
    {"data":{"boxes":[{"sides":[{"length":10,"name":"a","kind":"Side"},null],"x":"[{\"__typename\":\"Side\",\"length\":1,\"name\":\"a\"},null]","length":"[{\"__typename\":\"Side\",\"length\":10},null]"},null,{"sides":null,"x":"null","length":"null"}]}}
    a: query($u:String){boxes{sides{length(unit: $u) name(upper: true) kind: __typename _required0_length: length(unit: "cm") _required1_name: name _required2_length: length(unit: "mm")} id}}
    b: query($representations0:[_Any!]!, $representations1:[_Any!]!){_e0: _entities(representations: $representations0){...on Box{x: cm}} _e1: _entities(representations: $representations1){...on Box{_meaning0_length: mm}}}
    "#);
}
