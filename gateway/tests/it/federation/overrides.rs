//! `@override`: fields that moved to another subgraph.

use std::sync::Arc;

use gateway::{
    config::HeaderConfig,
    execute,
    graph::Settings,
    headers::HeaderRules,
    prepare::{self, OperationRequest},
};
use http::{HeaderMap, HeaderValue};
use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, client, graph, graph_of, graph_of_with};

/// What moved away is still required by the old home, and comes from the new one.
#[tokio::test]
async fn what_moved_away_is_required_from_its_new_home() {
    let old = Subgraph::new(
        "old",
        "type Query { user: User! }
         type User @key(fields: \"id\") { id: ID! name: String! nick: String! greeting: String! @requires(fields: \"title\") title: String @external }",
    )
    .query(json!({"user": {"id": "1"}}))
    .entities(json!([{"__typename": "User", "id": "1", "name": "old name", "nick": "old nick"}]))
    .field("User", "greeting", |user, _| Ok(json!(format!("Hi {}", user["title"]))));
    let new = Subgraph::new(
        "new",
        "type User @key(fields: \"id\") { id: ID! name: String! @override(from: \"old\") title: String }",
    )
    .entities(json!([{"__typename": "User", "id": "1", "name": "new name", "title": "Dr"}]));
    let third = Subgraph::new(
        "third",
        "type User @key(fields: \"id\") { id: ID! name: String! @external nick: String! @external
           shout: String! @requires(fields: \"name nick\") }",
    )
    .entities(json!([{"__typename": "User", "id": "1"}]))
    .field("User", "shout", |user, _| {
        Ok(json!(format!("{}/{}!", user["name"], user["nick"])))
    });
    let graph = graph(vec![old, new, third]).await;
    assert_snapshot!(graph.told("{ user { shout } }").await, @r#"
    {"data":{"user":{"shout":"\"new name\"/\"old nick\"!"}}}
    old: {user{id nick}}
    new: query($representations:[_Any!]!){_entities(representations: $representations){...on User{name}}}
    third: query($representations:[_Any!]!){_entities(representations: $representations){...on User{shout}}}
    "#);
    assert_snapshot!(graph.query("{ user { name nick greeting shout } }").await, @r#"{"data":{"user":{"name":"new name","nick":"old nick","greeting":"Hi \"Dr\"","shout":"\"new name\"/\"old nick\"!"}}}"#);
}

#[tokio::test]
async fn a_root_field_moves_too() {
    let old = Subgraph::new(
        "old",
        "type Query { feed: [Post!]! version: Int }
         type Post @key(fields: \"id\") { id: ID! createdAt: String! }",
    )
    .query(json!({"feed": [{"id": "old"}], "version": 1}))
    .entities(json!([{"__typename": "Post", "id": "1", "createdAt": "old"}]));
    let new = Subgraph::new(
        "new",
        "type Query { feed: [Post!]! @override(from: \"old\") }
         type Post @key(fields: \"id\") { id: ID! createdAt: String! @override(from: \"old\") }",
    )
    .query(json!({"feed": [{"id": "1"}]}))
    .entities(json!([{"__typename": "Post", "id": "1", "createdAt": "new"}]));
    let graph = graph(vec![old, new]).await;
    assert_snapshot!(graph.query("{ feed { id createdAt } version }").await, @r#"{"data":{"feed":[{"id":"1","createdAt":"new"}],"version":1}}"#);
}

/// Fields of implementations moved; the interface stays where it was.
#[tokio::test]
async fn fields_behind_an_interface_move() {
    let a = Subgraph::new(
        "a",
        "type Query { feed: [Post!]! }
         interface Post { id: ID! createdAt: String! }
         type TextPost implements Post @key(fields: \"id\") { id: ID! createdAt: String! body: String! }
         type ImagePost implements Post @key(fields: \"id\") { id: ID! createdAt: String! }",
    )
    .query(json!({"feed": [
        {"__typename": "TextPost", "id": "t", "createdAt": "a-t", "body": "hi"},
        {"__typename": "ImagePost", "id": "i", "createdAt": "a-i"},
    ]}))
    .entities(json!([
        {"__typename": "TextPost", "id": "t", "createdAt": "a-t", "body": "hi"},
        {"__typename": "ImagePost", "id": "i", "createdAt": "a-i"},
    ]));
    let b = Subgraph::new(
        "b",
        "type Query { other: Post }
         interface Post { id: ID! createdAt: String! }
         type TextPost implements Post @key(fields: \"id\") { id: ID! createdAt: String! @override(from: \"a\") }
         type ImagePost implements Post @key(fields: \"id\") { id: ID! createdAt: String! @override(from: \"a\") url: String }",
    )
    .query(json!({"other": {"__typename": "ImagePost", "id": "i", "createdAt": "b-i", "url": null}}))
    .entities(json!([
        {"__typename": "TextPost", "id": "t", "createdAt": "b-t"},
        {"__typename": "ImagePost", "id": "i", "createdAt": "b-i", "url": null},
    ]));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.query("{ feed { id createdAt } }").await, @r#"{"data":{"feed":[{"id":"t","createdAt":"b-t"},{"id":"i","createdAt":"b-i"}]}}"#);
    assert_snapshot!(graph.query("{ feed { __typename ... on TextPost { body at: createdAt } ... on ImagePost { createdAt url } } other { createdAt } }").await, @r#"{"data":{"feed":[{"__typename":"TextPost","body":"hi","at":"b-t"},{"__typename":"ImagePost","createdAt":"b-i","url":null}],"other":{"createdAt":"b-i"}}}"#);
}

/// `@override(label: "percent(N)")`: that share of the requests finds the field in its new home. A
/// label of another form is a flag, which is never set.
#[tokio::test]
async fn a_field_moves_for_a_share_of_the_requests() {
    let all = |home: &str| json!({"none": home, "half": home, "all": home, "flagged": home});
    let with_key = |home: &str| {
        let mut entity = all(home);
        entity["__typename"] = json!("Item");
        entity["id"] = json!("1");
        entity
    };
    let old = Subgraph::new(
        "old",
        "type Query { item: Item }
         type Item @key(fields: \"id\") { id: ID! none: String! half: String! all: String! flagged: String! }",
    )
    .query(json!({"item": with_key("old")}))
    .entities(json!([with_key("old")]));
    let new = Subgraph::new(
        "new",
        "type Item @key(fields: \"id\") {
           id: ID!
           none: String! @override(from: \"old\", label: \"percent(0)\")
           half: String! @override(from: \"old\", label: \"percent(50)\")
           all: String! @override(from: \"old\", label: \"percent(100)\")
           flagged: String! @override(from: \"old\", label: \"flag\")
         }",
    )
    .entities(json!([with_key("new")]));
    let graph = graph_of(
        include_str!("supergraphs/progressive_override.graphql"),
        vec![old, new],
    )
    .await;
    let mut moved = 0;
    for _ in 0..200 {
        let answer = graph.query("{ item { none half all flagged } }").await;
        let item = &answer["data"]["item"];
        let half = item["half"].as_str().expect("it is told where from");
        assert_eq!(
            *item,
            json!({"none": "old", "half": half, "all": "new", "flagged": "old"})
        );
        moved += usize::from(half == "new");
    }
    // 200 fair coins end outside of this once in 10^10 runs.
    assert!((55..=145).contains(&moved), "{moved} of 200");
}

#[tokio::test]
async fn what_is_taken_from_a_subgraph_that_is_not_there_stays_with_those_that_have_it() {
    let a = Subgraph::new(
        "a",
        "type Query { feed: [Post!]! }
         type Post @key(fields: \"id\") { id: ID! createdAt: String! @shareable }",
    )
    .query(json!({"feed": [{"id": "1", "createdAt": "a"}]}))
    .entities(json!([{"__typename": "Post", "id": "1", "createdAt": "a"}]));
    let b = Subgraph::new(
        "b",
        "type Query { newest: Post }
         type Post @key(fields: \"id\") { id: ID! createdAt: String! @shareable @override(from: \"absent\") likes: Int }",
    )
    .query(json!({"newest": {"id": "1", "createdAt": "b", "likes": 3}}))
    .entities(json!([{"__typename": "Post", "id": "1", "createdAt": "b", "likes": 3}]));
    let graph = graph(vec![a, b]).await;
    let query = "{ feed { id createdAt likes } newest { createdAt likes } }";
    let answer = graph.query(query).await;
    assert!(answer.get("errors").is_none(), "{answer}");
    assert_eq!(answer["data"]["feed"][0]["likes"], 3);
    assert_eq!(answer["data"]["newest"]["createdAt"], "b");
}

/// What moved is computed from a field of its old home, which asks for it back to compute another.
#[tokio::test]
async fn what_moved_may_require_its_old_home_and_be_required_there() {
    let old = Subgraph::new(
        "old",
        "type Query { orders: [Order] }
         type Order @key(fields: \"id\") { id: ID! price: Int fee: Int total: Int @requires(fields: \"tax\") tax: Int @external }",
    )
    .query(json!({"orders": [{"id": "1", "price": 10}, null, {"id": "2", "price": null}]}))
    .entities(json!([{"__typename": "Order", "id": "1", "price": 10}, {"__typename": "Order", "id": "2", "price": null}]))
    .field("Order", "fee", |_, _| Err("it moved away".into()))
    .field("Order", "total", |order, _| {
        let tax = order.get("tax").ok_or("no tax")?;
        Ok(json!(tax.as_i64().map(|tax| tax + 100)))
    });
    let new = Subgraph::new(
        "new",
        "type Order @key(fields: \"id\") {
           id: ID! price: Int @external
           fee: Int @override(from: \"old\") @requires(fields: \"price\")
           tax: Int @requires(fields: \"price\") }",
    )
    .entities(json!([{"__typename": "Order", "id": "1"}, {"__typename": "Order", "id": "2"}]))
    .field("Order", "fee", |order, _| {
        let price = order.get("price").ok_or("no price")?;
        Ok(json!(price.as_i64().map(|price| price / 2)))
    })
    .field("Order", "tax", |order, _| {
        let price = order.get("price").ok_or("no price")?;
        Ok(json!(price.as_i64().map(|price| price / 5)))
    });
    let graph = graph(vec![old, new]).await;
    assert_snapshot!(graph.told("{ orders { fee } }").await, @r#"
    {"data":{"orders":[{"fee":5},null,{"fee":null}]}}
    old: {orders{price id}}
    new: query($representations:[_Any!]!){_entities(representations: $representations){...on Order{fee}}}
    "#);
    assert_snapshot!(graph.told("{ orders { total price: fee } }").await, @r#"
    {"data":{"orders":[{"total":102,"price":5},null,{"total":null,"price":null}]}}
    old: {orders{price id}}
    new: query($representations:[_Any!]!){_entities(representations: $representations){...on Order{tax _meaning0_price: fee}}}
    old: query($representations:[_Any!]!){_entities(representations: $representations){...on Order{total}}}
    "#);
}

/// The subgraphs of the supergraph in which labels move fields: each says its own name.
fn flagged() -> [Subgraph; 2] {
    let fields = ["none", "half", "all", "flagged"];
    let [old, new] = ["old", "new"].map(|subgraph| {
        let mut item = json!({"__typename": "Item", "id": "1"});
        for field in fields {
            item[field] = json!(subgraph);
        }
        item
    });
    let item = "type Item @key(fields: \"id\") { id: ID! none: String! half: String! all: String! flagged: String! }";
    [
        Subgraph::new("old", &format!("type Query {{ item: Item }} {item}"))
            .query(json!({"item": old.clone()}))
            .entities(json!([old])),
        Subgraph::new("new", item).entities(json!([new])),
    ]
}

fn with_labels(labels: &[&str], header: Option<&str>) -> Settings {
    let config = HeaderConfig {
        override_labels_header: header.map(str::to_owned),
        ..HeaderConfig::default()
    };
    Settings {
        override_labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        header_rules: Arc::new(HeaderRules::new(&config).expect("a header")),
        ..Settings::default()
    }
}

/// Where a request with this header has the flagged field from.
async fn origin(graph: &TestGraph, labels: Option<&'static str>) -> String {
    let mut client = client();
    let mut headers = HeaderMap::new();
    if let Some(labels) = labels {
        headers.insert("x-labels", HeaderValue::from_static(labels));
    }
    client.headers = Arc::new(headers);
    let serving = graph.serving();
    let query = "{ item { flagged } }";
    let asked = OperationRequest::new(serving, query, None, client.key, &client.headers);
    let ready = prepare::ready(serving, &asked, None).await;
    let (prepared, variables) = ready.expect("a plan");
    let response = execute::operation(&serving.graph, &prepared, &variables, &client).await;
    let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
    let origin = answer["data"]["item"]["flagged"].as_str();
    origin.expect("it is there").to_owned()
}

#[tokio::test]
async fn a_label_moves_a_field_where_a_setting_or_a_header_sets_it() {
    let sdl = include_str!("supergraphs/progressive_override.graphql");
    let start = async |settings| graph_of_with(settings, sdl, flagged().into()).await;
    let for_all = start(with_labels(&["other", "flag"], None)).await;
    assert_eq!(origin(&for_all, None).await, "new");
    let for_none = start(with_labels(&[], None)).await;
    // Without a setting, clients decide nothing.
    assert_eq!(origin(&for_none, Some("flag")).await, "old");
    let for_some = start(with_labels(&["other"], Some("x-labels"))).await;
    assert_eq!(origin(&for_some, None).await, "old");
    assert_eq!(origin(&for_some, Some("other, flag")).await, "new");
    // Each set of the supergraph's labels has its own plan for each of the two groups that percentages
    // make, and labels that it does not have make no difference.
    for unknown in ["a", "b", "c", "a, b", "b, c, other"] {
        assert_eq!(origin(&for_some, Some(unknown)).await, "old");
    }
    let kept = for_some.inner().settings().prepare_metrics.kept.get();
    assert!((2..=4).contains(&kept), "{kept} plans");
}
