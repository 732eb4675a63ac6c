//! Introspection of `@oneOf` input objects, which the tools' own tests do not cover.

use gateway::{graph::Settings, prepare};
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph, graph_of, graph_with};

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

fn itself() -> Subgraph {
    Subgraph::new(
        "a",
        "type Query { self: Query none: Query many: [Query!]! a: Int }
         type Mutation { touch: Touched } type Subscription { touched: Touched } type Touched { query: Query }",
    )
    .query(json!({"a": 1, "self": {"a": 2}, "none": null, "many": [{"a": 3}, {"a": 4}]}))
    .field("Mutation", "touch", |_, _| Ok(json!({"query": {"a": 5}})))
}

/// Wherever an object is of the query type, it has `__schema` and `__type`.
#[tokio::test]
async fn the_schema_is_asked_for_below_a_query_that_is_not_the_root() {
    let graph = graph(vec![itself()]).await;
    let told = graph
        .told("{ __schema { queryType { name } } self { a __schema { queryType { name } } } }")
        .await;
    assert_snapshot!(told, @r#"
    {"data":{"__schema":{"queryType":{"name":"Query"}},"self":{"a":2,"__schema":{"queryType":{"name":"Query"}}}}}
    a: {self{a}}
    "#);
    // Whether there is an object has to be found out, if nothing else.
    let told = graph.told("{ self { __type(name: \"Touched\") { kind } } none { ...S } many { ...S } } fragment S on Query { s: __type(name: \"Int\") { kind } }").await;
    assert_snapshot!(told, @r#"
    {"data":{"self":{"__type":{"kind":"OBJECT"}},"none":null,"many":[{"s":{"kind":"SCALAR"}},{"s":{"kind":"SCALAR"}}]}}
    a: {self{__typename} none{__typename} many{__typename}}
    "#);
    let told = graph
        .told("mutation { touch { query { __type(name: \"Int\") { name } } } }")
        .await;
    assert_snapshot!(told, @r#"
    {"data":{"touch":{"query":{"__type":{"name":"Int"}}}}}
    a: mutation{touch{query{__typename}}}
    "#);
}

#[tokio::test]
async fn fields_of_introspection_are_merged_and_decided_like_others() {
    let graph = graph(vec![itself()]).await;
    let query = "query($name: String!, $kind: Boolean!, $all: Boolean!) {
      self { t: __type(name: $name) { name } }
      self { t: __type(name: $name) @include(if: $kind) { kind } }
      many @include(if: $all) { t: __type(name: \"Int\") @skip(if: $kind) { name } a }
    }";
    let asked = async |kind: bool, all: bool| {
        let variables = json!({"name": "Query", "kind": kind, "all": all});
        graph.ask(query, Some(variables)).await
    };
    assert_snapshot!(asked(true, true).await, @r#"{"data":{"self":{"t":{"name":"Query","kind":"OBJECT"}},"many":[{"a":3},{"a":4}]}}"#);
    assert_snapshot!(asked(false, true).await, @r#"{"data":{"self":{"t":{"name":"Query"}},"many":[{"t":{"name":"Int"},"a":3},{"t":{"name":"Int"},"a":4}]}}"#);
    assert_snapshot!(asked(false, false).await, @r#"{"data":{"self":{"t":{"name":"Query"}}}}"#);
}

/// Clients share a subscription only if they want the same of the schema, too.
#[tokio::test]
async fn subscriptions_that_ask_other_things_of_the_schema_are_different() {
    let graph = graph(vec![itself()]).await;
    let normal_form = async |name: &str| {
        let query = format!(
            "subscription {{ touched {{ query {{ __type(name: \"{name}\") {{ kind }} }} }} }}"
        );
        let prepared = prepare::with_variables(graph.serving(), &query, None, None).await;
        let (prepared, _) = prepared.expect("a subscription");
        let subscription = prepared.subscription().expect("a subscription");
        subscription.normal_form.clone()
    };
    assert_eq!(normal_form("Int").await, normal_form("Int").await);
    assert_ne!(normal_form("Int").await, normal_form("ID").await);
}

#[tokio::test]
async fn where_introspection_is_off_it_is_off_everywhere() {
    let settings = Settings {
        introspection: false,
        ..Settings::default()
    };
    let graph = graph_with(settings, vec![itself()]).await;
    for query in [
        "{ __schema { queryType { name } } }",
        "{ self { self { ...S } } } fragment S on Query { __type(name: \"Int\") { name } }",
    ] {
        let answer = graph.query(query).await;
        let code = &answer["errors"][0]["extensions"]["code"];
        assert_eq!(*code, "INTROSPECTION_DISABLED", "{answer}");
        assert!(graph.requests().is_empty());
    }
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
