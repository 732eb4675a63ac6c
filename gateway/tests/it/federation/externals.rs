//! `@external` on fields that a subgraph can resolve all the same, and on fields that no subgraph
//! can resolve.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph_of};

/// `desk` extends a type of `stock` in the manner of Federation 1, in a schema of Federation 2: the
/// key is marked external, and yet `desk` answers it.
async fn prices() -> TestGraph {
    let desk = Subgraph::new(
        "desk",
        "extend type Tool @key(fields: \"id\") { id: ID! @external fee: Float }
         type Query { cheapest: Tool lent: [Tool!]! }",
    )
    .query(json!({"cheapest": {"id": "saw"}, "lent": [{"id": "drill"}, {"id": "saw"}]}))
    .entities(json!([
        {"__typename": "Tool", "id": "saw", "fee": 2.5},
        {"__typename": "Tool", "id": "drill", "fee": 7.25},
    ]));
    let stock = Subgraph::new(
        "stock",
        "type Tool @key(fields: \"id\") { id: ID! label: String! }
         type Query { tools: [Tool!]! }",
    )
    .query(json!({"tools": [{"id": "drill"}, {"id": "saw"}]}))
    .entities(json!([
        {"__typename": "Tool", "id": "saw", "label": "Saw"},
        {"__typename": "Tool", "id": "drill", "label": "Drill"},
    ]));
    graph_of(
        include_str!("supergraphs/external_key.graphql"),
        vec![desk, stock],
    )
    .await
}

#[tokio::test]
async fn an_external_key_is_answered_by_the_subgraph_that_uses_it() {
    let graph = prices().await;
    assert_snapshot!(graph.told("{ cheapest { id fee label } }").await, @r#"
    {"data":{"cheapest":{"id":"saw","fee":2.5,"label":"Saw"}}}
    desk: {cheapest{id fee}}
    stock: query($representations:[_Any!]!){_entities(representations: $representations){...on Tool{label}}}
    "#);
    assert_snapshot!(graph.told("{ tools { label fee id } }").await, @r#"
    {"data":{"tools":[{"label":"Drill","fee":7.25,"id":"drill"},{"label":"Saw","fee":2.5,"id":"saw"}]}}
    stock: {tools{label id}}
    desk: query($representations:[_Any!]!){_entities(representations: $representations){...on Tool{fee}}}
    "#);
    assert_snapshot!(graph.told("{ lent { id } cheapest { label } }").await, @r#"
    {"data":{"lent":[{"id":"drill"},{"id":"saw"}],"cheapest":{"label":"Saw"}}}
    desk: {lent{id} cheapest{id}}
    stock: query($representations:[_Any!]!){_entities(representations: $representations){...on Tool{label}}}
    "#);
}

/// Each of the two has one type's id and calls the other's external, though both answer `record`.
async fn archive() -> TestGraph {
    let people = Subgraph::new(
        "people",
        "type Query { record(id: ID!): Record @shareable author(id: ID!): Author }
         interface Record { id: ID! }
         type Author implements Record @key(fields: \"id\") { id: ID! name: String! }
         type Letter implements Record @key(fields: \"id\") { id: ID! @external writer: Author! }",
    )
    .field("Query", "record", |_, arguments| {
        Ok(match arguments["id"].as_str() {
            Some("ada") => json!({"__typename": "Author", "id": "ada"}),
            Some("l1") => json!({"__typename": "Letter", "id": "not for people to say", "writer": {"id": "ada"}}),
            _ => json!(null),
        })
    })
    .field("Query", "author", |_, arguments| Ok(json!({"id": arguments["id"]})))
    .entities(json!([
        {"__typename": "Author", "id": "ada", "name": "Ada"},
        {"__typename": "Letter", "id": "l1", "writer": {"id": "ada"}},
    ]));
    let letters = Subgraph::new(
        "letters",
        "type Query { record(id: ID!): Record @shareable letter(id: ID!): Letter }
         interface Record { id: ID! }
         type Author implements Record @key(fields: \"id\") { id: ID! @external letters: [Letter!]! }
         type Letter implements Record @key(fields: \"id\") { id: ID! text: String! }",
    )
    .field("Query", "record", |_, arguments| {
        Ok(match arguments["id"].as_str() {
            Some("ada") => json!({"__typename": "Author", "id": "not for letters to say", "letters": [{"id": "l1"}]}),
            Some("l1") => json!({"__typename": "Letter", "id": "l1"}),
            _ => json!(null),
        })
    })
    .field("Query", "letter", |_, arguments| Ok(json!({"id": arguments["id"]})))
    .entities(json!([
        {"__typename": "Author", "id": "ada", "letters": [{"id": "l1"}]},
        {"__typename": "Letter", "id": "l1", "text": "Dear Charles"},
    ]));
    let supergraph = include_str!("supergraphs/external_ids.graphql");
    graph_of(supergraph, vec![people, letters]).await
}

#[tokio::test]
async fn an_id_that_no_subgraph_has_for_all_types_is_put_together_and_never_invented() {
    let graph = archive().await;
    for id in ["ada", "l1"] {
        let told = graph
            .told(&format!("{{ record(id: \"{id}\") {{ id }} }}"))
            .await;
        let expected = format!(r#"{{"data":{{"record":{{"id":"{id}"}}}}}}"#);
        assert_eq!(told.lines().next(), Some(&*expected));
    }
    assert_snapshot!(graph.told_sorted("{ a: record(id: \"ada\") { id ... on Letter { id } } }").await, @r#"
    {"data":{"a":{"id":"ada"}}}
    letters: {a: record(id: "ada"){__typename ...on Letter{id}}}
    people: {a: record(id: "ada"){__typename ...on Author{id}}}
    "#);
    assert_snapshot!(graph.query("{ record(id: \"nobody\") { id } }").await, @r#"{"data":{"record":null}}"#);
}

#[tokio::test]
async fn an_id_is_asked_of_the_subgraph_that_has_it_for_the_type() {
    let graph = archive().await;
    assert_snapshot!(graph.told("{ a: record(id: \"ada\") { __typename } l: record(id: \"l1\") { __typename } }").await, @r#"
    {"data":{"a":{"__typename":"Author"},"l":{"__typename":"Letter"}}}
    people: {a: record(id: "ada"){__typename} l: record(id: "l1"){__typename}}
    "#);
    assert_snapshot!(graph.query("{ a: record(id: \"ada\") { ... on Author { id name } } l: record(id: \"l1\") { ... on Letter { id text } } }").await, @r#"{"data":{"a":{"id":"ada","name":"Ada"},"l":{"id":"l1","text":"Dear Charles"}}}"#);
    assert_snapshot!(graph.query("{ a: record(id: \"ada\") { ... on Letter { id } } l: record(id: \"l1\") { __typename ... on Author { id } } }").await, @r#"{"data":{"a":{},"l":{"__typename":"Letter"}}}"#);
    assert_snapshot!(graph.told("{ letter(id: \"l1\") { id text writer { id } } }").await, @r#"
    {"data":{"letter":{"id":"l1","text":"Dear Charles","writer":{"id":"ada"}}}}
    letters: {letter(id: "l1"){id text}}
    people: query($representations:[_Any!]!){_entities(representations: $representations){...on Letter{writer{id}}}}
    "#);
    assert_snapshot!(graph.told("{ author(id: \"ada\") { id name letters { id } } }").await, @r#"
    {"data":{"author":{"id":"ada","name":"Ada","letters":[{"id":"l1"}]}}}
    people: {author(id: "ada"){id name}}
    letters: query($representations:[_Any!]!){_entities(representations: $representations){...on Author{letters{id}}}}
    "#);
    assert_snapshot!(graph.query("{ letter(id: \"l1\") { id } author(id: \"ada\") { id } }").await, @r#"{"data":{"letter":{"id":"l1"},"author":{"id":"ada"}}}"#);
    assert_snapshot!(graph.query("{ record(id: \"l1\") { ... on Letter { id text writer { name letters { text } } } } }").await, @r#"{"data":{"record":{"id":"l1","text":"Dear Charles","writer":{"name":"Ada","letters":[{"text":"Dear Charles"}]}}}}"#);
}

/// The supergraph says of no field who resolves it, as all subgraphs have it: `shelf` has the title
/// and the size of its interface object as external.
#[tokio::test]
async fn what_an_interface_object_requires_is_external_unsaid() {
    let catalogue = Subgraph::new(
        "catalogue",
        "type Query { catalogue: [Work!]! }
         interface Work @key(fields: \"id\") { id: ID! title: String! size: Size }
         type Size { pages: Int }
         type Book implements Work @key(fields: \"id\") { id: ID! title: String! size: Size }
         type Map implements Work @key(fields: \"id\") { id: ID! title: String! size: Size }",
    )
    .query(json!({"catalogue": [{"__typename": "Map", "id": "m"}]}))
    .entities(json!([
        {"__typename": "Book", "id": "b", "title": "Emma", "size": {"pages": 474}},
        {"__typename": "Map", "id": "m", "title": "Delft", "size": {"pages": 2}},
    ]));
    let shelf = Subgraph::new(
        "shelf",
        "type Query { shelved: [Work!]! }
         type Size { pages: Int }
         type Work @key(fields: \"id\") @interfaceObject { id: ID! title: String! @external
           size: Size @external label: String! @requires(fields: \"title size { pages }\") }",
    )
    .query(json!({"shelved": [{"id": "b"}]}))
    .entities(json!([{"__typename": "Work", "id": "b"}, {"__typename": "Work", "id": "m"}]))
    .field("Work", "label", |work, _| {
        let title = work["title"].as_str().ok_or("no title")?;
        Ok(json!(format!("{title}, {} p.", work["size"]["pages"])))
    });
    let supergraph = include_str!("supergraphs/unsaid_external.graphql");
    let graph = graph_of(supergraph, vec![catalogue, shelf]).await;
    assert_snapshot!(graph.told("{ shelved { id title size { pages } label } }").await, @r#"
    {"data":{"shelved":[{"id":"b","title":"Emma","size":{"pages":474},"label":"Emma, 474 p."}]}}
    shelf: {shelved{__typename id}}
    catalogue: query($representations:[_Any!]!){_entities(representations: $representations){...on Work{title size{pages}}}}
    shelf: query($representations:[_Any!]!){_entities(representations: $representations){...on Work{label}}}
    "#);
    assert_snapshot!(graph.told("{ shelved { label } catalogue { label } }").await, @r#"
    {"data":{"shelved":[{"label":"Emma, 474 p."}],"catalogue":[{"label":"Delft, 2 p."}]}}
    shelf: {shelved{__typename id}}
    catalogue: {catalogue{__typename title size{pages} id}}
    catalogue: query($representations:[_Any!]!){_entities(representations: $representations){...on Work{title size{pages}}}}
    shelf: query($representations:[_Any!]!){_entities(representations: $representations){...on Work{label}}}
    shelf: query($representations:[_Any!]!){_entities(representations: $representations){...on Work{label}}}
    "#);
}

/// All subgraphs have a dog's owner, by whom one of them finds dogs. `walks` extends the type and has
/// the owner as external, of which the supergraph says nothing; `registry` has the owner itself.
#[tokio::test]
async fn what_an_extension_requires_of_anothers_key_is_external_unsaid() {
    let registry = Subgraph::new(
        "registry",
        "type Query { dogs: [Dog!]! }
         type Dog @key(fields: \"id\") { id: ID! owner: Owner! @shareable
           rival: Dog @external duel: String @requires(fields: \"rival { owner { id } }\") }
         type Owner @key(fields: \"id\") { id: ID! town: String }",
    )
    .entities(json!([
        {"__typename": "Dog", "id": "rex", "owner": {"id": "ada", "town": "London"}},
        {"__typename": "Dog", "id": "fip", "owner": {"id": "bob", "town": null}},
    ]))
    .field("Dog", "duel", |dog, _| {
        Ok(dog["rival"]["owner"]["id"].clone())
    });
    let walks = Subgraph::new(
        "walks",
        "type Query { walked: [Dog!]! }
         extend type Dog @key(fields: \"id\") { id: ID! @external owner: Owner! @external
           rival: Dog route: String @requires(fields: \"owner { town }\") }
         extend type Owner @key(fields: \"id\") { id: ID! @external town: String @external }",
    )
    .query(json!({"walked": [{"id": "rex", "rival": {"id": "fip"}}]}))
    .entities(json!([{"__typename": "Dog", "id": "rex"}]))
    .field("Dog", "route", |dog, _| {
        let town = dog["owner"]["town"].as_str().ok_or("no town")?;
        Ok(json!(format!("through {town}")))
    });
    let kennels = Subgraph::new(
        "kennels",
        "type Dog @key(fields: \"owner { id }\") { id: ID! @shareable owner: Owner! @shareable run: Int }
         type Owner @key(fields: \"id\", resolvable: false) { id: ID! }",
    )
    .entities(json!([{"__typename": "Dog", "id": "rex", "owner": {"id": "ada"}, "run": 4}]));
    let supergraph = include_str!("supergraphs/unsaid_extension.graphql");
    let graph = graph_of(supergraph, vec![registry, walks, kennels]).await;
    assert_snapshot!(graph.told("{ walked { id owner { id } } }").await, @r#"
    {"data":{"walked":[{"id":"rex","owner":{"id":"ada"}}]}}
    walks: {walked{id}}
    registry: query($representations:[_Any!]!){_entities(representations: $representations){...on Dog{owner{id}}}}
    "#);
    assert_snapshot!(graph.told("{ walked { route } }").await, @r#"
    {"data":{"walked":[{"route":"through London"}]}}
    walks: {walked{id}}
    registry: query($representations:[_Any!]!){_entities(representations: $representations){...on Dog{owner{town}}}}
    walks: query($representations:[_Any!]!){_entities(representations: $representations){...on Dog{route}}}
    "#);
    assert_snapshot!(graph.told("{ walked { run duel } }").await, @r#"
    {"data":{"walked":[{"run":4,"duel":"bob"}]}}
    walks: {walked{id rival{id}}}
    registry: query($representations:[_Any!]!){_entities(representations: $representations){...on Dog{owner{id}}}}
    registry: query($representations:[_Any!]!){_entities(representations: $representations){...on Dog{owner{id} duel}}}
    kennels: query($representations:[_Any!]!){_entities(representations: $representations){...on Dog{run}}}
    "#);
}
