//! Interfaces, unions and interface objects over several subgraphs.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

/// One subgraph knows the concrete types, another completes all of them through the interface.
async fn media_library() -> TestGraph {
    let catalogue = Subgraph::new(
        "catalogue",
        "type Query { library: [Media!]! }
         interface Media @key(fields: \"id\") { id: ID! title: String! }
         type Film implements Media @key(fields: \"id\") { id: ID! title: String! minutes: Int! }
         type Song implements Media @key(fields: \"id\") { id: ID! title: String! seconds: Int! }",
    )
    .query(json!({"library": [
        {"__typename": "Film", "id": "f1"}, {"__typename": "Song", "id": "s1"},
    ]}))
    .entities(json!([
        {"__typename": "Film", "id": "f1", "title": "Alien", "minutes": 117},
        {"__typename": "Song", "id": "s1", "title": "Waterloo", "seconds": 160},
    ]));
    let ratings = Subgraph::new(
        "ratings",
        "type Query { best: Media! rated: [Media!]! }
         type Media @key(fields: \"id\") @interfaceObject {
           id: ID! title: String! @external stars: Int!
           label: String! @requires(fields: \"title\")
         }",
    )
    .query(json!({
        "best": {"id": "f1"},
        "rated": [{"id": "s1"}, {"id": "f1"}],
    }))
    .entities(json!([
        {"__typename": "Media", "id": "f1", "stars": 5},
        {"__typename": "Media", "id": "s1", "stars": 3},
    ]))
    .field("Media", "label", |media, _| {
        Ok(json!(format!(
            "{}: {}",
            media["title"].as_str().ok_or("no title")?,
            media["stars"]
        )))
    });
    graph(vec![catalogue, ratings]).await
}

#[tokio::test]
async fn an_interface_object_completes_every_implementation() {
    let graph = media_library().await;
    assert_snapshot!(graph.told("{ library { __typename id stars } }").await, @r#"
    {"data":{"library":[{"__typename":"Film","id":"f1","stars":5},{"__typename":"Song","id":"s1","stars":3}]}}
    catalogue: {library{__typename id}}
    ratings: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{stars}}}
    "#);
    assert_snapshot!(graph.told("{ library { ... on Film { minutes stars } } }").await, @r#"
    {"data":{"library":[{"minutes":117,"stars":5},{}]}}
    catalogue: {library{__typename ...on Film{minutes id}}}
    ratings: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{stars}}}
    "#);
    assert_snapshot!(graph.told("{ library { label } }").await, @r#"
    {"data":{"library":[{"label":"Alien: 5"},{"label":"Waterloo: 3"}]}}
    catalogue: {library{__typename title id}}
    ratings: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{label}}}
    "#);
}

#[tokio::test]
async fn an_interface_object_at_the_root_learns_its_real_type() {
    let graph = media_library().await;
    assert_snapshot!(graph.told("{ best { id stars } }").await, @r#"
    {"data":{"best":{"id":"f1","stars":5}}}
    ratings: {best{id stars}}
    "#);
    assert_snapshot!(graph.told("{ best { __typename id } }").await, @r#"
    {"data":{"best":{"__typename":"Film","id":"f1"}}}
    ratings: {best{__typename id}}
    catalogue: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{__typename}}}
    "#);
    assert_snapshot!(graph.told("{ rated { title stars ... on Song { seconds } ... on Film { minutes } } }").await, @r#"
    {"data":{"rated":[{"title":"Waterloo","stars":3,"seconds":160},{"title":"Alien","stars":5,"minutes":117}]}}
    ratings: {rated{__typename id stars}}
    catalogue: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{__typename title ...on Song{seconds} ...on Film{minutes}}}}
    "#);
    assert_snapshot!(graph.told("{ best { title ... on Film { id } } }").await, @r#"
    {"data":{"best":{"title":"Alien","id":"f1"}}}
    ratings: {best{__typename id}}
    catalogue: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{__typename title}}}
    "#);
    assert_snapshot!(graph.told("{ rated { label kind: __typename } }").await, @r#"
    {"data":{"rated":[{"label":"Waterloo: 3","kind":"Song"},{"label":"Alien: 5","kind":"Film"}]}}
    ratings: {rated{__typename id}}
    catalogue: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{kind: __typename title}}}
    ratings: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{label}}}
    "#);
}

#[tokio::test]
async fn members_of_a_union_come_from_several_subgraphs() {
    let a = Subgraph::new(
        "a",
        "type Query { found: [Found!]! @shareable only: A1 }
         union Found = A1 | Both
         type A1 @key(fields: \"id\") { id: ID! a: Int! }
         type Both @key(fields: \"id\") { id: ID! a: Int! }",
    )
    .query(json!({"found": [
        {"__typename": "A1", "id": "1", "a": 1}, {"__typename": "Both", "id": "2", "a": 2},
    ]}))
    .entities(json!([
        {"__typename": "A1", "id": "1", "a": 1}, {"__typename": "Both", "id": "2", "a": 2},
    ]));
    let b = Subgraph::new(
        "b",
        "type Query { latest: Found }
         union Found = B1 | Both
         type B1 @key(fields: \"id\") { id: ID! b: Int! }
         type Both @key(fields: \"id\") { id: ID! b: Int! }",
    )
    .query(json!({"latest": {"__typename": "B1", "id": "3", "b": 3}}))
    .entities(json!([{"__typename": "Both", "id": "2", "b": 22}, {"__typename": "B1", "id": "3", "b": 3}]));
    let graph = graph(vec![a, b]).await;
    let query = "{
      found { __typename ... on A1 { id a } ... on B1 { id b } ... on Both { id a b } }
      latest { __typename ... on B1 { b } ... on A1 { a } }
    }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"found":[{"__typename":"A1","id":"1","a":1},{"__typename":"Both","id":"2","a":2,"b":22}],"latest":{"__typename":"B1","b":3}}}
    a: {found{__typename ...on A1{id a} ...on Both{id a}}}
    b: {latest{__typename ...on B1{b}}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Both{b}}}
    "#);
}

#[tokio::test]
async fn one_key_may_mean_different_fields_in_different_types() {
    let shop = Subgraph::new(
        "shop",
        "type Query { items: [Item!]! }
         interface Item { id: ID! }
         type Oven implements Item @key(fields: \"id\") { id: ID! maker: Maker! power: Int! size: String! }
         type Pan implements Item @key(fields: \"id\") { id: ID! maker: Maker! handle: String size: Int! }
         type Maker @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"items": [
        {"__typename": "Oven", "id": "1", "maker": {"id": "m"}, "power": 9, "size": "big"},
        {"__typename": "Pan", "id": "2", "maker": {"id": "m"}, "handle": null, "size": 4},
    ]}));
    let makers = Subgraph::new(
        "makers",
        "type Maker @key(fields: \"id\") { id: ID! name: String! city: String! }",
    )
    .entities(json!([{"__typename": "Maker", "id": "m", "name": "Acme", "city": "Oslo"}]));
    let graph = graph(vec![shop, makers]).await;
    let query = "{ items {
      ... on Oven { about: maker { text: name } watt: power size }
      ... on Pan { about: maker { text: city } grip: handle measure: size }
    } }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"items":[{"about":{"text":"Acme"},"watt":9,"size":"big"},{"about":{"text":"Oslo"},"grip":null,"measure":4}]}}
    shop: {items{__typename ...on Oven{about: maker{id} watt: power size} ...on Pan{about: maker{id} grip: handle measure: size}}}
    makers: query($representations0:[_Any!]!, $representations1:[_Any!]!){_e0: _entities(representations: $representations0){...on Maker{text: name}} _e1: _entities(representations: $representations1){...on Maker{_meaning0_text: city}}}
    "#);
}

#[tokio::test]
async fn a_node_interface_spans_subgraphs() {
    let nodes = Subgraph::new(
        "nodes",
        "type Query { node(id: ID!): Node nodes: [Node] }
         interface Node { id: ID! }
         type Chat implements Node @key(fields: \"id\") { id: ID! }
         type Account implements Node @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"nodes": [{"__typename": "Chat", "id": "c"}, null, {"__typename": "Account", "id": "a"}]}))
    .field("Query", "node", |_, arguments| Ok(json!({"__typename": "Chat", "id": arguments["id"]})));
    let chats = Subgraph::new(
        "chats",
        "type Chat @key(fields: \"id\") { id: ID! text: String! account: Account! }
         type Account @key(fields: \"id\") { id: ID! chats: [Chat!]! }",
    )
    .entities(json!([
        {"__typename": "Chat", "id": "c", "text": "hi", "account": {"id": "a"}},
        {"__typename": "Account", "id": "a", "chats": [{"id": "c"}]},
    ]));
    let accounts = Subgraph::new(
        "accounts",
        "type Account @key(fields: \"id\") { id: ID! username: String! }",
    )
    .entities(json!([{"__typename": "Account", "id": "a", "username": "ada"}]));
    let graph = graph(vec![nodes, chats, accounts]).await;
    let query = "{ node(id: \"c\") { ...N } nodes { ...N } }
      fragment N on Node { __typename id
        ... on Chat { text account { username } }
        ... on Account { username chats { id text } } }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"node":{"__typename":"Chat","id":"c","text":"hi","account":{"username":"ada"}},"nodes":[{"__typename":"Chat","id":"c","text":"hi","account":{"username":"ada"}},null,{"__typename":"Account","id":"a","username":"ada","chats":[{"id":"c","text":"hi"}]}]}}
    nodes: {node(id: "c"){__typename id} nodes{__typename id}}
    chats: query($representations:[_Any!]!){_entities(representations: $representations){...on Chat{text account{id}} ...on Account{chats{id text}}}}
    accounts: query($representations:[_Any!]!){_entities(representations: $representations){...on Account{username}}}
    accounts: query($representations:[_Any!]!){_entities(representations: $representations){...on Account{username}}}
    "#);
}

/// Fragments that no object can satisfy select nothing, at whatever depth; the object stays.
#[tokio::test]
async fn impossible_fragments_leave_an_empty_object() {
    let animals = Subgraph::new(
        "animals",
        "type Query { cat: Cat! pets: [Pet!]! }
         union Pet = Cat | Dog
         union Wild = Wolf | Cat
         interface Named { name: String }
         type Cat implements Named @key(fields: \"id\") { id: ID! name: String }
         type Dog implements Named @key(fields: \"id\") { id: ID! name: String }
         type Wolf @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({
        "cat": {"id": "c", "name": "Tom"},
        "pets": [{"__typename": "Cat", "id": "c", "name": "Tom"}, {"__typename": "Dog", "id": "d", "name": "Rex"}],
    }));
    let ages = Subgraph::new(
        "ages",
        "type Cat @key(fields: \"id\") { id: ID! age: Int }
         type Dog @key(fields: \"id\") { id: ID! age: Int }",
    )
    .entities(json!([
        {"__typename": "Cat", "id": "c", "age": 3}, {"__typename": "Dog", "id": "d", "age": 4},
    ]));
    let graph = graph(vec![animals, ages]).await;
    assert_snapshot!(graph.told("{ cat { ... on Pet { ... on Dog { age } } } }").await, @r#"
    {"data":{"cat":{}}}
    animals: {cat{__typename}}
    "#);
    assert_snapshot!(graph.told("{ pets { ... on Cat { ... on Named { ... on Dog { age } name } } } }").await, @r#"
    {"data":{"pets":[{"name":"Tom"},{}]}}
    animals: {pets{__typename ...on Cat{name}}}
    "#);
    assert_snapshot!(graph.query("{ cat { ... on Wild { __typename ... on Wolf { id } ... on Cat { age } } } pets { ... on Wild { kind: __typename ... on Named { name } } } }").await, @r#"{"data":{"cat":{"__typename":"Cat","age":3},"pets":[{"kind":"Cat","name":"Tom"},{}]}}"#);
}
