//! Root fields and shareable objects that several subgraphs have.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, graph, graph_of};

#[tokio::test]
async fn a_shared_root_is_put_together_from_all_its_subgraphs() {
    let category = Subgraph::new(
        "category",
        "type Query { product: Product @shareable products: [Product!]! @shareable }
         type Product { id: ID! @shareable category: Category! }
         type Category { id: ID! @shareable name: String! details: Details }
         type Details { note: String }",
    )
    .query(json!({
        "product": {"id": "1", "category": {"id": "c1", "name": "Home", "details": {"note": null}}},
        "products": [{"id": "1", "category": {"id": "c1", "name": "Home"}}],
    }));
    let name = Subgraph::new(
        "name",
        "type Query { product: Product @shareable products: [Product!]! @shareable }
         type Product { id: ID! @shareable name: Name! } type Name { id: ID! brand: String model: String! }",
    )
    .query(json!({
        "product": {"id": "1", "name": {"id": "n1", "brand": null, "model": "M"}},
        "products": [{"id": "1", "name": {"id": "n1", "brand": "B", "model": "M"}}],
    }));
    let price = Subgraph::new(
        "price",
        "type Query { product: Product @shareable products: [Product!]! @shareable alone: Int }
         type Product { id: ID! @shareable price: Price } type Price { id: ID! amount: Int! currency: String! }",
    )
    .query(json!({
        "product": {"id": "1", "price": {"id": "p1", "amount": 5, "currency": "EUR"}},
        "products": [{"id": "1", "price": null}],
        "alone": 1,
    }));
    let graph = graph(vec![category, name, price]).await;
    let query = "{
      a: product { id name { brand } price { amount } }
      product { category { id name details { note } } name { model } price { currency } }
      alone
    }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"a":{"id":"1","name":{"brand":null},"price":{"amount":5}},"product":{"category":{"id":"c1","name":"Home","details":{"note":null}},"name":{"model":"M"},"price":{"currency":"EUR"}},"alone":1}}"#);
    assert_snapshot!(graph.query("{ products { id c: category { name } name { id brand } price { id } } }").await, @r#"{"data":{"products":[{"id":"1","c":{"name":"Home"},"name":{"id":"n1","brand":"B"},"price":null}]}}"#);
    assert_snapshot!(graph.told("{ product { id } }").await, @r#"
    {"data":{"product":{"id":"1"}}}
    category: {product{id}}
    "#);
}

#[tokio::test]
async fn shareable_objects_come_from_where_the_rest_comes_from() {
    let a = Subgraph::new(
        "a",
        "type Query { a: Place } type Place @shareable { city: String! zip: Int } ",
    )
    .query(json!({"a": {"city": "Oslo", "zip": null}}));
    let b = Subgraph::new(
        "b",
        "type Query { b: [Place] } type Place @shareable { city: String! zip: Int }",
    )
    .query(json!({"b": [{"city": "Rome", "zip": 1}, null]}));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.query("{ a { ...P } b { ...P x: __typename } } fragment P on Place { city zip }").await, @r#"{"data":{"a":{"city":"Oslo","zip":null},"b":[{"city":"Rome","zip":1,"x":"Place"},null]}}"#);
}

/// The root type may have other names in the subgraphs.
#[tokio::test]
async fn fields_of_the_root_are_answered_in_the_clients_order() {
    let a = Subgraph::new("a", "type Query { one: Int two: Int both: Int @shareable }")
        .query(json!({"one": 1, "two": 2, "both": 0}));
    let b = Subgraph::new(
        "b",
        "type Query { three: Int both: Int @shareable four: [[Int]!] }",
    )
    .query(json!({"three": 3, "both": 0, "four": [[1, null], []]}));
    let graph = graph(vec![a, b]).await;
    let answer = graph
        .response(
            "{ three x: one __typename both ...R four } fragment R on Query { two three }",
            None,
        )
        .await;
    assert_snapshot!(String::from_utf8_lossy(&answer.body), @r#"{"data":{"three":3,"x":1,"__typename":"Query","both":0,"two":2,"four":[[1,null],[]]}}"#);
}

/// An object in the middle of the answer leads back to the root type.
#[tokio::test]
async fn an_object_may_lead_back_to_the_query() {
    let a = Subgraph::new(
        "a",
        "type Query { user: User! } type User @key(fields: \"id\") { id: ID! name: String! }
         type Mutation { rename(name: String!): Renamed! }
         type Renamed { user: User! query: Query! }",
    )
    .query(json!({"user": {"id": "1", "name": "Ada"}}))
    .field("Mutation", "rename", |_, arguments| {
        Ok(json!({"user": {"id": "1", "name": arguments["name"]}, "query": {"user": {"id": "1", "name": arguments["name"]}}}))
    });
    let b = Subgraph::new(
        "b",
        "type Query { version: Int } type User @key(fields: \"id\") { id: ID! age: Int }",
    )
    .query(json!({"version": 4}))
    .entities(json!([{"__typename": "User", "id": "1", "age": 36}]));
    let graph = graph(vec![a, b]).await;
    let query = "mutation { rename(name: \"Eve\") { user { name age } query { v: version user { name age } __typename } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"rename":{"user":{"name":"Eve","age":36},"query":{"v":4,"user":{"name":"Eve","age":36},"__typename":"Query"}}}}"#);
}

/// A field that exists in two subgraphs and takes another path in each.
#[tokio::test]
async fn parents_of_entities_are_found_by_way_of_others() {
    let products = Subgraph::new(
        "products",
        "type Query { products: [Product!]! }
         type Product @key(fields: \"id pid\") { id: ID! pid: ID! }",
    )
    .query(json!({"products": [{"id": "1", "pid": "p1"}]}));
    let details = Subgraph::new(
        "details",
        "type Product @key(fields: \"id pid\") { id: ID! pid: ID! category: Category @shareable }
         type Category { details: String @shareable }",
    )
    .entities(
        json!([{"__typename": "Product", "id": "1", "pid": "p1", "category": {"details": "D"}}]),
    );
    let categories = Subgraph::new(
        "categories",
        "type Product @key(fields: \"id pid\") { id: ID! pid: ID! category: Category @shareable }
         type Category @key(fields: \"id\") { id: ID! details: String @shareable parent: Category }",
    )
    .entities(json!([
        {"__typename": "Product", "id": "1", "pid": "p1", "category": {"id": "c1", "details": "D", "parent": {"id": "c0"}}},
        {"__typename": "Category", "id": "c0", "details": null, "parent": null},
    ]));
    let supergraph = include_str!("supergraphs/parents.graphql");
    let graph = graph_of(supergraph, vec![products, details, categories]).await;
    assert_snapshot!(graph.query("{ products { category { details } } }").await, @r#"{"data":{"products":[{"category":{"details":"D"}}]}}"#);
    assert_snapshot!(graph.query("{ products { category { id details parent { id details parent { id } } } } }").await, @r#"{"data":{"products":[{"category":{"id":"c1","details":"D","parent":{"id":"c0","details":null,"parent":null}}}]}}"#);
}
