//! Enumerations, input objects and unions whose parts differ between subgraphs.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, graph};

/// As output, clients see the values of all subgraphs; as input, those that all of them take.
#[tokio::test]
async fn an_enumeration_is_joined_as_output_and_narrowed_as_input() {
    let a = Subgraph::new(
        "a",
        "type Query { users: [User] byRole(role: Role): [User] }
         type User @key(fields: \"id\") { id: ID! kind: Kind }
         enum Kind { PERSON @inaccessible COMPANY } enum Role { ADMIN GUEST }",
    )
    .query(json!({"users": [{"id": "1", "kind": "PERSON"}, {"id": "2", "kind": "COMPANY"}]}))
    .field("Query", "byRole", |_, arguments| {
        Ok(json!([{"id": if arguments["role"] == "ADMIN" { "2" } else { "1" }, "kind": "COMPANY"}]))
    });
    let b = Subgraph::new(
        "b",
        "type Query { kinds: [Kind!] count(role: Role!): Int }
         type User @key(fields: \"id\") { id: ID! also: [[Kind!]] }
         enum Kind { ROBOT COMPANY } enum Role { ADMIN OWNER }",
    )
    .query(json!({"kinds": ["ROBOT", "COMPANY"], "count": 1}))
    .entities(json!([
        {"__typename": "User", "id": "1", "also": [["ROBOT"], null]},
        {"__typename": "User", "id": "2", "also": [["COMPANY", "COMPANY"], []]},
    ]));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.query("{ kinds users { also } }").await, @r#"{"data":{"kinds":["ROBOT","COMPANY"],"users":[{"also":[["ROBOT"],null]},{"also":[["COMPANY","COMPANY"],[]]}]}}"#);
    assert_snapshot!(graph.query("{ users { id kind } }").await, @r#"{"data":{"users":[{"id":"1","kind":null},{"id":"2","kind":"COMPANY"}]},"errors":[{"message":"the subgraph's value for field \"kind\" does not match the field's type","path":["users",0,"kind"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
    assert_snapshot!(graph.query("{ byRole(role: ADMIN) { id } count(role: ADMIN) }").await, @r#"{"data":{"byRole":[{"id":"2"}],"count":1}}"#);
    assert_snapshot!(graph.query("{ byRole(role: GUEST) { id } }").await, @r#"{"errors":[{"message":"Value \"GUEST\" does not exist in \"Role\" enum.","locations":[{"line":1,"column":16}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    let query = "query($r: Role!) { byRole(role: $r) { id } count(role: $r) }";
    assert_snapshot!(graph.ask(query, Some(json!({"r": "ADMIN"}))).await, @r#"{"data":{"byRole":[{"id":"2"}],"count":1}}"#);
    assert_snapshot!(graph.ask(query, Some(json!({"r": "OWNER"}))).await, @r#"{"errors":[{"message":"$r must be Role!, not \"OWNER\"","extensions":{"code":"BAD_USER_INPUT"}}]}"#);
    assert_snapshot!(graph.query("{ __type(name: \"Kind\") { enumValues { name } } role: __type(name: \"Role\") { enumValues { name } } }").await, @r#"{"data":{"__type":{"enumValues":[{"name":"COMPANY"},{"name":"ROBOT"}]},"role":{"enumValues":[{"name":"ADMIN"}]}}}"#);
}

#[tokio::test]
async fn an_input_object_keeps_the_fields_that_all_subgraphs_take() {
    let a = Subgraph::new(
        "a",
        "type Query { inA(filter: Filter!): String }
         input Filter { first: Int! tag: [String!] = [\"x\"] onlyA: Int nested: Nested }
         input Nested { deep: Boolean = true a: Int }",
    )
    .field("Query", "inA", |_, arguments| {
        Ok(json!(arguments["filter"].to_string()))
    });
    let b = Subgraph::new(
        "b",
        "type Query { inB(filter: Filter): String }
         input Filter { first: Int tag: [String!] = [\"x\"] nested: Nested }
         input Nested { deep: Boolean = true b: Int }",
    )
    .field("Query", "inB", |_, arguments| {
        Ok(json!(arguments["filter"].to_string()))
    });
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.query("{ inA(filter: {first: 3}) inB(filter: {first: 4, tag: \"one\", nested: {deep: null}}) }").await, @r#"{"data":{"inA":"{\"first\":3,\"tag\":[\"x\"]}","inB":"{\"first\":4,\"tag\":[\"one\"],\"nested\":{\"deep\":null}}"}}"#);
    assert_snapshot!(graph.query("{ inB(filter: {tag: []}) }").await, @r#"{"errors":[{"message":"Field \"Filter.first\" of required type \"Int!\" was not provided.","locations":[{"line":1,"column":15}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    assert_snapshot!(graph.query("{ inA(filter: {first: 1, onlyA: 2}) }").await, @r#"{"errors":[{"message":"Field \"onlyA\" is not defined by type \"Filter\".","locations":[{"line":1,"column":33}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
    let query = "query($f: Filter! = {first: 9}, $deep: Boolean) { inA(filter: $f) inB(filter: {first: 1, nested: {deep: $deep}}) }";
    assert_snapshot!(graph.ask(query, Some(json!({}))).await, @r#"{"data":{"inA":"{\"first\":9}","inB":"{\"first\":1,\"tag\":[\"x\"],\"nested\":{\"deep\":null}}"}}"#);
    assert_snapshot!(graph.ask(query, Some(json!({"f": {"first": 5, "nested": {}}, "deep": false}))).await, @r#"{"data":{"inA":"{\"first\":5,\"nested\":{\"deep\":true},\"tag\":[\"x\"]}","inB":"{\"first\":1,\"tag\":[\"x\"],\"nested\":{\"deep\":false}}"}}"#);
    assert_snapshot!(graph.ask(query, Some(json!({"f": {"tag": []}}))).await, @r#"{"errors":[{"message":"$f: the required field \"first\" of type Int! is missing","extensions":{"code":"BAD_USER_INPUT"}}]}"#);
}

/// Arguments that not all subgraphs take are no arguments for clients.
#[tokio::test]
async fn an_argument_must_be_taken_by_all_subgraphs() {
    let a = Subgraph::new(
        "a",
        "type Query { it(x: Int, y: Int): Int @shareable a: Int }",
    )
    .field("Query", "it", |_, arguments| Ok(arguments["x"].clone()));
    let b = Subgraph::new("b", "type Query { it(x: Int): Int @shareable b: Int }").field(
        "Query",
        "it",
        |_, arguments| Ok(arguments["x"].clone()),
    );
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.query("{ it(x: 1) }").await, @r#"{"data":{"it":1}}"#);
    assert_snapshot!(graph.query("{ it(x: 1, y: 2) }").await, @r#"{"errors":[{"message":"Unknown argument \"y\" on field \"Query.it\".","locations":[{"line":1,"column":12}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}"#);
}

#[tokio::test]
async fn a_union_has_the_members_of_all_subgraphs() {
    let a = Subgraph::new(
        "a",
        "type Query { media: Media book: Media @shareable viewer: Viewer @shareable }
         union Media = Book type Book @shareable { title: String! }
         union ViewerMedia = Book | Song type Song @shareable { title: String! a: Int! }
         type Viewer @shareable { media: [ViewerMedia!] song: ViewerMedia }",
    )
    .query(json!({
        "media": {"__typename": "Book", "title": "M"}, "book": {"__typename": "Book", "title": "B"},
        "viewer": {"media": [{"__typename": "Book", "title": "V"}], "song": {"__typename": "Song", "title": "S", "a": 1}},
    }));
    let b = Subgraph::new(
        "b",
        "type Query { book: Media @shareable viewer: Viewer @shareable film: Media }
         union Media = Book | Film type Book @shareable { title: String! } type Film { title: String minutes: Int! }
         union ViewerMedia = Book | Song type Song @shareable { title: String! a: Int! }
         type Viewer @shareable { media: [ViewerMedia!] song: ViewerMedia }",
    )
    .query(json!({
        "book": {"__typename": "Book", "title": "B"}, "film": {"__typename": "Film", "title": null, "minutes": 9},
        "viewer": {"media": [{"__typename": "Book", "title": "V"}], "song": {"__typename": "Song", "title": "S", "a": 1}},
    }));
    let graph = graph(vec![a, b]).await;
    let query = "{
      media { __typename ... on Book { title } ... on Film { minutes } }
      book { ... on Film { name: title } ... on Book { title } }
      film { ... on Film { title minutes } __typename }
    }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"media":{"__typename":"Book","title":"M"},"book":{"title":"B"},"film":{"title":null,"minutes":9,"__typename":"Film"}}}"#);
    assert_snapshot!(graph.query("{ viewer { media { ... on Book { title } ... on Song { title a } } song { __typename ... on Song { a } } } }").await, @r#"{"data":{"viewer":{"media":[{"title":"V"}],"song":{"__typename":"Song","a":1}}}}"#);
}
