//! Errors have the client's paths, and nulls propagate as far as the client's schema says.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, graph, subgraph::Fault};

async fn shop() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { product: Product products: [Product] must: [Product!]! rows: [[Product!]!] any: Any }
         type Mutation { first: Int second: Product! third: Int }
         union Any = Product | Note type Note { text: String! }
         type Product @key(fields: \"id\") { id: ID! name: String! next: Product }",
    )
    .query(json!({
        "product": {"id": "1"}, "products": [{"id": "1"}, null, {"id": "2"}, {"id": "3"}],
        "must": [{"id": "1"}, {"id": "2"}], "rows": [[{"id": "1"}], [{"id": "2"}, {"id": "3"}]],
        "any": {"__typename": "Product", "id": "2"},
    }))
    .entities(json!([
        {"__typename": "Product", "id": "1", "name": "One", "next": {"id": "2"}},
        {"__typename": "Product", "id": "2", "name": "Two", "next": null},
        {"__typename": "Product", "id": "3", "name": {"@error": "no name"}, "next": {"id": "1"}},
    ]))
    .field("Mutation", "first", |_, _| Err("not today".into()))
    .field("Mutation", "second", |_, _| Ok(json!({"id": "2"})))
    .field("Mutation", "third", |_, _| Ok(json!(3)));
    let b = Subgraph::new(
        "b",
        "type Query { b: Int! } type Product @key(fields: \"id\") { id: ID! price: Int! stock: Int parts: [Part!] main: Part! }
         type Part { code: String! note: String }",
    )
    .query(json!({"b": {"@error": "b is broken"}}))
    .entities(json!([
        {"__typename": "Product", "id": "1", "price": 1, "stock": {"@error": "uncounted"},
         "parts": [{"code": "c1", "note": "n"}, {"code": "c2", "note": {"@error": "unreadable"}}], "main": {"code": "m", "note": null}},
        {"__typename": "Product", "id": "2", "price": {"@error": "no price"}, "stock": 2,
         "parts": [{"code": "c3", "note": null}, {"code": {"@error": "no code"}}], "main": {"code": {"@error": "no code"}}},
    ]));
    graph(vec![a, b]).await
}

#[tokio::test]
async fn an_entitys_error_is_told_at_every_place_of_the_entity() {
    let graph = shop().await;
    assert_snapshot!(graph.query("{ p: products { key: id s: stock } }").await, @r#"{"data":{"p":[{"key":"1","s":null},null,{"key":"2","s":2},{"key":"3","s":null}]},"errors":[{"message":"resolver error: uncounted","path":["p",0,"s"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
    assert_snapshot!(graph.query("{ product { stock } again: product { x: stock } rows { stock } }").await, @r#"{"data":{"product":{"stock":null},"again":{"x":null},"rows":[[{"stock":null}],[{"stock":2},{"stock":null}]]},"errors":[{"message":"resolver error: uncounted","path":["product","stock"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}},{"message":"resolver error: uncounted","path":["rows",0,0,"stock"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}},{"message":"resolver error: uncounted","path":["again","x"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
    assert_snapshot!(graph.query("{ products { next { parts { text: note } } } }").await, @r#"{"data":{"products":[{"next":{"parts":[{"text":null},{"text":null}]}},null,{"next":null},{"next":{"parts":[{"text":"n"},{"text":null}]}}]},"errors":[{"message":"resolver error: unreadable","path":["products",3,"next","parts",1,"text"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
    assert_snapshot!(graph.query("{ any { ... on Product { n: parts { note code } } } }").await, @r#"{"data":{"any":{"n":null}},"errors":[{"message":"resolver error: no code","path":["any","n",1,"code"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
}

#[tokio::test]
async fn null_goes_up_to_the_nearest_place_that_may_be_null() {
    let graph = shop().await;
    assert_snapshot!(graph.query("{ products { id price } }").await, @r#"{"data":{"products":[{"id":"1","price":1},null,null,null]},"errors":[{"message":"resolver error: no price","path":["products",2,"price"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}},{"message":"no value for the non-null field \"price\"","path":["products",3,"price"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
    assert_snapshot!(graph.query("{ rows { id price } }").await, @r#"{"data":{"rows":null},"errors":[{"message":"resolver error: no price","path":["rows",1,0,"price"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
    assert_snapshot!(graph.query("{ must { price } }").await, @r#"{"data":null,"errors":[{"message":"resolver error: no price","path":["must",1,"price"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
    assert_snapshot!(graph.query("{ product { id } b }").await, @r#"{"data":null,"errors":[{"message":"resolver error: b is broken","path":["b"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
    assert_snapshot!(graph.query("{ products { id name } }").await, @r#"{"data":{"products":[{"id":"1","name":"One"},null,{"id":"2","name":"Two"},null]},"errors":[{"message":"resolver error: no name","path":["products",3,"name"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"a"}}]}"#);
    assert_snapshot!(graph.query("{ product { next { main { code } id } id } }").await, @r#"{"data":{"product":{"next":null,"id":"1"}},"errors":[{"message":"resolver error: no code","path":["product","next","main","code"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
}

/// Product 3 is unknown to `b`: nullable fields are null without an error, others are not.
#[tokio::test]
async fn an_entity_that_is_not_found_has_null_fields() {
    let graph = shop().await;
    assert_snapshot!(graph.query("{ products { id stock parts { code } } }").await, @r#"{"data":{"products":[{"id":"1","stock":null,"parts":[{"code":"c1"},{"code":"c2"}]},null,{"id":"2","stock":2,"parts":null},{"id":"3","stock":null,"parts":null}]},"errors":[{"message":"resolver error: uncounted","path":["products",0,"stock"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}},{"message":"resolver error: no code","path":["products",2,"parts",1,"code"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
    assert_snapshot!(graph.query("{ rows { main { note } } }").await, @r#"{"data":{"rows":null},"errors":[{"message":"no value for the non-null field \"main\"","path":["rows",1,1,"main"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
}

#[tokio::test]
async fn a_failed_mutation_does_not_stop_the_next() {
    let graph = shop().await;
    assert_snapshot!(graph.query("mutation { first third }").await, @r#"{"data":{"first":null,"third":3},"errors":[{"message":"resolver error: not today","path":["first"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"a"}}]}"#);
    assert_snapshot!(graph.query("mutation { first second { id stock } third }").await, @r#"{"data":{"first":null,"second":{"id":"2","stock":2},"third":3},"errors":[{"message":"resolver error: not today","path":["first"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"a"}}]}"#);
    assert_snapshot!(graph.query("mutation { second { price } third }").await, @r#"{"data":null,"errors":[{"message":"resolver error: no price","path":["second","price"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
}

/// Paths, extensions and shapes as subgraphs write them, right and wrong.
#[tokio::test]
async fn errors_of_entities_are_taken_as_they_come() {
    let graph = shop().await;
    let mut told = Vec::new();
    for body in [
        json!({"data": {"_entities": [{"stock": 1}, null, null]}, "errors": [
            {"message": "gone", "path": ["_entities", 1], "extensions": {"code": "NOT_FOUND", "detail": {"n": [1]}}}]}),
        json!({"data": {"_entities": null}, "errors": [{"message": "all gone", "path": ["_entities"]}]}),
        json!({"data": null, "errors": [{"message": "no path"}]}),
        json!({"errors": [{"message": "no data", "locations": [{"line": 1, "column": 1}]}]}),
        json!({"data": {"_entities": [{"stock": 1}]}}),
        json!({"data": {"_entities": [{"stock": 1}, {"stock": 2}, {"stock": 3}, {"stock": 4}, {"stock": 5}]}}),
        json!({"data": {"_entities": {"stock": 1}}}),
        json!({"data": {"_entities": [[{"stock": 1}], "x", 5]}}),
        json!({"data": {}}),
        json!({"data": {"_entities": [{"stock": 1}, {"stock": "x"}, {}]}, "errors": [
            {"message": "strange path", "path": ["_entities", 77, "x"]},
            {"message": "negative path", "path": ["_entities", -1]},
            {"message": "foreign path", "path": ["products", 0]},
            {"message": "no list", "path": "x", "extensions": 5}]}),
    ] {
        graph
            .subgraph("b")
            .fail(Fault::Answer(200, body.to_string()));
        told.push(graph.query("{ p: products { stock } }").await.to_string());
    }
    assert_snapshot!(told.join("\n"), @r#"
    {"data":{"p":[{"stock":1},null,{"stock":null},{"stock":null}]},"errors":[{"message":"gone","path":["p",2],"extensions":{"code":"NOT_FOUND","detail":{"n":[1]},"service":"b"}}]}
    {"data":{"p":[{"stock":null},null,{"stock":null},{"stock":null}]},"errors":[{"message":"all gone","path":["p",0],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}
    {"data":{"p":[{"stock":null},null,{"stock":null},{"stock":null}]},"errors":[{"message":"no path","path":["p",0],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}
    {"data":{"p":[{"stock":null},null,{"stock":null},{"stock":null}]},"errors":[{"message":"no data","path":["p",0],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}
    {"data":{"p":[{"stock":null},null,{"stock":null},{"stock":null}]},"errors":[{"message":"subgraph \"b\" returned no usable response: it has fewer entities than requested","path":["p",0,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}},{"message":"subgraph \"b\" returned no usable response: it has fewer entities than requested","path":["p",2,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}},{"message":"subgraph \"b\" returned no usable response: it has fewer entities than requested","path":["p",3,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}}]}
    {"data":{"p":[{"stock":1},null,{"stock":2},{"stock":3}]}}
    {"data":{"p":[{"stock":null},null,{"stock":null},{"stock":null}]},"errors":[{"message":"subgraph \"b\" returned no usable response: it has fewer entities than requested","path":["p",0,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}},{"message":"subgraph \"b\" returned no usable response: it has fewer entities than requested","path":["p",2,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}},{"message":"subgraph \"b\" returned no usable response: it has fewer entities than requested","path":["p",3,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}}]}
    {"data":{"p":[{"stock":null},null,{"stock":null},{"stock":null}]},"errors":[{"message":"subgraph \"b\" returned no usable response: it has entities that are neither objects nor null","path":["p",0,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}},{"message":"subgraph \"b\" returned no usable response: it has entities that are neither objects nor null","path":["p",2,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}},{"message":"subgraph \"b\" returned no usable response: it has entities that are neither objects nor null","path":["p",3,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}}]}
    {"data":{"p":[{"stock":null},null,{"stock":null},{"stock":null}]},"errors":[{"message":"subgraph \"b\" returned no usable response: it has fewer entities than requested","path":["p",0,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}},{"message":"subgraph \"b\" returned no usable response: it has fewer entities than requested","path":["p",2,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}},{"message":"subgraph \"b\" returned no usable response: it has fewer entities than requested","path":["p",3,"stock"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"b"}}]}
    {"data":{"p":[{"stock":1},null,{"stock":null},{"stock":null}]},"errors":[{"message":"strange path","extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}},{"message":"negative path","path":["p",0],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}},{"message":"foreign path","extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}},{"message":"no list","path":["p",0],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}},{"message":"the subgraph's value for field \"stock\" does not match the field's type","path":["p",2,"stock"],"extensions":{"code":"INVALID_VALUE"}}]}
    "#);
}

/// Every null of a non-null field comes with an error, whatever the subgraph leaves out.
#[tokio::test]
async fn no_null_stands_where_the_schema_forbids_it() {
    let graph = shop().await;
    for body in [
        json!({"data": {"_entities": [{"price": null}, {"price": 1}, {"price": 2}]}}),
        json!({"data": {"_entities": [{}, {"price": "1"}, null]}}),
        json!({"data": {"_entities": []}}),
        json!({"data": {"_entities": null}}),
        json!({"data": null}),
        json!({}),
        json!([]),
        json!("text"),
    ] {
        graph
            .subgraph("b")
            .fail(Fault::Answer(200, body.to_string()));
        let answer = graph.query("{ products { id price } }").await;
        let products = answer["data"]["products"]
            .as_array()
            .expect("a list")
            .clone();
        for (index, product) in products.iter().enumerate() {
            if index == 1 {
                assert_eq!(*product, Value::Null);
            } else if product.is_null() {
                let errors = answer["errors"].as_array().expect("errors");
                let explained = errors.iter().any(|error| {
                    let path = error["path"].as_array().cloned().unwrap_or_default();
                    path.len() < 2 || path[1] == json!(index)
                });
                assert!(explained, "{body} gave {answer}");
            } else {
                assert!(product["price"].is_i64(), "{body} gave {answer}");
            }
        }
    }
}

/// What comes with an error's status is not passed off as an answer like others.
#[tokio::test]
async fn data_with_the_status_of_an_error_comes_with_an_error() {
    let graph = shop().await;
    let a = json!({"data": {"product": {"id": "1"}}}).to_string();
    graph.subgraph("a").fail(Fault::Answer(500, a));
    assert_snapshot!(graph.query("{ product { id } }").await, @r#"{"data":{"product":{"id":"1"}},"errors":[{"message":"subgraph \"a\" answered with HTTP status 500","extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"a"}}]}"#);
    graph.subgraph("a").recover();
    let b = json!({"data": {"_entities": [{"price": 5}]}}).to_string();
    graph.subgraph("b").fail(Fault::Answer(404, b));
    assert_snapshot!(graph.query("{ product { price } }").await, @r#"{"data":{"product":{"price":5}},"errors":[{"message":"subgraph \"b\" answered with HTTP status 404","extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"b"}}]}"#);
}
