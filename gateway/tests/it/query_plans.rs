//! The plan of an operation with the times of its requests, as reported in development.

use std::sync::Arc;

use gateway::{execute, graph::Settings, prepare};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, client, graph_with, subgraph::Fault};

async fn shop(report_plan: bool) -> TestGraph {
    let settings = Settings {
        report_plan,
        report_cost: true,
        ..Settings::default()
    };
    let items = Subgraph::new(
        "items",
        "type Query { item: Item } type Item @key(fields: \"id\") { id: ID! name: String }",
    )
    .query(json!({"item": {"id": "1", "name": "Cup"}}));
    let prices = Subgraph::new(
        "prices",
        "type Item @key(fields: \"id\") { id: ID! price: Int }",
    )
    .entities(json!([{"__typename": "Item", "id": "1", "price": 3}]));
    let stock = Subgraph::new(
        "stock",
        "type Item @key(fields: \"id\") { id: ID! left: Int }",
    )
    .entities(json!([{"__typename": "Item", "id": "1", "left": 2}]));
    graph_with(settings, vec![items, prices, stock]).await
}

async fn ask(graph: &TestGraph, header: Option<&'static str>) -> Value {
    let mut client = client();
    let header = header.map(|value| ("rejoinder-query-plan", value));
    let headers = header.into_iter().map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    client.headers = Arc::new(headers.collect::<HeaderMap>());
    let query = "query($all: Boolean = true) { item { name price left @include(if: $all) } }";
    let ready = prepare::with_variables(graph.serving(), query, None, None).await;
    let (prepared, variables) = ready.expect("a plan");
    let response = execute::operation(graph.inner(), &prepared, &variables, &client).await;
    serde_json::from_slice(&response.body).expect("JSON")
}

#[tokio::test]
async fn a_client_that_wants_it_gets_the_plan_with_the_times_of_each_request() {
    let graph = shop(true).await;
    let answer = ask(&graph, Some("include")).await;
    assert_eq!(
        answer["data"],
        json!({"item": {"name": "Cup", "price": 3, "left": 2}})
    );
    assert!(answer["extensions"]["cost"].is_object(), "{answer}");
    let plan = &answer["extensions"]["queryPlan"];
    let fetches = plan["fetches"].as_array().expect("requests");
    let mut seen = Vec::new();
    for fetch in fetches {
        let sent_at = fetch["sentAtMs"].as_f64().expect("it was sent");
        let took = fetch["tookMs"].as_f64().expect("it was answered");
        let all = plan["milliseconds"].as_f64().expect("a time");
        assert!(took > 0.0 && sent_at + took <= all, "{plan}");
        for other in fetch["after"].as_array().expect("a list") {
            let other = &fetches[other.as_u64().expect("a number") as usize - 1];
            let ended = other["sentAtMs"].as_f64().zip(other["tookMs"].as_f64());
            // Both are rounded to microseconds.
            assert!(
                ended.is_some_and(|(sent, took)| sent + took <= sent_at + 0.002),
                "{plan}"
            );
        }
        assert!(fetch["bytes"].as_u64() > Some(0));
        seen.push((
            fetch["subgraph"].clone(),
            fetch["after"].clone(),
            fetch["entities"].clone(),
        ));
    }
    let entities = json!([{"paths": ["item"], "by": "...on Item{id}"}]);
    assert_eq!(seen[0], (json!("items"), json!([]), Value::Null));
    seen[1..].sort_by_key(|(subgraph, ..)| subgraph.to_string());
    assert_eq!(seen[1], (json!("prices"), json!([1]), entities.clone()));
    assert_eq!(seen[2], (json!("stock"), json!([1]), entities));
}

#[tokio::test]
async fn a_request_that_fails_says_why_and_one_that_is_not_needed_has_no_time() {
    let graph = shop(true).await;
    graph.subgraph("items").stop().await;
    let answer = ask(&graph, Some("include")).await;
    let fetches = &answer["extensions"]["queryPlan"]["fetches"];
    let failure = fetches[0]["failure"].as_str().unwrap_or_default();
    assert!(!failure.is_empty(), "{answer}");
    assert_eq!(fetches[1].get("sentAtMs"), None, "{answer}");
    let graph = shop(true).await;
    graph
        .subgraph("prices")
        .fail(Fault::Answer(500, "no".to_owned()));
    let answer = ask(&graph, Some("Include")).await;
    assert_eq!(answer["data"]["item"]["left"], 2, "{answer}");
    assert!(answer["extensions"]["queryPlan"]["fetches"][2]["tookMs"].is_number());
}

#[tokio::test]
async fn nobody_gets_a_plan_who_has_not_asked_or_may_not() {
    let graph = shop(true).await;
    for header in [None, Some("yes")] {
        let answer = ask(&graph, header).await;
        assert_eq!(answer["extensions"].get("queryPlan"), None, "{answer}");
        assert!(answer["extensions"]["cost"].is_object());
    }
    let answer = ask(&shop(false).await, Some("include")).await;
    assert_eq!(answer["extensions"].get("queryPlan"), None, "{answer}");
}
