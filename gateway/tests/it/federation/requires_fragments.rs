//! `@requires` with interfaces and unions inside.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

const ENTITIES: [&str; 3] = ["1", "2", "3"];

async fn users() -> TestGraph {
    let accounts = Subgraph::new(
        "accounts",
        "type Query { users: [User!]! }
         type User @key(fields: \"id\") { id: ID! address: Address contact: Contact }
         interface Address { id: ID! }
         type Home implements Address @key(fields: \"id\") { id: ID! city: String }
         type Work implements Address @key(fields: \"id\") { id: ID! city: String company: String! }
         type Sea implements Address @key(fields: \"id\") { id: ID! }
         union Contact = Phone | Mail
         type Phone { number: String! prefix: Int } type Mail { at: String! }",
    )
    .query(json!({"users": [{"id": "1"}, {"id": "2"}, {"id": "3"}]}))
    .entities(json!([
        {"__typename": "User", "id": "1", "address": {"__typename": "Home", "id": "h"},
         "contact": {"__typename": "Phone", "number": "555", "prefix": 1}},
        {"__typename": "User", "id": "2", "address": {"__typename": "Work", "id": "w"},
         "contact": {"__typename": "Mail", "at": "b@x"}},
        {"__typename": "User", "id": "3", "address": {"__typename": "Sea", "id": "s"}, "contact": null},
        {"__typename": "Home", "id": "h", "city": "Oslo"},
        {"__typename": "Work", "id": "w", "city": null, "company": "Acme"},
        {"__typename": "Sea", "id": "s"},
    ]));
    let countries = Subgraph::new(
        "countries",
        "type Home @key(fields: \"id\") { id: ID! country: String }
         type Work @key(fields: \"id\") { id: ID! country: String }",
    )
    .entities(json!([
        {"__typename": "Home", "id": "h", "country": "Norway"},
        {"__typename": "Work", "id": "w", "country": "Chile"},
    ]));
    let labels = Subgraph::new(
        "labels",
        "type User @key(fields: \"id\") {
           id: ID! address: Address @external contact: Contact @external
           place: String! @requires(fields: \"address { id ... on Home { city country } ... on Work { company country } }\")
           reach: String! @requires(fields: \"contact { ... on Phone { number } ... on Mail { at } }\")
         }
         interface Address { id: ID! }
         type Home implements Address @key(fields: \"id\") { id: ID! @external city: String @external country: String @external }
         type Work implements Address @key(fields: \"id\") { id: ID! @external company: String! @external country: String @external }
         type Sea implements Address @key(fields: \"id\") { id: ID! @external }
         union Contact = Phone | Mail
         type Phone { number: String! @external } type Mail { at: String! @external }",
    )
    .entities(json!(ENTITIES.map(|id| json!({"__typename": "User", "id": id}))))
    .field("User", "place", |user, _| Ok(json!(user.get("address").ok_or("no address")?.to_string())))
    .field("User", "reach", |user, _| Ok(json!(user.get("contact").ok_or("no contact")?.to_string())));
    graph(vec![accounts, countries, labels]).await
}

#[tokio::test]
async fn each_type_brings_its_own_requirements() {
    let graph = users().await;
    assert_snapshot!(graph.told("{ users { reach } }").await, @r#"
    {"data":{"users":[{"reach":"{\"__typename\":\"Phone\",\"number\":\"555\"}"},{"reach":"{\"__typename\":\"Mail\",\"at\":\"b@x\"}"},{"reach":"null"}]}}
    accounts: {users{contact{__typename ...on Phone{number} ...on Mail{at}} id}}
    labels: query($representations:[_Any!]!){_entities(representations: $representations){...on User{reach}}}
    "#);
    assert_snapshot!(graph.query("{ users { place } }").await, @r#"{"data":{"users":[{"place":"{\"__typename\":\"Home\",\"id\":\"h\",\"city\":\"Oslo\",\"country\":\"Norway\"}"},{"place":"{\"__typename\":\"Work\",\"id\":\"w\",\"company\":\"Acme\",\"country\":\"Chile\"}"},{"place":"{\"__typename\":\"Sea\",\"id\":\"s\"}"}]}}"#);
}

#[tokio::test]
async fn what_is_required_and_what_is_asked_share_their_fields() {
    let graph = users().await;
    let query = "{ users {
      contact { __typename ... on Phone { prefix at: number } ... on Mail { to: at } }
      reach
      address { ... on Work { city company } ... on Home { town: id country } }
      place
    } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"users":[{"contact":{"__typename":"Phone","prefix":1,"at":"555"},"reach":"{\"__typename\":\"Phone\",\"number\":\"555\"}","address":{"town":"h","country":"Norway"},"place":"{\"__typename\":\"Home\",\"id\":\"h\",\"city\":\"Oslo\",\"country\":\"Norway\"}"},{"contact":{"__typename":"Mail","to":"b@x"},"reach":"{\"__typename\":\"Mail\",\"at\":\"b@x\"}","address":{"city":null,"company":"Acme"},"place":"{\"__typename\":\"Work\",\"id\":\"w\",\"company\":\"Acme\",\"country\":\"Chile\"}"},{"contact":null,"reach":"null","address":{},"place":"{\"__typename\":\"Sea\",\"id\":\"s\"}"}]}}"#);
}

/// The interface is required without a fragment: each implementation gets its fields elsewhere.
#[tokio::test]
async fn an_interface_field_is_required_of_every_implementation() {
    let catalogue = Subgraph::new(
        "catalogue",
        "type Query { boxes: [Box!]! }
         type Box @key(fields: \"id\") { id: ID! things: [Thing!]! }
         interface Thing { id: ID! }
         type Cup implements Thing @key(fields: \"id\") { id: ID! }
         type Pen implements Thing @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"boxes": [{"id": "1", "things": [
        {"__typename": "Cup", "id": "c"}, {"__typename": "Pen", "id": "p"}, {"__typename": "Cup", "id": "c"},
    ]}, {"id": "2", "things": []}]}));
    let weights = Subgraph::new(
        "weights",
        "interface Thing { id: ID! weight: Int! }
         type Cup implements Thing @key(fields: \"id\") { id: ID! weight: Int! }
         type Pen implements Thing @key(fields: \"id\") { id: ID! weight: Int! }
         type Box @key(fields: \"id\") { id: ID! things: [Thing!]! @external
           weight: Int! @requires(fields: \"things { id }\") }",
    )
    .entities(json!([
        {"__typename": "Box", "id": "1"}, {"__typename": "Box", "id": "2"},
        {"__typename": "Cup", "id": "c", "weight": 5}, {"__typename": "Pen", "id": "p", "weight": 1},
    ]))
    .field("Box", "weight", |it, _| {
        let things = it["things"].as_array().ok_or("no things")?;
        Ok(json!(things.iter().map(|thing| if thing["id"] == "c" { 5 } else { 1 }).sum::<i32>()))
    });
    let graph = graph(vec![catalogue, weights]).await;
    assert_snapshot!(graph.told("{ boxes { weight } }").await, @r#"
    {"data":{"boxes":[{"weight":11},{"weight":0}]}}
    catalogue: {boxes{things{__typename id} id}}
    weights: query($representations:[_Any!]!){_entities(representations: $representations){...on Box{weight}}}
    "#);
    assert_snapshot!(graph.query("{ boxes { things { ... on Cup { weight } ... on Pen { id: weight } } weight } }").await, @r#"{"data":{"boxes":[{"things":[{"weight":5},{"id":1},{"weight":5}],"weight":11},{"things":[],"weight":0}]}}"#);
}

/// The interface's field and the table's cannot stand under one key, as one may be null.
#[tokio::test]
async fn what_is_required_under_an_alias_joins_what_the_client_asked_for() {
    let stock = Subgraph::new(
        "stock",
        "type Query { items: [Item!]! }
         interface Item { id: ID! make: Make }
         type Make { parts: [String!] year: Int }
         type Table implements Item @key(fields: \"id\") { id: ID! make: Make! }
         type Lamp implements Item { id: ID! make: Make }",
    )
    .query(json!({"items": [
        {"__typename": "Table", "id": "t", "make": {"parts": ["top", "leg"], "year": 1931}},
        {"__typename": "Lamp", "id": "l", "make": null},
    ]}));
    let desk = Subgraph::new(
        "desk",
        "type Make { parts: [String!] @external }
         type Table @key(fields: \"id\") { id: ID! make: Make! @external
           legs: Int @requires(fields: \"make { parts }\") }",
    )
    .entities(json!([{"__typename": "Table", "id": "t"}]))
    .field("Table", "legs", |table, _| {
        let parts = table["make"]["parts"].as_array().ok_or("no parts")?;
        Ok(json!(parts.iter().filter(|part| **part == "leg").count()))
    });
    let graph = graph(vec![stock, desk]).await;
    assert_snapshot!(graph.told("{ items { make { year } ... on Table { legs } } }").await, @r#"
    {"data":{"items":[{"make":{"year":1931},"legs":1},{"make":null}]}}
    stock: {items{__typename make{year} ...on Table{_other0_make: make{parts} id}}}
    desk: query($representations:[_Any!]!){_entities(representations: $representations){...on Table{legs}}}
    "#);
}
