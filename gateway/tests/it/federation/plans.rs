//! The plan for each directive.

use gateway::{
    graph::{Graph, Settings},
    prepare::{self, Serving},
};
use insta::assert_snapshot;

use crate::support::{Subgraph, TestGraph, graph};

/// Every directive once: plans need no data.
async fn shop() -> TestGraph {
    let products = Subgraph::new(
        "products",
        "type Query { product: Product media: [Media!]! about: About @shareable }
         type Product @key(fields: \"id\") { id: ID! weight: Int @shareable price: Int stock: Int }
         interface Media @key(fields: \"id\") { id: ID! title: String }
         type Film implements Media @key(fields: \"id\") { id: ID! title: String minutes: Int }
         type Song implements Media @key(fields: \"id\") { id: ID! title: String seconds: Int }
         type About { version: Int @shareable products: Int }",
    );
    let shipping = Subgraph::new(
        "shipping",
        "type Query { about: About @shareable }
         type Product @key(fields: \"id\") {
           id: ID! weight: Int @external cost: Int @requires(fields: \"weight\")
           price: Int @override(from: \"products\") }
         type About { version: Int @shareable shipments: Int }",
    );
    let reviews = Subgraph::new(
        "reviews",
        "type Query { newest: Review best: Media }
         type Review { text: String product: Product @provides(fields: \"weight\") any: Any }
         union Any = Product | Review
         type Product @key(fields: \"id\") { id: ID! weight: Int @external reviews: [Review!] }
         type Media @key(fields: \"id\") @interfaceObject { id: ID! stars: Int }",
    );
    graph(vec![products, shipping, reviews]).await
}

#[tokio::test]
async fn keys_and_overrides() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("{ product { stock price reviews { text } } }"), @"
    1. products: {product{id stock}}
    2. shipping, after 1: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{price}}}
       for product by ...on Product{id}
    3. reviews, after 1: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{reviews{text}}}}
       for product by ...on Product{id}
    ");
}

/// The project's own graph: what `posts` keeps of the newest comments needs no second request, and
/// what it does not keep needs one.
#[test]
fn the_newest_comments_come_with_their_post() {
    let sdl = include_str!("../../../../schema/supergraph.graphql");
    let graph = Graph::load(sdl, Settings::default()).expect("the supergraph loads");
    let serving = Serving::new(graph);
    let plan = |query: &str| prepare::explain(&serving, query, None).expect("there is a plan");
    assert_snapshot!(plan("query($id: ID!) { post(id: $id) { title latestComments { text author createdAt } } }"), @"1. posts: query($id:ID!){post(id: $id){title latestComments{text author createdAt}}}");
    assert_snapshot!(plan("query($id: ID!) { post(id: $id) { latestComments { text edited } } }"), @"
    1. posts: query($id:ID!){post(id: $id){latestComments{text id}}}
    2. comments, after 1: query($representations:[_Any!]!){_entities(representations: $representations){...on Comment{edited}}}
       for post.latestComments by ...on Comment{id}
    ");
}

#[tokio::test]
async fn requirements() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("{ newest { any { ... on Product { cost } } } }"), @"
    1. reviews: {newest{any{__typename ...on Product{id}}}}
    2. products, after 1: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{weight}}}
       for newest.any|Product by ...on Product{id}
    3. shipping, after 1 and 2: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{cost}}}
       for newest.any|Product by ...on Product{id weight}
    ");
}

#[tokio::test]
async fn provided_fields() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("{ newest { product { weight cost } } }"), @"
    1. reviews: {newest{product{weight id}}}
    2. shipping, after 1: query($representations:[_Any!]!){_entities(representations: $representations){...on Product{cost}}}
       for newest.product by ...on Product{id weight}
    ");
}

#[tokio::test]
async fn interface_objects() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("{ media { stars ... on Film { minutes } } best { title ... on Song { seconds } } }"), @"
    1. products: {media{__typename id ...on Film{minutes}}}
    2. reviews: {best{__typename id}}
    3. reviews, after 1: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{stars}}}
       for media by ...on Media{id}
    4. products, after 2: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{__typename title ...on Song{seconds}}}}
       for best by ...on Media{id}
    ");
}

#[tokio::test]
async fn shared_roots_and_conditions() {
    let graph = shop().await;
    assert_snapshot!(graph.plan("query($x: Boolean!) { about { version products shipments @include(if: $x) } }"), @"
    1. products: {about{version products}}
    2. shipping: query($x:Boolean!){about{... @include(if: $x){shipments}}}
    ");
}

/// Where each implementation has a field elsewhere, what the interface has itself is still asked of it
/// once, and not of every implementation with all that is below.
#[tokio::test]
async fn implementations_are_told_apart_only_where_they_differ() {
    let shelf = Subgraph::new(
        "shelf",
        "type Query { things: [Thing!]! }
         interface Thing { id: ID! label: String near: [Thing!]! }
         type Book implements Thing @key(fields: \"id\") { id: ID! label: String @external near: [Thing!]! }
         type Vase implements Thing @key(fields: \"id\") { id: ID! label: String @external near: [Thing!]! }",
    );
    let books = Subgraph::new(
        "books",
        "type Book @key(fields: \"id\") { id: ID! label: String }",
    );
    let vases = Subgraph::new(
        "vases",
        "type Vase @key(fields: \"id\") { id: ID! label: String }",
    );
    let graph = graph(vec![shelf, books, vases]).await;
    assert_snapshot!(graph.plan("{ things { label near { label near { id } } } }"), @"
    1. shelf: {things{__typename ...on Book{id} ...on Vase{id} near{__typename ...on Book{id} ...on Vase{id} near{id}}}}
    2. books, after 1: query($representations:[_Any!]!){_entities(representations: $representations){...on Book{label}}}
       for things|Book and things.near|Book by ...on Book{id}
    3. vases, after 1: query($representations:[_Any!]!){_entities(representations: $representations){...on Vase{label}}}
       for things|Vase and things.near|Vase by ...on Vase{id}
    ");
}
