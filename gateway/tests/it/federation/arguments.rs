//! Arguments, variables and defaults: each subgraph gets those it needs, as the client wrote them.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

async fn echo() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { a(text: String = \"default\", number: Int, list: [[Int!]], in: In, id: ID, float: Float): Item }
         type Item @key(fields: \"id\") { id: ID! given: String }
         input In { required: String! optional: Int = 7 list: [In!] flag: Boolean kind: Kind = GOOD }
         enum Kind { GOOD BAD }",
    )
    .field("Query", "a", |_, arguments| Ok(json!({"id": "1", "given": arguments.to_string()})));
    let b = Subgraph::new(
        "b",
        "type Query { b(of: Int!): Int }
         type Item @key(fields: \"id\") { id: ID! b(by: Int = 3, text: String): String other(in: In!): String }
         input In { required: String! optional: Int = 7 list: [In!] flag: Boolean kind: Kind = GOOD }
         enum Kind { GOOD BAD }",
    )
    .entities(json!([{"__typename": "Item", "id": "1"}]))
    .field("Query", "b", |_, arguments| Ok(arguments["of"].clone()))
    .field("Item", "b", |_, arguments| Ok(json!(arguments.to_string())))
    .field("Item", "other", |_, arguments| Ok(json!(arguments["in"].to_string())));
    graph(vec![a, b]).await
}

#[tokio::test]
async fn defaults_apply_where_nothing_is_given() {
    let graph = echo().await;
    assert_snapshot!(graph.query("{ a { given b } }").await, @r#"{"data":{"a":{"given":"{\"text\":\"default\"}","b":"{\"by\":3}"}}}"#);
    assert_snapshot!(graph.query("{ a(text: null) { given b(by: null, text: \"x\") } }").await, @r#"{"data":{"a":{"given":"{\"text\":null}","b":"{\"by\":null,\"text\":\"x\"}"}}}"#);
    let query = "query($text: String, $by: Int = 5) { a(text: $text) { given b(by: $by) } }";
    assert_snapshot!(graph.ask(query, Some(json!({}))).await, @r#"{"data":{"a":{"given":"{\"text\":\"default\"}","b":"{\"by\":5}"}}}"#);
    assert_snapshot!(graph.ask(query, Some(json!({"text": null, "by": null}))).await, @r#"{"data":{"a":{"given":"{\"text\":null}","b":"{\"by\":null}"}}}"#);
    assert_snapshot!(graph.ask(query, Some(json!({"text": "t", "by": 1}))).await, @r#"{"data":{"a":{"given":"{\"text\":\"t\"}","b":"{\"by\":1}"}}}"#);
}

#[tokio::test]
async fn each_subgraph_gets_its_own_variables_only() {
    let graph = echo().await;
    let query = "query($text: String!, $by: Int!, $in: In!) {
      a(text: $text) { given b(by: $by) other(in: $in) } b(of: $by) }";
    let mut told = graph
        .told_with(
            query,
            json!({"text": "t", "by": 2, "in": {"required": "r"}}),
        )
        .await;
    // The two root requests go out together.
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    told = lines.join("\n");
    assert_snapshot!(told, @r#"
    a: query($text:String!){a(text: $text){given id}}
    b: query($by:Int!){b(of: $by)}
    b: query($representations:[_Any!]!, $by:Int!, $in:In!){_entities(representations: $representations){...on Item{b(by: $by) other(in: $in)}}}
    {"data":{"a":{"given":"{\"text\":\"t\"}","b":"{\"by\":2}","other":"{\"required\":\"r\",\"optional\":7,\"kind\":\"GOOD\"}"},"b":2}}
    "#);
}

#[tokio::test]
async fn inline_values_of_all_kinds_pass() {
    let graph = echo().await;
    let query = "query($r: String!, $k: Kind) { a(
        text: \"line\\n \\u00e9 \\\"q\\\" \\\\\", number: -2147483648, list: [[1, 2], null, []], id: 12, float: 1.5e10,
        in: {required: $r, list: [{required: \"\", kind: BAD, flag: false}, {required: $r, optional: null, kind: $k}]}
      ) { given other(in: {required: $r, list: {required: \"one\"}}) } }";
    assert_snapshot!(graph.ask(query, Some(json!({"r": "x"}))).await, @r#"{"data":{"a":{"given":"{\"text\":\"line\\n é \\\"q\\\" \\\\\",\"number\":-2147483648,\"list\":[[1,2],null,[]],\"in\":{\"required\":\"x\",\"optional\":7,\"list\":[{\"required\":\"\",\"optional\":7,\"flag\":false,\"kind\":\"BAD\"},{\"required\":\"x\",\"optional\":null,\"kind\":null}],\"kind\":\"GOOD\"},\"id\":12,\"float\":15000000000.0}","other":"{\"required\":\"x\",\"optional\":7,\"list\":[{\"required\":\"one\",\"optional\":7,\"kind\":\"GOOD\"}],\"kind\":\"GOOD\"}"}}}"#);
    let block =
        "{ a(text: \"\"\"\n    block \"with\" quotes\n      and \\ indent\n    \"\"\") { given } }";
    assert_snapshot!(graph.query(block).await, @r#"{"data":{"a":{"given":"{\"text\":\"block \\\"with\\\" quotes\\n  and \\\\ indent\"}"}}}"#);
}

#[tokio::test]
async fn single_values_stand_for_lists_of_one() {
    let graph = echo().await;
    let query = "query($list: [[Int!]], $in: In) { a(list: $list, in: $in) { given } }";
    assert_snapshot!(graph.ask(query, Some(json!({"list": 4, "in": {"required": "r", "list": {"required": "s"}}}))).await, @r#"{"data":{"a":{"given":"{\"text\":\"default\",\"list\":[[4]],\"in\":{\"required\":\"r\",\"list\":[{\"required\":\"s\",\"optional\":7,\"kind\":\"GOOD\"}],\"optional\":7,\"kind\":\"GOOD\"}}"}}}"#);
    assert_snapshot!(graph.ask(query, Some(json!({"list": [4, [5]]}))).await, @r#"{"data":{"a":{"given":"{\"text\":\"default\",\"list\":[[4],[5]]}"}}}"#);
}

#[tokio::test]
async fn one_field_with_other_arguments_needs_another_alias() {
    let graph = echo().await;
    let query = "query($n: Int!) { one: a(number: 1) { given b } two: a(number: $n) { given b(by: $n) x: b(by: 3) } }";
    assert_snapshot!(graph.ask(query, Some(json!({"n": 2}))).await, @r#"{"data":{"one":{"given":"{\"text\":\"default\",\"number\":1}","b":"{\"by\":3}"},"two":{"given":"{\"text\":\"default\",\"number\":2}","b":"{\"by\":2}","x":"{\"by\":3}"}}}"#);
    assert_snapshot!(graph.query("{ a(number: 1) { given } a(number: 2) { given } }").await, @r#"{"errors":[{"message":"Fields \"a\" conflict because they have differing arguments. Use different aliases on the fields to fetch both if this was intentional.","locations":[{"line":1,"column":26}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
}

#[tokio::test]
async fn values_that_do_not_fit_are_refused_before_any_request() {
    let graph = echo().await;
    let query = "query($n: Int!, $in: In) { a(number: $n, in: $in) { given } }";
    let mut told = Vec::new();
    for variables in [
        json!({}),
        json!({"n": null}),
        json!({"n": 2147483648_i64}),
        json!({"n": 1.0}),
        json!({"n": "1"}),
        json!({"n": [1]}),
        json!({"n": 1, "in": {}}),
        json!({"n": 1, "in": {"required": null}}),
        json!({"n": 1, "in": {"required": "r", "kind": "UGLY"}}),
        json!({"n": 1, "in": {"required": "r", "list": [{"required": 5}]}}),
        json!({"n": 1, "in": {"required": "r", "unknown": 5}}),
        json!({"n": 1, "in": []}),
    ] {
        told.push(graph.told_with(query, variables).await);
    }
    assert_snapshot!(told.join("\n"), @r#"
    {"errors":[{"message":"variable $n of required type Int! was not provided","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$n must be Int!, not null","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$n must be Int!, not 2147483648","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$n must be Int!, not 1.0","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$n must be Int!, not \"1\"","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$n must be Int!, not [1]","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$in: the required field \"required\" of type String! is missing","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$in.required must be String!, not null","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$in.kind must be Kind, not \"UGLY\"","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$in.list[0].required must be String!, not 5","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$in: the type In has no field \"unknown\"","extensions":{"code":"BAD_USER_INPUT"}}]}
    {"errors":[{"message":"$in must be In, not a list","extensions":{"code":"BAD_USER_INPUT"}}]}
    "#);
}

/// Variables that do not fit inside lists and input objects or by their null default, fields twice.
#[tokio::test]
async fn values_that_no_subgraph_would_take_are_refused_too() {
    let graph = echo().await;
    let mut told = Vec::new();
    for query in [
        "query($n: Int) { a(list: [[1, $n]]) { given } }",
        "query($n: Int = null) { a(list: [[$n]]) { given } }",
        "query($n: Int!) { a(list: [$n]) { given } }",
        "query($n: [Int!]!) { a(list: [[$n]]) { given } }",
        "query($s: String) { a(in: {required: $s}) { given } }",
        "query($s: String) { a(in: {required: \"r\", list: [{required: $s}]}) { given } }",
        "query($s: String = null) { a { other(in: {required: $s}) } }",
        "query($n: Int = null) { b(of: $n) }",
        "query($s: String) { ...F } fragment F on Query { a(in: {required: $s}) { given } }",
        "{ a(in: {required: \"r\", list: [{required: \"1\", required: \"2\"}]}) { given } }",
        "query($in: In = {required: \"1\", required: \"2\"}) { a(in: $in) { given } }",
        "query($n: Int = 1) { a(list: [[$n]]) { given } b(of: $n) }",
        "query($n: [Int!]) { a(list: [$n]) { given } }",
        "query($s: String = \"s\") { a(in: {required: $s}) { given } }",
    ] {
        let answer = graph.query(query).await;
        let message = answer["errors"][0]["message"].as_str();
        told.push(message.unwrap_or("fine").to_owned());
    }
    assert_snapshot!(told.join("\n"), @r#"
    Variable "$n" of type "Int" used in position expecting type "Int!".
    Variable "$n" of type "Int" used in position expecting type "Int!".
    Variable "$n" of type "Int!" used in position expecting type "[Int!]".
    Variable "$n" of type "[Int!]!" used in position expecting type "Int!".
    Variable "$s" of type "String" used in position expecting type "String!".
    Variable "$s" of type "String" used in position expecting type "String!".
    Variable "$s" of type "String" used in position expecting type "String!".
    Variable "$n" of type "Int" used in position expecting type "Int!".
    Variable "$s" of type "String" used in position expecting type "String!".
    There can be only one input field named "required".
    There can be only one input field named "required".
    fine
    fine
    fine
    "#);
}

#[tokio::test]
async fn arguments_in_another_order_are_the_same_arguments() {
    let graph = echo().await;
    let query = "{ a(text: \"x\", number: 1, in: {required: \"r\", optional: 2}) { given }
      a(in: {optional: 2, required: \"r\"}, number: 1, text: \"x\") { b } }";
    let answer = graph.query(query).await;
    assert!(answer.get("errors").is_none(), "{answer}");
    assert_eq!(answer["data"]["a"]["b"], r#"{"by":3}"#);
    assert_eq!(
        answer["data"]["a"]["given"],
        r#"{"text":"x","number":1,"in":{"required":"r","optional":2,"kind":"GOOD"}}"#
    );
}

#[tokio::test]
async fn a_variable_may_have_the_name_of_the_gateways_own() {
    let graph = echo().await;
    let query = "query($representations: Int) { a(number: $representations) { given b(by: $representations) } }";
    assert_snapshot!(graph.ask(query, Some(json!({"representations": 4}))).await, @r#"{"data":{"a":{"given":"{\"text\":\"default\",\"number\":4}","b":"{\"by\":4}"}}}"#);
}
