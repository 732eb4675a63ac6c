//! The estimated costs of operations, and the refusal of those that cost too much.

use bytes::Bytes;
use gateway::{
    config::{CostMode, Limits},
    error::{Code, RequestError},
    graph::Settings,
};
use serde_json::{Value, json};

use crate::support::{
    Subgraph, TestGraph, graph_over, graph_with, test_supergraph::supergraph_with_links,
};

const LINK: &str = r#"@link(url: "https://specs.apollo.dev/cost/v0.1", import: [{name: "@listSize", as: "@size"}])"#;
/// The types of one subgraph, with every directive that a composer may leave in them.
const TYPES: &str = r#"
scalar Price @join__type(graph: A) @cost(weight: 3)
enum Color @join__type(graph: A) @cost(weight: 2) { RED @join__enumValue(graph: A) }
input Filter @join__type(graph: A) { and: [Filter!] color: Color name: String @cost(weight: 5) }
input Plain @join__type(graph: A) { name: String }
input Page @join__type(graph: A) { size: Int }
type Query @join__type(graph: A) {
  item: Item
  items: [Item!]
  dear: Item @cost(weight: 20)
  four: [Item] @size(assumedSize: 4)
  some(n: Int = 6, ids: [ID!]): [Item] @size(slicingArguments: ["n", "ids"], requireOneSlicingArgument: false)
  one(first: Int, last: Int): [Item] @size(slicingArguments: ["first", "last"])
  page(page: Page): Pages @size(assumedSize: 3, slicingArguments: ["page.size"], sizedFields: ["content.items"], requireOneSlicingArgument: false)
  joined: [Item] @join__directive(graphs: [A], name: "federation__listSize", args: {assumedSize: 8})
  any: Any
  argument(price: Price, dear: Int @cost(weight: 7)): Item
  filtered(filter: Filter, filters: [Filter!], plain: Plain): Item
  cheaper(once: Boolean @cost(weight: -4)): Item
  matrix: [[Item]]
}
type Item @join__type(graph: A) { id: ID! price: Price color: Color other: Item others: [Item] }
type Large @join__type(graph: A) @cost(weight: 9) { id: ID! item: Item }
type Pages @join__type(graph: A) { content: Content }
type Content @join__type(graph: A) { items: [Item] }
union Any @join__type(graph: A) @join__unionMember(graph: A, member: "Item") @join__unionMember(graph: A, member: "Large") = Item | Large
type Mutation @join__type(graph: A) { change(filter: Filter): Item }
type Subscription @join__type(graph: A) { changed: [Item!] }
"#;

/// A graph that refuses whatever costs anything.
fn refusing() -> TestGraph {
    let settings = Settings {
        limits: Limits {
            cost_max: 0,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let sdl = supergraph_with_links(LINK, &["a"], TYPES);
    graph_over(&sdl, settings, Vec::new()).expect("the supergraph loads")
}

async fn refusal(graph: &TestGraph, query: &str, variables: Value) -> RequestError {
    let variables = Bytes::from(variables.to_string());
    let answer = graph.execute(query, Some(&variables)).await;
    answer.expect_err("a refusal")
}

/// The estimate in a refusal.
async fn estimate(graph: &TestGraph, query: &str, variables: Value) -> u64 {
    let refusal = refusal(graph, query, variables).await;
    assert_eq!(refusal.code, Code::MaxCost, "{query}: {refusal}");
    assert_eq!(refusal.numbers[1], ("maxCost", 0));
    refusal.numbers[0].1
}

#[tokio::test]
async fn objects_cost_one_and_what_the_schema_says() {
    let graph = refusing();
    let cases = [
        ("{ item { id } }", 1),
        ("{ item { id color price } }", 1 + 2 + 3),
        ("{ dear { id } }", 20),
        ("{ items { other { id } } }", 10 * 2),
        ("{ four { color } }", 4 * 3),
        ("{ joined { id } }", 8),
        ("{ matrix { id } }", 10),
        ("mutation { change { id } }", 10 + 1),
        ("subscription { changed { other { id } } }", 10 * 2),
        // What is executed once counts once.
        (
            "{ item { ...A ...A a: other { id } } } fragment A on Item { other { id } }",
            3,
        ),
        // Of an abstract type's objects, the dearest.
        ("{ any { __typename } }", 9),
        (
            "{ any { ... on Item { others { id } } ... on Large { item { id } } } }",
            11,
        ),
        ("{ any { ... on Large { item { id } item { id } } } }", 10),
    ];
    for (query, cost) in cases {
        assert_eq!(estimate(&graph, query, json!({})).await, cost, "{query}");
    }
}

#[tokio::test]
async fn sizes_come_from_arguments_and_their_defaults() {
    let graph = refusing();
    let page = "query($page: Page) { page(page: $page) { content { items { id } } } }";
    let inside = "query($size: Int) { page(page: {size: $size}) { content { items { id } } } }";
    let some = "query($n: Int = 2, $ids: [ID!]) { some(n: $n, ids: $ids) { id } }";
    let no_default = some.replace(" = 2", "");
    let cases = [
        ("{ some { id } }", json!({}), 6),
        ("{ some(n: 30) { id } }", json!({}), 30),
        ("{ some(n: null) { id } }", json!({}), 10),
        ("{ some(n: 1, ids: [1, 2, 3]) { id } }", json!({}), 3),
        (some, json!({}), 2),
        (some, json!({"n": 50}), 50),
        (some, json!({"ids": ["a", "b", "c"]}), 3),
        (some, json!({"n": null}), 10),
        (&no_default, json!({}), 6),
        (page, json!({}), 2 + 3),
        (page, json!({"page": {"size": 40}}), 2 + 40 + 1),
        (page, json!({"page": {}}), 2 + 3 + 1),
        (inside, json!({"size": 5}), 2 + 5 + 1),
        (
            "{ page(page: {size: 7}) { content { items { id } } } }",
            json!({}),
            2 + 7 + 1,
        ),
    ];
    for (query, variables, cost) in cases {
        let estimated = estimate(&graph, query, variables.clone()).await;
        assert_eq!(estimated, cost, "{query} {variables}");
    }
}

#[tokio::test]
async fn arguments_cost_once_whatever_brings_them() {
    let graph = refusing();
    let filter = json!({"color": "RED", "and": [{"name": "a"}, {"and": [{"color": "RED"}]}]});
    // Each object 1, each color 2, each name 5.
    let filter_cost = 4 + 2 + 5 + 2;
    let literal = "{color: RED, and: [{name: \"a\"}, {and: [{color: RED}]}]}";
    let literal = format!("{{ filtered(filter: {literal}) {{ id }} }}");
    let variable = "query($f: Filter) { filtered(filter: $f) { id } }";
    let part = "query($f: [Filter!]) { filtered(filter: {and: $f}) { id } }";
    let list = "query($f: [Filter!] = {color: RED}) { filtered(filters: $f) { id } }";
    let cases = [
        (
            "{ argument(price: 1, dear: 2) { id } }",
            json!({}),
            3 + 7 + 1,
        ),
        (&literal, json!({}), filter_cost + 1),
        (variable, json!({"f": filter}), filter_cost + 1),
        (variable, json!({}), 1),
        (part, json!({"f": filter}), 1 + filter_cost + 1),
        (list, json!({"f": [filter, filter]}), 2 * filter_cost + 1),
        (list, json!({}), 1 + 2 + 1),
        (
            "query($p: Plain) { filtered(plain: $p) { id } }",
            json!({"p": {"name": "a"}}),
            2,
        ),
        // An argument makes its own field cheaper, and no other.
        (
            "{ cheaper(once: true) { others { id } } item { id } }",
            json!({}),
            (11 - 4) + 1,
        ),
        ("{ cheaper(once: true) { id } item { id } }", json!({}), 1),
    ];
    for (query, variables, cost) in cases {
        let estimated = estimate(&graph, query, variables.clone()).await;
        assert_eq!(estimated, cost, "{query} {variables}");
    }
}

#[tokio::test]
async fn what_is_left_out_does_not_count() {
    let graph = refusing();
    let query = "query($a: Boolean!) { item { id } items @include(if: $a) { id } four @skip(if: true) { id } }";
    assert_eq!(estimate(&graph, query, json!({"a": true})).await, 11);
    assert_eq!(estimate(&graph, query, json!({"a": false})).await, 1);
    // More conditions than are planned apart.
    let names: Vec<String> = (0..9).map(|index| format!("v{index}")).collect();
    let declared: String = names
        .iter()
        .map(|name| format!("${name}: Boolean! "))
        .collect();
    let fields: String = names
        .iter()
        .map(|name| format!("{name}: items @include(if: ${name}) {{ id }} "))
        .collect();
    let query = format!("query({declared}) {{ item {{ id }} {fields} }}");
    let values = |on: &[usize]| {
        let values = names.iter().enumerate();
        let values = values.map(|(index, name)| (name.clone(), on.contains(&index).into()));
        Value::Object(values.collect())
    };
    assert_eq!(estimate(&graph, &query, values(&[])).await, 1);
    assert_eq!(estimate(&graph, &query, values(&[0, 8])).await, 21);
}

#[tokio::test]
async fn exactly_one_slicing_argument_has_to_be_given() {
    let graph = refusing();
    let query = "query($n: Int) { one(first: $n) { id } }";
    let both = "query($n: Int) { one(first: $n, last: 2) { id } }";
    assert_eq!(estimate(&graph, query, json!({"n": 4})).await, 4);
    assert_eq!(estimate(&graph, both, json!({})).await, 2);
    let cases = [
        ("{ one { id } }", json!({}), 0),
        (query, json!({}), 0),
        (query, json!({"n": null}), 0),
        (both, json!({"n": 1}), 2),
    ];
    for (query, variables, given) in cases {
        let refusal = refusal(&graph, query, variables).await;
        let told = format!(
            "INVALID_SLICING_ARGUMENTS: field \"one\" needs exactly one of the arguments first, last, but {given} are given"
        );
        assert_eq!(refusal.to_string(), told, "{query}");
    }
}

/// Posts with comments, in Relay's pages and without a word on costs.
async fn blog(settings: Settings) -> TestGraph {
    let comment = json!({"id": "c", "text": "t", "post": {"__typename": "Post", "id": "1"}});
    let comments = json!({"edges": [{"node": comment}, {"node": comment}]});
    let posts = Subgraph::new(
        "posts",
        "type Query { posts(first: Int, last: Int): PostConnection! post(id: ID): Post }
         type PostConnection { edges: [PostEdge!]! pageInfo: PageInfo! }
         type PostEdge { node: Post! }
         type PageInfo { hasNextPage: Boolean! }
         type Post @key(fields: \"id\") { id: ID! title: String }",
    )
    .query(json!({
        "posts": {
            "edges": [{"node": {"__typename": "Post", "id": "1", "title": "a"}}],
            "pageInfo": {"hasNextPage": false},
        },
        "post": {"__typename": "Post", "id": "1", "title": "a"},
    }));
    let comments = Subgraph::new(
        "comments",
        "type Post @key(fields: \"id\") { id: ID! comments(first: Int, last: Int): CommentConnection! }
         type CommentConnection { edges: [CommentEdge!]! }
         type CommentEdge { node: Comment! }
         type Comment { id: ID! text: String post: Post! }",
    )
    .entities(json!([{"__typename": "Post", "id": "1", "comments": comments}]));
    graph_with(settings, vec![posts, comments]).await
}

/// The loop of 109 bytes and some, whose answer would be two million objects.
const LOOP: &str = "{posts(first:100){edges{node{comments(first:100){edges{node{post{comments(first:100){edges{node{id}}}}}}}}}}}";

#[tokio::test]
async fn a_small_loop_of_pages_is_refused_before_any_subgraph_is_asked() {
    let graph = blog(Settings::default()).await;
    let answer = graph.query(LOOP).await;
    let extensions = &answer["errors"][0]["extensions"];
    let told = json!({"code": "MAX_COST_EXCEEDED", "estimatedCost": 2_040_301, "maxCost": 50_000});
    assert_eq!(*extensions, told);
    assert_eq!(graph.requests(), Vec::<String>::new());
    // The largest pages that one level of it allows are far below.
    let pages = "{ posts(first: 100) { edges { node { comments(first: 100) { edges { node { id } } } } } } }";
    assert_eq!(graph.query(pages).await["errors"], Value::Null);
    let metrics = &graph.inner().settings().prepare_metrics;
    assert_eq!(metrics.costly.get(), 1);
    assert_eq!(metrics.cost.get(), 2_040_301 + 20_301);
}

#[tokio::test]
async fn aliases_of_pages_add_up() {
    let graph = blog(Settings::default()).await;
    let pages: String = (0..150)
        .map(|index| format!("a{index}: comments(first: 100) {{ edges {{ node {{ id }} }} }} "))
        .collect();
    let answer = graph
        .query(&format!(
            "{{ posts(first: 100) {{ edges {{ node {{ {pages} }} }} }} }}"
        ))
        .await;
    let extensions = &answer["errors"][0]["extensions"];
    assert_eq!(extensions["estimatedCost"], 1 + 100 * (2 + 150 * 201));
}

#[tokio::test]
async fn the_mode_measure_only_counts() {
    let limits = Limits {
        cost_max: 10,
        cost_mode: CostMode::Measure,
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    let graph = blog(settings).await;
    let answer = graph
        .query("{ posts(first: 11) { edges { node { title } } } }")
        .await;
    assert_eq!(answer["data"]["posts"]["edges"][0]["node"]["title"], "a");
    assert_eq!(graph.inner().settings().prepare_metrics.costly.get(), 1);
}

#[tokio::test]
async fn where_costs_are_only_measured_a_list_without_its_argument_counts_too() {
    let limits = Limits {
        cost_mode: CostMode::Measure,
        ..Limits::default()
    };
    let settings = Settings {
        limits,
        ..Settings::default()
    };
    let sdl = supergraph_with_links(LINK, &["a"], TYPES);
    let graph = graph_over(&sdl, settings, Vec::new()).expect("the supergraph loads");
    let counted = &graph.inner().settings().prepare_metrics.cost;
    for (query, cost) in [
        ("{ one { id } }", 10),
        ("{ one(first: 2, last: 5) { id } }", 5),
        ("query($n: Int) { one(first: $n) { id } }", 10),
    ] {
        let before = counted.get();
        // Nobody answers it.
        let _ = graph.execute(query, None).await;
        assert_eq!(counted.get() - before, cost, "{query}");
    }
}

#[tokio::test]
async fn answers_report_their_cost_where_the_settings_say_so() {
    let settings = Settings {
        report_cost: true,
        ..Settings::default()
    };
    let graph = blog(settings).await;
    let cases = [
        // Forwarded as it came, and rendered; one is found of the two asked for, and two of five.
        (
            "{ posts(first: 2) { edges { node { title } } pageInfo { hasNextPage } } }",
            1 + 2 * 2 + 1,
            1 + 2 + 1,
        ),
        (
            "{ post(id: 1) { comments(last: 5) { edges { node { text } } } } }",
            2 + 5 * 2,
            2 + 2 * 2,
        ),
        (
            "{ post(id: 1) { comments { edges { node { post { title } } } } } }",
            2 + 10 * 3,
            2 + 2 * 3,
        ),
    ];
    for (query, estimated, actual) in cases {
        let response = graph.response(query, None).await;
        let header = response.headers["x-graphql-cost"].to_str().expect("text");
        assert_eq!(
            header,
            format!("estimated={estimated}, actual={actual}"),
            "{query}"
        );
        let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
        let told = json!({"cost": {"estimated": estimated, "actual": actual}});
        assert_eq!(answer["extensions"], told, "{query}");
    }
    let silent = blog(Settings::default()).await.query(cases[0].0).await;
    assert_eq!(silent["extensions"], Value::Null);
}
