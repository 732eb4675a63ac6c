//! Mutations run in the order written, each after everything that follows from the one before.

use std::sync::{Arc, Mutex};

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

#[tokio::test]
async fn mutations_of_several_subgraphs_keep_their_order() {
    let done = Arc::new(Mutex::new(Vec::new()));
    let recorder = |name: &'static str| {
        let done = Arc::clone(&done);
        move |_: &serde_json::Value, arguments: &serde_json::Value| {
            let mut done = done.lock().expect("not poisoned");
            done.push(format!("{name} {}", arguments["by"]));
            Ok(json!({"id": "1", "steps": done.len()}))
        }
    };
    let a = Subgraph::new(
        "a",
        "type Query { counter: Counter! }
         type Mutation { add(by: Int!): Counter! }
         type Counter @key(fields: \"id\") { id: ID! steps: Int! @shareable }",
    )
    .field("Mutation", "add", recorder("add"));
    let b = Subgraph::new(
        "b",
        "type Mutation { multiply(by: Int!): Counter! delete(by: Int!): Counter }
         type Counter @key(fields: \"id\") { id: ID! steps: Int! @shareable name: String! }",
    )
    .entities(json!([{"__typename": "Counter", "id": "1", "name": "one"}]))
    .field("Mutation", "multiply", recorder("multiply"))
    .field("Mutation", "delete", recorder("delete"));
    let graph = graph(vec![a, b]).await;
    let query = "mutation {
      first: add(by: 1) { steps name } multiply(by: 2) { steps }
      third: add(by: 3) { steps } fourth: add(by: 4) { steps } delete(by: 5) { steps name }
    }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"first":{"steps":1,"name":"one"},"multiply":{"steps":2},"third":{"steps":3},"fourth":{"steps":4},"delete":{"steps":5,"name":"one"}}}
    a: mutation{first: add(by: 1){steps id}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Counter{name}}}
    b: mutation{multiply(by: 2){steps}}
    a: mutation{third: add(by: 3){steps} fourth: add(by: 4){steps}}
    b: mutation{delete(by: 5){steps name}}
    "#);
    assert_eq!(
        *done.lock().expect("not poisoned"),
        ["add 1", "multiply 2", "add 3", "add 4", "delete 5"]
    );
}

#[tokio::test]
async fn a_mutation_that_is_left_out_does_not_happen() {
    let done = Arc::new(Mutex::new(Vec::new()));
    let recorder = |name: &'static str| {
        let done = Arc::clone(&done);
        move |_: &serde_json::Value, _: &serde_json::Value| {
            done.lock().expect("not poisoned").push(name);
            Ok(json!(1))
        }
    };
    let a = Subgraph::new(
        "a",
        "type Query { x: Int } type Mutation { one: Int two: Int }",
    )
    .field("Mutation", "one", recorder("one"))
    .field("Mutation", "two", recorder("two"));
    let graph = graph(vec![a]).await;
    let query = "mutation($yes: Boolean!) { one @skip(if: $yes) two @include(if: $yes) }";
    assert_snapshot!(graph.told_with(query, json!({"yes": true})).await, @r#"
    {"data":{"two":1}}
    a: mutation{two}
    "#);
    assert_eq!(*done.lock().expect("not poisoned"), ["two"]);
    let query = "mutation($yes: Boolean!) { ... @skip(if: $yes) { one } ...T } fragment T on Mutation { two @skip(if: $yes) }";
    assert_snapshot!(graph.told_with(query, json!({"yes": true})).await, @r#"{"data":{}}"#);
    assert_eq!(*done.lock().expect("not poisoned"), ["two"]);
}

#[tokio::test]
async fn a_mutation_of_an_entity_that_is_left_out_does_not_happen() {
    let done = Arc::new(Mutex::new(Vec::new()));
    let recorder = |name: &'static str| {
        let done = Arc::clone(&done);
        move |_: &serde_json::Value, _: &serde_json::Value| {
            done.lock().expect("not poisoned").push(name);
            Ok(json!({"id": "1"}))
        }
    };
    let a = Subgraph::new(
        "a",
        "type Query { x: Int }
         type Mutation { one: Thing two: Thing three: Thing }
         type Thing @key(fields: \"id\") { id: ID! }",
    )
    .field("Mutation", "one", recorder("one"))
    .field("Mutation", "two", recorder("two"))
    .field("Mutation", "three", recorder("three"));
    let b = Subgraph::new(
        "b",
        "type Thing @key(fields: \"id\") { id: ID! name: String! }",
    )
    .entities(json!([{"__typename": "Thing", "id": "1", "name": "thing"}]));
    let graph = graph(vec![a, b]).await;
    let query = "mutation($yes: Boolean!) {
      one { name } two @skip(if: $yes) { id } three @skip(if: $yes) { name }
    }";
    assert_snapshot!(graph.told_with(query, json!({"yes": true})).await, @r#"
    {"data":{"one":{"name":"thing"}}}
    a: mutation{one{id}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Thing{name}}}
    "#);
    assert_eq!(*done.lock().expect("not poisoned"), ["one"]);
}

/// Fields that note what is done, in the order in which it is done.
async fn noted(sdl: &str, fields: &[&'static str]) -> (TestGraph, Arc<Mutex<Vec<String>>>) {
    let done = Arc::new(Mutex::new(Vec::new()));
    let mut a = Subgraph::new("a", sdl);
    for &field in fields {
        let done = Arc::clone(&done);
        a = a.field("Mutation", field, move |_, arguments| {
            let mut done = done.lock().expect("not poisoned");
            done.push(format!("{field} {}", arguments["by"]));
            Ok(json!({"id": "1", "name": "thing"}))
        });
    }
    let b = Subgraph::new(
        "b",
        "type Thing @key(fields: \"id\") { id: ID! name: String! }",
    )
    .entities(json!([{"__typename": "Thing", "id": "1", "name": "thing"}]));
    (graph(vec![a, b]).await, done)
}

const THINGS: &str = "type Query { x: Int }
    type Mutation { one(by: Int): Thing two(by: Int): Thing }
    type Thing @key(fields: \"id\") { id: ID! }";

#[tokio::test]
async fn a_mutation_with_a_condition_inside_of_a_conditional_fragment_does_not_happen() {
    let (graph, done) = noted(THINGS, &["one", "two"]).await;
    let query = "mutation($x: Boolean!, $y: Boolean!) {
      ... @include(if: $y) { one { name @include(if: $x) } two @include(if: $x) { id } } }";
    for (variables, expected) in [
        (json!({"x": false, "y": true}), vec!["one null"]),
        (json!({"x": true, "y": false}), vec![]),
        (json!({"x": true, "y": true}), vec!["one null", "two null"]),
    ] {
        let answer = graph.ask(query, Some(variables.clone())).await;
        assert!(answer.get("errors").is_none(), "{answer}");
        let done = std::mem::take(&mut *done.lock().expect("not poisoned"));
        assert_eq!(done, expected, "{variables}");
    }
}

#[tokio::test]
async fn conditional_fragments_keep_the_order_of_mutations() {
    let (graph, done) = noted(THINGS, &["one", "two"]).await;
    let query = "mutation($y: Boolean!) {
      ... @include(if: $y) { a: one(by: 1) { name } b: one(by: 2) { name } }
      c: two(by: 3) { id }
      ... @include(if: $y) { d: one(by: 4) { id } } }";
    for (yes, expected) in [
        (true, vec!["one 1", "one 2", "two 3", "one 4"]),
        (false, vec!["two 3"]),
    ] {
        let answer = graph.ask(query, Some(json!({"y": yes}))).await;
        assert!(answer.get("errors").is_none(), "{answer}");
        let done = std::mem::take(&mut *done.lock().expect("not poisoned"));
        assert_eq!(done, expected);
    }
}

#[tokio::test]
async fn a_mutation_with_more_conditions_than_can_be_told_apart_is_refused() {
    let done = Arc::new(Mutex::new(0));
    let count = Arc::clone(&done);
    let a = Subgraph::new(
        "a",
        "type Query { x: Int } type Mutation { add(by: Int!): Int }",
    )
    .field("Mutation", "add", move |_, arguments| {
        *count.lock().expect("not poisoned") += 1;
        Ok(arguments["by"].clone())
    });
    let graph = graph(vec![a]).await;
    let mutation = |conditions: usize| {
        let variables: String = (0..conditions)
            .map(|n| format!("$v{n}: Boolean! "))
            .collect();
        let fields: String = (0..conditions)
            .map(|n| format!("f{n}: add(by: {n}) @include(if: $v{n}) "))
            .collect();
        format!("mutation({variables}) {{ {fields} }}")
    };
    let only_the_last = |conditions: usize| -> serde_json::Value {
        let values = (0..conditions).map(|n| (format!("v{n}"), json!(n + 1 == conditions)));
        values.collect()
    };
    assert_snapshot!(graph.ask(&mutation(64), Some(only_the_last(64))).await, @r#"{"data":{"f63":63}}"#);
    assert_eq!(*done.lock().expect("not poisoned"), 1);
    assert_snapshot!(graph.ask(&mutation(65), Some(only_the_last(65))).await, @r#"{"errors":[{"message":"more than 64 variables are used in @skip and @include of a mutation","extensions":{"code":"MAX_VARIABLES_EXCEEDED"}}]}"#);
    assert_eq!(*done.lock().expect("not poisoned"), 1);
}
