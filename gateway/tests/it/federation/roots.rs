//! Root fields and shareable objects that several subgraphs have.

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, graph, graph_of};

#[tokio::test]
async fn a_shared_root_is_put_together_from_all_its_subgraphs() {
    let category = Subgraph::new(
        "category",
        "type Query { product: Product @shareable products: [Product!]! @shareable }
         type Product { id: ID! @shareable category: Category! }
         type Category { id: ID! @shareable name: String! details: Details }
         type Details { note: String }",
    )
    .query(json!({
        "product": {"id": "1", "category": {"id": "c1", "name": "Home", "details": {"note": null}}},
        "products": [{"id": "1", "category": {"id": "c1", "name": "Home"}}],
    }));
    let name = Subgraph::new(
        "name",
        "type Query { product: Product @shareable products: [Product!]! @shareable }
         type Product { id: ID! @shareable name: Name! } type Name { id: ID! brand: String model: String! }",
    )
    .query(json!({
        "product": {"id": "1", "name": {"id": "n1", "brand": null, "model": "M"}},
        "products": [{"id": "1", "name": {"id": "n1", "brand": "B", "model": "M"}}],
    }));
    let price = Subgraph::new(
        "price",
        "type Query { product: Product @shareable products: [Product!]! @shareable alone: Int }
         type Product { id: ID! @shareable price: Price } type Price { id: ID! amount: Int! currency: String! }",
    )
    .query(json!({
        "product": {"id": "1", "price": {"id": "p1", "amount": 5, "currency": "EUR"}},
        "products": [{"id": "1", "price": null}],
        "alone": 1,
    }));
    let graph = graph(vec![category, name, price]).await;
    let query = "{
      a: product { id name { brand } price { amount } }
      product { category { id name details { note } } name { model } price { currency } }
      alone
    }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"a":{"id":"1","name":{"brand":null},"price":{"amount":5}},"product":{"category":{"id":"c1","name":"Home","details":{"note":null}},"name":{"model":"M"},"price":{"currency":"EUR"}},"alone":1}}"#);
    assert_snapshot!(graph.query("{ products { id c: category { name } name { id brand } price { id } } }").await, @r#"{"data":{"products":[{"id":"1","c":{"name":"Home"},"name":{"id":"n1","brand":"B"},"price":null}]}}"#);
    assert_snapshot!(graph.told("{ product { id } }").await, @r#"
    {"data":{"product":{"id":"1"}}}
    category: {product{id}}
    "#);
}

#[tokio::test]
async fn shareable_objects_come_from_where_the_rest_comes_from() {
    let a = Subgraph::new(
        "a",
        "type Query { a: Place } type Place @shareable { city: String! zip: Int } ",
    )
    .query(json!({"a": {"city": "Oslo", "zip": null}}));
    let b = Subgraph::new(
        "b",
        "type Query { b: [Place] } type Place @shareable { city: String! zip: Int }",
    )
    .query(json!({"b": [{"city": "Rome", "zip": 1}, null]}));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.query("{ a { ...P } b { ...P x: __typename } } fragment P on Place { city zip }").await, @r#"{"data":{"a":{"city":"Oslo","zip":null},"b":[{"city":"Rome","zip":1,"x":"Place"},null]}}"#);
}

/// The root type may have other names in the subgraphs.
#[tokio::test]
async fn fields_of_the_root_are_answered_in_the_clients_order() {
    let a = Subgraph::new("a", "type Query { one: Int two: Int both: Int @shareable }")
        .query(json!({"one": 1, "two": 2, "both": 0}));
    let b = Subgraph::new(
        "b",
        "type Query { three: Int both: Int @shareable four: [[Int]!] }",
    )
    .query(json!({"three": 3, "both": 0, "four": [[1, null], []]}));
    let graph = graph(vec![a, b]).await;
    let answer = graph
        .response(
            "{ three x: one __typename both ...R four } fragment R on Query { two three }",
            None,
        )
        .await;
    assert_snapshot!(String::from_utf8_lossy(&answer.body), @r#"{"data":{"three":3,"x":1,"__typename":"Query","both":0,"two":2,"four":[[1,null],[]]}}"#);
}

/// An object in the middle of the answer leads back to the root type.
#[tokio::test]
async fn an_object_may_lead_back_to_the_query() {
    let a = Subgraph::new(
        "a",
        "type Query { user: User! } type User @key(fields: \"id\") { id: ID! name: String! }
         type Mutation { rename(name: String!): Renamed! }
         type Renamed { user: User! query: Query! }",
    )
    .query(json!({"user": {"id": "1", "name": "Ada"}}))
    .field("Mutation", "rename", |_, arguments| {
        Ok(json!({"user": {"id": "1", "name": arguments["name"]}, "query": {"user": {"id": "1", "name": arguments["name"]}}}))
    });
    let b = Subgraph::new(
        "b",
        "type Query { version: Int } type User @key(fields: \"id\") { id: ID! age: Int }",
    )
    .query(json!({"version": 4}))
    .entities(json!([{"__typename": "User", "id": "1", "age": 36}]));
    let graph = graph(vec![a, b]).await;
    let query = "mutation { rename(name: \"Eve\") { user { name age } query { v: version user { name age } __typename } } }";
    assert_snapshot!(graph.query(query).await, @r#"{"data":{"rename":{"user":{"name":"Eve","age":36},"query":{"v":4,"user":{"name":"Eve","age":36},"__typename":"Query"}}}}"#);
}

/// A field that exists in two subgraphs and takes another path in each.
#[tokio::test]
async fn parents_of_entities_are_found_by_way_of_others() {
    let products = Subgraph::new(
        "products",
        "type Query { products: [Product!]! }
         type Product @key(fields: \"id pid\") { id: ID! pid: ID! }",
    )
    .query(json!({"products": [{"id": "1", "pid": "p1"}]}));
    let details = Subgraph::new(
        "details",
        "type Product @key(fields: \"id pid\") { id: ID! pid: ID! category: Category @shareable }
         type Category { details: String @shareable }",
    )
    .entities(
        json!([{"__typename": "Product", "id": "1", "pid": "p1", "category": {"details": "D"}}]),
    );
    let categories = Subgraph::new(
        "categories",
        "type Product @key(fields: \"id pid\") { id: ID! pid: ID! category: Category @shareable }
         type Category @key(fields: \"id\") { id: ID! details: String @shareable parent: Category }",
    )
    .entities(json!([
        {"__typename": "Product", "id": "1", "pid": "p1", "category": {"id": "c1", "details": "D", "parent": {"id": "c0"}}},
        {"__typename": "Category", "id": "c0", "details": null, "parent": null},
    ]));
    let supergraph = include_str!("supergraphs/parents.graphql");
    let graph = graph_of(supergraph, vec![products, details, categories]).await;
    assert_snapshot!(graph.query("{ products { category { details } } }").await, @r#"{"data":{"products":[{"category":{"details":"D"}}]}}"#);
    assert_snapshot!(graph.query("{ products { category { id details parent { id details parent { id } } } } }").await, @r#"{"data":{"products":[{"category":{"id":"c1","details":"D","parent":{"id":"c0","details":null,"parent":null}}}]}}"#);
}

/// At every level, each of the subgraphs has one field of its own.
#[tokio::test]
async fn shared_objects_are_put_together_at_every_level() {
    let subgraph = |name: &str| {
        let sdl = format!(
            "type Query {{ tree(depth: Int): Tree @shareable list: [Item] @shareable }}
             type Tree {{ {name}: Int node: Node @shareable }}
             type Node {{ {name}: Int kids: [Node] @shareable id: ID @shareable }}
             type Item {{ id: ID! @shareable sub: Sub @shareable }} type Sub {{ {name}: Int }}"
        );
        Subgraph::new(name, &sdl).query(json!({
            "tree": {name: 1, "node": {name: 2, "id": "n", "kids": [{name: 3, "id": "k"}, null]}},
            "list": [{"id": "1", "sub": {name: 4}}, null, {"id": "2", "sub": null}],
        }))
    };
    let graph = graph(vec![subgraph("a"), subgraph("b"), subgraph("c")]).await;
    assert_snapshot!(graph.told_sorted("{ tree(depth: 3) { a b c node { id kids { id a b c } } } }").await, @r#"
    {"data":{"tree":{"a":1,"b":1,"c":1,"node":{"id":"n","kids":[{"id":"k","a":3,"b":3,"c":3},null]}}}}
    a: {tree(depth: 3){a node{id kids{id a}}}}
    b: {tree(depth: 3){b node{kids{b}}}}
    c: {tree(depth: 3){c node{kids{c}}}}
    "#);
    assert_snapshot!(graph.told("{ tree { node { kids { b } } } }").await, @r#"
    {"data":{"tree":{"node":{"kids":[{"b":3},null]}}}}
    b: {tree{node{kids{b}}}}
    "#);
    assert_snapshot!(graph.told_sorted("{ list { id sub { a c } } }").await, @r#"
    {"data":{"list":[{"id":"1","sub":{"a":4,"c":4}},null,{"id":"2","sub":null}]}}
    a: {list{id sub{a}}}
    c: {list{sub{c}}}
    "#);
    let query = "query($d: Int, $no: Boolean!) { tree(depth: $d) { a @skip(if: $no) node { b } } }";
    assert_snapshot!(graph.told_with(query, json!({"d": 4, "no": true})).await, @r#"
    {"data":{"tree":{"node":{"b":2}}}}
    b: query($d:Int){tree(depth: $d){node{b}}}
    "#);
}

/// The query type itself is the value of a field, at the root, in a list and below a mutation.
#[tokio::test]
async fn a_query_inside_is_asked_of_all_subgraphs() {
    let a = Subgraph::new(
        "a",
        "type Query { user: User self: Query all: [Query] }
         type User @key(fields: \"id\") { id: ID! name: String! }
         type Mutation { rename: [Renamed] plain: Query }
         type Renamed { query: Query! maybe: Query }",
    )
    .query(json!({"user": {"id": "1", "name": "Ada"}, "self": {"user": {"id": "1", "name": "Ada"}}, "all": [{}, null, {}]}))
    .entities(json!([{"__typename": "User", "id": "1", "name": "Ada"}]))
    .field("Mutation", "plain", |_, _| Ok(json!({})))
    .field("Mutation", "rename", |_, _| {
        let query = json!({"user": {"id": "1", "name": "Eve"}});
        Ok(json!([{"query": query, "maybe": null}, {"query": query, "maybe": {}}]))
    });
    let b = Subgraph::new(
        "b",
        "type Query { version: Int me: User } type Mutation { other: Int }
         type User @key(fields: \"id\") { id: ID! age: Int }",
    )
    .query(json!({"version": 4, "me": {"id": "1"}}))
    .entities(json!([{"__typename": "User", "id": "1", "age": 36}]))
    .field("Mutation", "other", |_, _| Ok(json!(5)));
    let graph = graph(vec![a, b]).await;
    assert_snapshot!(graph.told_sorted("{ self { version me { name age } user { age } t: __typename } }").await, @r#"
    {"data":{"self":{"version":4,"me":{"name":"Ada","age":36},"user":{"age":36},"t":"Query"}}}
    a: query($representations:[_Any!]!){_entities(representations: $representations){...on User{name}}}
    a: {self{user{id} t: __typename}}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on User{age}}}
    b: {version me{id age}}
    "#);
    assert_snapshot!(graph.told("{ all { version } }").await, @r#"
    {"data":{"all":[{"version":4},null,{"version":4}]}}
    a: {all{__typename}}
    b: {version}
    "#);
    let query = "mutation { rename { query { version user { name age } me { name } } maybe { version t: __typename } } other plain { me { name } } }";
    assert_snapshot!(graph.told_sorted(query).await, @r#"
    {"data":{"rename":[{"query":{"version":4,"user":{"name":"Eve","age":36},"me":{"name":"Ada"}},"maybe":null},{"query":{"version":4,"user":{"name":"Eve","age":36},"me":{"name":"Ada"}},"maybe":{"version":4,"t":"Query"}}],"other":5,"plain":{"me":{"name":"Ada"}}}}
    a: mutation{plain{__typename}}
    a: mutation{rename{query{user{name id}} maybe{t: __typename}}}
    a: query($representations:[_Any!]!){_entities(representations: $representations){...on User{name}}}
    a: query($representations:[_Any!]!){_entities(representations: $representations){...on User{name}}}
    b: mutation{other}
    b: query($representations:[_Any!]!){_entities(representations: $representations){...on User{age}}}
    b: {me{id}}
    b: {version me{id}}
    b: {version}
    "#);
}

/// Two objects that one subgraph tells alike may be two to another.
#[tokio::test]
async fn equal_parts_of_a_shared_root_stay_objects_of_their_own() {
    let a = Subgraph::new(
        "a",
        "type Query { things: [Thing!]! @shareable }
         type Thing @key(fields: \"code\") { code: ID! mark: Int }",
    )
    .query(json!({"things": [{"code": "x", "mark": 7}, {"code": "y", "mark": 7}]}));
    let b = Subgraph::new(
        "b",
        "type Query { things: [Thing!]! @shareable } type Thing @key(fields: \"id\") @key(fields: \"code\") { id: ID! code: ID! }",
    )
    .query(json!({"things": [{"id": "1", "code": "x"}, {"id": "2", "code": "y"}]}));
    let c = Subgraph::new(
        "c",
        "type Thing @key(fields: \"id\") {
           id: ID! mark: Int @external sum: String @requires(fields: \"mark\") }",
    )
    .entities(json!([{"__typename": "Thing", "id": "1"}, {"__typename": "Thing", "id": "2"}]))
    .field("Thing", "sum", |thing, _| {
        Ok(json!(format!("{} and {}", thing["id"], thing["mark"])))
    });
    let graph = graph(vec![a, b, c]).await;
    // `b` answers when the objects of `a` are there.
    let gate = graph.subgraph("b").hold();
    let open = async {
        while graph.subgraph("a").requests_taken() == 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
    };
    let (answer, ()) = tokio::join!(graph.query("{ things { mark sum } }"), open);
    assert_snapshot!(answer, @r#"{"data":{"things":[{"mark":7,"sum":"\"1\" and 7"},{"mark":7,"sum":"\"2\" and 7"}]}}"#);
}
