//! Arguments that subgraphs take from objects above: `@context` and `@fromContext`.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, graph_of, subgraph::Fault};

fn shop(id: &str, currency: &str, country: &str, items: &[&str]) -> Value {
    let items: Vec<Value> = items
        .iter()
        .map(|id| json!({"__typename": "Item", "id": id, "weight": 3}))
        .collect();
    json!({
        "__typename": "Shop", "id": id, "currency": currency, "place": {"country": country},
        "best": items.first(), "items": items, "shelves": [{"items": items}],
    })
}

async fn shops_of(shops: Vec<Value>) -> TestGraph {
    shops_with("", shops).await
}

/// Shops whose subgraphs define this directive.
async fn shops_with(directive: &str, shops: Vec<Value>) -> TestGraph {
    let a = Subgraph::new(
        "a",
        &(directive.to_owned() + "type Query { shops: [Shop!] owner: Owner firm: Firm item(id: ID!): Item } type Mutation { open(id: ID!): Shop }
         type Shop @key(fields: \"id\") {
           id: ID! currency: String place: Place items: [Item!] best: Item shelves: [Shelf!] }
         type Place { country: String } type Shelf { items: [Item!] } union Owner = Person | Firm
         type Person @key(fields: \"id\") { id: ID! name: String shops: [Shop!] }
         type Firm @key(fields: \"id\") { id: ID! title: String shops: [Shop!] }
         type Item @key(fields: \"id\") { id: ID! weight: Int }"),
    )
    .query(json!({
        "shops": shops, "item": {"id": "1"},
        "owner": {"__typename": "Firm", "id": "f", "title": "Acme", "shops": shops},
        "firm": {"__typename": "Firm", "id": "f", "title": "Acme", "shops": shops},
    }))
    .field("Mutation", "open", |_, arguments| {
        let id = arguments["id"].as_str().unwrap_or_default();
        Ok(shop(id, &format!("of-{id}"), "no", &["1"]))
    });
    let languages =
        |id: &str| json!({"__typename": "Shop", "id": id, "languages": [format!("l-{id}")]});
    let mut entities: Vec<Value> = shops
        .iter()
        .filter_map(|shop| shop["id"].as_str())
        .filter(|id| *id != "unknown")
        .map(languages)
        .collect();
    entities.extend((1..100).map(|n| {
        json!({"__typename": "Item", "id": n.to_string(), "text": format!("t{n}"), "parts": [{"id": "9"}]})
    }));
    let b = Subgraph::new(
        "b",
        &(directive.to_owned() + "type Query { b: Int } union Owner = Person | Firm type Place { country: String @external }
         type Shop @key(fields: \"id\") { id: ID! currency: String @external place: Place @external languages: [String!] }
         type Person @key(fields: \"id\") { id: ID! name: String @external }
         type Firm @key(fields: \"id\") { id: ID! title: String @external }
         type Item @key(fields: \"id\") {
           id: ID! weight: Int @external text: String parts: [Item!]
           price(plus: Int, currency: String, country: String): String
           shipping(languages: [String!]): String @requires(fields: \"weight\")
           soldBy(name: String, shop: ID!): String }"),
    )
    .entities(Value::Array(entities))
    .field("Item", "price", |item, arguments| {
        if arguments["currency"] == "none" {
            return Err("no such currency".to_owned());
        }
        Ok(json!(format!("{}{arguments}", item["id"].as_str().unwrap_or_default())))
    })
    .field("Item", "shipping", |item, arguments| {
        Ok(json!(format!("{} {}", item["weight"], arguments["languages"])))
    })
    .field("Item", "soldBy", |_, arguments| {
        Ok(json!(format!("{} {}", arguments["name"], arguments["shop"])))
    });
    let supergraph = include_str!("supergraphs/contexts.graphql");
    graph_of(&format!("{supergraph}{directive}"), vec![a, b]).await
}

async fn shops() -> TestGraph {
    shops_of(vec![
        shop("s1", "EUR", "fi", &["1", "2"]),
        shop("s2", "NOK", "no", &["1"]),
        shop("s3", "EUR", "fi", &["3", "1"]),
    ])
    .await
}

/// Items of shops with the same values are in one list, and equal ones once.
#[tokio::test]
async fn there_is_one_list_for_each_set_of_values() {
    let graph = shops().await;
    assert_snapshot!(graph.told("{ shops { items { id price } } }").await, @r#"
    {"data":{"shops":[{"items":[{"id":"1","price":"1{\"currency\":\"EUR\",\"country\":\"fi\"}"},{"id":"2","price":"2{\"currency\":\"EUR\",\"country\":\"fi\"}"}]},{"items":[{"id":"1","price":"1{\"currency\":\"NOK\",\"country\":\"no\"}"}]},{"items":[{"id":"3","price":"3{\"currency\":\"EUR\",\"country\":\"fi\"}"},{"id":"1","price":"1{\"currency\":\"EUR\",\"country\":\"fi\"}"}]}]}}
    a: {shops{items{id} currency place{country}}}
    b: query($representations0_0:[_Any!]!, $representations0_price_currency_0:String, $representations0_price_country_0:String, $representations0_1:[_Any!]!, $representations0_price_currency_1:String, $representations0_price_country_1:String){_e0_0: _entities(representations: $representations0_0){...on Item{price(currency: $representations0_price_currency_0, country: $representations0_price_country_0)}} _e0_1: _entities(representations: $representations0_1){...on Item{price(currency: $representations0_price_currency_1, country: $representations0_price_country_1)}}}
    "#);
}

/// What needs no context comes with it.
#[tokio::test]
async fn fields_of_one_object_come_in_one_request() {
    let graph = shops().await;
    assert_snapshot!(graph.told("query($n: Int = 2) { shops { best { text p: price(plus: $n) q: price(plus: 3) } } }").await, @r#"
    {"data":{"shops":[{"best":{"text":"t1","p":"1{\"plus\":2,\"currency\":\"EUR\",\"country\":\"fi\"}","q":"1{\"plus\":3,\"currency\":\"EUR\",\"country\":\"fi\"}"}},{"best":{"text":"t1","p":"1{\"plus\":2,\"currency\":\"NOK\",\"country\":\"no\"}","q":"1{\"plus\":3,\"currency\":\"NOK\",\"country\":\"no\"}"}},{"best":{"text":"t3","p":"3{\"plus\":2,\"currency\":\"EUR\",\"country\":\"fi\"}","q":"3{\"plus\":3,\"currency\":\"EUR\",\"country\":\"fi\"}"}}]}}
    a: {shops{best{id} currency place{country}}}
    b: query($representations0_0:[_Any!]!, $representations0_price_currency_0:String, $representations0_price_country_0:String, $representations0_1:[_Any!]!, $representations0_price_currency_1:String, $representations0_price_country_1:String, $n:Int=2){_e0_0: _entities(representations: $representations0_0){...on Item{text p: price(plus: $n, currency: $representations0_price_currency_0, country: $representations0_price_country_0) q: price(plus: 3, currency: $representations0_price_currency_0, country: $representations0_price_country_0)}} _e0_1: _entities(representations: $representations0_1){...on Item{text p: price(plus: $n, currency: $representations0_price_currency_1, country: $representations0_price_country_1) q: price(plus: 3, currency: $representations0_price_currency_1, country: $representations0_price_country_1)}}}
    "#);
}

#[tokio::test]
async fn values_come_from_other_subgraphs_and_with_requirements() {
    let graph = shops().await;
    assert_snapshot!(graph.told("{ shops { shelves { items { shipping } } } }").await, @r#"
    {"data":{"shops":[{"shelves":[{"items":[{"shipping":"3 [\"l-s1\"]"},{"shipping":"3 [\"l-s1\"]"}]}]},{"shelves":[{"items":[{"shipping":"3 [\"l-s2\"]"}]}]},{"shelves":[{"items":[{"shipping":"3 [\"l-s3\"]"},{"shipping":"3 [\"l-s3\"]"}]}]}]}}
    a: {shops{shelves{items{weight id}} id}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on Shop{languages}}}
    b: query($representations0_0:[_Any!]!, $representations0_shipping_languages_0:[String!], $representations0_1:[_Any!]!, $representations0_shipping_languages_1:[String!], $representations0_2:[_Any!]!, $representations0_shipping_languages_2:[String!]){_e0_0: _entities(representations: $representations0_0){...on Item{shipping(languages: $representations0_shipping_languages_0)}} _e0_1: _entities(representations: $representations0_1){...on Item{shipping(languages: $representations0_shipping_languages_1)}} _e0_2: _entities(representations: $representations0_2){...on Item{shipping(languages: $representations0_shipping_languages_2)}}}
    "#);
}

#[tokio::test]
async fn the_nearest_object_above_of_any_member_gives_the_value() {
    let graph = shops().await;
    assert_snapshot!(graph.told("{ owner { ... on Firm { shops { best { soldBy parts { soldBy id } } } } ... on Person { shops { best { soldBy } } } } }").await, @r#"
    {"data":{"owner":{"shops":[{"best":{"soldBy":"\"Acme\" \"s1\"","parts":[{"soldBy":"\"Acme\" \"s1\"","id":"9"}]}},{"best":{"soldBy":"\"Acme\" \"s2\"","parts":[{"soldBy":"\"Acme\" \"s2\"","id":"9"}]}},{"best":{"soldBy":"\"Acme\" \"s3\"","parts":[{"soldBy":"\"Acme\" \"s3\"","id":"9"}]}}]}}}
    a: {owner{__typename ...on Firm{shops{best{id} id} title} ...on Person{shops{best{id} id} name}}}
    b: query($representations0_0:[_Any!]!, $representations0_soldBy_name_0:String, $representations0_soldBy_shop_0:ID!, $representations0_1:[_Any!]!, $representations0_soldBy_name_1:String, $representations0_soldBy_shop_1:ID!, $representations0_2:[_Any!]!, $representations0_soldBy_name_2:String, $representations0_soldBy_shop_2:ID!){_e0_0: _entities(representations: $representations0_0){...on Item{parts{id} soldBy(name: $representations0_soldBy_name_0, shop: $representations0_soldBy_shop_0)}} _e0_1: _entities(representations: $representations0_1){...on Item{parts{id} soldBy(name: $representations0_soldBy_name_1, shop: $representations0_soldBy_shop_1)}} _e0_2: _entities(representations: $representations0_2){...on Item{parts{id} soldBy(name: $representations0_soldBy_name_2, shop: $representations0_soldBy_shop_2)}}}
    b: query($representations0_0:[_Any!]!, $representations0_soldBy_name_0:String, $representations0_soldBy_shop_0:ID!, $representations0_1:[_Any!]!, $representations0_soldBy_name_1:String, $representations0_soldBy_shop_1:ID!, $representations0_2:[_Any!]!, $representations0_soldBy_name_2:String, $representations0_soldBy_shop_2:ID!){_e0_0: _entities(representations: $representations0_0){...on Item{soldBy(name: $representations0_soldBy_name_0, shop: $representations0_soldBy_shop_0)}} _e0_1: _entities(representations: $representations0_1){...on Item{soldBy(name: $representations0_soldBy_name_1, shop: $representations0_soldBy_shop_1)}} _e0_2: _entities(representations: $representations0_2){...on Item{soldBy(name: $representations0_soldBy_name_2, shop: $representations0_soldBy_shop_2)}}}
    "#);
    // The planner finds no value where there is nothing above.
    assert_snapshot!(graph.query("{ item(id: 1) { price } }").await, @r#"{"errors":[{"message":"no subgraph can be asked for Item.price","extensions":{"code":"QUERY_PLANNING_FAILED"}}]}"#);
}

/// It need not tell its type: it can only be of one, and not of the first that sets the context.
#[tokio::test]
async fn an_object_of_one_type_gives_the_value_of_its_type() {
    let graph = shops().await;
    let answer = graph.query("{ firm { shops { best { soldBy } } } }").await;
    let sold_by = |shop: &str| json!({"best": {"soldBy": format!("\"Acme\" \"{shop}\"")}});
    let shops = ["s1", "s2", "s3"].map(sold_by);
    assert_eq!(answer, json!({"data": {"firm": {"shops": shops}}}));
}

#[tokio::test]
async fn more_values_than_lists_are_several_requests() {
    let shops: Vec<Value> = (1..80)
        .map(|n| shop(&format!("s{n}"), &format!("c{n}"), "x", &[&n.to_string()]))
        .collect();
    let graph = shops_of(shops).await;
    let answer = graph.query("{ shops { best { id price } } }").await;
    for (index, shop) in answer["data"]["shops"]
        .as_array()
        .expect("shops")
        .iter()
        .enumerate()
    {
        let n = index + 1;
        let expected = format!("{n}{{\"currency\":\"c{n}\",\"country\":\"x\"}}");
        assert_eq!(shop["best"]["price"], expected);
    }
    let to_b = graph.requests();
    let to_b = to_b.iter().filter(|it| it.starts_with("b: "));
    assert_eq!(to_b.count(), 3);
}

/// They are made and sent a few at a time.
#[tokio::test]
async fn many_more_values_are_all_answered() {
    let item = |n: usize| (n % 99 + 1).to_string();
    let shops: Vec<Value> = (0..600)
        .map(|n| shop(&format!("s{n}"), &format!("c{n}"), "x", &[&item(n)]))
        .collect();
    let graph = shops_of(shops).await;
    let answer = graph.query("{ shops { best { price } } }").await;
    let shops = answer["data"]["shops"].as_array().expect("shops");
    assert_eq!(shops.len(), 600);
    for (n, shop) in shops.iter().enumerate() {
        let item = item(n);
        let expected = format!("{item}{{\"currency\":\"c{n}\",\"country\":\"x\"}}");
        assert_eq!(shop["best"]["price"], expected);
    }
    let to_b = graph.requests();
    let to_b = to_b.iter().filter(|it| it.starts_with("b: "));
    assert_eq!(to_b.count(), 19);
}

#[tokio::test]
async fn errors_have_the_clients_path() {
    let graph = shops_of(vec![
        shop("s1", "EUR", "fi", &["1"]),
        shop("s2", "none", "no", &["1", "2"]),
    ])
    .await;
    assert_snapshot!(graph.query("{ shops { items { price text } } }").await, @r#"{"data":{"shops":[{"items":[{"price":"1{\"currency\":\"EUR\",\"country\":\"fi\"}","text":"t1"}]},{"items":[{"price":null,"text":"t1"},{"price":null,"text":"t2"}]}]},"errors":[{"message":"resolver error: no such currency","path":["shops",1,"items",0,"price"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}},{"message":"resolver error: no such currency","path":["shops",1,"items",1,"price"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"b"}}]}"#);
    graph
        .subgraph("b")
        .fail(Fault::Answer(500, "oh".to_owned()));
    assert_snapshot!(graph.query("{ shops { items { price } } }").await, @r#"{"data":{"shops":[{"items":[{"price":null}]},{"items":[{"price":null},{"price":null}]}]},"errors":[{"message":"subgraph \"b\" returned no usable response: HTTP status 500","path":["shops",0,"items",0,"price"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"b"}},{"message":"subgraph \"b\" returned no usable response: HTTP status 500","path":["shops",1,"items",0,"price"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"b"}},{"message":"subgraph \"b\" returned no usable response: HTTP status 500","path":["shops",1,"items",1,"price"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"b"}}]}"#);
}

#[tokio::test]
async fn each_mutation_gives_its_own_values() {
    let graph = shops().await;
    assert_snapshot!(graph.told("mutation { a: open(id: \"x\") { best { price } } b: open(id: \"y\") { best { price } } }").await, @r#"
    {"data":{"a":{"best":{"price":"1{\"currency\":\"of-x\",\"country\":\"no\"}"}},"b":{"best":{"price":"1{\"currency\":\"of-y\",\"country\":\"no\"}"}}}}
    a: mutation{a: open(id: "x"){best{id} currency place{country}} b: open(id: "y"){best{id} currency place{country}}}
    b: query($representations0_0:[_Any!]!, $representations0_price_currency_0:String, $representations0_price_country_0:String, $representations1_0:[_Any!]!, $representations1_price_currency_0:String, $representations1_price_country_0:String){_e0_0: _entities(representations: $representations0_0){...on Item{price(currency: $representations0_price_currency_0, country: $representations0_price_country_0)}} _e1_0: _entities(representations: $representations1_0){...on Item{price(currency: $representations1_price_currency_0, country: $representations1_price_country_0)}}}
    "#);
}

/// `b` does not know one of the shops, and so not its languages.
#[tokio::test]
async fn a_missing_value_leaves_the_other_fields() {
    let graph = shops_of(vec![
        shop("s1", "EUR", "fi", &["1"]),
        shop("unknown", "NOK", "no", &["2"]),
    ])
    .await;
    assert_snapshot!(graph.query("{ shops { best { text shipping } } }").await, @r#"{"data":{"shops":[{"best":{"text":"t1","shipping":"3 [\"l-s1\"]"}},{"best":{"text":"t2","shipping":null}}]}}"#);
}

/// Only the list of `items` spreads the fragment and uses the variable.
#[tokio::test]
async fn a_request_has_the_fragments_and_variables_of_its_own_lists() {
    let without_items = |id: &str| {
        let mut shop = shop(id, "EUR", "fi", &["1"]);
        shop["items"] = json!([]);
        shop
    };
    let query = "query($n: Int) { shops { best { price } items { ...F @spread(number: 1) } } }
        fragment F on Item { price(plus: $n) text }";
    let directive = "directive @spread(number: Int) on FRAGMENT_SPREAD\n";
    let graph = shops_with(directive, vec![without_items("s1")]).await;
    let told = graph.told_with(query, json!({"n": 1})).await;
    let request = told.lines().find(|line| line.starts_with("b:"));
    let request = request.unwrap_or_else(|| panic!("b is asked: {told}"));
    assert!(
        !request.contains("fragment") && !request.contains("$n"),
        "{told}"
    );
    let shops = vec![
        shop("s1", "EUR", "fi", &["1"]),
        shop("s2", "USD", "us", &["2"]),
    ];
    let graph = shops_with(directive, shops).await;
    let told = graph.told_with(query, json!({"n": 1})).await;
    assert!(told.contains("...F0_0 @spread(number: 1)"), "{told}");
    assert!(told.contains("fragment F0_0 on Item{text}"), "{told}");
    assert!(told.contains(", $n:Int)"), "{told}");
    assert!(!told.contains("errors"), "{told}");
}
