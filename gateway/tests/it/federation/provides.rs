//! `@provides`: fields that a subgraph resolves on one path only.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

async fn catalogue() -> TestGraph {
    let categories = Subgraph::new(
        "categories",
        "type Query { products: [Product!]! @provides(fields: \"categories { name parent { name } }\") all: [Product!]! }
         type Product @key(fields: \"id\") { id: ID! categories: [Category!]! @external }
         type Category @key(fields: \"id\") { id: ID! name: String! @external parent: Category @external }",
    )
    .query(json!({
        "products": [
            {"id": "p1", "categories": [{"id": "c1", "name": "Books", "parent": {"id": "c0", "name": "All"}}]},
            {"id": "p2", "categories": []},
        ],
        "all": [{"id": "p1"}, {"id": "p2"}],
    }));
    let products = Subgraph::new(
        "products",
        "type Product @key(fields: \"id\") { id: ID! categories: [Category!]! @shareable price: Int }
         type Category @key(fields: \"id\") { id: ID! parent: Category @shareable }",
    )
    .entities(json!([
        {"__typename": "Product", "id": "p1", "price": 5, "categories": [{"id": "c1"}]},
        {"__typename": "Product", "id": "p2", "price": null, "categories": []},
        {"__typename": "Category", "id": "c1", "parent": {"id": "c0"}},
        {"__typename": "Category", "id": "c0", "parent": null},
    ]));
    let names = Subgraph::new(
        "names",
        "type Category @key(fields: \"id\") { id: ID! name: String! @shareable long: String! }",
    )
    .entities(json!([
        {"__typename": "Category", "id": "c1", "name": "Books", "long": "All the books"},
        {"__typename": "Category", "id": "c0", "name": "All", "long": "Everything"},
    ]));
    graph(vec![categories, products, names]).await
}

#[tokio::test]
async fn what_is_provided_deep_inside_saves_requests() {
    let graph = catalogue().await;
    assert_snapshot!(graph.told("{ products { id categories { name parent { name } } } }").await, @r#"
    {"data":{"products":[{"id":"p1","categories":[{"name":"Books","parent":{"name":"All"}}]},{"id":"p2","categories":[]}]}}
    categories: {products{id categories{name parent{name}}}}
    "#);
    assert_snapshot!(graph.told("{ all { categories { name } } }").await, @r#"
    {"data":{"all":[{"categories":[{"name":"Books"}]},{"categories":[]}]}}
    categories: {all{id}}
    products: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{categories{id}}}}
    names: query($representations:[_Any!]!){_entities(representations: $representations){...on Category{name}}}
    "#);
}

#[tokio::test]
async fn what_goes_beyond_the_provided_is_fetched() {
    let graph = catalogue().await;
    let query =
        "{ products { price categories { title: name long parent { id long parent { name } } } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"products":[{"price":5,"categories":[{"title":"Books","long":"All the books","parent":{"id":"c0","long":"Everything","parent":null}}]},{"price":null,"categories":[]}]}}"#);
    assert_snapshot!(graph.query("{ a: products { categories { id } } b: all { price categories { parent { name } } } }").await, @r#"{"data":{"a":[{"categories":[{"id":"c1"}]},{"categories":[]}],"b":[{"price":5,"categories":[{"parent":{"name":"All"}}]},{"price":null,"categories":[]}]}}"#);
}

/// Both members have `id`, of different types; one of them has it provided.
#[tokio::test]
async fn provides_reaches_one_member_of_a_union() {
    let feed = Subgraph::new(
        "feed",
        "type Query { media: [Media] @provides(fields: \"... on Book { title }\") plain: Media }
         union Media = Book | Movie
         type Book @key(fields: \"id\") { id: ID! title: String! @external }
         type Movie @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({
        "media": [{"__typename": "Book", "id": "b", "title": "Emma"}, {"__typename": "Movie", "id": "m"}, null],
        "plain": {"__typename": "Book", "id": "b"},
    }));
    let titles = Subgraph::new(
        "titles",
        "type Book @key(fields: \"id\") { id: ID! title: String! @shareable pages: Int }
         type Movie @key(fields: \"id\") { id: ID! title: String pages: String! }",
    )
    .entities(json!([
        {"__typename": "Book", "id": "b", "title": "Emma", "pages": 474},
        {"__typename": "Movie", "id": "m", "title": null, "pages": "none"},
    ]));
    let graph = graph(vec![feed, titles]).await;
    assert_snapshot!(graph.told("{ media { ... on Book { title } } }").await, @r#"
    {"data":{"media":[{"title":"Emma"},{},null]}}
    feed: {media{__typename ...on Book{title}}}
    "#);
    assert_snapshot!(graph.told("{ media { __typename ... on Book { title n: pages } ... on Movie { name: title s: pages } } }").await, @r#"
    {"data":{"media":[{"__typename":"Book","title":"Emma","n":474},{"__typename":"Movie","name":null,"s":"none"},null]}}
    feed: {media{__typename ...on Book{title id} ...on Movie{id}}}
    titles: query($representations:[_Any!]!){_entities(representations: $representations){...on Book{n: pages} ...on Movie{name: title s: pages}}}
    "#);
    assert_snapshot!(graph.query("{ plain { ... on Book { title } ... on Movie { id } } media { ... on Movie { id } } }").await, @r#"{"data":{"plain":{"title":"Emma"},"media":[{},{"id":"m"},null]}}"#);
}

/// The interface's field is provided for each of its implementations by fragments.
#[tokio::test]
async fn provides_reaches_implementations_of_an_interface() {
    let library = Subgraph::new(
        "library",
        "type Query { shelf: [Media!]! @provides(fields: \"... on Book { author { name } } ... on Film { director { name } }\") }
         interface Media { id: ID! }
         type Book implements Media @key(fields: \"id\") { id: ID! author: Person @external }
         type Film implements Media @key(fields: \"id\") { id: ID! director: Person @external }
         type Person @key(fields: \"id\") { id: ID! name: String @external }",
    )
    .query(json!({"shelf": [
        {"__typename": "Book", "id": "b", "author": {"id": "p1", "name": "Jane"}},
        {"__typename": "Film", "id": "f", "director": {"id": "p2", "name": null}},
        {"__typename": "Book", "id": "b2", "author": null},
    ]}));
    let people = Subgraph::new(
        "people",
        "type Book @key(fields: \"id\") { id: ID! author: Person @shareable }
         type Film @key(fields: \"id\") { id: ID! director: Person @shareable }
         type Person @key(fields: \"id\") { id: ID! name: String @shareable born: Int }",
    )
    .entities(json!([
        {"__typename": "Book", "id": "b", "author": {"id": "p1"}},
        {"__typename": "Book", "id": "b2", "author": null},
        {"__typename": "Film", "id": "f", "director": {"id": "p2"}},
        {"__typename": "Person", "id": "p1", "name": "Jane", "born": 1775},
        {"__typename": "Person", "id": "p2", "name": null, "born": null},
    ]));
    let graph = graph(vec![library, people]).await;
    let query = "{ shelf { id ... on Book { by: author { name } } ... on Film { by: director { name } } } }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"shelf":[{"id":"b","by":{"name":"Jane"}},{"id":"f","by":{"name":null}},{"id":"b2","by":null}]}}
    library: {shelf{__typename id ...on Book{by: author{name}} ...on Film{_meaning0_by: director{name}}}}
    "#);
    assert_snapshot!(graph.query("{ shelf { ... on Book { author { born name } } ... on Film { director { name born } } } }").await, @r#"{"data":{"shelf":[{"author":{"born":1775,"name":"Jane"}},{"director":{"name":null,"born":null}},{"author":null}]}}"#);
}

/// Two types of one subgraph lead to a third, and provide different fields of it.
#[tokio::test]
async fn each_field_provides_what_it_says_and_no_more() {
    let shop = Subgraph::new(
        "shop",
        "type Query { newest: Book @provides(fields: \"title\") shelf: Shelf }
         type Shelf { first: Book @provides(fields: \"pages\") all: [Book!] }
         type Book @key(fields: \"id\", resolvable: false) { id: ID! title: String @external pages: Int @external }",
    )
    .query(json!({
        "newest": {"id": "b", "title": "Emma"},
        "shelf": {"first": {"id": "b", "pages": 474}, "all": [{"id": "b"}]},
    }));
    let books = Subgraph::new(
        "books",
        "type Book @key(fields: \"id\") { id: ID! title: String @shareable pages: Int @shareable }",
    )
    .entities(json!([{"__typename": "Book", "id": "b", "title": "Emma", "pages": 474}]));
    let graph = graph(vec![shop, books]).await;
    for (query, answer) in [
        ("{ newest { title } }", json!({"newest": {"title": "Emma"}})),
        ("{ newest { pages } }", json!({"newest": {"pages": 474}})),
        (
            "{ shelf { first { title } } }",
            json!({"shelf": {"first": {"title": "Emma"}}}),
        ),
        (
            "{ shelf { first { pages } } }",
            json!({"shelf": {"first": {"pages": 474}}}),
        ),
        (
            "{ shelf { all { pages title } } }",
            json!({"shelf": {"all": [{"pages": 474, "title": "Emma"}]}}),
        ),
    ] {
        assert_eq!(graph.query(query).await, json!({"data": answer}), "{query}");
    }
}

/// What is provided lies in a list, below an entity, and is an entity itself.
#[tokio::test]
async fn provides_reaches_through_lists_and_entities() {
    let orders = Subgraph::new(
        "orders",
        "type Query { orders: [Order] @provides(fields: \"lines { product { name maker { title } } }\") plain: [Order] }
         type Order @key(fields: \"id\") { id: ID! lines: [Line] }
         type Line { count: Int product: Product }
         type Product @key(fields: \"id\") { id: ID! name: String @external maker: Maker @external }
         type Maker @key(fields: \"id\") { id: ID! title: String @external }",
    )
    .query(json!({
        "orders": [{"id": "1", "lines": [
            {"count": 1, "product": {"id": "p", "name": "P", "maker": {"id": "m", "title": "M"}}}, null,
        ]}, null],
        "plain": [{"id": "1", "lines": [{"count": 1, "product": {"id": "p"}}]}],
    }));
    let products = Subgraph::new(
        "products",
        "type Product @key(fields: \"id\") { id: ID! name: String @shareable maker: Maker @shareable price: Int }
         type Maker @key(fields: \"id\") { id: ID! title: String @shareable since: Int }",
    )
    .entities(json!([
        {"__typename": "Product", "id": "p", "name": "P", "maker": {"id": "m", "title": "M", "since": 1900}, "price": 3},
        {"__typename": "Maker", "id": "m", "title": "M", "since": 1900},
    ]));
    let graph = graph(vec![orders, products]).await;
    assert_snapshot!(graph.told("{ orders { lines { product { name maker { title } } } } }").await, @r#"
    {"data":{"orders":[{"lines":[{"product":{"name":"P","maker":{"title":"M"}}},null]},null]}}
    orders: {orders{lines{product{name maker{title}}}}}
    "#);
    assert_snapshot!(graph.told("{ orders { lines { product { name price maker { title since } } } } }").await, @r#"
    {"data":{"orders":[{"lines":[{"product":{"name":"P","price":3,"maker":{"title":"M","since":1900}}},null]},null]}}
    orders: {orders{lines{product{name id}}}}
    products: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{price maker{title since}}}}
    "#);
    assert_snapshot!(graph.told("{ plain { lines { product { name maker { title } } } } }").await, @r#"
    {"data":{"plain":[{"lines":[{"product":{"name":"P","maker":{"title":"M"}}}]}]}}
    orders: {plain{lines{product{id}}}}
    products: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{name maker{title}}}}
    "#);
}
