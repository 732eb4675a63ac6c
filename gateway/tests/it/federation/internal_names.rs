//! Internal response keys of plans never collide with a client's aliases.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

/// `heat` requires `p` with another argument than clients ask for; `text` means two fields.
async fn kitchen() -> TestGraph {
    let stock = Subgraph::new(
        "stock",
        "type Query { all: [Thing!]! }
         interface Thing { id: ID! }
         type Oven implements Thing @key(fields: \"id\") { id: ID! name: String note: String p(c: Int): Int make: Make! }
         type Pan implements Thing @key(fields: \"id\") { id: ID! city: String other: String make: Make }
         type Make { parts: [String!] year: Int }",
    )
    .query(json!({"all": [
        {"__typename": "Oven", "id": "o", "name": "Ada", "note": "hot", "make": {"parts": ["door"], "year": 1931}},
        {"__typename": "Pan", "id": "p", "city": "Rome", "other": "iron", "make": {"parts": ["lid"], "year": 1950}},
    ]}))
    .field("Oven", "p", |_, arguments| Ok(json!(arguments["c"].as_i64().unwrap_or_default() * 10)));
    let heat = Subgraph::new(
        "heat",
        "type Make { parts: [String!] @external }
         type Oven @key(fields: \"id\") { id: ID! p(c: Int): Int @external make: Make! @external
           heat: Int @requires(fields: \"p(c: 3)\") doors: Int @requires(fields: \"make { parts }\") }",
    )
    .entities(json!([{"__typename": "Oven", "id": "o"}]))
    .field("Oven", "heat", |oven, _| Ok(oven["p"].clone()))
    .field("Oven", "doors", |oven, _| {
        let parts = oven["make"]["parts"].as_array().ok_or("no parts")?;
        Ok(json!(parts.len()))
    });
    graph(vec![stock, heat]).await
}

#[tokio::test]
async fn those_of_requirements() {
    let graph = kitchen().await;
    let query = "{ all { ... on Oven { _required0_p: p(c: 1) heat } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"all":[{"_required0_p":10,"heat":30},{}]}}"#);
    let query = "{ all { ... on Oven { _required0_p: id heat } ... on Pan { _required0_p: id } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"all":[{"_required0_p":"o","heat":30},{"_required0_p":"p"}]}}"#);
}

#[tokio::test]
async fn those_of_keys_that_mean_two_fields() {
    let graph = kitchen().await;
    let query = "{ all { ... on Oven { text: name _meaning0_text: note } ... on Pan { text: city _meaning0_text: other } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"all":[{"text":"Ada","_meaning0_text":"hot"},{"text":"Rome","_meaning0_text":"iron"}]}}"#);
}

#[tokio::test]
async fn those_of_types_that_do_not_go_together() {
    let graph = kitchen().await;
    // One kind of `make` may be null, the other may not.
    let query = "{ all { ... on Pan { make { year } } ... on Oven { _other0_make: id doors } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"all":[{"_other0_make":"o","doors":1},{"make":{"year":1950}}]}}"#);
}
