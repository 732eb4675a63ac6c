//! Every Federation directive: what a client receives, and which requests the subgraphs get.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, graph};

fn products() -> Subgraph {
    Subgraph::new(
        "products",
        "type Query { topProducts(first: Int): [Product!]! product(id: ID!): Product }
         type Product @key(fields: \"id\") { id: ID! name: String! weight: Int }",
    )
    .query(json!({"topProducts": [{"id": "1"}, {"id": "2"}, {"id": "1"}]}))
    .field("Query", "product", |_, arguments| {
        Ok(json!({"id": arguments["id"]}))
    })
    .entities(json!([
        {"__typename": "Product", "id": "1", "name": "Table", "weight": 30},
        {"__typename": "Product", "id": "2", "name": "Chair", "weight": 5},
    ]))
}

fn reviews() -> Subgraph {
    Subgraph::new(
        "reviews",
        "type Product @key(fields: \"id\") { id: ID! reviews: [Review!]! }
         type Review { text: String! stars: Int! product: Product! }",
    )
    .entities(json!([
        {"__typename": "Product", "id": "1", "reviews": [
            {"text": "Sturdy \"oak\" \u{e9}", "stars": 5, "product": {"id": "1"}},
            {"text": "Heavy", "stars": 2, "product": {"id": "1"}},
        ]},
        {"__typename": "Product", "id": "2", "reviews": [
            {"text": "Fine", "stars": 4, "product": {"id": "2"}},
        ]},
    ]))
}

#[tokio::test]
async fn a_key_joins_two_subgraphs() {
    let graph = graph(vec![products(), reviews()]).await;
    let query = "{ topProducts { name reviews { text product { name weight } } } }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"topProducts":[{"name":"Table","reviews":[{"text":"Sturdy \"oak\" é","product":{"name":"Table","weight":30}},{"text":"Heavy","product":{"name":"Table","weight":30}}]},{"name":"Chair","reviews":[{"text":"Fine","product":{"name":"Chair","weight":5}}]},{"name":"Table","reviews":[{"text":"Sturdy \"oak\" é","product":{"name":"Table","weight":30}},{"text":"Heavy","product":{"name":"Table","weight":30}}]}]}}
    products: {topProducts{name id}}
    reviews: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{reviews{text product{id}}}}}
    products: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{name weight}}}
    "#);
}

#[tokio::test]
async fn an_entity_that_is_missing_is_null() {
    let graph = graph(vec![products(), reviews()]).await;
    assert_snapshot!(graph.told("{ product(id: \"3\") { id reviews { text } } }").await, @r#"
    {"data":{"product":null},"errors":[{"message":"no value for the non-null field \"reviews\"","path":["product","reviews"],"extensions":{"code":"INVALID_VALUE"}}]}
    products: {product(id: "3"){id}}
    reviews: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{reviews{text}}}}
    "#);
}

#[tokio::test]
async fn requires_brings_fields_of_another_subgraph() {
    let shipping = Subgraph::new(
        "shipping",
        "type Product @key(fields: \"id\") {
           id: ID! weight: Int @external size: Size @external
           shipping(express: Boolean): Int! @requires(fields: \"weight size { width(unit: CM) }\")
         }
         type Size @shareable { width(unit: Unit!): Int } enum Unit { CM INCH }",
    )
    .entities(json!([{"__typename": "Product", "id": "1"}, {"__typename": "Product", "id": "2"}]))
    .field("Product", "shipping", |product, arguments| {
        let weight = product["weight"].as_i64().ok_or("no weight")?;
        let width = product["size"]["width"].as_i64().ok_or("no width")?;
        let factor = if arguments["express"] == true { 2 } else { 1 };
        Ok(json!((weight + width) * factor))
    });
    let measures = Subgraph::new(
        "measures",
        "type Product @key(fields: \"id\") { id: ID! size: Size }
         type Size @shareable { width(unit: Unit!): Int } enum Unit { CM INCH }",
    )
    .entities(json!([
        {"__typename": "Product", "id": "1", "size": {"cm": 254}},
        {"__typename": "Product", "id": "2", "size": {"cm": 508}},
    ]))
    .field("Size", "width", |size, arguments| {
        let cm = size["cm"].as_i64().ok_or("no size")?;
        Ok(json!(if arguments["unit"] == "CM" {
            cm
        } else {
            cm * 100 / 254
        }))
    });
    let graph = graph(vec![products(), shipping, measures]).await;
    let query = "query($e: Boolean) {
      topProducts { shipping fast: shipping(express: $e) size { width(unit: INCH) } }
    }";
    assert_snapshot!(graph.told_with(query, json!({"e": true})).await, @r#"
    {"data":{"topProducts":[{"shipping":284,"fast":568,"size":{"width":100}},{"shipping":513,"fast":1026,"size":{"width":200}},{"shipping":284,"fast":568,"size":{"width":100}}]}}
    products: {topProducts{id weight}}
    measures: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{size{width(unit: INCH) _required0_width: width(unit: CM)}}}}
    shipping: query($representations:[_Any!]!, $e:Boolean){_entities(representations: $representations){...on Product{shipping fast: shipping(express: $e)}}}
    "#);
}

#[tokio::test]
async fn requires_follows_fragments_on_types() {
    let catalogue = Subgraph::new(
        "catalogue",
        "type Query { items: [Item!]! }
         type Item @key(fields: \"id\") { id: ID! media: Media }
         union Media = Film | Song
         type Film { minutes: Int! @shareable } type Song { seconds: Int! @shareable title: String! }",
    )
    .query(json!({"items": [{"id": "1"}, {"id": "2"}, {"id": "3"}]}))
    .entities(json!([
        {"__typename": "Item", "id": "1", "media": {"__typename": "Film", "minutes": 90}},
        {"__typename": "Item", "id": "2", "media": {"__typename": "Song", "seconds": 200, "title": "La"}},
        {"__typename": "Item", "id": "3", "media": null},
    ]));
    let length = Subgraph::new(
        "length",
        "type Item @key(fields: \"id\") {
           id: ID!
           media: Media @external
           length: String @requires(fields: \"media { ... on Film { minutes } ... on Song { seconds } }\")
         }
         union Media = Film | Song
         type Film { minutes: Int! @shareable } type Song { seconds: Int! @shareable }",
    )
    .entities(json!(["1", "2", "3"].map(|id| json!({"__typename": "Item", "id": id}))))
    .field("Item", "length", |item, _| {
        let media = &item["media"];
        Ok(json!(format!("{} {} {}", media["__typename"], media["minutes"], media["seconds"])))
    });
    let graph = graph(vec![catalogue, length]).await;
    assert_snapshot!(graph.told("{ items { length media { __typename ... on Song { title } } } }").await, @r#"
    {"data":{"items":[{"length":"\"Film\" 90 null","media":{"__typename":"Film"}},{"length":"\"Song\" null 200","media":{"__typename":"Song","title":"La"}},{"length":"null null null","media":null}]}}
    catalogue: {items{media{__typename ...on Song{title seconds} ...on Film{minutes}} id}}
    length: query($representations:[_Any!]!){_entities(representations: $representations){...on Item{length}}}
    "#);
}

#[tokio::test]
async fn provides_saves_a_request_on_its_path_only() {
    let accounts = Subgraph::new(
        "accounts",
        "type User @key(fields: \"id\") { id: ID! name: String! @shareable email: String! }",
    )
    .entities(json!([{"__typename": "User", "id": "u1", "name": "Ada", "email": "ada@x"}]));
    let posts = Subgraph::new(
        "posts",
        "type Query { latest: Post! first: Post! }
         type Post { author: User! @provides(fields: \"name\") editor: User! }
         type User @key(fields: \"id\") { id: ID! name: String! @external }",
    )
    .query(json!({
        "latest": {"author": {"id": "u1", "name": "Ada"}, "editor": {"id": "u1"}},
        "first": {"author": {"id": "u1", "name": "Ada"}, "editor": {"id": "u1"}},
    }));
    let graph = graph(vec![accounts, posts]).await;
    assert_snapshot!(graph.told("{ latest { author { name } } }").await, @r#"
    {"data":{"latest":{"author":{"name":"Ada"}}}}
    posts: {latest{author{name}}}
    "#);
    assert_snapshot!(graph.told("{ latest { author { name } editor { name } } }").await, @r#"
    {"data":{"latest":{"author":{"name":"Ada"},"editor":{"name":"Ada"}}}}
    posts: {latest{author{name} editor{id}}}
    accounts: query($representations:[_Any!]!){_entities(representations: $representations){...on User{name}}}
    "#);
    assert_snapshot!(graph.told("{ first { author { id name email } } }").await, @r#"
    {"data":{"first":{"author":{"id":"u1","name":"Ada","email":"ada@x"}}}}
    posts: {first{author{id name}}}
    accounts: query($representations:[_Any!]!){_entities(representations: $representations){...on User{email}}}
    "#);
}

#[tokio::test]
async fn provides_reaches_into_unions_and_interfaces() {
    let books = Subgraph::new(
        "books",
        "interface Media { id: ID! }
         type Book implements Media @key(fields: \"id\") { id: ID! title: String! animals: [Animal!]! @shareable }
         interface Animal { id: ID! name: String! }
         type Dog implements Animal @key(fields: \"id\") { id: ID! name: String! @shareable age: Int! }
         type Cat implements Animal @key(fields: \"id\") { id: ID! name: String! @shareable age: Int! }",
    )
    .entities(json!([
        {"__typename": "Book", "id": "b1", "title": "Dogs", "animals": [
            {"__typename": "Dog", "id": "d1", "name": "Rex", "age": 3},
            {"__typename": "Cat", "id": "c1", "name": "Tom", "age": 2},
        ]},
        {"__typename": "Dog", "id": "d1", "name": "Rex", "age": 3},
        {"__typename": "Cat", "id": "c1", "name": "Tom", "age": 2},
    ]));
    let library = Subgraph::new(
        "library",
        "type Query { media: Media @provides(fields: \"... on Book { animals { ... on Dog { name } } }\") any: Thing cat: Cat @provides(fields: \"name\") }
         union Thing = Book | Shelf
         type Shelf { number: Int! }
         interface Media { id: ID! }
         type Book implements Media @key(fields: \"id\") { id: ID! animals: [Animal!]! @external }
         interface Animal { id: ID! }
         type Dog implements Animal @key(fields: \"id\") { id: ID! name: String! @external }
         type Cat implements Animal @key(fields: \"id\") { id: ID! name: String! @external }",
    )
    .query(json!({
        "media": {"__typename": "Book", "id": "b1", "animals": [
            {"__typename": "Dog", "id": "d1", "name": "Rex"},
            {"__typename": "Cat", "id": "c1", "name": "Tom"},
        ]},
        "any": {"__typename": "Shelf", "number": 4},
    }));
    let graph = graph(vec![books, library]).await;
    let query = "{ media { __typename id ... on Book { animals { id name } } } any { __typename ... on Shelf { number } ... on Book { title } } }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"media":{"__typename":"Book","id":"b1","animals":[{"id":"d1","name":"Rex"},{"id":"c1","name":"Tom"}]},"any":{"__typename":"Shelf","number":4}}}
    library: {media{__typename id} any{__typename ...on Shelf{number} ...on Book{id}}}
    books: query($representations0:[_Any!]!, $representations1:[_Any!]!){_e0: _entities(representations: $representations0){...on Book{animals{id name}}} _e1: _entities(representations: $representations1){...on Book{title}}}
    "#);
}

#[tokio::test]
async fn override_moves_a_field() {
    let old = Subgraph::new(
        "old",
        "type Query { product: Product! }
         type Product @key(fields: \"id\") { id: ID! price: Int! stock: Int! }",
    )
    .query(json!({"product": {"id": "1", "price": 1, "stock": 7}}));
    let new = Subgraph::new(
        "new",
        "type Product @key(fields: \"id\") { id: ID! price: Int! @override(from: \"old\") }",
    )
    .entities(json!([{"__typename": "Product", "id": "1", "price": 2}]));
    let graph = graph(vec![old, new]).await;
    assert_snapshot!(graph.told("{ product { price stock } }").await, @r#"
    {"data":{"product":{"price":2,"stock":7}}}
    old: {product{id stock}}
    new: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{price}}}
    "#);
}

#[tokio::test]
async fn keys_may_be_several_compound_nested_and_null() {
    let a = Subgraph::new(
        "a",
        "type Query { things: [Thing!]! }
         type Thing @key(fields: \"id\") @key(fields: \"sku brand { name }\") {
           id: ID! sku: String brand: Brand }
         type Brand @shareable { name: String! }",
    )
    .query(json!({"things": [
        {"id": "1", "sku": "s1", "brand": {"name": "Acme"}},
        {"id": "2", "sku": null, "brand": {"name": "Acme"}},
        {"id": "3", "sku": "s3", "brand": null},
    ]}));
    let b = Subgraph::new(
        "b",
        "type Thing @key(fields: \"sku brand { name }\") { sku: String brand: Brand price: Int uuid: ID }
         type Brand @shareable { name: String! }",
    )
    .entities(json!([
        {"__typename": "Thing", "sku": "s1", "brand": {"name": "Acme"}, "price": 9, "uuid": "u1"},
    ]));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.told("{ things { id price } }").await, @r#"
    {"data":{"things":[{"id":"1","price":9},{"id":"2","price":null},{"id":"3","price":null}]}}
    a: {things{id sku brand{name}}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Thing{price}}}
    "#);
}

#[tokio::test]
async fn root_fields_are_shared_between_subgraphs() {
    let name = Subgraph::new(
        "name",
        "type Query { me: User! @shareable } type User { id: ID! @shareable name: Name! @shareable }
         type Name { first: String! @shareable }",
    )
    .query(json!({"me": {"id": "1", "name": {"first": "Ada"}}}));
    let age = Subgraph::new(
        "age",
        "type Query { me: User! @shareable }
         type User { id: ID! @shareable age: Int! name: Name! @shareable }
         type Name { first: String! @shareable last: String! }",
    )
    .query(json!({"me": {"id": "1", "age": 36, "name": {"first": "Ada", "last": "L"}}}));
    let mail = Subgraph::new(
        "mail",
        "type Query { me: User! @shareable } type User { id: ID! @shareable mail: String! }",
    )
    .query(json!({"me": {"id": "1", "mail": "ada@x"}}));
    let graph = graph(vec![name, age, mail]).await;
    assert_snapshot!(graph.told("{ me { id name { first last } age mail } }").await, @r#"
    {"data":{"me":{"id":"1","name":{"first":"Ada","last":"L"},"age":36,"mail":"ada@x"}}}
    age: {me{id name{first last} age}}
    mail: {me{mail}}
    "#);
}

#[tokio::test]
async fn inaccessible_parts_do_not_exist_for_clients() {
    let shapes = Subgraph::new(
        "shapes",
        "type Query { shapes: [Shape!]! colours: [Colour] colour: Colour! paint(in: Paint): String }
         interface Shape { id: ID! secret: Int @inaccessible }
         type Circle implements Shape { id: ID! secret: Int @inaccessible radius: Int! }
         type Draft implements Shape @inaccessible { id: ID! secret: Int }
         enum Colour { RED GREEN HIDDEN @inaccessible }
         input Paint { colour: Colour shade: Int @inaccessible }",
    )
    .query(json!({
        "shapes": [{"__typename": "Circle", "id": "1", "radius": 2, "secret": 5}],
        "colours": ["RED", "HIDDEN", "GREEN"],
        "colour": "HIDDEN",
        "paint": "ok",
    }));
    let graph = graph(vec![shapes]).await;
    assert_snapshot!(graph.told("{ shapes { id ... on Circle { radius } } colours }").await, @r#"
    {"data":{"shapes":[{"id":"1","radius":2}],"colours":["RED",null,"GREEN"]},"errors":[{"message":"the subgraph's value for field \"colours\" does not match the field's type","path":["colours",1],"extensions":{"code":"INVALID_VALUE"}}]}
    shapes: {shapes{__typename id ...on Circle{radius}} colours}
    "#);
    assert_snapshot!(graph.told("{ colour }").await, @r#"
    {"data":null,"errors":[{"message":"the subgraph's value for field \"colour\" does not match the field's type","path":["colour"],"extensions":{"code":"INVALID_VALUE"}}]}
    shapes: {colour}
    "#);
    assert_snapshot!(graph.told("{ shapes { secret } }").await, @r#"{"errors":[{"message":"Cannot query field \"secret\" on type \"Shape\".","locations":[{"line":1,"column":12}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    assert_snapshot!(graph.told("{ shapes { ... on Draft { id } } }").await, @r#"{"errors":[{"message":"Unknown type \"Draft\".","locations":[{"line":1,"column":19}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    assert_snapshot!(graph.told("{ paint(in: {shade: 1}) }").await, @r#"{"errors":[{"message":"Field \"shade\" is not defined by type \"Paint\".","locations":[{"line":1,"column":21}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    let query = "query($in: Paint) { paint(in: $in) }";
    assert_snapshot!(graph.told_with(query, json!({"in": {"shade": 1}})).await, @r#"{"errors":[{"message":"$in: the type Paint has no field \"shade\"","extensions":{"code":"BAD_USER_INPUT"}}]}"#);
    assert_snapshot!(graph.told_with(query, json!({"in": {"colour": "HIDDEN"}})).await, @r#"{"errors":[{"message":"$in.colour must be Colour, not \"HIDDEN\"","extensions":{"code":"BAD_USER_INPUT"}}]}"#);
    assert_snapshot!(graph.told_with(query, json!({"in": {"colour": "RED"}})).await, @r#"
    {"data":{"paint":"ok"}}
    shapes: query($in:Paint){paint(in: $in)}
    "#);
    assert_snapshot!(graph.told("{ _entities(representations: []) { __typename } _service { sdl } }").await, @r#"{"errors":[{"message":"Cannot query field \"_entities\" on type \"Query\".","locations":[{"line":1,"column":3}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}},{"message":"Cannot query field \"_service\" on type \"Query\".","locations":[{"line":1,"column":49}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
}
