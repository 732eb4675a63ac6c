//! `@interfaceObject`: a subgraph adds fields to an interface without knowing its implementations.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph, graph_of, subgraph::Fault};

/// `accounts` knows the implementations; `badges` and `scores` only the interface.
async fn accounts() -> TestGraph {
    let accounts = Subgraph::new(
        "accounts",
        "type Query { accounts: [Account] account(id: ID!): Account }
         interface Account @key(fields: \"id\") { id: ID! name: String friends: [Account!] }
         type User implements Account @key(fields: \"id\") {
           id: ID! name: String age: Int friends: [Account!] }
         type Bot implements Account @key(fields: \"id\") {
           id: ID! name: String model: String! friends: [Account!] }",
    )
    .query(json!({"accounts": [
        {"__typename": "User", "id": "u1"}, null, {"__typename": "Bot", "id": "b1"},
    ]}))
    .field("Query", "account", |_, arguments| {
        let name = if arguments["id"] == "b1" {
            "Bot"
        } else {
            "User"
        };
        Ok(json!({"__typename": name, "id": arguments["id"]}))
    })
    .entities(json!([
        {"__typename": "User", "id": "u1", "name": "Ada", "age": 36,
         "friends": [{"__typename": "Bot", "id": "b1"}, {"__typename": "User", "id": "u2"}]},
        {"__typename": "User", "id": "u2", "name": null, "age": null, "friends": null},
        {"__typename": "Bot", "id": "b1", "name": "R2", "model": "D2",
         "friends": [{"__typename": "User", "id": "u1"}]},
    ]));
    let badges = Subgraph::new(
        "badges",
        "type Query { badges: [Badge!]! }
         type Badge { text: String! owner: Account! }
         type Account @key(fields: \"id\") @interfaceObject {
           id: ID! badges: [Badge!]! name: String @external
           banner(mark: String = \"*\"): String! @requires(fields: \"name\")
         }",
    )
    .query(json!({"badges": [
        {"text": "first", "owner": {"id": "u1"}}, {"text": "fast", "owner": {"id": "b1"}},
    ]}))
    .entities(json!([
        {"__typename": "Account", "id": "u1", "badges": [{"text": "first", "owner": {"id": "u1"}}]},
        {"__typename": "Account", "id": "u2", "badges": []},
        {"__typename": "Account", "id": "b1", "badges": [{"text": "fast", "owner": {"id": "b1"}}]},
    ]))
    .field("Account", "banner", |account, arguments| {
        let name = account.get("name").ok_or("the name was not asked for")?;
        let mark = arguments["mark"].as_str().unwrap_or_default();
        Ok(json!(format!(
            "{mark}{}{mark}",
            name.as_str().unwrap_or("nobody")
        )))
    });
    let scores = Subgraph::new(
        "scores",
        "type Query { best: Account }
         type Account @key(fields: \"id\") @interfaceObject {
           id: ID! score: Int!
           badges: [Badge!]! @external
           rank: Int! @requires(fields: \"badges { text }\")
         }
         type Badge { text: String! @external }",
    )
    .query(json!({"best": {"id": "b1"}}))
    .entities(json!([
        {"__typename": "Account", "id": "u1", "score": 7},
        {"__typename": "Account", "id": "u2", "score": 0},
        {"__typename": "Account", "id": "b1", "score": 9},
    ]))
    .field("Account", "rank", |account, _| {
        let badges = account["badges"]
            .as_array()
            .ok_or("the badges were not asked for")?;
        let texts: Vec<&str> = badges
            .iter()
            .filter_map(|badge| badge["text"].as_str())
            .collect();
        if texts.len() == badges.len() {
            Ok(json!(texts.len()))
        } else {
            Err("no texts".into())
        }
    });
    graph(vec![accounts, badges, scores]).await
}

#[tokio::test]
async fn fields_of_two_interface_objects_meet_in_one_object() {
    let graph = accounts().await;
    assert_snapshot!(graph.query("{ accounts { __typename id name score badges { text } } }").await, @r#"{"data":{"accounts":[{"__typename":"User","id":"u1","name":"Ada","score":7,"badges":[{"text":"first"}]},null,{"__typename":"Bot","id":"b1","name":"R2","score":9,"badges":[{"text":"fast"}]}]}}"#);
    let query = "{ accounts {
      ... on Account { score }
      ... on User { kind: __typename years: age points: score badges { of: owner { id ... on User { name } } } }
      ... on Bot { kind: __typename model score }
    } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"accounts":[{"score":7,"kind":"User","years":36,"points":7,"badges":[{"of":{"id":"u1","name":"Ada"}}]},null,{"score":9,"kind":"Bot","model":"D2"}]}}"#);
}

#[tokio::test]
async fn a_type_is_learned_where_only_the_interface_is_known() {
    let graph = accounts().await;
    assert_snapshot!(graph.told("{ best { score } }").await, @r#"
    {"data":{"best":{"score":9}}}
    scores: {best{score}}
    "#);
    assert_snapshot!(graph.told("{ best { ... on Bot { model } ... on User { age } } }").await, @r#"
    {"data":{"best":{"model":"D2"}}}
    scores: {best{__typename id}}
    accounts: query($representations:[_Any!]!){_entities(representations: $representations){...on Account{__typename ...on Bot{model} ...on User{age}}}}
    "#);
    assert_snapshot!(graph.query("{ best { it: __typename score name badges { text } ... on Bot { model } } }").await, @r#"{"data":{"best":{"it":"Bot","score":9,"name":"R2","badges":[{"text":"fast"}],"model":"D2"}}}"#);
    let query = "{ badges { text owner { __typename name score ... on Bot { model friends { __typename name score } } } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"badges":[{"text":"first","owner":{"__typename":"User","name":"Ada","score":7}},{"text":"fast","owner":{"__typename":"Bot","name":"R2","score":9,"model":"D2","friends":[{"__typename":"User","name":"Ada","score":7}]}}]}}"#);
}

#[tokio::test]
async fn a_fragment_on_another_implementation_selects_nothing() {
    let graph = accounts().await;
    assert_snapshot!(graph.query("{ best { ... on User { score badges { text } } } }").await, @r#"{"data":{"best":{}}}"#);
    assert_snapshot!(graph.query("{ best { ...U ...A } } fragment U on User { age } fragment A on Account { id }").await, @r#"{"data":{"best":{"id":"b1"}}}"#);
}

#[tokio::test]
async fn requirements_of_interface_objects_are_fetched_for_every_implementation() {
    let graph = accounts().await;
    assert_snapshot!(graph.told("{ best { banner } }").await, @r#"
    {"data":{"best":{"banner":"*R2*"}}}
    scores: {best{__typename id}}
    accounts: query($representations:[_Any!]!){_entities(representations: $representations){...on Account{name}}}
    badges: query($representations:[_Any!]!){_entities(representations: $representations){...on Account{banner}}}
    "#);
    assert_snapshot!(graph.query("{ accounts { banner other: banner(mark: \"-\") } }").await, @r#"{"data":{"accounts":[{"banner":"*Ada*","other":"-Ada-"},null,{"banner":"*R2*","other":"-R2-"}]}}"#);
    assert_snapshot!(graph.query("{ accounts { rank } best { rank banner name } }").await, @r#"{"data":{"accounts":[{"rank":1},null,{"rank":1}],"best":{"rank":1,"banner":"*R2*","name":"R2"}}}"#);
    assert_snapshot!(graph.query("{ account(id: \"u1\") { friends { __typename rank banner ... on User { score } } } }").await, @r#"{"data":{"account":{"friends":[{"__typename":"Bot","rank":1,"banner":"*R2*"},{"__typename":"User","rank":0,"banner":"*nobody*","score":0}]}}}"#);
    assert_snapshot!(graph.query("{ badges { owner { rank ... on User { banner } } } }").await, @r#"{"data":{"badges":[{"owner":{"rank":1,"banner":"*Ada*"}},{"owner":{"rank":1}}]}}"#);
}

#[tokio::test]
async fn conditions_decide_whether_the_type_is_asked_for() {
    let graph = accounts().await;
    let query = "query($type: Boolean!, $score: Boolean!) {
      best { __typename @include(if: $type) score @include(if: $score) ... on Bot @skip(if: $type) { model } }
    }";
    for (ty, score) in [(true, true), (true, false), (false, true), (false, false)] {
        let answer = graph
            .ask(query, Some(json!({"type": ty, "score": score})))
            .await;
        let mut best = json!({});
        if ty {
            best["__typename"] = json!("Bot");
        }
        if score {
            best["score"] = json!(9);
        }
        if !ty {
            best["model"] = json!("D2");
        }
        assert_eq!(answer, json!({"data": {"best": best}}), "{ty} {score}");
    }
}

/// `places` cannot resolve the interface by key: it only points at it.
#[tokio::test]
async fn an_interface_object_may_only_be_a_pointer() {
    let media = Subgraph::new(
        "media",
        "type Query { media: [Media!]! }
         interface Media @key(fields: \"id\") { id: ID! title: String! }
         type Film implements Media @key(fields: \"id\") { id: ID! title: String! minutes: Int! }
         type Song implements Media @key(fields: \"id\") { id: ID! title: String! seconds: Int! }",
    )
    .query(json!({"media": [{"__typename": "Film", "id": "f"}, {"__typename": "Song", "id": "s"}]}))
    .entities(json!([
        {"__typename": "Film", "id": "f", "title": "Alien", "minutes": 117},
        {"__typename": "Song", "id": "s", "title": "Waterloo", "seconds": 160},
    ]));
    let places = Subgraph::new(
        "places",
        "type Query { shelf: [Place!]! }
         type Place { number: Int! holds: Media! }
         type Media @key(fields: \"id\", resolvable: false) @interfaceObject { id: ID! }",
    )
    .query(json!({"shelf": [{"number": 1, "holds": {"id": "s"}}, {"number": 2, "holds": {"id": "f"}}]}));
    let supergraph = include_str!("supergraphs/pointer.graphql");
    let graph = graph_of(supergraph, vec![media, places]).await;
    assert_snapshot!(graph.told("{ shelf { number holds { id } } }").await, @r#"
    {"data":{"shelf":[{"number":1,"holds":{"id":"s"}},{"number":2,"holds":{"id":"f"}}]}}
    places: {shelf{number holds{id}}}
    "#);
    assert_snapshot!(graph.told("{ shelf { holds { __typename title ... on Song { seconds } } } }").await, @r#"
    {"data":{"shelf":[{"holds":{"__typename":"Song","title":"Waterloo","seconds":160}},{"holds":{"__typename":"Film","title":"Alien"}}]}}
    places: {shelf{holds{__typename id}}}
    media: query($representations:[_Any!]!){_entities(representations: $representations){...on Media{__typename title ...on Song{seconds}}}}
    "#);
    assert_snapshot!(graph.query("{ media { title } shelf { holds { ... on Film { id } } } }").await, @r#"{"data":{"media":[{"title":"Alien"},{"title":"Waterloo"}],"shelf":[{"holds":{}},{"holds":{"id":"f"}}]}}"#);
}

/// `reviews` extends the interface, and another subgraph one implementation of it.
#[tokio::test]
async fn an_implementation_is_extended_beside_its_interface() {
    let shop = Subgraph::new(
        "shop",
        "type Query { items: [Item!]! }
         interface Item @key(fields: \"id\") { id: ID! }
         type Book implements Item @key(fields: \"id\") { id: ID! }
         type Game implements Item @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"items": [{"__typename": "Book", "id": "1"}, {"__typename": "Game", "id": "2"}]}))
    .entities(json!([{"__typename": "Book", "id": "1"}, {"__typename": "Game", "id": "2"}]));
    let reviews = Subgraph::new(
        "reviews",
        "type Query { newest: Item }
         type Item @key(fields: \"id\") @interfaceObject { id: ID! stars: [Int] }",
    )
    .query(json!({"newest": {"id": "1"}}))
    .entities(json!([
        {"__typename": "Item", "id": "1", "stars": [5, null]},
        {"__typename": "Item", "id": "2", "stars": null},
    ]));
    let authors = Subgraph::new(
        "authors",
        "type Book @key(fields: \"id\") { id: ID! author: String stars: [Int] @external
           praise: String @requires(fields: \"stars\") }",
    )
    .entities(json!([{"__typename": "Book", "id": "1", "author": "Ada"}]))
    .field("Book", "praise", |book, _| {
        Ok(json!(format!("{}", book["stars"])))
    });
    let supergraph = include_str!("supergraphs/extended_implementation.graphql");
    let graph = graph_of(supergraph, vec![shop, reviews, authors]).await;
    assert_snapshot!(graph.query("{ items { id stars ... on Book { author } } newest { __typename ... on Book { stars } } }").await, @r#"{"data":{"items":[{"id":"1","stars":[5,null],"author":"Ada"},{"id":"2","stars":null}],"newest":{"__typename":"Book","stars":[5,null]}}}"#);
    assert_snapshot!(graph.query("{ items { ... on Book { praise author } ... on Item { x: stars } } }").await, @r#"{"data":{"items":[{"praise":"[5,null]","author":"Ada","x":[5,null]},{"x":null}]}}"#);
    assert_snapshot!(graph.query("{ newest { stars ... on Book { author praise } } }").await, @r#"{"data":{"newest":{"stars":[5,null],"author":"Ada","praise":"[5,null]"}}}"#);
    assert_snapshot!(graph.query("{ newest { ... on Book { author } ... on Game { id } } }").await, @r#"{"data":{"newest":{"author":"Ada"}}}"#);
}

#[tokio::test]
async fn each_implementation_can_have_fields_of_its_own_and_of_the_interface_object() {
    let graph = accounts().await;
    assert_snapshot!(graph.told("{ badges { owner { ... on User { id } ... on Bot { banner } } } }").await, @r#"
    {"data":{"badges":[{"owner":{"id":"u1"}},{"owner":{"banner":"*R2*"}}]}}
    badges: {badges{owner{__typename id}}}
    accounts: query($representations:[_Any!]!){_entities(representations: $representations){...on Account{__typename ...on Bot{name}}}}
    badges: query($representations:[_Any!]!){_entities(representations: $representations){...on Account{banner}}}
    "#);
    assert_snapshot!(graph.query("{ badges { owner { ... on User { id age score } ... on Bot { banner x: id badges { text } } } } }").await, @r#"{"data":{"badges":[{"owner":{"id":"u1","age":36,"score":7}},{"owner":{"banner":"*R2*","x":"b1","badges":[{"text":"fast"}]}}]}}"#);
    assert_snapshot!(graph.query("{ best { ... on User { banner } ... on Bot { rank banner(mark: \"-\") } } }").await, @r#"{"data":{"best":{"rank":1,"banner":"-R2-"}}}"#);
}

/// The client sees from the order of the fields which type an object is of.
#[tokio::test]
async fn a_type_is_learned_where_its_fields_stand_elsewhere_too() {
    let graph = accounts().await;
    let query = "{ best { ... on Bot { score } banner: __typename score } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"best":{"score":9,"banner":"Bot"}}}"#);
    assert_snapshot!(graph.told("{ best { ... on User { score } score } }").await, @r#"
    {"data":{"best":{"score":9}}}
    scores: {best{__typename score id}}
    accounts: query($representations:[_Any!]!){_entities(representations: $representations){...on Account{__typename}}}
    "#);
}

/// The interface's name is no object's type: where nobody tells more, there is no `__typename`.
#[tokio::test]
async fn an_object_whose_type_nobody_tells_is_null_with_an_error() {
    let accounts = Subgraph::new(
        "accounts",
        "type Query { accounts: [Account] }
         interface Account @key(fields: \"id\") { id: ID! name: String }
         type User implements Account @key(fields: \"id\") { id: ID! name: String }",
    )
    .entities(json!([{"__typename": "User", "id": "u1", "name": "Ada"}]));
    let scores = Subgraph::new(
        "scores",
        "type Query { ranking: [Account] }
         type Account @key(fields: \"id\") @interfaceObject { id: ID! score: Int }",
    )
    .query(json!({"ranking": [{"id": "u1", "score": 9}, {"id": "gone", "score": 8}]}));
    let graph = graph(vec![accounts, scores]).await;
    assert_snapshot!(graph.query("{ ranking { id name } }").await, @r#"{"data":{"ranking":[{"id":"u1","name":"Ada"},{"id":"gone","name":null}]}}"#);
    assert_snapshot!(graph.query("{ ranking { __typename id score } }").await, @r#"{"data":{"ranking":[{"__typename":"User","id":"u1","score":9},null]},"errors":[{"message":"the object's type is unknown: no subgraph returned its __typename","path":["ranking",1,"__typename"],"extensions":{"code":"INVALID_VALUE"}}]}"#);
    let down = Fault::Answer(503, String::new());
    graph.subgraph("accounts").fail(down);
    assert_snapshot!(graph.query("{ ranking { score kind: __typename } }").await, @r#"{"data":{"ranking":[null,null]},"errors":[{"message":"subgraph \"accounts\" returned no usable response: HTTP status 503","path":["ranking",0],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"accounts"}},{"message":"subgraph \"accounts\" returned no usable response: HTTP status 503","path":["ranking",1],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"accounts"}}]}"#);
}

/// However many implementations there are, their entities are the interface's in its subgraph.
#[tokio::test]
async fn entities_of_all_implementations_are_one_list() {
    let shop = Subgraph::new(
        "shop",
        "type Query { items: [Item!]! }
         interface Item @key(fields: \"id\") { id: ID! }
         type Book implements Item @key(fields: \"id\") { id: ID! pages: Int }
         type Film implements Item @key(fields: \"id\") { id: ID! minutes: Int }
         type Song implements Item @key(fields: \"id\") { id: ID! }",
    )
    .query(json!({"items": [
        {"__typename": "Book", "id": "1", "pages": 300}, {"__typename": "Film", "id": "2", "minutes": 90},
        {"__typename": "Book", "id": "1", "pages": 300}, {"__typename": "Song", "id": "3"},
    ]}));
    let ratings = Subgraph::new(
        "ratings",
        "type Item @key(fields: \"id\") @interfaceObject { id: ID! rating: Int }",
    )
    .entities(json!([
        {"__typename": "Item", "id": "1", "rating": 5}, {"__typename": "Item", "id": "2", "rating": 4},
        {"__typename": "Item", "id": "3", "rating": 3},
    ]));
    let graph = graph(vec![shop, ratings]).await;
    let query = "{ items { ... on Book { rating pages } ... on Film { minutes rating } ... on Song { stars: rating } } }";
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"items":[{"rating":5,"pages":300},{"minutes":90,"rating":4},{"rating":5,"pages":300},{"stars":3}]}}
    shop: {items{__typename ...on Book{id pages} ...on Film{minutes id} ...on Song{id}}}
    ratings: query($representations0:[_Any!]!, $representations1:[_Any!]!){_e0: _entities(representations: $representations0){...on Item{rating}} _e1: _entities(representations: $representations1){...on Item{stars: rating}}}
    "#);
}

/// The type of an object is not needed for what the interface object's own subgraph knows of it, even
/// where no subgraph has an implementation.
#[tokio::test]
async fn its_own_subgraph_answers_without_the_type() {
    for has_implementation in [false, true] {
        let (own, joined) = match has_implementation {
            false => ("", ""),
            true => (
                "type Thing implements Node @key(fields: \"id\") { id: ID! }",
                "type Thing implements Node @join__implements(graph: A, interface: \"Node\")
                   @join__type(graph: A, key: \"id\") { id: ID! field: String @join__field }",
            ),
        };
        let a = Subgraph::new(
            "a",
            &format!(
                "type Query {{ a: Node }} interface Node @key(fields: \"id\") {{ id: ID! }} {own}"
            ),
        );
        let b = Subgraph::new(
            "b",
            "type Query { b: Node }
             type Node @key(fields: \"id\", resolvable: false) @interfaceObject { id: ID! field: String }",
        )
        .query(json!({"b": {"id": "n1", "field": "foo"}}));
        let supergraph = format!(
            "enum join__Graph {{
               A @join__graph(name: \"a\", url: \"http://a.test/graphql\")
               B @join__graph(name: \"b\", url: \"http://b.test/graphql\") }}
             type Query @join__type(graph: A) @join__type(graph: B) {{
               a: Node @join__field(graph: A) b: Node @join__field(graph: B) }}
             interface Node @join__type(graph: A, key: \"id\")
               @join__type(graph: B, key: \"id\", resolvable: false, isInterfaceObject: true) {{
               id: ID! field: String @join__field(graph: B) }} {joined}"
        );
        let graph = graph_of(&supergraph, vec![a, b]).await;
        // In a loop there is no inline snapshot.
        let told = graph.told("{ b { id field } }").await;
        let expected = "{\"data\":{\"b\":{\"id\":\"n1\",\"field\":\"foo\"}}}\nb: {b{id field}}";
        assert_eq!(told, expected, "{has_implementation}");
    }
}
