//! Lists of the same field that differ between subgraphs.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, graph};

/// Rows have no key, so that the subgraphs' parts of them are put together by their places.
async fn table(of_a: Value, of_b: Value) -> TestGraph {
    let part = |name: &str, rows: Value| {
        Subgraph::new(
            name,
            &format!(
                "type Query {{ table: Table @shareable needed: [Row!]! @shareable }}
                 type Table {{ rows: [Row] @shareable nested: [[Row]] @shareable }} type Row {{ {name}: Int }}"
            ),
        )
        .query(json!({"table": {"rows": rows, "nested": [rows]}, "needed": rows}))
    };
    graph(vec![part("a", of_a), part("b", of_b)]).await
}

#[tokio::test]
async fn lists_of_different_length_are_an_error() {
    let graph = table(json!([{"a": 1}, {"a": 2}]), json!([{"b": 3}])).await;
    assert_snapshot!(graph.query("{ table { rows { a b } } }").await, @r#"{"data":{"table":{"rows":null}},"errors":[{"message":"the subgraphs' lists of field \"rows\" differ in length","path":["table","rows"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
    assert_snapshot!(graph.query("{ table { nested { a b } } }").await, @r#"{"data":{"table":{"nested":[null]}},"errors":[{"message":"the subgraphs' lists of field \"nested\" differ in length","path":["table","nested",0],"extensions":{"code":"INVALID_VALUE"}}]}"#);
    assert_snapshot!(graph.query("{ needed { a b } }").await, @r#"{"data":null,"errors":[{"message":"the subgraphs' lists of field \"needed\" differ in length","path":["needed"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
    assert_snapshot!(graph.query("{ table { rows { a } } }").await, @r#"{"data":{"table":{"rows":[{"a":1},{"a":2}]}}}"#);
}

#[tokio::test]
async fn lists_of_one_length_are_put_together_by_place() {
    let graph = table(json!([{"a": 1}, null]), json!([{"b": 3}, {"b": 4}])).await;
    assert_snapshot!(graph.query("{ table { rows { a b } nested { b a } } }").await, @r#"{"data":{"table":{"rows":[{"a":1,"b":3},{"a":null,"b":4}],"nested":[[{"b":3,"a":1},{"b":4,"a":null}]]}}}"#);
}
