//! What introspection tells beyond what tools test for us: input objects that are one of several.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{TestGraph, graph_of};

async fn picks() -> TestGraph {
    graph_of(include_str!("one_of.graphql"), Vec::new()).await
}

#[tokio::test]
async fn an_input_object_tells_whether_it_is_one_of_several() {
    let graph = picks().await;
    let query = "{
      pick: __type(name: \"Pick\") { ...O mine: isOneOf inputFields { name type { isOneOf } } }
      plain: __type(name: \"Plain\") { isOneOf ... on __Type { isOneOf name } }
      query: __type(name: \"Query\") { ...O fields { args { type { isOneOf ofType { ...O } } } } }
      none: __type(name: \"None\") { isOneOf }
    }
    fragment O on __Type { isOneOf }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"pick":{"isOneOf":true,"mine":true,"inputFields":[{"name":"id","type":{"isOneOf":null}},{"name":"plain","type":{"isOneOf":false}}]},"plain":{"isOneOf":false,"name":"Plain"},"query":{"isOneOf":null,"fields":[{"args":[{"type":{"isOneOf":null,"ofType":{"isOneOf":true}}},{"type":{"isOneOf":false,"ofType":null}}]}]},"none":null}}"#);
    let query = "query($name: String!, $is: Boolean = true) { __type(name: $name) { isOneOf @include(if: $is) kind } }";
    assert_snapshot!(graph.ask(query, Some(json!({"name": "Pick"}))).await, @r#"{"data":{"__type":{"isOneOf":true,"kind":"INPUT_OBJECT"}}}"#);
    assert_snapshot!(graph.ask(query, Some(json!({"name": "Pick", "is": false}))).await, @r#"{"data":{"__type":{"kind":"INPUT_OBJECT"}}}"#);
}

#[tokio::test]
async fn the_schema_describes_the_field_and_the_directive() {
    let graph = picks().await;
    let answer = graph
        .query("{ __type(name: \"__Type\") { fields { name } } __schema { directives { name locations } } }")
        .await;
    let fields = answer["data"]["__type"]["fields"].as_array();
    assert!(fields.is_some_and(|fields| fields.contains(&json!({"name": "isOneOf"}))));
    let directives = answer["data"]["__schema"]["directives"].as_array();
    let one_of = json!({"name": "oneOf", "locations": ["INPUT_OBJECT"]});
    assert!(directives.is_some_and(|directives| directives.contains(&one_of)));
}

#[tokio::test]
async fn documents_that_ask_the_same_of_the_schema_share_an_answer() {
    const DOCUMENTS: i64 = 20;
    let graph = picks().await;
    let types: String = (0..10)
        .map(|index| format!("t{index}: types {{ name fields {{ name type {{ name }} }} }} "))
        .collect();
    let mut answers = Vec::new();
    for index in 0..DOCUMENTS {
        let query =
            format!("query Q{index} {{ ...S }} fragment S on Query {{ __schema {{ {types} }} }}");
        let first = graph.response(&query, None).await.body;
        assert_eq!(graph.response(&query, None).await.body, first);
        answers.push(first);
    }
    answers.dedup();
    let [answer] = &*answers else {
        panic!("{} answers", answers.len());
    };
    let kept = graph.inner().settings().prepare_metrics.kept_bytes.get();
    assert!(kept / DOCUMENTS < answer.len() as i64 / 2, "{kept} bytes");
}
