//! Node interfaces, and recursive types.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, graph};

/// A subgraph that answers `node` for types whose fields it does not have.
#[tokio::test]
async fn a_node_field_serves_types_of_other_subgraphs() {
    let node = Subgraph::new(
        "node",
        "type Query { node(id: ID!): Node anyNode: Node @shareable }
         interface Node { id: ID! }
         type Product implements Node @key(fields: \"id\") { id: ID! }
         type Category implements Node @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"anyNode": {"__typename": "Product", "id": "p1"}}))
    .field("Query", "node", |_, arguments| {
        let id = arguments["id"].as_str().ok_or("no id")?;
        Ok(match id.as_bytes().first() {
            Some(b'p') => json!({"__typename": "Product", "id": id}),
            Some(b'c') => json!({"__typename": "Category", "id": id}),
            _ => json!(null),
        })
    });
    let types = Subgraph::new(
        "types",
        "interface Named { name: String! }
         type Product implements Named @key(fields: \"id\") { id: ID! name: String! category: Category }
         type Category implements Named @key(fields: \"id\") { id: ID! name: String! products: [Product!]! }",
    )
    .entities(json!([
        {"__typename": "Product", "id": "p1", "name": "Table", "category": {"id": "c1"}},
        {"__typename": "Category", "id": "c1", "name": "Home", "products": [{"id": "p1"}]},
    ]));
    let graph = graph(vec![node, types]).await;
    let query = "query($id: ID! = \"c1\") {
      node(id: $id) { __typename ...N ... on Named { name } }
      p: node(id: \"p1\") { ... on Product { category { products { name category { id } } } } }
      none: node(id: \"x\") { ...N }
      gone: node(id: \"p9\") { id ... on Product { category { name } } }
    }
    fragment N on Node { id ... on Category { products { id } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"node":{"__typename":"Category","id":"c1","products":[{"id":"p1"}],"name":"Home"},"p":{"category":{"products":[{"name":"Table","category":{"id":"c1"}}]}},"none":null,"gone":{"id":"p9","category":null}}}"#);
    assert_snapshot!(graph.ask(query, Some(json!({"id": "p1"}))).await, @r#"{"data":{"node":{"__typename":"Product","id":"p1","name":"Table"},"p":{"category":{"products":[{"name":"Table","category":{"id":"c1"}}]}},"none":null,"gone":{"id":"p9","category":null}}}"#);
    assert_snapshot!(graph.query("{ anyNode { ... on Category { name } ... on Product { id name } } }").await, @r#"{"data":{"anyNode":{"id":"p1","name":"Table"}}}"#);
}

/// Product implements an interface whose field returns the interface again, over two subgraphs.
#[tokio::test]
async fn an_interface_may_lead_to_itself() {
    let a = Subgraph::new(
        "a",
        "type Query { product: Product }
         interface Product { samePriceProduct: Product }
         type Book implements Product @key(fields: \"id\") { id: ID! samePriceProduct: Book @provides(fields: \"price\") price: Float @external }",
    )
    .query(json!({"product": {"__typename": "Book", "id": "1", "samePriceProduct": {"__typename": "Book", "id": "2", "price": 10.5}}}))
    .entities(json!([
        {"__typename": "Book", "id": "1", "samePriceProduct": {"__typename": "Book", "id": "2", "price": 10.5}},
        {"__typename": "Book", "id": "2", "samePriceProduct": {"__typename": "Book", "id": "1", "price": 10.5}},
    ]));
    let b = Subgraph::new(
        "b",
        "type Book @key(fields: \"id\") { id: ID! price: Float @shareable }",
    )
    .entities(json!([{"__typename": "Book", "id": "1", "price": 10.5}, {"__typename": "Book", "id": "2", "price": 10.5}]));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.query("{ product { samePriceProduct { __typename ... on Book { id } } } }").await, @r#"{"data":{"product":{"samePriceProduct":{"__typename":"Book","id":"2"}}}}"#);
    let query = "{ product { __typename samePriceProduct { __typename samePriceProduct { ... on Book { id price samePriceProduct { id price } } } ... on Book { price } } ... on Book { price } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"product":{"__typename":"Book","samePriceProduct":{"__typename":"Book","samePriceProduct":{"id":"1","price":10.5,"samePriceProduct":{"id":"2","price":10.5}},"price":10.5},"price":10.5}}}"#);
}

#[tokio::test]
async fn entities_that_point_at_each_other_are_followed_as_deep_as_asked() {
    let a = Subgraph::new(
        "a",
        "type Query { a: A } type A @key(fields: \"id\") { id: ID! b: B } type B @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"a": {"id": "1"}}))
    .entities(json!([{"__typename": "A", "id": "1", "b": {"id": "1"}}, {"__typename": "A", "id": "2", "b": null}]));
    let b = Subgraph::new(
        "b",
        "type B @key(fields: \"id\") { id: ID! as: [A!]! } type A @key(fields: \"id\") { id: ID! }",
    )
    .entities(json!([{"__typename": "B", "id": "1", "as": [{"id": "1"}, {"id": "2"}]}]));
    let c = Subgraph::new("c", "type A @key(fields: \"id\") { id: ID! name: String! }")
        .entities(json!([{"__typename": "A", "id": "1", "name": "one"}, {"__typename": "A", "id": "2", "name": "two"}]));
    let graph = graph(vec![a, b, c]).await;
    let query = "{ a { b { as { name b { as { x: name b { as { id b { id } } } } } } } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"a":{"b":{"as":[{"name":"one","b":{"as":[{"x":"one","b":{"as":[{"id":"1","b":{"id":"1"}},{"id":"2","b":null}]}},{"x":"two","b":null}]}},{"name":"two","b":null}]}}}}"#);
}
