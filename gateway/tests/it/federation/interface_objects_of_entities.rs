//! Interface objects below entities of other subgraphs, with fields that lead to further entities.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

/// `media` knows the types, `reviews` and `ranks` only the interface; a review of `ranks` leads to its
/// medium by way of `reviews`.
async fn reviews() -> TestGraph {
    let media = Subgraph::new(
        "media",
        "type Query { media: [Media!]! }
         interface Media @key(fields: \"id\") { id: ID! }
         type Book implements Media @key(fields: \"id\") { id: ID! }
         type Film implements Media @key(fields: \"id\") { id: ID! minutes: Int }",
    )
    .query(json!({"media": [{"__typename": "Book", "id": "1"}, {"__typename": "Film", "id": "2"}]}))
    .entities(json!([
        {"__typename": "Book", "id": "1"}, {"__typename": "Film", "id": "2", "minutes": 117},
    ]));
    let reviews = Subgraph::new(
        "reviews",
        "type Query { reviews: [Review] }
         type Review @key(fields: \"id\") { id: ID! of: Media }
         type Media @key(fields: \"id\") @interfaceObject {
           id: ID! stars: Int related: [Media] by: Maker }
         interface Maker { name: String }
         type Person implements Maker @key(fields: \"name\") { name: String }
         type Studio implements Maker { name: String size: Int }",
    )
    .query(json!({"reviews": [
        null, {"id": "r1", "of": {"id": "1"}}, {"id": "r2", "of": null}, {"id": "r3", "of": {"id": "2"}},
    ]}))
    .entities(json!([
        {"__typename": "Media", "id": "1", "stars": 1, "related": [{"id": "2"}, null],
         "by": {"__typename": "Person", "name": "Jane"}},
        {"__typename": "Media", "id": "2", "stars": 3, "related": [],
         "by": {"__typename": "Studio", "name": "Big", "size": 9}},
        {"__typename": "Review", "id": "r1", "of": {"id": "1"}},
        {"__typename": "Review", "id": "r3", "of": {"id": "2"}},
    ]));
    let ranks = Subgraph::new(
        "ranks",
        "type Query { best: Review worst: Review }
         type Review @key(fields: \"id\") { id: ID! votes: Int }
         type Person @key(fields: \"name\") { name: String age: Int }
         type Media @key(fields: \"id\") @interfaceObject {
           id: ID! stars: Int @external rank: Int @requires(fields: \"stars\") }",
    )
    .query(json!({"best": {"id": "r3"}, "worst": {"id": "r1"}}))
    .entities(json!([
        {"__typename": "Review", "id": "r1", "votes": 5},
        {"__typename": "Review", "id": "r3", "votes": null},
        {"__typename": "Person", "name": "Jane", "age": 41},
        {"__typename": "Media", "id": "1"}, {"__typename": "Media", "id": "2"},
    ]))
    .field("Media", "rank", |it, _| {
        Ok(json!(it["stars"].as_i64().ok_or("no stars")? + 100))
    });
    graph(vec![media, reviews, ranks]).await
}

#[tokio::test]
async fn what_one_interface_object_requires_of_another_is_fetched_below_an_entity() {
    let graph = reviews().await;
    assert_snapshot!(graph.told("{ best { of { rank } votes } }").await, @r#"
    {"data":{"best":{"of":{"rank":103},"votes":null}}}
    ranks: {best{id votes}}
    reviews: query($representations:[_Any!]!){_entities(representations: $representations){...on Review{of{__typename stars id}}}}
    ranks: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{rank}}}
    "#);
    assert_snapshot!(graph.told_sorted("{ worst { of { __typename rank related { rank kind: __typename } } } }").await, @r#"
    {"data":{"worst":{"of":{"__typename":"Book","rank":101,"related":[{"rank":103,"kind":"Film"},null]}}}}
    media: query($representations0:[_Any!]!, $representations1:[_Any!]!){_e0: _entities(representations: $representations0){...on Media{__typename}} _e1: _entities(representations: $representations1){...on Media{kind: __typename}}}
    ranks: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{rank}}}
    ranks: {worst{id}}
    reviews: query($representations:[_Any!]!){_entities(representations: $representations){...on Review{of{__typename id related{__typename id stars} stars}}}}
    "#);
    assert_snapshot!(graph.query("{ reviews { of { rank ... on Film { minutes again: rank } } } }").await, @r#"{"data":{"reviews":[null,{"of":{"rank":101}},{"of":null},{"of":{"rank":103,"minutes":117,"again":103}}]}}"#);
}

#[tokio::test]
async fn an_interface_objects_field_may_hold_another_interface() {
    let graph = reviews().await;
    assert_snapshot!(graph.told("{ media { by { kind: __typename ... on Person { age } ... on Studio { size } } } }").await, @r#"
    {"data":{"media":[{"by":{"kind":"Person","age":41}},{"by":{"kind":"Studio","size":9}}]}}
    media: {media{__typename id}}
    reviews: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{by{__typename kind: __typename ...on Person{name} ...on Studio{size}}}}}
    ranks: query($representations:[_Any!]!){_entities(representations: $representations){...on Person{age}}}
    "#);
    assert_snapshot!(graph.query("{ reviews { of { by { name ... on Person { age } } related { by { name } ... on Book { rank } } } } }").await, @r#"{"data":{"reviews":[null,{"of":{"by":{"name":"Jane","age":41},"related":[{"by":{"name":"Big"}},null]}},{"of":null},{"of":{"by":{"name":"Big"},"related":[]}}]}}"#);
}

#[tokio::test]
async fn more_conditions_than_are_planned_apart_hold_for_interface_objects() {
    let graph = reviews().await;
    let query = "query($a: Boolean!, $b: Boolean!, $c: Boolean!, $d: Boolean!, $e: Boolean!, $f: Boolean!, $g: Boolean!, $h: Boolean!, $i: Boolean!) {
      worst @include(if: $a) { of @skip(if: $b) {
        kind: __typename @include(if: $c) rank @include(if: $d)
        ... on Book @include(if: $e) { stars }
        related @skip(if: $f) { ... on Film @skip(if: $g) { stars rank @include(if: $h) } __typename @include(if: $i) }
      } }
      media { rank @include(if: $d) }
    }";
    let all = json!({"a": true, "b": false, "c": true, "d": true, "e": true, "f": false, "g": false, "h": true, "i": true});
    assert_snapshot!(graph.ask(query, Some(all)).await, @r#"{"data":{"worst":{"of":{"kind":"Book","rank":101,"stars":1,"related":[{"stars":3,"rank":103,"__typename":"Film"},null]}},"media":[{"rank":101},{"rank":103}]}}"#);
    let some = json!({"a": true, "b": false, "c": false, "d": false, "e": true, "f": false, "g": true, "h": true, "i": false});
    assert_snapshot!(graph.ask(query, Some(some)).await, @r#"{"data":{"worst":{"of":{"stars":1,"related":[{},null]}},"media":[{},{}]}}"#);
    let none = json!({"a": true, "b": true, "c": true, "d": false, "e": true, "f": true, "g": true, "h": true, "i": true});
    assert_snapshot!(graph.ask(query, Some(none)).await, @r#"{"data":{"worst":{},"media":[{},{}]}}"#);
}

/// Who knows the types of an interface object's entities has the field of only some of them.
#[tokio::test]
async fn an_interfaces_field_comes_from_several_subgraphs() {
    let things = Subgraph::new(
        "things",
        "type Query { thing: Thing }
         interface Thing @key(fields: \"id\") { id: ID! label: String }
         type Book implements Thing @key(fields: \"id\") { id: ID! label: String @external }
         type Vase implements Thing @key(fields: \"id\") { id: ID! label: String @shareable }",
    )
    .entities(json!([
        {"__typename": "Book", "id": "b"}, {"__typename": "Vase", "id": "v", "label": "a vase"},
    ]));
    let books = Subgraph::new(
        "books",
        "type Book @key(fields: \"id\") { id: ID! label: String @shareable }",
    )
    .entities(json!([{"__typename": "Book", "id": "b", "label": "a book"}]));
    let notes = Subgraph::new(
        "notes",
        "type Query { noted: [Thing!]! }
         type Thing @key(fields: \"id\") @interfaceObject { id: ID! note: String }",
    )
    .query(json!({"noted": [{"id": "v"}, {"id": "b"}]}));
    let graph = graph(vec![things, books, notes]).await;
    assert_snapshot!(graph.told("{ noted { label } }").await, @r#"
    {"data":{"noted":[{"label":"a vase"},{"label":"a book"}]}}
    notes: {noted{__typename id}}
    things: query($representations:[_Any!]!){_entities(representations: $representations){...on Thing{__typename ...on Vase{label}}}}
    books: query($representations:[_Any!]!){_entities(representations: $representations){...on Book{label}}}
    "#);
}
