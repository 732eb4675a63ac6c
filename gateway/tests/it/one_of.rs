//! `@oneOf` input objects have exactly one field, which is not null.

use serde_json::{Value, json};

use crate::support::{TestGraph, graph_of};

async fn picks() -> TestGraph {
    graph_of(include_str!("one_of.graphql"), Vec::new()).await
}

async fn refusal(query: &str) -> Vec<Value> {
    let graph = picks().await;
    let answer = graph.ask(query, Some(json!({}))).await;
    let errors = answer["errors"].as_array().cloned().unwrap_or_default();
    errors
        .iter()
        .map(|error| {
            assert_eq!(
                error["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED",
                "{error}"
            );
            error["message"].clone()
        })
        .collect()
}

#[tokio::test]
async fn literals_with_another_number_of_fields_are_refused() {
    let one = json!("the value for the @oneOf input object \"Pick\" must have exactly one field");
    assert_eq!(
        refusal("{ basket(pick: {}) }").await,
        std::slice::from_ref(&one)
    );
    let two = "{ basket(pick: {id: 1, plain: {id: 2}}) }";
    assert_eq!(refusal(two).await, std::slice::from_ref(&one));
    let in_default = "query($pick: Pick = {}) { basket(pick: $pick) }";
    assert!(refusal(in_default).await.contains(&one));
    let in_nested = "{ basket(pick: {plain: {id: 1}}, plain: {pick: {id: 1, plain: null}}) }";
    assert_eq!(refusal(in_nested).await, [one]);
}

#[tokio::test]
async fn null_is_refused() {
    let null = json!("the field \"id\" of the @oneOf input object \"Pick\" must not be null");
    assert_eq!(
        refusal("{ basket(pick: {id: null}) }").await,
        std::slice::from_ref(&null)
    );
    let in_default = "query($pick: Pick! = {id: null}) { basket(pick: $pick) }";
    assert_eq!(refusal(in_default).await, [null]);
}

#[tokio::test]
async fn a_variable_that_may_be_null_is_refused_with_the_reason() {
    let reason = json!(
        "Variable \"$id\" is of type \"ID\" but must be non-nullable to be used for OneOf Input \
         Object \"Pick\"."
    );
    let query = "query($id: ID) { basket(pick: {id: $id}) }";
    assert_eq!(refusal(query).await, [reason]);
}
