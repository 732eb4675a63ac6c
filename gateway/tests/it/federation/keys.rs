//! `@key`: nested, compound, several, null, on interfaces, and not resolvable.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, graph, graph_of};

/// Four subgraphs that know one entity by different keys: the way from the first to the last leads
/// over the two between.
#[tokio::test]
async fn a_chain_of_keys_is_followed() {
    let a = Subgraph::new(
        "a",
        "type Query { things: [Thing] } type Thing @key(fields: \"id\") { id: ID! a: String }",
    )
    .query(json!({"things": [{"id": "1"}, {"id": "2"}, {"id": "3"}]}))
    .entities(json!([{"__typename": "Thing", "id": "1", "a": "a1"}]));
    let b = Subgraph::new(
        "b",
        "type Thing @key(fields: \"id\") @key(fields: \"sku\") { id: ID! sku: String }",
    )
    .entities(json!([
        {"__typename": "Thing", "id": "1", "sku": "s1"},
        {"__typename": "Thing", "id": "2", "sku": null},
        {"__typename": "Thing", "id": "3", "sku": "s3"},
    ]));
    let c = Subgraph::new(
        "c",
        "type Thing @key(fields: \"sku\") @key(fields: \"code region\") { sku: String code: Int region: String }",
    )
    .entities(json!([
        {"__typename": "Thing", "sku": "s1", "code": 7, "region": "EU"},
        {"__typename": "Thing", "sku": "s3", "code": 8, "region": null},
    ]));
    let d = Subgraph::new(
        "d",
        "type Thing @key(fields: \"region code\") { code: Int region: String d: Float }",
    )
    .entities(json!([
        {"__typename": "Thing", "code": 7, "region": "EU", "d": 0.5},
    ]));
    let graph = graph(vec![a, b, c, d]).await;
    assert_snapshot!(graph.told("{ things { id d } }").await, @r#"
    {"data":{"things":[{"id":"1","d":0.5},{"id":"2","d":null},{"id":"3","d":null}]}}
    a: {things{id}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Thing{sku}}}
    c: query($representations:[_Any!]!){_entities(representations: $representations){...on Thing{region code}}}
    d: query($representations:[_Any!]!){_entities(representations: $representations){...on Thing{d}}}
    "#);
    assert_snapshot!(graph.query("{ things { d: sku sku: d code region __typename } }").await, @r#"{"data":{"things":[{"d":"s1","sku":0.5,"code":7,"region":"EU","__typename":"Thing"},{"d":null,"sku":null,"code":null,"region":null,"__typename":"Thing"},{"d":"s3","sku":null,"code":8,"region":null,"__typename":"Thing"}]}}"#);
}

#[tokio::test]
async fn nested_keys_hold_objects_and_lists() {
    let list = Subgraph::new(
        "list",
        "type Query { lists: [ProductList!]! }
         type ProductList @key(fields: \"products { id pid }\") { products: [Product!]! first: Product }
         type Product @key(fields: \"id\") @key(fields: \"id pid\") { id: ID! pid: ID }",
    )
    .query(json!({"lists": [{
        "products": [{"id": "1", "pid": "p1"}, {"id": "2", "pid": "p2"}],
        "first": {"id": "1", "pid": "p1"},
    }]}))
    .entities(json!([
        {"__typename": "Product", "id": "1", "pid": "p1"}, {"__typename": "Product", "id": "2", "pid": "p2"},
    ]));
    let selected = Subgraph::new(
        "selected",
        "type ProductList @key(fields: \"products { id pid }\") { products: [Product!]! selected: Product count: Int! }
         type Product @key(fields: \"id pid\") { id: ID! pid: ID category: Category }
         type Category @key(fields: \"id tag { name }\") { id: ID! tag: Tag }
         type Tag @shareable { name: String }",
    )
    .entities(json!([
        {"__typename": "Product", "id": "1", "pid": "p1", "category": {"id": "c1", "tag": {"name": "t1"}}},
        {"__typename": "Product", "id": "2", "pid": "p2", "category": {"id": "c2", "tag": null}},
        {"__typename": "ProductList", "products": [{"id": "1", "pid": "p1"}, {"id": "2", "pid": "p2"}]},
    ]))
    .field("ProductList", "count", |it, _| {
        Ok(json!(it["products"].as_array().ok_or("no products")?.len()))
    })
    .field("ProductList", "selected", |it, _| Ok(it["products"][1].clone()));
    let categories = Subgraph::new(
        "categories",
        "type Category @key(fields: \"id tag { name }\") { id: ID! tag: Tag mainProduct: Product }
         type Tag @shareable { name: String }
         type Product @key(fields: \"id\") { id: ID! price: Int }",
    )
    .entities(json!([
        {"__typename": "Category", "id": "c1", "tag": {"name": "t1"}, "mainProduct": {"id": "2"}},
        {"__typename": "Product", "id": "1", "price": 100}, {"__typename": "Product", "id": "2", "price": 200},
    ]));
    let graph = graph(vec![list, selected, categories]).await;
    assert_snapshot!(graph.told("{ lists { count } }").await, @r#"
    {"data":{"lists":[{"count":2}]}}
    list: {lists{products{id pid}}}
    selected: query($representations:[_Any!]!){_entities(representations: $representations){...on ProductList{count}}}
    "#);
    assert_snapshot!(graph.query("{ lists { selected { id price } first { pid category { id } } } }").await, @r#"{"data":{"lists":[{"selected":{"id":"2","price":200},"first":{"pid":"p1","category":{"id":"c1"}}}]}}"#);
    assert_snapshot!(graph.query("{ lists { products { category { tag { name } mainProduct { id pid price } } } } }").await, @r#"{"data":{"lists":[{"products":[{"category":{"tag":{"name":"t1"},"mainProduct":{"id":"2","pid":"p2","price":200}}},{"category":{"tag":null,"mainProduct":null}}]}]}}"#);
}

#[tokio::test]
async fn null_in_a_key_leaves_what_it_should_have_brought_null() {
    let books = Subgraph::new(
        "books",
        "type Query { containers: [Container] }
         type Container { id: ID! book: Book }
         type Book @key(fields: \"upc\") { upc: ID! }",
    )
    .query(json!({"containers": [
        {"id": "1", "book": {"upc": "b1"}}, {"id": "2", "book": {"upc": "b2"}},
        {"id": "3", "book": null}, {"id": "4", "book": {"upc": "b4"}},
    ]}));
    let ids = Subgraph::new(
        "ids",
        "type Book @key(fields: \"id\") @key(fields: \"upc\") { id: ID upc: ID! }",
    )
    .entities(json!([
        {"__typename": "Book", "upc": "b1", "id": "1"}, {"__typename": "Book", "upc": "b2", "id": null},
    ]));
    let authors = Subgraph::new(
        "authors",
        "type Book @key(fields: \"id\") { id: ID author: Author title: String }
         type Author @key(fields: \"id\") { id: ID! name: String }",
    )
    .entities(json!([{"__typename": "Book", "id": "1", "author": {"id": "a1", "name": "A"}, "title": "T"}]));
    let graph = graph(vec![books, ids, authors]).await;
    assert_snapshot!(graph.query("{ containers { id book { upc author { name } } } }").await, @r#"{"data":{"containers":[{"id":"1","book":{"upc":"b1","author":{"name":"A"}}},{"id":"2","book":{"upc":"b2","author":null}},{"id":"3","book":null},{"id":"4","book":{"upc":"b4","author":null}}]}}"#);
    assert_snapshot!(graph.query("{ containers { book { id title again: title } } }").await, @r#"{"data":{"containers":[{"book":{"id":"1","title":"T","again":"T"}},{"book":{"id":null,"title":null,"again":null}},{"book":null},{"book":{"id":null,"title":null,"again":null}}]}}"#);
}

#[tokio::test]
async fn a_key_that_cannot_be_resolved_is_only_a_pointer() {
    let carts = Subgraph::new(
        "carts",
        "type Query { cart: Cart! }
         type Cart { lines: [Product] }
         type Product @key(fields: \"id\", resolvable: false) @key(fields: \"sku\") { id: ID! sku: ID inCart: Boolean }",
    )
    .query(json!({"cart": {"lines": [{"id": "1", "sku": "s1"}, {"id": "9", "sku": "s9"}]}}))
    .entities(json!([{"__typename": "Product", "sku": "s1", "inCart": true}]));
    let products = Subgraph::new(
        "products",
        "type Query { top: Product } type Product @key(fields: \"id\") @key(fields: \"sku\") { id: ID! sku: ID name: String }",
    )
    .query(json!({"top": {"id": "1"}}))
    .entities(json!([{"__typename": "Product", "id": "1", "sku": "s1", "name": "Table"}]));
    let graph = graph(vec![carts, products]).await;
    assert_snapshot!(graph.told("{ cart { lines { name } } }").await, @r#"
    {"data":{"cart":{"lines":[{"name":"Table"},{"name":null}]}}}
    carts: {cart{lines{id}}}
    products: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{name}}}
    "#);
    assert_snapshot!(graph.told("{ top { inCart } }").await, @r#"
    {"data":{"top":{"inCart":true}}}
    products: {top{sku}}
    carts: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{inCart}}}
    "#);
}

#[tokio::test]
async fn an_interface_has_a_key_in_several_subgraphs() {
    let a = Subgraph::new(
        "a",
        "type Query { media: [Media!]! }
         interface Media @key(fields: \"id\") { id: ID! a: Int }
         type Book implements Media @key(fields: \"id\") { id: ID! a: Int }
         type Film implements Media @key(fields: \"id\") { id: ID! a: Int }",
    )
    .query(json!({"media": [{"__typename": "Film", "id": "2"}, {"__typename": "Book", "id": "1"}]}))
    .entities(json!([{"__typename": "Book", "id": "1", "a": 1}, {"__typename": "Film", "id": "2", "a": null}]));
    let b = Subgraph::new(
        "b",
        "interface Media @key(fields: \"id\") { id: ID! b: String! }
         type Book implements Media @key(fields: \"id\") { id: ID! b: String! next: Media }
         type Film implements Media @key(fields: \"id\") { id: ID! b: String! }",
    )
    .entities(json!([
        {"__typename": "Book", "id": "1", "b": "b1", "next": {"__typename": "Film", "id": "2"}},
        {"__typename": "Film", "id": "2", "b": "b2"},
    ]));
    let supergraph = include_str!("supergraphs/interface_keys.graphql");
    let graph = graph_of(supergraph, vec![a, b]).await;
    assert_snapshot!(graph.query("{ media { __typename id a b } }").await, @r#"{"data":{"media":[{"__typename":"Film","id":"2","a":null,"b":"b2"},{"__typename":"Book","id":"1","a":1,"b":"b1"}]}}"#);
    assert_snapshot!(graph.query("{ media { ... on Book { b next { a b ... on Film { id } } } ... on Film { x: b } } }").await, @r#"{"data":{"media":[{"x":"b2"},{"b":"b1","next":{"a":null,"b":"b2","id":"2"}}]}}"#);
}

/// Fields of one key stand under aliases, and the client uses the key's name for something else.
#[tokio::test]
async fn aliases_do_not_hide_a_key() {
    let a = Subgraph::new(
        "a",
        "type Query { user: User! users: [User!]! } type User @key(fields: \"id\") { id: ID! name: String! }",
    )
    .query(json!({"user": {"id": "1", "name": "Ada"}, "users": [{"id": "1", "name": "Ada"}, {"id": "2", "name": "Bob"}]}));
    let b = Subgraph::new(
        "b",
        "type User @key(fields: \"id\") { id: ID! age: Int friend: User }",
    )
    .entities(json!([
        {"__typename": "User", "id": "1", "age": 36, "friend": {"id": "2"}},
        {"__typename": "User", "id": "2", "age": 40, "friend": null},
    ]));
    let names = Subgraph::new("c", "type User @key(fields: \"id\") { id: ID! nick: String }")
        .entities(json!([{"__typename": "User", "id": "1", "nick": "a"}, {"__typename": "User", "id": "2", "nick": "b"}]));
    let graph = graph(vec![a, b, names]).await;
    assert_snapshot!(graph.query("{ user { id: name age } }").await, @r#"{"data":{"user":{"id":"Ada","age":36}}}"#);
    assert_snapshot!(graph.query("{ user { name: id id: name age: name years: age friend { id: age nick: id age: nick } } }").await, @r#"{"data":{"user":{"name":"1","id":"Ada","age":"Ada","years":36,"friend":{"id":40,"nick":"2","age":"b"}}}}"#);
    assert_snapshot!(graph.query("{ users { id: nick friend { id: nick key: id } } user { __typename: name } }").await, @r#"{"data":{"users":[{"id":"a","friend":{"id":"b","key":"2"}},{"id":"b","friend":null}],"user":{"__typename":"Ada"}}}"#);
    assert_snapshot!(graph.query("{ users { __typename id: nick friend { id: nick key: id __typename } } }").await, @r#"{"data":{"users":[{"__typename":"User","id":"a","friend":{"id":"b","key":"2","__typename":"User"}},{"__typename":"User","id":"b","friend":null}]}}"#);
}

/// Habits of the first Federation in subgraphs of the second.
#[tokio::test]
async fn an_extended_type_has_its_key_though_that_is_external() {
    for head in ["type User @extends", "extend type User"] {
        let a = Subgraph::new(
            "a",
            &format!(
                "type Query {{ randomUser: User }}
                 {head} @key(fields: \"id\") {{ id: ID! @external rid: ID }}"
            ),
        )
        .query(json!({"randomUser": {"id": "u1", "rid": "r1"}}))
        .entities(json!([{"__typename": "User", "id": "u1", "rid": "r1"}]));
        let b = Subgraph::new(
            "b",
            "type Query { userById(id: ID!): User }
             type User @key(fields: \"id\") { id: ID! name: String! }",
        )
        .query(json!({"userById": {"id": "u1", "name": "One"}}))
        .entities(json!([{"__typename": "User", "id": "u1", "name": "One"}]));
        let graph = graph(vec![a, b]).await;
        let query = "{ randomUser { id rid name } userById(id: \"u1\") { id rid name } }";
        assert_eq!(
            graph.query(query).await,
            json!({"data": {
                "randomUser": {"id": "u1", "rid": "r1", "name": "One"},
                "userById": {"id": "u1", "rid": "r1", "name": "One"},
            }}),
            "{head}"
        );
    }
}

/// `b` finds a user by its organisation and its number there, `c` by the id alone.
#[tokio::test]
async fn a_key_that_is_partly_null_leaves_the_other_subgraphs_their_fields() {
    let a = Subgraph::new(
        "a",
        "type Query { users: [User] }
         type User @key(fields: \"id\") @key(fields: \"org { id } no\") { id: ID! org: Org no: Int }
         type Org @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"users": [
        {"id": "1", "org": {"id": "o"}, "no": 1}, {"id": "2", "org": null, "no": 2},
        {"id": "3", "org": {"id": "o"}, "no": null}, null,
    ]}));
    let b = Subgraph::new(
        "b",
        "type User @key(fields: \"org { id } no\") { org: Org no: Int b: Int peer: User }
         type Org @key(fields: \"id\") { id: ID! name: String }",
    )
    .entities(json!([
        {"__typename": "User", "org": {"id": "o"}, "no": 1, "b": 5, "peer": {"org": {"id": "o"}, "no": 1}},
        {"__typename": "Org", "id": "o", "name": "O"},
    ]));
    let c =
        Subgraph::new("c", "type User @key(fields: \"id\") { id: ID! c: Int }").entities(json!([
            {"__typename": "User", "id": "1", "c": 1}, {"__typename": "User", "id": "2", "c": 2},
            {"__typename": "User", "id": "3", "c": 3},
        ]));
    let graph = graph(vec![a, b, c]).await;
    assert_snapshot!(graph.told_sorted("{ users { b c } }").await, @r#"
    {"data":{"users":[{"b":5,"c":1},{"b":null,"c":2},{"b":null,"c":3},null]}}
    a: {users{org{id} no id}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on User{b}}}
    c: query($representations:[_Any!]!){_entities(representations: $representations){...on User{c}}}
    "#);
    assert_snapshot!(graph.query("{ users { c no peer { b no org { name } } } }").await, @r#"{"data":{"users":[{"c":1,"no":1,"peer":{"b":5,"no":1,"org":{"name":"O"}}},{"c":2,"no":2,"peer":null},{"c":3,"no":null,"peer":null},null]}}"#);
}

/// `b` could tell of the product by way of the offer; but it need not know the offer for that.
#[tokio::test]
async fn an_entity_inside_of_a_key_is_found_by_its_own() {
    let a = Subgraph::new(
        "a",
        "type Query { offers: [Offer!]! }
         type Offer @key(fields: \"product { id } shop\") { product: Product! shop: Int! }
         type Product @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"offers": [
        {"product": {"id": "p"}, "shop": 1}, {"product": {"id": "p"}, "shop": 2},
    ]}));
    let b = Subgraph::new(
        "b",
        "type Offer @key(fields: \"product { id } shop\") { product: Product! shop: Int! price: Int }
         type Product @key(fields: \"id\") { id: ID! name: String! }",
    )
    .entities(json!([
        {"__typename": "Offer", "product": {"id": "p"}, "shop": 1, "price": 5},
        {"__typename": "Product", "id": "p", "name": "Pen"},
    ]));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.told("{ offers { shop product { name } } }").await, @r#"
    {"data":{"offers":[{"shop":1,"product":{"name":"Pen"}},{"shop":2,"product":{"name":"Pen"}}]}}
    a: {offers{shop product{id}}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{name}}}
    "#);
}

/// There is one object of such a type, which every subgraph has a part of.
#[tokio::test]
async fn the_type_may_be_the_whole_key() {
    let site = Subgraph::new(
        "site",
        "type Query { settings: Settings! }
         type Settings @key(fields: \"__typename\") { title: String }",
    )
    .query(json!({"settings": {"title": "Home"}}))
    .entities(json!([{"__typename": "Settings", "title": "Home"}]));
    let mail = Subgraph::new(
        "mail",
        "type Settings @key(fields: \"__typename\") { sender: String }",
    )
    .entities(json!([{"__typename": "Settings", "sender": "home@example.com"}]))
    .field("Settings", "sender", |_, _| Ok(json!("home@example.com")));
    let graph = graph(vec![site, mail]).await;
    assert_snapshot!(graph.told("{ settings { title sender } }").await, @r#"
    {"data":{"settings":{"title":"Home","sender":"home@example.com"}}}
    site: {settings{title __typename}}
    mail: query($representations:[_Any!]!){_entities(representations: $representations){...on Settings{sender}}}
    "#);
    assert_snapshot!(graph.told("{ settings { sender } }").await, @r#"
    {"data":{"settings":{"sender":"home@example.com"}}}
    site: {settings{__typename}}
    mail: query($representations:[_Any!]!){_entities(representations: $representations){...on Settings{sender}}}
    "#);
}
