//! `@requires`: fields that need other subgraphs' fields first.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, graph};

fn integer(object: &Value, field: &str) -> Result<i64, String> {
    object[field]
        .as_i64()
        .ok_or_else(|| format!("{field} was not asked for"))
}

/// Each subgraph's field needs the one of the subgraph before, and `a` needs `c`'s again.
async fn chain() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { thing: Thing things: [[Thing]!] }
         type Thing @key(fields: \"id\") {
           id: ID! a: Int! c: Int! @external
           again: Int! @requires(fields: \"c\")
         }",
    )
    .query(json!({
        "thing": {"id": "1"},
        "things": [[{"id": "1"}, null], [], [{"id": "2"}, {"id": "1"}]],
    }))
    .entities(json!([
        {"__typename": "Thing", "id": "1", "a": 10}, {"__typename": "Thing", "id": "2", "a": 20},
    ]))
    .field("Thing", "again", |thing, _| {
        Ok(json!(integer(thing, "c")? + 1000))
    });
    let b = Subgraph::new(
        "b",
        "type Thing @key(fields: \"id\") {
           id: ID! a: Int! @external b: Int! @requires(fields: \"a\") own: Int! }",
    )
    .entities(json!([
        {"__typename": "Thing", "id": "1", "own": 1}, {"__typename": "Thing", "id": "2", "own": 2},
    ]))
    .field("Thing", "b", |thing, _| Ok(json!(integer(thing, "a")? + 1)));
    let c = Subgraph::new(
        "c",
        "type Thing @key(fields: \"id\") {
           id: ID! b: Int! @external own: Int! @external a: Int! @external
           c: Int! @requires(fields: \"b own\")
           all: [Int!]! @requires(fields: \"a b own\") }",
    )
    .entities(json!([{"__typename": "Thing", "id": "1"}, {"__typename": "Thing", "id": "2"}]))
    .field("Thing", "c", |thing, _| {
        Ok(json!(integer(thing, "b")? + 100 * integer(thing, "own")?))
    })
    .field("Thing", "all", |thing, _| {
        Ok(json!([
            integer(thing, "a")?,
            integer(thing, "b")?,
            integer(thing, "own")?
        ]))
    });
    graph(vec![a, b, c]).await
}

#[tokio::test]
async fn requirements_of_requirements_are_fetched_in_their_order() {
    let graph = chain().await;
    assert_snapshot!(graph.told("{ thing { again } }").await, @r#"
    {"data":{"thing":{"again":1111}}}
    a: {thing{id a}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Thing{own b}}}
    c: query($representations:[_Any!]!){_entities(representations: $representations){...on Thing{c}}}
    a: query($representations:[_Any!]!){_entities(representations: $representations){...on Thing{again}}}
    "#);
    assert_snapshot!(graph.query("{ thing { all c b a again } }").await, @r#"{"data":{"thing":{"all":[10,11,1],"c":111,"b":11,"a":10,"again":1111}}}"#);
    assert_snapshot!(graph.query("{ things { id twice: again c } }").await, @r#"{"data":{"things":[[{"id":"1","twice":1111,"c":111},null],[],[{"id":"2","twice":1221,"c":221},{"id":"1","twice":1111,"c":111}]]}}"#);
}

#[tokio::test]
async fn required_fields_do_not_show_unless_asked_for() {
    let graph = chain().await;
    assert_snapshot!(graph.query("{ thing { c } }").await, @r#"{"data":{"thing":{"c":111}}}"#);
    assert_snapshot!(graph.query("{ thing { b: c c: b own: a } }").await, @r#"{"data":{"thing":{"b":111,"c":11,"own":10}}}"#);
    assert_snapshot!(graph.query("{ thing { a: id id: a c } }").await, @r#"{"data":{"thing":{"a":"1","id":10,"c":111}}}"#);
    assert_snapshot!(graph.query("{ thing { __typename own c ...T } } fragment T on Thing { all b }").await, @r#"{"data":{"thing":{"__typename":"Thing","own":1,"c":111,"all":[10,11,1],"b":11}}}"#);
}

#[tokio::test]
async fn a_condition_on_the_field_holds_for_what_it_requires() {
    let graph = chain().await;
    let query =
        "query($c: Boolean!, $b: Boolean!) { thing { id c @include(if: $c) b @skip(if: $b) } }";
    for (c, b) in [(true, true), (true, false), (false, true), (false, false)] {
        let answer = graph.ask(query, Some(json!({"c": c, "b": b}))).await;
        let mut thing = json!({"id": "1"});
        if c {
            thing["c"] = json!(111);
        }
        if !b {
            thing["b"] = json!(11);
        }
        assert_eq!(answer, json!({"data": {"thing": thing}}), "{c} {b}");
    }
}

/// The price with two currencies: what the client asks and what is required differ in arguments.
#[tokio::test]
async fn required_fields_have_arguments_of_their_own() {
    let prices = Subgraph::new(
        "prices",
        "type Query { products: [Product!]! }
         type Product @key(fields: \"upc\") {
           upc: String! price(currency: String): Int weight(unit: Unit = GRAM, exact: Boolean): Int }
         enum Unit { GRAM POUND }",
    )
    .query(json!({"products": [{"upc": "p1"}, {"upc": "p2"}]}))
    .entities(json!([
        {"__typename": "Product", "upc": "p1", "usd": 11, "grams": 900},
        {"__typename": "Product", "upc": "p2", "usd": 22, "grams": null},
    ]))
    .field("Product", "price", |product, arguments| {
        let usd = integer(product, "usd")?;
        Ok(json!(if arguments["currency"] == "EUR" { usd * 2 } else { usd }))
    })
    .field("Product", "weight", |product, arguments| {
        let grams = product["grams"].as_i64();
        Ok(json!(if arguments["unit"] == "POUND" { grams.map(|it| it / 450) } else { grams }))
    });
    let shipping = Subgraph::new(
        "shipping",
        "type Product @key(fields: \"upc\") {
           upc: String!
           price(currency: String): Int @external
           weight(unit: Unit = GRAM, exact: Boolean): Int @external
           estimate: Int @requires(fields: \"price(currency: \\\"USD\\\") weight(unit: POUND)\")
           inEuro(factor: Int!): Int @requires(fields: \"price(currency: \\\"EUR\\\")\")
         }
         enum Unit { GRAM POUND }",
    )
    .entities(json!([
        {"__typename": "Product", "upc": "p1"}, {"__typename": "Product", "upc": "p2"},
    ]))
    .field("Product", "estimate", |product, _| {
        let weight = product
            .get("weight")
            .ok_or("the weight was not asked for")?;
        Ok(json!(
            weight
                .as_i64()
                .map(|it| it * integer(product, "price").unwrap_or(-1))
        ))
    })
    .field("Product", "inEuro", |product, arguments| {
        Ok(json!(
            integer(product, "price")? * integer(arguments, "factor")?
        ))
    });
    let graph = graph(vec![prices, shipping]).await;
    assert_snapshot!(graph.query("{ products { estimate } }").await, @r#"{"data":{"products":[{"estimate":22},{"estimate":null}]}}"#);
    assert_snapshot!(graph.query("{ products { price weight estimate inEuro(factor: 10) } }").await, @r#"{"data":{"products":[{"price":11,"weight":900,"estimate":22,"inEuro":220},{"price":22,"weight":null,"estimate":null,"inEuro":440}]}}"#);
    let query = "query($c: String, $f: Int!) {
      products { upc price(currency: $c) weight: price estimate cheap: inEuro(factor: $f) dear: inEuro(factor: 100) }
    }";
    assert_snapshot!(graph.ask(query, Some(json!({"c": "EUR", "f": 1}))).await, @r#"{"data":{"products":[{"upc":"p1","price":22,"weight":11,"estimate":22,"cheap":22,"dear":2200},{"upc":"p2","price":44,"weight":22,"estimate":null,"cheap":44,"dear":4400}]}}"#);
}

#[tokio::test]
async fn a_null_requirement_is_passed_on_as_null() {
    let names = Subgraph::new(
        "names",
        "type Query { people: [Person!]! }
         type Person @key(fields: \"id\") { id: ID! name: String home: Home }
         type Home { city: String street: String! }",
    )
    .query(json!({"people": [
        {"id": "1", "name": null, "home": null},
        {"id": "2", "name": "B", "home": {"city": null, "street": "S"}},
    ]}));
    let labels = Subgraph::new(
        "labels",
        "type Person @key(fields: \"id\") {
           id: ID! name: String @external home: Home @external
           label: String! @requires(fields: \"name home { city street }\") }
         type Home { city: String @external street: String! @external }",
    )
    .entities(json!([{"__typename": "Person", "id": "1"}, {"__typename": "Person", "id": "2"}]))
    .field("Person", "label", |person, _| {
        let home = person.get("home").ok_or("no home was passed")?;
        let name = person.get("name").ok_or("no name was passed")?;
        Ok(json!(format!("{name} {} {}", home["city"], home["street"])))
    });
    let graph = graph(vec![names, labels]).await;
    assert_snapshot!(graph.told("{ people { label } }").await, @r#"
    {"data":{"people":[{"label":"null null null"},{"label":"\"B\" null \"S\""}]}}
    names: {people{name home{city street} id}}
    labels: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{label}}}
    "#);
    assert_snapshot!(graph.query("{ people { home { town: city } label city: label } }").await, @r#"{"data":{"people":[{"home":null,"label":"null null null","city":"null null null"},{"home":{"town":null},"label":"\"B\" null \"S\"","city":"\"B\" null \"S\""}]}}"#);
}

/// The required list lies in another entity, which a third subgraph completes.
#[tokio::test]
async fn requirements_reach_through_lists_and_other_entities() {
    let orders = Subgraph::new(
        "orders",
        "type Query { orders: [Order!]! }
         type Order @key(fields: \"id\") { id: ID! lines: [Line!]! }
         type Line { count: Int! product: Product! }
         type Product @key(fields: \"upc\") { upc: ID! }",
    )
    .query(json!({"orders": [
        {"id": "1", "lines": [{"count": 2, "product": {"upc": "a"}}, {"count": 1, "product": {"upc": "b"}}]},
        {"id": "2", "lines": []},
    ]}));
    let products = Subgraph::new(
        "products",
        "type Product @key(fields: \"upc\") { upc: ID! price: Int! name: String! }",
    )
    .entities(json!([
        {"__typename": "Product", "upc": "a", "price": 10, "name": "A"},
        {"__typename": "Product", "upc": "b", "price": 3, "name": "B"},
    ]));
    let totals = Subgraph::new(
        "totals",
        "type Order @key(fields: \"id\") {
           id: ID! lines: [Line!]! @external
           total: Int! @requires(fields: \"lines { count product { price } }\") }
         type Line { count: Int! @external product: Product! @external }
         type Product @key(fields: \"upc\") { upc: ID! price: Int! @external }",
    )
    .entities(json!([{"__typename": "Order", "id": "1"}, {"__typename": "Order", "id": "2"}]))
    .field("Order", "total", |order, _| {
        let mut total = 0;
        for line in order["lines"].as_array().ok_or("no lines")? {
            total += integer(line, "count")? * integer(&line["product"], "price")?;
        }
        Ok(json!(total))
    });
    let graph = graph(vec![orders, products, totals]).await;
    assert_snapshot!(graph.told("{ orders { total } }").await, @r#"
    {"data":{"orders":[{"total":23},{"total":0}]}}
    orders: {orders{lines{count product{upc}} id}}
    products: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{price}}}
    totals: query($representations:[_Any!]!){_entities(representations: $representations){...on Order{total}}}
    "#);
    assert_snapshot!(graph.query("{ orders { id total lines { count: product { count: name } n: count } } }").await, @r#"{"data":{"orders":[{"id":"1","total":23,"lines":[{"count":{"count":"A"},"n":2},{"count":{"count":"B"},"n":1}]},{"id":"2","total":0,"lines":[]}]}}"#);
}

/// `shipping` knows a product by another key than `shop`, where it is met; that key and what is
/// required come from a third subgraph.
#[tokio::test]
async fn a_requirement_is_met_over_a_second_key() {
    let shop = Subgraph::new(
        "shop",
        "type Query { products: [Product!]! } type Product @key(fields: \"id\") { id: ID! name: String }",
    )
    .query(json!({"products": [{"id": "1", "name": "A"}, {"id": "2", "name": "B"}]}))
    .entities(json!([
        {"__typename": "Product", "id": "1", "name": "A"}, {"__typename": "Product", "id": "2", "name": "B"},
    ]));
    let stock = Subgraph::new(
        "stock",
        "type Product @key(fields: \"id\") @key(fields: \"sku\") { id: ID! sku: String! grams: Int }",
    )
    .entities(json!([
        {"__typename": "Product", "id": "1", "sku": "s1", "grams": 10},
        {"__typename": "Product", "id": "2", "sku": "s2", "grams": null},
    ]));
    let shipping = Subgraph::new(
        "shipping",
        "type Product @key(fields: \"sku\") {
           sku: String! grams: Int @external cost: Int @requires(fields: \"grams\") carrier: Carrier! @requires(fields: \"grams\") days: Int }
         type Carrier { name: String! carries: [Product!]! }",
    )
    .entities(json!([
        {"__typename": "Product", "sku": "s1", "days": 1}, {"__typename": "Product", "sku": "s2", "days": 2},
    ]))
    .field("Product", "cost", |product, _| {
        let grams = product.get("grams").ok_or("grams was not asked for")?;
        Ok(json!(grams.as_i64().map(|it| it * 2)))
    })
    .field("Product", "carrier", |product, _| {
        let grams = product.get("grams").ok_or("grams was not asked for")?;
        Ok(json!({"name": format!("for {grams}"), "carries": [{"sku": "s2"}]}))
    });
    let graph = graph(vec![shop, stock, shipping]).await;
    assert_snapshot!(graph.query("{ products { cost } }").await, @r#"{"data":{"products":[{"cost":20},{"cost":null}]}}"#);
    assert_snapshot!(graph.query("{ products { name days price: cost grams sku } }").await, @r#"{"data":{"products":[{"name":"A","days":1,"price":20,"grams":10,"sku":"s1"},{"name":"B","days":2,"price":null,"grams":null,"sku":"s2"}]}}"#);
    assert_snapshot!(graph.query("{ products { carrier { name carries { name days cost } } } }").await, @r#"{"data":{"products":[{"carrier":{"name":"for 10","carries":[{"name":"B","days":2,"cost":null}]}},{"carrier":{"name":"for null","carries":[{"name":"B","days":2,"cost":null}]}}]}}"#);
}

#[tokio::test]
async fn an_entity_without_what_is_required_is_not_asked_for() {
    let graph = chain().await;
    let fault = crate::support::subgraph::Fault::Answer(500, "oops".into());
    graph.subgraph("b").fail(fault);
    let told = graph.told("{ thing { a c } }").await;
    assert!(told.contains("HTTP status 500"), "{told}");
    let asked = |name: &str| told.lines().any(|line| line.starts_with(name));
    assert!(asked("b: ") && !asked("c: "), "{told}");
}
