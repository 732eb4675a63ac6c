//! Which subgraphs a plan uses, which fields it fetches there, and that nothing is lost by the
//! choice.

use std::time::Duration;

use gateway::{config::Limits, error::RequestError, graph::Settings, prepare};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{
    Subgraph, TestGraph, graph, graph_of, graph_with, test_supergraph::supergraph,
};

/// what is required lies three steps below: in the last, an entity of a third subgraph.
#[tokio::test]
async fn requirements_reach_entities_three_steps_below() {
    let a = Subgraph::new(
        "a",
        "type Query { shelf: Shelf }
         type Shelf @key(fields: \"id\") { id: ID! media: Media one: One }
         union Media = Book | Film
         type Book @key(fields: \"id\") { id: ID! author: Author }
         type Film { title: String @shareable }
         type Author @key(fields: \"id\") { id: ID! }
         type One { two: Two } type Two { three: Author }",
    )
    .query(json!({"shelf": {
        "id": "1", "media": {"__typename": "Book", "id": "b", "author": {"id": "p"}},
        "one": {"two": {"three": {"id": "p"}}},
    }}));
    let b = Subgraph::new(
        "b",
        "type Author @key(fields: \"id\") { id: ID! name: String }",
    )
    .entities(json!([{"__typename": "Author", "id": "p", "name": "Jane"}]));
    let c = Subgraph::new(
        "c",
        "type Shelf @key(fields: \"id\") { id: ID! media: Media @external one: One @external
           label: String @requires(fields: \"media { ... on Book { author { name } } }\")
           deep: String @requires(fields: \"one { two { three { name } } }\") }
         union Media = Book | Film
         type Book @key(fields: \"id\") { id: ID! author: Author @external }
         type Film { title: String @shareable }
         type Author @key(fields: \"id\") { id: ID! name: String @external }
         type One { two: Two @external } type Two { three: Author @external }",
    )
    .entities(json!([{"__typename": "Shelf", "id": "1"}]))
    .field("Shelf", "label", |it, _| {
        Ok(it["media"]["author"]["name"].clone())
    })
    .field("Shelf", "deep", |it, _| {
        Ok(it["one"]["two"]["three"]["name"].clone())
    });
    let graph = graph(vec![a, b, c]).await;
    for field in ["label", "deep"] {
        let answer = graph.query(&format!("{{ shelf {{ {field} }} }}")).await;
        assert_eq!(
            answer,
            json!({"data": {"shelf": {field: "Jane"}}}),
            "{field}"
        );
    }
}

/// No shelf of `a` holds what `c` has, so that nobody has to find its label from there.
#[tokio::test]
async fn a_requirement_is_met_for_the_types_that_can_be_there() {
    let a = Subgraph::new(
        "a",
        "type Query { shelf: Shelf } interface Item { id: ID! }
         type Shelf @key(fields: \"id\") { id: ID! first: Item }
         type Book implements Item @key(fields: \"id\") { id: ID! label: String }",
    )
    .query(
        json!({"shelf": {"id": "1", "first": {"__typename": "Book", "id": "b", "label": "Emma"}}}),
    );
    let b = Subgraph::new(
        "b",
        "interface Item { id: ID! label: String }
         type Shelf @key(fields: \"id\") { id: ID! first: Item @external
           sign: String @requires(fields: \"first { label }\") }
         type Book implements Item @key(fields: \"id\") { id: ID! label: String @external }
         type Film implements Item @key(fields: \"id\") { id: ID! label: String @external }",
    )
    .entities(json!([{"__typename": "Shelf", "id": "1"}]))
    .field("Shelf", "sign", |it, _| Ok(it["first"]["label"].clone()));
    let c = Subgraph::new(
        "c",
        "type Query { film: Film } type Film @key(fields: \"id\") { id: ID! label: String }",
    );
    let graph = graph(vec![a, b, c]).await;
    assert_snapshot!(graph.told("{ shelf { sign } }").await, @r#"
    {"data":{"shelf":{"sign":"Emma"}}}
    a: {shelf{first{__typename ...on Book{label}} id}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Shelf{sign}}}
    "#);
}

/// `b` does not know the second thing; `c` knows both.
#[tokio::test]
async fn a_field_that_requires_nothing_does_not_depend_on_anothers_requirements() {
    let a = Subgraph::new(
        "a",
        "type Query { things: [Thing] } type Thing @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"things": [{"id": "1"}, {"id": "2"}]}));
    let b = Subgraph::new("b", "type Thing @key(fields: \"id\") { id: ID! b: Int }")
        .entities(json!([{"__typename": "Thing", "id": "1", "b": 2}]));
    let c = Subgraph::new(
        "c",
        "type Thing @key(fields: \"id\") {
           id: ID! b: Int @external own: Int sum: Int @requires(fields: \"b\") }",
    )
    .entities(json!([
        {"__typename": "Thing", "id": "1", "own": 2}, {"__typename": "Thing", "id": "2", "own": 3},
    ]))
    .field("Thing", "sum", |it, _| Ok(json!(it["b"].as_i64())));
    let graph = graph(vec![a, b, c]).await;
    let answer = graph.query("{ things { own } }").await;
    assert_eq!(
        answer,
        json!({"data": {"things": [{"own": 2}, {"own": 3}]}})
    );
    let answer = graph.query("{ things { own sum } }").await;
    assert_eq!(
        answer["data"],
        json!({"things": [{"own": 2, "sum": 2}, {"own": 3, "sum": null}]})
    );
}

async fn keyless() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { item: U @shareable } type Mutation { make: U @shareable }
         type U { name: String @shareable }",
    )
    .query(json!({"item": {"name": "n"}}))
    .field("Mutation", "make", |_, _| Ok(json!({"name": "n"})));
    let b = Subgraph::new(
        "b",
        "type Query { item: U @shareable } type Mutation { make: U @shareable }
         type U @key(fields: \"id\") { id: ID! name: String @shareable }",
    )
    .query(json!({"item": {"id": "1", "name": "n"}}))
    .field("Mutation", "make", |_, _| {
        Ok(json!({"id": "1", "name": "n"}))
    })
    .entities(json!([{"__typename": "U", "id": "1", "name": "n"}]));
    let c = Subgraph::new("c", "type U @key(fields: \"id\") { id: ID! extra: Int }")
        .entities(json!([{"__typename": "U", "id": "1", "extra": 1}]));
    let types = "
      type Query @join__type(graph: A) @join__type(graph: B) @join__type(graph: C) {
        item: U @join__field(graph: A) @join__field(graph: B) }
      type Mutation @join__type(graph: A) @join__type(graph: B) {
        make: U @join__field(graph: A) @join__field(graph: B) }
      type U @join__type(graph: A) @join__type(graph: B, key: \"id\") @join__type(graph: C, key: \"id\") {
        id: ID! @join__field(graph: B) @join__field(graph: C)
        name: String @join__field(graph: A) @join__field(graph: B)
        extra: Int @join__field(graph: C) }";
    graph_of(&supergraph(&["a", "b", "c"], types), vec![a, b, c]).await
}

/// two subgraphs have the field; only what one of them has leads on to the third.
#[tokio::test]
async fn a_root_is_asked_where_its_objects_have_a_key() {
    let graph = keyless().await;
    let told = graph.told("{ item { extra } }").await;
    assert!(!told.contains("\na: "), "{told}");
}

#[tokio::test]
async fn a_mutation_is_asked_where_its_objects_have_a_key() {
    let graph = keyless().await;
    let answer = graph.query("mutation { make { name extra } }").await;
    assert_eq!(answer, json!({"data": {"make": {"name": "n", "extra": 1}}}));
}

/// `c` is asked for `x` too, though it has nothing that is wanted of it.
#[tokio::test]
async fn a_root_is_not_asked_where_nothing_of_it_is_wanted() {
    let subgraph = |name: &str| {
        Subgraph::new(
            name,
            &format!("type Query {{ tree(depth: Int): Tree @shareable }} type Tree {{ {name}: Int node: Node @shareable }} type Node {{ {name}: Int }}"),
        )
        .query(json!({"tree": {name: 1, "node": {name: 2}}}))
    };
    let graph = graph(vec![subgraph("a"), subgraph("b"), subgraph("c")]).await;
    let told = graph
        .told("{ tree { c } x: tree(depth: 2) { node { a b } } }")
        .await;
    let c = told.lines().find(|line| line.starts_with("c: "));
    assert_eq!(c, Some("c: {tree{c}}"), "{told}");
}

/// The plan of a query, or why there is none.
async fn plan(subgraphs: &[(&str, String)], query: &str) -> Result<String, RequestError> {
    let subgraphs = subgraphs.iter().map(|(name, sdl)| Subgraph::new(name, sdl));
    // A plan that repeats its work ends at a number of steps, on a busy machine too.
    let limits = Limits {
        prepare_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    let graph = graph_with(settings, subgraphs.collect()).await;
    prepare::explain(graph.serving(), query, None)
}

#[tokio::test]
async fn what_is_left_over_of_nested_interfaces_is_found_out_once() {
    let types = || {
        (0..50)
            .map(|n| {
                format!("type T{n} implements Node @key(fields: \"id\") {{ id: ID! next: Node @shareable }} ")
            })
            .collect::<String>()
    };
    let a = format!(
        "type Query {{ nodes: [Node] }} interface Node {{ id: ID! }} {}",
        types()
    );
    let b = format!("interface Node {{ id: ID! next: Node }} {}", types());
    let query = format!(
        "{{ nodes {} {{ id }} {} }}",
        "{ next ".repeat(4),
        "}".repeat(4)
    );
    // Once for each type, and not for each path of types.
    let plan = plan(&[("a", a), ("b", b)], &query).await.expect("a plan");
    let text = |marker: &str| plan.matches(marker).count();
    assert_eq!(
        (text("\n2. b"), text("{next{next{next{next{id}}}}}")),
        (1, 50),
        "{plan}"
    );
}

#[tokio::test]
async fn what_requirements_of_requirements_cost_is_found_out_once() {
    let names: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
    let mut subgraphs = vec![(
        "s0",
        "type Query { things: [T] } type T @key(fields: \"id\") { id: ID! f0: Int }".to_owned(),
    )];
    for (n, name) in names.iter().enumerate().skip(1) {
        let external: String = (0..n).map(|n| format!("f{n}: Int @external ")).collect();
        let required: String = (0..n).map(|n| format!("f{n} ")).collect();
        subgraphs.push((
            name,
            format!("type T @key(fields: \"id\") {{ id: ID! {external} f{n}: Int @requires(fields: \"{required}\") }}"),
        ));
    }
    let plan = plan(&subgraphs, "{ things { f29 } }").await;
    assert!(plan.is_ok(), "{plan:?}");
}

/// What is asked of all is not asked of some once more, whichever the client wrote first.
#[tokio::test]
async fn an_interface_object_is_asked_about_an_entity_once() {
    let a = Subgraph::new(
        "a",
        "type Query { media: [Media!]! }
         interface Media @key(fields: \"id\") { id: ID! }
         type Book implements Media @key(fields: \"id\") { id: ID! }
         type Film implements Media @key(fields: \"id\") { id: ID! }",
    )
    .query(
        json!({"media": [{"__typename": "Book", "id": "1"}, {"__typename": "Film", "id": "2"}]}),
    );
    let b = Subgraph::new(
        "b",
        "type Media @key(fields: \"id\") @interfaceObject { id: ID! b: Int }",
    )
    .entities(json!([
        {"__typename": "Media", "id": "1", "b": 1}, {"__typename": "Media", "id": "2", "b": 3},
    ]));
    let graph = graph(vec![a, b]).await;
    let told = graph.told("{ media { ... on Book { b } b } }").await;
    assert!(!told.contains("_e1"), "{told}");
}

/// A pen's next is a pen, whatever else is next to the others.
#[tokio::test]
async fn an_object_of_the_only_possible_type_is_not_taken_for_one_of_another() {
    let a = Subgraph::new(
        "a",
        "type Query { nodes: [Node!]! } interface Node { id: ID! }
         type Book implements Node @key(fields: \"id\") { id: ID! next: Node }
         type Pen implements Node @key(fields: \"id\") { id: ID! next: Pen }",
    )
    .query(json!({"nodes": [
        {"__typename": "Book", "id": "1", "next": {"__typename": "Book", "id": "3"}},
        {"__typename": "Pen", "id": "2", "next": {"id": "3"}},
    ]}));
    let b = Subgraph::new(
        "b",
        "type Book @key(fields: \"id\") { id: ID! price: Int }
         type Pen @key(fields: \"id\") { id: ID! price: Int }",
    )
    .entities(json!([
        {"__typename": "Book", "id": "3", "price": 77}, {"__typename": "Pen", "id": "3", "price": 5},
    ]));
    let graph = graph(vec![a, b]).await;
    let query = "{ nodes {
      ... on Book { next { ... on Book { price } ... on Pen { price } } } ... on Pen { next { price } }
    } }";
    let told = graph.told(query).await;
    let answer: Value =
        serde_json::from_str(told.lines().next().unwrap_or_default()).expect("JSON");
    let nodes = json!([{"next": {"price": 77}}, {"next": {"price": 5}}]);
    assert_eq!(answer, json!({"data": {"nodes": nodes}}), "{told}");
}

/// An object that is of none of the types is not asked for anything, however it was led to.
#[tokio::test]
async fn what_no_object_can_meet_is_not_planned() {
    let a = Subgraph::new(
        "a",
        "type Query { pen: Pen } interface Thing { id: ID! }
         type Book implements Thing @key(fields: \"id\") { id: ID! }
         type Pen @key(fields: \"id\") { id: ID! } union Any = Book | Pen",
    )
    .query(json!({"pen": {"id": "1"}}));
    let b = Subgraph::new(
        "b",
        "interface Thing { id: ID! label: String }
         type Book implements Thing @key(fields: \"id\") { id: ID! label: String }",
    );
    let graph = graph(vec![a, b]).await;
    let answer = graph
        .query("{ pen { ... on Any { ... on Thing { label } } } }")
        .await;
    assert_eq!(answer, json!({"data": {"pen": {}}}));
}
