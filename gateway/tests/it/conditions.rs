//! `@skip` and `@include` on everything, and `__typename` everywhere.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, graph};

async fn people() -> TestGraph {
    let people = Subgraph::new(
        "people",
        "type Query { me: Person! other: Person named(name: String!): [Being!]! }
         interface Being { name: String! }
         type Person implements Being @key(fields: \"id\") { id: ID! name: String! friend: Person }
         type Robot implements Being { name: String! model: Int! }",
    )
    .query(json!({
        "me": {"id": "1"}, "other": {"id": "2"},
        "named": [{"__typename": "Person", "id": "1"}, {"__typename": "Robot", "name": "R2", "model": 2}],
    }))
    .entities(json!([
        {"__typename": "Person", "id": "1", "name": "Ada", "friend": {"id": "2"}},
        {"__typename": "Person", "id": "2", "name": "Bob", "friend": {"id": "1"}},
    ]));
    let ages = Subgraph::new(
        "ages",
        "type Person @key(fields: \"id\") { id: ID! age: Int! city: String }",
    )
    .entities(json!([
        {"__typename": "Person", "id": "1", "age": 36, "city": "London"},
        {"__typename": "Person", "id": "2", "age": 40, "city": null},
    ]));
    graph(vec![people, ages]).await
}

#[tokio::test]
async fn conditions_leave_out_fields_and_the_requests_for_them() {
    let graph = people().await;
    let query = "query($yes: Boolean!, $no: Boolean = false) {
      me { name @skip(if: $yes) age @include(if: $no) id }
      other @include(if: $no) { name }
    }";
    assert_snapshot!(graph.told_with(query, json!({"yes": true})).await, @r#"
    {"data":{"me":{"id":"1"}}}
    people: {me{id}}
    "#);
    assert_snapshot!(graph.told_with(query, json!({"yes": false, "no": true})).await, @r#"
    {"data":{"me":{"name":"Ada","age":36,"id":"1"},"other":{"name":"Bob"}}}
    people: {me{name id} other{name}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age}}}
    "#);
}

#[tokio::test]
async fn conditions_stand_on_fragments_too() {
    let graph = people().await;
    let query = "query($a: Boolean!, $b: Boolean!) {
      me { ...Name @include(if: $a) ... @skip(if: $b) { age } ... on Person @include(if: $b) { friend { age city } } }
    }
    fragment Name on Being { name }";
    assert_snapshot!(graph.told_with(query, json!({"a": true, "b": false})).await, @r#"
    {"data":{"me":{"name":"Ada","age":36}}}
    people: {me{name id}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age}}}
    "#);
    assert_snapshot!(graph.told_with(query, json!({"a": false, "b": true})).await, @r#"
    {"data":{"me":{"friend":{"age":40,"city":null}}}}
    people: {me{friend{id}}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age city}}}
    "#);
}

#[tokio::test]
async fn a_field_with_two_conditions_appears_if_either_place_has_it() {
    let graph = people().await;
    let query = "query($a: Boolean!, $b: Boolean!) {
      me { friend @include(if: $a) { name } friend @include(if: $b) { age } }
    }";
    assert_snapshot!(graph.told_with(query, json!({"a": true, "b": false})).await, @r#"
    {"data":{"me":{"friend":{"name":"Bob"}}}}
    people: {me{friend{name}}}
    "#);
    assert_snapshot!(graph.told_with(query, json!({"a": false, "b": true})).await, @r#"
    {"data":{"me":{"friend":{"age":40}}}}
    people: {me{friend{id}}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age}}}
    "#);
    assert_snapshot!(graph.told_with(query, json!({"a": true, "b": true})).await, @r#"
    {"data":{"me":{"friend":{"name":"Bob","age":40}}}}
    people: {me{friend{name id}}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age}}}
    "#);
    assert_snapshot!(graph.told_with(query, json!({"a": false, "b": false})).await, @r#"
    {"data":{"me":{}}}
    people: {me{__typename}}
    "#);
}

#[tokio::test]
async fn what_can_never_be_asked_is_not_asked() {
    let graph = people().await;
    let query =
        "{ me { id @skip(if: true) name @include(if: false) friend { id @skip(if: true) } } }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"me":{"friend":{}}}}
    people: {me{friend{__typename}}}
    "#);
    assert_snapshot!(graph.told("{ me @skip(if: true) { id } }").await, @r#"{"data":{}}"#);
    let both = "query($y: Boolean!) { me { age @include(if: $y) @skip(if: $y) name } }";
    assert_snapshot!(graph.told_with(both, json!({"y": true})).await, @r#"
    {"data":{"me":{"name":"Ada"}}}
    people: {me{name}}
    "#);
}

#[tokio::test]
async fn conditions_inside_conditions_cost_no_request_of_their_own() {
    let graph = people().await;
    let contradiction = "query($a: Boolean!) { me { name ... @include(if: $a) { friend { name ... @skip(if: $a) { age } } age @skip(if: $a) } } }";
    assert_snapshot!(graph.told_with(contradiction, json!({"a": true})).await, @r#"
    {"data":{"me":{"name":"Ada","friend":{"name":"Bob"}}}}
    people: {me{name friend{name}}}
    "#);
    let repetition = "query($a: Boolean!) { me { friend @include(if: $a) { name @include(if: $a) ... @include(if: $a) { age } } } }";
    assert_snapshot!(graph.told_with(repetition, json!({"a": true})).await, @r#"
    {"data":{"me":{"friend":{"name":"Bob","age":40}}}}
    people: {me{friend{name id}}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age}}}
    "#);
}

/// As CollectFields has it: a field stands where it is first collected.
#[tokio::test]
async fn a_field_left_out_at_its_first_place_stands_at_its_next() {
    let graph = people().await;
    let query = "query($a: Boolean!, $b: Boolean!) {
      me { name @include(if: $a) id name @include(if: $b) city name friend { name @skip(if: $a) id name } }
    }";
    for (a, b, expected) in [
        (
            true,
            false,
            r#"{"name":"Ada","id":"1","city":"London","friend":{"id":"2","name":"Bob"}}"#,
        ),
        (
            false,
            true,
            r#"{"id":"1","name":"Ada","city":"London","friend":{"name":"Bob","id":"2"}}"#,
        ),
        (
            false,
            false,
            r#"{"id":"1","city":"London","name":"Ada","friend":{"name":"Bob","id":"2"}}"#,
        ),
    ] {
        let answer = graph.ask(query, Some(json!({"a": a, "b": b}))).await;
        assert_eq!(answer["data"]["me"].to_string(), expected, "{a} {b}");
    }
}

#[tokio::test]
async fn typename_is_the_clients_everywhere() {
    let graph = people().await;
    assert_snapshot!(graph.told("{ __typename }").await, @r#"{"data":{"__typename":"Query"}}"#);
    assert_snapshot!(graph.told("{ a: __typename me { b: __typename age friend { __typename } } }").await, @r#"
    {"data":{"a":"Query","me":{"b":"Person","age":36,"friend":{"__typename":"Person"}}}}
    people: {me{b: __typename id friend{__typename}}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age}}}
    "#);
    assert_snapshot!(graph.told("{ named(name: \"x\") { t: __typename ... on Person { age } ... on Robot { model } } }").await, @r#"
    {"data":{"named":[{"t":"Person","age":36},{"t":"Robot","model":2}]}}
    people: {named(name: "x"){__typename t: __typename ...on Person{id} ...on Robot{model}}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age}}}
    "#);
    assert_snapshot!(graph.told("query($n: String!) { ...R } fragment R on Query { __typename named(name: $n) { name } }").await, @r#"{"errors":[{"message":"variable $n of required type String! was not provided","extensions":{"code":"BAD_USER_INPUT"}}]}"#);
}

#[tokio::test]
async fn introspection_stands_beside_data() {
    let graph = people().await;
    let query = "query { __schema { queryType { name } } me { name } __type(name: \"Robot\") { kind fields { name type { kind ofType { name } } } } }";
    assert_snapshot!(told_in_any_order(&graph, query, json!({})).await, @r#"
    {"data":{"__schema":{"queryType":{"name":"Query"}},"me":{"name":"Ada"},"__type":{"kind":"OBJECT","fields":[{"name":"model","type":{"kind":"NON_NULL","ofType":{"name":"Int"}}},{"name":"name","type":{"kind":"NON_NULL","ofType":{"name":"String"}}}]}}}
    people: {me{name}}
    "#);
    let query = "query($t: String!) { it: __type(name: $t) { name possibleTypes { name } } }";
    assert_snapshot!(told_in_any_order(&graph, query, json!({"t": "Being"})).await, @r#"{"data":{"it":{"name":"Being","possibleTypes":[{"name":"Person"},{"name":"Robot"}]}}}"#);
    let query =
        "{ __schema { types { name } directives { name isRepeatable locations args { name } } } }";
    assert_snapshot!(told_in_any_order(&graph, query, json!({})).await, @r#"{"data":{"__schema":{"types":[{"name":"Being"},{"name":"Boolean"},{"name":"ID"},{"name":"Int"},{"name":"Person"},{"name":"Query"},{"name":"Robot"},{"name":"String"},{"name":"__Directive"},{"name":"__DirectiveLocation"},{"name":"__EnumValue"},{"name":"__Field"},{"name":"__InputValue"},{"name":"__Schema"},{"name":"__Type"},{"name":"__TypeKind"}],"directives":[{"name":"deprecated","isRepeatable":false,"locations":["ARGUMENT_DEFINITION","ENUM_VALUE","FIELD_DEFINITION","INPUT_FIELD_DEFINITION"],"args":[{"name":"reason"}]},{"name":"include","isRepeatable":false,"locations":["FIELD","FRAGMENT_SPREAD","INLINE_FRAGMENT"],"args":[{"name":"if"}]},{"name":"oneOf","isRepeatable":false,"locations":["INPUT_OBJECT"],"args":[]},{"name":"skip","isRepeatable":false,"locations":["FIELD","FRAGMENT_SPREAD","INLINE_FRAGMENT"],"args":[{"name":"if"}]},{"name":"specifiedBy","isRepeatable":false,"locations":["SCALAR"],"args":[{"name":"url"}]}]}}}"#);
}

/// A query's story with all lists sorted: introspection follows the order of the supergraph.
async fn told_in_any_order(graph: &TestGraph, query: &str, variables: Value) -> String {
    let told = graph.told_with(query, variables).await;
    let (answer, requests) = told.split_once('\n').unwrap_or((&told, ""));
    let mut answer = serde_json::from_str(answer).expect("JSON");
    sort_lists(&mut answer);
    format!("{answer}\n{requests}")
}

fn sort_lists(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(sort_lists);
            items.sort_by_key(Value::to_string);
        }
        Value::Object(fields) => fields.values_mut().for_each(sort_lists),
        _ => {}
    }
}

/// The first object needs another subgraph under the condition that the second has alone.
#[tokio::test]
async fn a_field_that_is_left_out_is_not_asked_for_beside_a_request_with_its_condition() {
    let graph = people().await;
    let query = "query($no: Boolean!) { me { name age @include(if: $no) } other @include(if: $no) { name } }";
    assert_snapshot!(graph.told_with(query, json!({"no": false})).await, @r#"
    {"data":{"me":{"name":"Ada"}}}
    people: {me{name}}
    "#);
    assert_snapshot!(graph.told_with(query, json!({"no": true})).await, @r#"
    {"data":{"me":{"name":"Ada","age":36},"other":{"name":"Bob"}}}
    people: {me{name id} other{name}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age}}}
    "#);
}

#[tokio::test]
async fn eight_conditions_leave_out_requests_as_one_does() {
    let graph = people().await;
    let query = format!(
        "query({}) {{
          me {{ a: name @include(if: $a) b: id @skip(if: $b) c: age @include(if: $c) d: city @skip(if: $d) }}
          other @include(if: $e) {{ f: age @include(if: $f) g: name @skip(if: $g) ... @include(if: $h) {{ h: id }} }}
        }}",
        ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| format!("${name}: Boolean!")).join(" ")
    );
    let variables = json!({"a": true, "b": true, "c": false, "d": true, "e": true, "f": false, "g": false, "h": true});
    assert_snapshot!(graph.told_with(&query, variables).await, @r#"
    {"data":{"me":{"a":"Ada"},"other":{"g":"Bob","h":"2"}}}
    people: {me{a: name} other{g: name h: id}}
    "#);
    let variables = json!({"a": false, "b": false, "c": true, "d": true, "e": false, "f": true, "g": true, "h": true});
    assert_snapshot!(graph.told_with(&query, variables).await, @r#"
    {"data":{"me":{"b":"1","c":36}}}
    people: {me{b: id id}}
    ages: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{c: age}}}
    "#);
}

#[tokio::test]
async fn many_conditions_are_left_to_one_plan() {
    let graph = people().await;
    let query = "query($a: Boolean!, $b: Boolean!, $c: Boolean!, $d: Boolean!, $e: Boolean!, $f: Boolean!, $g: Boolean!, $h: Boolean!, $i: Boolean!) {
      me { a: name @include(if: $a) b: name @skip(if: $b) c: age @include(if: $c) d: age @skip(if: $d) e: id @include(if: $e)
        f: city @include(if: $f) g: city @skip(if: $g) h: friend @include(if: $h) { age } i: friend @skip(if: $i) { name } }
    }";
    let variables = json!({"a": true, "b": true, "c": true, "d": false, "e": true, "f": false, "g": true, "h": false, "i": false});
    assert_snapshot!(graph.told_with(query, variables).await, @r#"
    {"data":{"me":{"a":"Ada","c":36,"d":36,"e":"1","i":{"name":"Bob"}}}}
    people: query($a:Boolean!, $b:Boolean!, $e:Boolean!, $h:Boolean!, $i:Boolean!){me{... @include(if: $a){a: name} ... @skip(if: $b){b: name} id ... @include(if: $e){e: id} ... @include(if: $h){h: friend{id}} ... @skip(if: $i){i: friend{name}}}}
    ages: query($representations:[_Any!]!, $c:Boolean!, $d:Boolean!, $f:Boolean!, $g:Boolean!){_entities(representations: $representations){...on Person{... @include(if: $c){c: age} ... @skip(if: $d){d: age} ... @include(if: $f){f: city} ... @skip(if: $g){g: city}}}}
    "#);
    let variables = json!({"a": true, "b": true, "c": false, "d": true, "e": true, "f": false, "g": true, "h": false, "i": true});
    assert_snapshot!(graph.told_with(query, variables).await, @r#"
    {"data":{"me":{"a":"Ada","e":"1"}}}
    people: query($a:Boolean!, $b:Boolean!, $e:Boolean!, $h:Boolean!, $i:Boolean!){me{... @include(if: $a){a: name} ... @skip(if: $b){b: name} id ... @include(if: $e){e: id} ... @include(if: $h){h: friend{id}} ... @skip(if: $i){i: friend{name}}}}
    ages: query($representations:[_Any!]!, $c:Boolean!, $d:Boolean!, $f:Boolean!, $g:Boolean!){_entities(representations: $representations){...on Person{... @include(if: $c){c: age} ... @skip(if: $d){d: age} ... @include(if: $f){f: city} ... @skip(if: $g){g: city}}}}
    "#);
}

#[tokio::test]
async fn a_condition_that_is_null_is_refused() {
    let graph = people().await;
    let query = "query($yes: Boolean = true) { me { name @include(if: $yes) } }";
    assert_snapshot!(graph.told_with(query, json!({"yes": null})).await, @r#"{"errors":[{"message":"$yes is used in @skip or @include and must not be null","extensions":{"code":"BAD_USER_INPUT"}}]}"#);
    assert_snapshot!(graph.ask(query, Some(json!({}))).await, @r#"{"data":{"me":{"name":"Ada"}}}"#);
}

#[tokio::test]
async fn introspection_may_have_the_name_of_a_key() {
    let graph = people().await;
    assert_snapshot!(graph.query("{ id: __type(name: \"Robot\") { name } me { age } }").await, @r#"{"data":{"id":{"name":"Robot"},"me":{"age":36}}}"#);
}
