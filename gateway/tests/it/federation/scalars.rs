//! Leaves reach the client as the subgraph wrote them.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph, subgraph::Fault};

async fn values() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { value: Value } scalar Long scalar Decimal scalar JSON scalar DateTime
         type Value @key(fields: \"long\") { long: Long decimal: Decimal json: JSON list: [JSON] float: Float id: ID at: DateTime text: String deep: [[[[Int!]]!]] }",
    )
    .query(json!({"value": {}}));
    let b = Subgraph::new("b", "scalar Long type Value @key(fields: \"long\") { long: Long name(of: Long, json: JSON): String } scalar JSON")
        .entities(json!([{"__typename": "Value", "long": 9007199254740993_i64}]))
        .field("Value", "name", |value, arguments| Ok(json!(format!("{} {arguments}", value["long"]))));
    graph(vec![a, b]).await
}

async fn passed(graph: &TestGraph, query: &str, data: &str) -> String {
    let body = format!("{{\"data\":{{\"value\":{data}}}}}");
    graph.subgraph("a").fail(Fault::Answer(200, body));
    let response = graph.response(query, None).await;
    String::from_utf8_lossy(&response.body).into_owned()
}

#[tokio::test]
async fn numbers_keep_every_digit() {
    let graph = values().await;
    let query = "{ value { long decimal float } }";
    for (long, decimal, float) in [
        (
            "9223372036854775807",
            "123456789012345678901234567890.123456789012345678901",
            "1e400",
        ),
        ("-9007199254740993", "0.10", "1.0"),
        ("18446744073709551616", "1E-30", "-0.0"),
        ("\"12\"", "[1.50,{\"a\":2.00}]", "5"),
    ] {
        let data = format!("{{\"long\":{long},\"decimal\":{decimal},\"float\":{float}}}");
        assert_eq!(
            passed(&graph, query, &data).await,
            format!("{{\"data\":{{\"value\":{data}}}}}")
        );
    }
}

#[tokio::test]
async fn custom_scalars_hold_any_json() {
    let graph = values().await;
    let query = "{ value { json list } }";
    for (value, list) in [
        (
            "{\"b\":1,\"a\":[1,[2.50,null],{\"__typename\":\"X\",\"b\":{}}]}",
            "[{\"x\":null},[1,[]],\"s\",1.0,true,null]",
        ),
        ("\"\\u00e9\\ud83d\\ude00\\/\"", "[]"),
        ("false", "null"),
        ("[]", "[null]"),
    ] {
        let data = format!("{{\"json\":{value},\"list\":{list}}}");
        assert_eq!(
            passed(&graph, query, &data).await,
            format!("{{\"data\":{{\"value\":{data}}}}}")
        );
    }
}

#[tokio::test]
async fn white_space_between_values_means_nothing() {
    let graph = values().await;
    let data = " {\r\n\t\"text\" : \"a\\tb\" ,\n \"id\" : 12345678901234567890 , \"list\" : [ 1 , { \"a\" : 2 } ] } ";
    assert_snapshot!(passed(&graph, "{ value { text id list } }", data).await, @r#"{"data":{"value":{"text":"a\tb","id":"12345678901234567890","list":[1,{ "a" : 2 }]}}}"#);
}

/// A key of 64 bits goes to the next subgraph without a rounding on the way.
#[tokio::test]
async fn keys_and_variables_stay_exact() {
    let graph = values().await;
    graph.subgraph("a").fail(Fault::Answer(
        200,
        "{\"data\":{\"value\":{\"__typename\":\"Value\",\"long\":9007199254740993}}}".into(),
    ));
    let query = "query($l: Long, $j: JSON) { value { long name(of: $l, json: $j) } }";
    let variables = bytes::Bytes::from_static(
        b"{\"l\":9007199254740995,\"j\":{\"k\":[9007199254740997,\"\\u00e9\"]}}",
    );
    let response = graph
        .execute(query, Some(&variables))
        .await
        .expect("it is valid");
    assert_snapshot!(String::from_utf8_lossy(&response.body), @r#"{"data":{"value":{"long":9007199254740993,"name":"9007199254740993 {\"of\":9007199254740995,\"json\":{\"k\":[9007199254740997,\"é\"]}}"}}}"#);
    assert_snapshot!(graph.query("{ value { name(of: 9007199254740999, json: {a: [1, \"x\", null, true, E]}) } }").await, @r#"{"data":{"value":{"name":"9007199254740993 {\"of\":9007199254740999,\"json\":{\"a\":[1,\"x\",null,true,\"E\"]}}"}}}"#);
}

/// Numbers in the operation itself are the client's to the last digit, too.
#[tokio::test]
async fn numbers_in_the_operation_stay_exact() {
    let graph = values().await;
    let ask = async |of: &str, json: &str| {
        graph.subgraph("a").fail(Fault::Answer(
            200,
            "{\"data\":{\"value\":{\"__typename\":\"Value\",\"long\":1}}}".into(),
        ));
        graph.requests();
        let query = format!(
            "query($d: JSON = {of}) {{ value {{ name(of: {of}, json: {json}) d: name(json: $d) }} }}"
        );
        graph.query(&query).await;
        graph.requests().join("\n")
    };
    for (of, json) in [
        ("0.10", "{a: [1.50, {b: -2.500e-30}], c: \"1.5\"}"),
        (
            "18446744073709551616",
            "123456789012345678901234567890.123456789",
        ),
        (
            "-99999999999999999999999",
            "[18446744073709551616, 1E400, true]",
        ),
    ] {
        let asked = ask(of, json).await;
        for part in [
            format!("name(of: {of}, json: {json})"),
            format!("$d:JSON={of}"),
        ] {
            assert!(asked.contains(&part), "no {part} in {asked}");
        }
    }
}

#[tokio::test]
async fn lists_of_lists_end_where_they_end() {
    let graph = values().await;
    for deep in [
        "[[[[]],[[1]]],[[[],[2,3]]],[[]],[],null]",
        "[[[null,[]]],[[]]]",
        "[]",
    ] {
        let data = format!("{{\"deep\":{deep},\"text\":\"t\"}}");
        let answer = passed(
            &graph,
            "{ value { x: deep text deep } }",
            &format!("{{\"x\":{deep},{}", &data[1..]),
        )
        .await;
        assert_eq!(
            answer,
            format!("{{\"data\":{{\"value\":{{\"x\":{deep},\"text\":\"t\",\"deep\":{deep}}}}}}}")
        );
    }
    let data = "{\"deep\":[[[[]],[[null]]],[null],[[[1]]]]}";
    assert_snapshot!(passed(&graph, "{ value { deep } }", data).await, @r#"{"data":{"value":{"deep":[[[[]],[null]],null,[[[1]]]]}},"errors":[{"message":"no value for the non-null field \"deep\"","path":["value","deep",0,1,0,0],"extensions":{"code":"INVALID_VALUE"}},{"message":"no value for the non-null field \"deep\"","path":["value","deep",1,0],"extensions":{"code":"INVALID_VALUE"}}]}"#);
}
