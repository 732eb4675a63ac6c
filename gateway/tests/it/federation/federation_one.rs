//! Subgraphs of Federation 1: `extend type`, `@extends`, `@external` keys, shared value types.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, graph};

#[tokio::test]
async fn types_are_extended_with_external_keys() {
    let accounts = Subgraph::raw(
        "accounts",
        "extend type Query { me: User users: [User] }
         type User @key(fields: \"id\") { id: ID! name: String username: String }",
    )
    .query(json!({"me": {"id": "1"}, "users": [{"id": "2"}, {"id": "1"}]}))
    .entities(json!([
        {"__typename": "User", "id": "1", "name": "Ada", "username": "@ada"},
        {"__typename": "User", "id": "2", "name": null, "username": "@bob"},
    ]));
    let products = Subgraph::raw(
        "products",
        "extend type Query { topProducts(first: Int = 2): [Product!]! }
         type Product @key(fields: \"upc\") @key(fields: \"sku\") { upc: ID! sku: ID! price: Int weight: Int dimension: Dimension }
         type Dimension { size: String }",
    )
    .field("Query", "topProducts", |_, arguments| {
        let first = arguments["first"].as_u64().ok_or("no number")?;
        Ok((1..=first).map(|id| json!({"upc": id.to_string()})).collect())
    })
    .entities(json!([
        {"__typename": "Product", "upc": "1", "sku": "s1", "price": 899, "weight": 100, "dimension": {"size": "L"}},
        {"__typename": "Product", "upc": "2", "sku": "s2", "price": 1299, "weight": null, "dimension": null},
    ]));
    let inventory = Subgraph::raw(
        "inventory",
        "extend type Product @key(fields: \"upc\") {
           upc: ID! @external weight: Int @external price: Int @external dimension: Dimension @external
           inStock: Boolean
           shippingEstimate: Int @requires(fields: \"price weight dimension { size }\")
         }
         type Dimension { size: String }",
    )
    .entities(json!([
        {"__typename": "Product", "upc": "1", "inStock": true}, {"__typename": "Product", "upc": "2", "inStock": false},
    ]))
    .field("Product", "shippingEstimate", |product, _| {
        let weight = product.get("weight").ok_or("no weight")?;
        product.get("dimension").ok_or("no dimension")?;
        Ok(json!(weight.as_i64().map(|weight| weight * product["price"].as_i64().unwrap_or(-1))))
    });
    let reviews = Subgraph::raw(
        "reviews",
        "type Review @key(fields: \"id\") { id: ID! body: String author: User @provides(fields: \"username\") product: Product }
         type User @extends @key(fields: \"id\") { id: ID! @external username: String @external reviews: [Review] }
         extend type Product @key(fields: \"sku\") { sku: ID! @external reviews: [Review] }",
    )
    .entities(json!([
        {"__typename": "User", "id": "1", "reviews": [{"id": "r1", "body": "Good", "author": {"id": "1", "username": "@ada"}, "product": {"sku": "s2"}}]},
        {"__typename": "User", "id": "2", "reviews": []},
        {"__typename": "Product", "sku": "s1", "reviews": null},
        {"__typename": "Product", "sku": "s2", "reviews": [{"id": "r1", "body": "Good", "author": {"id": "1", "username": "@ada"}, "product": {"sku": "s2"}}]},
    ]));
    let graph = graph(vec![accounts, products, inventory, reviews]).await;
    assert_snapshot!(graph.query("{ me { name reviews { body author { username } product { price inStock } } } }").await, @r#"{"data":{"me":{"name":"Ada","reviews":[{"body":"Good","author":{"username":"@ada"},"product":{"price":1299,"inStock":false}}]}}}"#);
    assert_snapshot!(graph.query("{ topProducts { upc shippingEstimate weight reviews { author { name username id } } } }").await, @r#"{"data":{"topProducts":[{"upc":"1","shippingEstimate":89900,"weight":100,"reviews":null},{"upc":"2","shippingEstimate":null,"weight":null,"reviews":[{"author":{"name":"Ada","username":"@ada","id":"1"}}]}]}}"#);
    assert_snapshot!(graph.query("query($n: Int) { topProducts(first: $n) { sku inStock dimension { size } } users { username reviews { id } } }").await, @r#"{"data":{"topProducts":[{"sku":"s1","inStock":true,"dimension":{"size":"L"}},{"sku":"s2","inStock":false,"dimension":null}],"users":[{"username":"@bob","reviews":[]},{"username":"@ada","reviews":[{"id":"r1"}]}]}}"#);
    assert_snapshot!(graph.ask("query($n: Int) { topProducts(first: $n) { sku } }", Some(json!({"n": 1}))).await, @r#"{"data":{"topProducts":[{"sku":"s1"}]}}"#);
}

/// The first one extends it by an external key.
#[tokio::test]
async fn a_type_may_be_extended_before_it_is_defined() {
    let a = Subgraph::raw(
        "a",
        "type Query { randomUser: User userById(id: ID!): User }
         extend type User @key(fields: \"id\") { id: ID! @external name: String! @external rid: ID }",
    )
    .query(json!({"randomUser": {"id": "u1", "rid": "r1"}}))
    .field("Query", "userById", |_, arguments| Ok(json!({"id": arguments["id"]})))
    .entities(json!([{"__typename": "User", "id": "u1", "rid": "r1"}]));
    let b = Subgraph::raw(
        "b",
        "extend type Query { provided: User @provides(fields: \"name\") }
         type User @key(fields: \"id\") { id: ID! name: String! nickname: String }",
    )
    .query(json!({"provided": {"id": "u1"}}))
    .entities(json!([{"__typename": "User", "id": "u1", "name": "Ada", "nickname": null}]));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.query("{ randomUser { id name } userById(id: \"u2\") { rid } }").await, @r#"{"data":{"randomUser":{"id":"u1","name":"Ada"},"userById":{"rid":null}}}"#);
    assert_snapshot!(graph.query("{ provided { rid name } userById(id: \"u1\") { rid name nickname } }").await, @r#"{"data":{"provided":{"rid":"r1","name":"Ada"},"userById":{"rid":"r1","name":"Ada","nickname":null}}}"#);
}

/// A Federation 2 subgraph beside them.
#[tokio::test]
async fn both_versions_stand_side_by_side() {
    let old = Subgraph::raw(
        "old",
        "type Query { item: Item thing: Thing }
         type Item @key(fields: \"id\") { id: ID! size: Size } type Size { width: Int }
         interface Thing { id: ID! } type Part implements Thing { id: ID! size: Size }",
    )
    .query(json!({"item": {"id": "1", "size": {"width": 5}}, "thing": {"__typename": "Part", "id": "p", "size": null}}));
    let new = Subgraph::new(
        "new",
        "type Query { size: Size }
         type Item @key(fields: \"id\") { id: ID! size: Size @external area: Int @requires(fields: \"size { width }\") }
         type Size @shareable { width: Int }",
    )
    .query(json!({"size": {"width": 1}}))
    .entities(json!([{"__typename": "Item", "id": "1"}]))
    .field("Item", "area", |item, _| {
        let width = item["size"]["width"].as_i64().ok_or("no width")?;
        Ok(json!(width * width))
    });
    let graph = graph(vec![old, new]).await;
    assert_snapshot!(graph.query("{ item { area size { width } } size { width __typename } thing { id ... on Part { size { width } } } }").await, @r#"{"data":{"item":{"area":25,"size":{"width":5}},"size":{"width":1,"__typename":"Size"},"thing":{"id":"p","size":null}}}"#);
}
