//! One response key with different types in different places of a union.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph};

/// `id` is `ID!` of one member and `ID` of the other; `size` has four types.
async fn owners() -> TestGraph {
    let a = Subgraph::new(
        "a",
        "type Query { owners: [Owner] accounts: [Account!]! }
         union Owner = User | Group | Team | Solo
         interface Account { name: String }
         type User implements Account @key(fields: \"id\") { id: ID name: String! size: Int! }
         type Group implements Account @key(fields: \"id\") { id: ID! name: String size: [Int] }
         type Team @key(fields: \"id\") { id: ID! size: String }
         type Solo { id: Int size: Size } type Size { of: Float }",
    )
    .query(json!({
        "owners": [
            {"__typename": "User", "id": "u", "name": "U", "size": 1},
            {"__typename": "Group", "id": "g", "name": null, "size": [2, null]}, null,
            {"__typename": "Team", "id": "t", "size": "many"},
            {"__typename": "Solo", "id": null, "size": {"of": 1.5}},
        ],
        "accounts": [{"__typename": "Group", "id": "g", "name": null}, {"__typename": "User", "id": "u", "name": "U"}],
    }));
    let b = Subgraph::new(
        "b",
        "type User @key(fields: \"id\") { id: ID at: String! }
         type Group @key(fields: \"id\") { id: ID! at: Int }
         type Team @key(fields: \"id\") { id: ID! at: [User] }",
    )
    .entities(json!([
        {"__typename": "User", "id": "u", "at": "Oslo"}, {"__typename": "Group", "id": "g", "at": 5},
        {"__typename": "Team", "id": "t", "at": [{"id": "u"}, null]},
    ]));
    graph(vec![a, b]).await
}

#[tokio::test]
async fn members_keep_their_own_types_under_aliases() {
    let graph = owners().await;
    let query = "{ owners {
      ... on User { id size userAt: at } ... on Group { gid: id sizes: size groupAt: at }
      ... on Team { tid: id text: size teamAt: at { id at } } ... on Solo { sid: id object: size { of } }
    } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"owners":[{"id":"u","size":1,"userAt":"Oslo"},{"gid":"g","sizes":[2,null],"groupAt":5},null,{"tid":"t","text":"many","teamAt":[{"id":"u","at":"Oslo"},null]},{"sid":null,"object":{"of":1.5}}]}}"#);
}

/// The specification lets `id` stand in both fragments only if the types agree; nullability counts.
#[tokio::test]
async fn what_cannot_be_one_field_is_refused() {
    let graph = owners().await;
    assert_snapshot!(graph.query("{ owners { ... on User { id } ... on Group { id } } }").await, @r#"{"errors":[{"message":"Fields \"id\" conflict because they return conflicting types \"ID and \"ID!\". Use different aliases on the fields to fetch both if this was intentional.","locations":[{"line":1,"column":46}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    assert_snapshot!(graph.query("{ owners { ... on User { size } ... on Group { size } } }").await, @r#"{"errors":[{"message":"Fields \"size\" conflict because they return conflicting types \"Int! and \"[Int]\". Use different aliases on the fields to fetch both if this was intentional.","locations":[{"line":1,"column":48}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
}

/// The interface says nullable, the implementation does not: a null inside is an error there only.
#[tokio::test]
async fn an_implementation_may_promise_more_than_its_interface() {
    let graph = owners().await;
    assert_snapshot!(graph.query("{ accounts { name } }").await, @r#"{"data":{"accounts":[{"name":null},{"name":"U"}]}}"#);
    assert_snapshot!(graph.query("{ accounts { name ... on User { x: name at } } }").await, @r#"{"data":{"accounts":[{"name":null},{"name":"U","x":"U","at":"Oslo"}]}}"#);
    graph
        .subgraph("a")
        .fail(crate::support::subgraph::Fault::Answer(
            200,
            json!({"data": {"accounts": [
                {"__typename": "Group", "name": null}, {"__typename": "User", "name": null},
            ]}})
            .to_string(),
        ));
    assert_snapshot!(graph.query("{ accounts { __typename name } }").await, @r#"{"data":null,"errors":[{"message":"no value for the non-null field \"name\"","path":["accounts",1,"name"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
}

/// Same response key, same type, other arguments per member: one subgraph field under two aliases.
#[tokio::test]
async fn members_may_use_one_key_with_other_arguments() {
    let a = Subgraph::new(
        "a",
        "type Query { animals: [Animal!]! }
         union Animal = Cat | Dog
         type Cat @key(fields: \"id\") { id: ID! says(times: Int!): String owner: Owner }
         type Dog @key(fields: \"id\") { id: ID! says(times: Int!): String owner: Owner }
         type Owner @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"animals": [
        {"__typename": "Cat", "id": "c", "owner": {"id": "o"}}, {"__typename": "Dog", "id": "d", "owner": {"id": "o"}},
    ]}))
    .field("Cat", "says", |_, arguments| Ok(json!("miau ".repeat(arguments["times"].as_u64().unwrap_or(0) as usize))))
    .field("Dog", "says", |_, arguments| Ok(json!("wuff ".repeat(arguments["times"].as_u64().unwrap_or(0) as usize))));
    let b = Subgraph::new(
        "b",
        "type Owner @key(fields: \"id\") { id: ID! pets(kind: String): Int name: String }",
    )
    .entities(json!([{"__typename": "Owner", "id": "o", "name": "Ada"}]))
    .field("Owner", "pets", |_, arguments| {
        Ok(json!(arguments["kind"].as_str().unwrap_or("").len()))
    });
    let graph = graph(vec![a, b]).await;
    let query = "query($n: Int!, $k: String) { animals {
      ... on Cat { s: says(times: 1) owner { p: pets(kind: $k) } }
      ... on Dog { s: says(times: $n) owner { p: pets(kind: \"dog\") x: name } }
    } }";
    assert_snapshot!(graph.ask(query, Some(json!({"n": 2, "k": "ca"}))).await, @r#"{"data":{"animals":[{"s":"miau ","owner":{"p":2}},{"s":"wuff wuff ","owner":{"p":3,"x":"Ada"}}]}}"#);
}

/// `id` and `note` are of one type in the graph, but not in subgraph `a`: there they must not meet
/// under one key.
#[tokio::test]
async fn members_that_differ_in_a_subgraph_only_may_share_a_key() {
    let a = Subgraph::new(
        "a",
        "type Query { accounts: [Account!]! }
         union Account = User | Admin
         type User @key(fields: \"id\") { id: ID! note: String! @shareable }
         type Admin @key(fields: \"id\") { id: ID note: String @shareable same: [Account!]! }",
    )
    .query(json!({"accounts": [
        {"__typename": "User", "id": "u", "note": "n"},
        {"__typename": "Admin", "id": "a", "note": null, "same": [{"__typename": "User", "id": "u", "note": "n"}, {"__typename": "Admin", "id": "a", "note": null, "same": []}]},
    ]}));
    let b = Subgraph::new(
        "b",
        "type User @key(fields: \"id\") { id: ID note: String @shareable name: String }
         type Admin @key(fields: \"id\") { id: ID name: String }",
    )
    .entities(json!([
        {"__typename": "User", "id": "u", "note": "n", "name": "U"}, {"__typename": "Admin", "id": "a", "name": null},
    ]));
    let graph = graph(vec![a, b]).await;
    let query = "{ accounts {
      ... on User { id note name }
      ... on Admin { id note name same { ... on User { id } ... on Admin { id note } } }
    } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"accounts":[{"id":"u","note":"n","name":"U"},{"id":"a","note":null,"name":null,"same":[{"id":"u"},{"id":"a","note":null}]}]}}"#);
}

/// The entities of two types come by one request; where their fields differ in that subgraph, each
/// type has a list of its own.
#[tokio::test]
async fn entities_that_differ_in_a_subgraph_are_asked_for_apart() {
    let a = Subgraph::new(
        "a",
        "type Query { all: [Owner] } union Owner = User | Team
         type User @key(fields: \"id\") { id: ID! } type Team @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"all": [{"__typename": "User", "id": "u"}, {"__typename": "Team", "id": "t"}]}));
    let b = Subgraph::new(
        "b",
        "type User @key(fields: \"id\") { id: ID! note: String @shareable sub: Big }
         type Team @key(fields: \"id\") { id: ID! note: String! @shareable sub: Small }
         type Big { x: Int! @shareable } type Small { x: Int @shareable }",
    )
    .entities(json!([
        {"__typename": "User", "id": "u", "note": null, "sub": {"x": 1}},
        {"__typename": "Team", "id": "t", "note": "n", "sub": {"x": null}},
    ]));
    let c = Subgraph::new(
        "c",
        "type User @key(fields: \"id\") { id: ID! note: String @shareable c: Int }
         type Team @key(fields: \"id\") { id: ID! note: String @shareable c: Int }
         type Big { x: Int @shareable }",
    )
    .entities(json!([
        {"__typename": "User", "id": "u", "note": null, "c": 1},
        {"__typename": "Team", "id": "t", "note": "n", "c": 2},
    ]));
    let graph = graph(vec![a, b, c]).await;
    assert_snapshot!(graph.told("{ all { ... on User { note sub { x } } ... on Team { note sub { x } } } }").await, @r#"
    {"data":{"all":[{"note":null,"sub":{"x":1}},{"note":"n","sub":{"x":null}}]}}
    a: {all{__typename ...on User{id} ...on Team{id}}}
    b: query($representations0:[_Any!]!, $representations1:[_Any!]!){_e0: _entities(representations: $representations0){...on User{note sub{x}}} _e1: _entities(representations: $representations1){...on Team{note sub{x}}}}
    "#);
    assert_snapshot!(graph.told("{ all { ... on User { note c } ... on Team { note c } } }").await, @r#"
    {"data":{"all":[{"note":null,"c":1},{"note":"n","c":2}]}}
    a: {all{__typename ...on User{id} ...on Team{id}}}
    c: query($representations:[_Any!]!){_entities(representations: $representations){...on User{note c} ...on Team{note c}}}
    "#);
}
