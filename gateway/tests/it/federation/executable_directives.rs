//! The subgraphs' own executable directives are forwarded as the client wrote them.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph_of};

const DIRECTIVES: &str = "
    directive @lang(code: String!) on QUERY
    directive @trace(id: Int) on QUERY | MUTATION | VARIABLE_DEFINITION
    directive @upper on FIELD
    directive @part(number: Int) on INLINE_FRAGMENT | FRAGMENT_SPREAD
    directive @spread(number: Int) on FRAGMENT_SPREAD
    directive @defined on FRAGMENT_DEFINITION
    directive @mark(name: String!) repeatable on FIELD | FRAGMENT_SPREAD
";

async fn shop() -> TestGraph {
    let a = Subgraph::new(
        "a",
        &format!(
            "{DIRECTIVES} type Query {{ items(first: Int): [Item!]! }} type Mutation {{ touch(id: ID!): Item }}
             type Item @key(fields: \"id\") {{ id: ID! name: String weight: Int }}"
        ),
    )
    .query(json!({"items": [{"id": "i", "name": "n", "weight": 2}]}))
    .field("Mutation", "touch", |_, _| Ok(json!({"id": "i", "name": "n", "weight": 2})));
    let b = Subgraph::new(
        "b",
        &format!(
            "{DIRECTIVES} type Query {{ b: Int }}
             type Item @key(fields: \"id\") {{ id: ID! weight: Int @external
               text: String cost: Int @requires(fields: \"weight\") }}"
        ),
    )
    .entities(json!([{"__typename": "Item", "id": "i", "text": "t", "cost": 4}]));
    let supergraph = include_str!("supergraphs/executable_directives.graphql");
    graph_of(supergraph, vec![a, b]).await
}

#[tokio::test]
async fn those_of_operations_go_to_every_request_that_may_have_them() {
    let graph = shop().await;
    assert_snapshot!(graph.told("query @lang(code: \"de\") { items { name text } }").await, @r#"
    {"data":{"items":[{"name":"n","text":"t"}]}}
    a: query @lang(code: "de"){items{name id}}
    b: query($representations:[_Any!]!) @lang(code: "de"){_entities(representations: $representations){...on Item{text}}}
    "#);
    let query = "query($code: String!, $first: Int @trace(id: 1)) @lang(code: $code) { items(first: $first) { name } }";
    assert_snapshot!(graph.told_with(query, json!({"code": "de", "first": 1})).await, @r#"
    {"data":{"items":[{"name":"n"}]}}
    a: query($code:String!, $first:Int @trace(id: 1)) @lang(code: $code){items(first: $first){name}}
    "#);
    assert_snapshot!(graph.told("mutation @trace(id: 7) { touch(id: 1) { text } }").await, @r#"
    {"data":{"touch":{"text":"t"}}}
    a: mutation @trace(id: 7){touch(id: 1){id}}
    b: query($representations:[_Any!]!) @trace(id: 7){_entities(representations: $representations){...on Item{text}}}
    "#);
}

#[tokio::test]
async fn those_of_fields_go_with_the_field_and_not_with_the_plans_own() {
    let graph = shop().await;
    assert_snapshot!(graph.told("{ items { name @upper text @upper } }").await, @r#"
    {"data":{"items":[{"name":"n","text":"t"}]}}
    a: {items{name @upper id}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Item{text @upper}}}
    "#);
    // The key and the requirement are what they are.
    assert_snapshot!(graph.told("{ items { id @upper weight @upper cost } }").await, @r#"
    {"data":{"items":[{"id":"i","weight":2,"cost":4}]}}
    a: {items{_meaning0_id: id @upper _meaning1_weight: weight @upper weight id}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Item{cost}}}
    "#);
    // Merged fields have the directives of all.
    assert_snapshot!(graph.told("{ items { name } items { name @upper name } }").await, @r#"
    {"data":{"items":[{"name":"n"}]}}
    a: {items{name @upper}}
    "#);
}

#[tokio::test]
async fn those_of_fragments_stay_where_they_are() {
    let graph = shop().await;
    assert_snapshot!(graph.told("{ items { ... on Item @part(number: 1) { name } ...F @part } } fragment F on Item { weight }").await, @r#"
    {"data":{"items":[{"name":"n","weight":2}]}}
    a: {items{... @part(number: 1){name} ... @part{weight}}}
    "#);
}

/// Where only a fragment with a name can have them, it keeps one.
#[tokio::test]
async fn those_of_spreads_and_definitions_stay_there() {
    let graph = shop().await;
    let query = "query($n: Int, $yes: Boolean = true) { items { ...F @spread(number: $n) @include(if: $yes) @mark(name: \"x\") ...G } }
        fragment F on Item { name text } fragment G on Item @defined { weight ...F @spread(number: 2) }";
    assert_snapshot!(graph.told_with(query, json!({"n": 1})).await, @r#"
    {"data":{"items":[{"name":"n","text":"t","weight":2}]}}
    a: query($n:Int){items{...F0 @spread(number: $n) @mark(name: "x") id ...F1}} fragment F0 on Item{name} fragment F1 on Item @defined{weight ...F2 @spread(number: 2)} fragment F2 on Item{name}
    b: query($representations:[_Any!]!, $n:Int){_entities(representations: $representations){...on Item{...F0 @spread(number: $n) @mark(name: "x") ...F1}}} fragment F0 on Item{text} fragment F1 on Item @defined{...F2 @spread(number: 2)} fragment F2 on Item{text}
    "#);
    // In one list of entities, too.
    assert_snapshot!(graph.told("{ items { ...F @spread } } fragment F on Item { text }").await, @r#"
    {"data":{"items":[{"text":"t"}]}}
    a: {items{id}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Item{...F0 @spread}}} fragment F0 on Item{text}
    "#);
}

#[tokio::test]
async fn merged_fields_keep_all_of_a_repeatable_one() {
    let graph = shop().await;
    let query = "{ items { name @mark(name: \"a\") @mark(name: \"b\") name @mark(name: \"c\") @mark(name: \"a\") @upper name @upper } }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"items":[{"name":"n"}]}}
    a: {items{name @mark(name: "a") @mark(name: "b") @mark(name: "c") @upper}}
    "#);
}
