//! Running operations end when they exceed their budgets of bytes or objects.

use gateway::{config::Limits, graph::Settings};
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, graph_with};

/// Items with a size that another subgraph knows, all of them with the same owner.
async fn items(count: usize, limits: Limits) -> TestGraph {
    let items: Vec<Value> = (0..count)
        .map(|id| json!({"__typename": "Item", "id": id.to_string(), "owner": {"name": "somebody with a name"}}))
        .collect();
    let sizes: Vec<Value> = (0..count)
        .map(|id| json!({"__typename": "Item", "id": id.to_string(), "size": 1, "parts": [{"n": 1}, {"n": 2}]}))
        .collect();
    let list = Subgraph::new(
        "list",
        "type Query { items: [Item!] again: [Item!] }
         type Mutation { change: [Item!] }
         type Item @key(fields: \"id\") { id: ID! owner: Owner }
         type Owner { name: String }",
    )
    .query(json!({"items": items, "again": items}))
    .field("Mutation", "change", move |_, _| Ok(json!(items)));
    let sizes = Subgraph::new(
        "sizes",
        "type Item @key(fields: \"id\") { id: ID! size: Int parts: [Part] } type Part { n: Int }",
    )
    .entities(json!(sizes));
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    graph_with(settings, vec![list, sizes]).await
}

fn objects(objects_max: usize) -> Limits {
    Limits {
        objects_max,
        ..Limits::default()
    }
}

fn bytes(answer_bytes_max: usize) -> Limits {
    Limits {
        answer_bytes_max,
        ..Limits::default()
    }
}

/// What an operation that ended for its budget is answered with.
fn ended(code: &str, what: &str) -> Value {
    let message = format!("the operation's responses have more than {what}: request smaller pages");
    json!({"data": null, "errors": [{"message": message, "extensions": {"code": code}}]})
}

#[tokio::test]
async fn too_many_objects_end_an_operation_before_it_asks_for_more() {
    let graph = items(100, objects(150)).await;
    let told = ended("MAX_OBJECTS_EXCEEDED", "150 objects");
    // 200 in the first answer: the second subgraph is not asked.
    assert_eq!(
        graph.query("{ items { id owner { name } size } }").await,
        told
    );
    assert_eq!(graph.requests().len(), 1);
    // 100 in the first, and three times as many in the second.
    assert_eq!(graph.query("{ items { id parts { n } } }").await, told);
    assert_eq!(graph.requests().len(), 2);
    assert_eq!(
        graph
            .query("mutation { change { id owner { name } } }")
            .await["errors"],
        Value::Null
    );
    assert_eq!(
        graph
            .query("mutation { change { id size parts { n } } }")
            .await,
        told
    );
    let metrics = &graph.inner().settings().prepare_metrics;
    assert_eq!(metrics.over_budget.get(), 3);
}

#[tokio::test]
async fn too_many_bytes_of_all_answers_together_end_an_operation() {
    let size = |answer: &Value| answer.to_string().len();
    let graph = items(100, Limits::default()).await;
    let first = size(&graph.query("{ items { __typename id } }").await);
    let whole = graph.query("{ items { __typename id size } }").await;
    // Enough for each answer alone, not for both.
    let budget = size(&whole);
    assert!(first < budget);
    let graph = items(100, bytes(budget)).await;
    let answer = graph.query("{ items { __typename id size } }").await;
    let what = format!("{budget} bytes");
    assert_eq!(answer, ended("MAX_ANSWER_BYTES_EXCEEDED", &what));
    assert_eq!(graph.requests().len(), 2);
    // One that is forwarded as it came is counted, too.
    assert_eq!(
        size(&graph.query("{ items { __typename id } }").await),
        first
    );
    let graph = items(100, bytes(first - 1)).await;
    let answer = graph.query("{ items { __typename id } }").await;
    assert_eq!(
        answer["errors"][0]["extensions"]["code"],
        "MAX_ANSWER_BYTES_EXCEEDED"
    );
}

#[tokio::test]
async fn an_answer_that_repeats_what_was_fetched_once_is_counted_as_it_is_written() {
    let long = "x".repeat(10_000);
    let owner = json!({"__typename": "Owner", "id": "1", "about": long});
    let items: Vec<Value> = (0..100)
        .map(|_| json!({"owner": {"__typename": "Owner", "id": "1"}}))
        .collect();
    let list = Subgraph::new(
        "list",
        "type Query { items: [Item!] } type Item { owner: Owner! }
         type Owner @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"items": items}));
    let owners = Subgraph::new(
        "owners",
        "type Owner @key(fields: \"id\") { id: ID! about: String }",
    )
    .entities(json!([owner]));
    let settings = Settings {
        limits: bytes(100_000),
        ..Settings::default()
    };
    let graph = graph_with(settings, vec![list, owners]).await;
    let answer = graph.query("{ items { owner { about } } }").await;
    assert_eq!(answer, ended("MAX_ANSWER_BYTES_EXCEEDED", "100000 bytes"));
}
