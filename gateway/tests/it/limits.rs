//! Operations and variables above a limit are refused quickly, each with its own code.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway::{config::Limits, error::Code, graph::Settings};
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph_with};

/// Far more than a refusal takes in an unoptimised build on a busy machine, and far less than the
/// work that is refused would.
/// Generous, for debug builds on busy machines: without a limit, most of these operations never end.
const QUICKLY: Duration = Duration::from_secs(20);

async fn tree(limits: Limits) -> TestGraph {
    let tree = Subgraph::new(
        "tree",
        "type Query { node: Node list(ids: [ID!], filter: Filter, any: JSON): Int }
         type Node @key(fields: \"id\") { id: ID! next: Node name: String }
         input Filter { and: [Filter!] id: ID }
         scalar JSON",
    )
    .query(json!({"node": {"id": "1", "name": "n"}, "list": 1}));
    let more = Subgraph::new(
        "more",
        "type Node @key(fields: \"id\") { id: ID! size: Int }",
    );
    graph_with(
        Settings {
            limits,
            ..Settings::default()
        },
        vec![tree, more],
    )
    .await
}

async fn refused(graph: &TestGraph, query: &str, variables: Option<String>) -> Code {
    let began = Instant::now();
    let variables = variables.map(Bytes::from);
    let answer = graph.execute(query, variables.as_ref()).await;
    let elapsed = began.elapsed();
    assert!(elapsed < QUICKLY, "refused after {elapsed:?}");
    let refusal = answer
        .err()
        .unwrap_or_else(|| panic!("not refused: {:.80}", query));
    let bytes = query.len() + variables.map_or(0, |variables| variables.len());
    println!("{bytes} bytes refused after {elapsed:?}: {refusal:.120}");
    assert_eq!(
        graph.requests(),
        Vec::<String>::new(),
        "no subgraph is asked"
    );
    refusal.code
}

#[tokio::test]
async fn each_costly_operation_is_refused_with_its_code() {
    let graph = tree(Limits::default()).await;
    let fragments: String = (0..60)
        .map(|n| {
            format!(
                "fragment F{n} on Node {{ next {{ ...F{0} }} n: next {{ ...F{0} }} }}",
                n + 1
            )
        })
        .collect();
    let flat_bomb: String = (0..60)
        .map(|n| format!("fragment F{n} on Node {{ ...F{0} ...F{0} }}", n + 1))
        .collect();
    let aliases: String = (0..300).map(|n| format!("a{n}: name ")).collect();
    let root: String = (0..150).map(|_| "node { id } ").collect();
    let nested_include = "... @include(if: true) { ".repeat(200) + "name" + &" }".repeat(200);
    let cases = [
        (
            "a fragment bomb by depth",
            format!("{{ node {{ ...F0 }} }} {fragments} fragment F60 on Node {{ id }}"),
            Code::MaxDepth,
        ),
        (
            "a flat fragment bomb",
            format!("{{ node {{ ...F0 }} }} {flat_bomb} fragment F60 on Node {{ id }}"),
            Code::MaxSelections,
        ),
        (
            "an alias flood",
            format!("{{ node {{ {aliases} }} }}"),
            Code::MaxAliases,
        ),
        (
            "a root field flood",
            format!("{{ {root} }}"),
            Code::MaxRootFields,
        ),
        (
            "a directive overload",
            format!("{{ node {{ name {} }} }}", "@skip(if: false) ".repeat(1000)),
            Code::MaxDirectives,
        ),
        (
            "a token flood",
            format!("{{ node {{ {} }} }}", "name ".repeat(1_000_000)),
            Code::MaxTokens,
        ),
        (
            "deep selections",
            format!(
                "{{ node {{ {} id {} }} }}",
                "next { ".repeat(50),
                "} ".repeat(50)
            ),
            Code::MaxDepth,
        ),
        (
            "endless brackets",
            "{ node ".to_owned() + &"{ next ".repeat(1_000_000),
            Code::MaxDepth,
        ),
        (
            "endless lists",
            "{ list(ids: ".to_owned() + &"[".repeat(1_000_000),
            Code::MaxDepth,
        ),
        (
            "nested conditions",
            format!("{{ node {{ {nested_include} }} }}"),
            Code::MaxDepth,
        ),
    ];
    for (name, query, code) in cases {
        assert_eq!(refused(&graph, &query, None).await, code, "{name}");
    }
}

#[tokio::test]
async fn variables_have_limits_of_their_own() {
    let graph = tree(Limits::default()).await;
    let query = "query($ids: [ID!], $filter: Filter, $any: JSON) { list(ids: $ids, filter: $filter, any: $any) }";
    let deep =
        |open: &str, close: &str, times: usize| open.repeat(times) + "1" + &close.repeat(times);
    let cases = [
        (
            "a long list",
            format!("{{\"ids\": [{}1]}}", "1,".repeat(20_000)),
        ),
        (
            "deep lists",
            format!("{{\"any\": {}}}", deep("[", "]", 1_000_000)),
        ),
        (
            "deep objects",
            format!("{{\"any\": {}}}", deep("{\"a\":", "}", 100)),
        ),
        (
            "a deep input",
            format!("{{\"filter\": {}}}", deep("{\"and\":", "}", 100)),
        ),
        (
            "many bytes",
            format!("{{\"any\": \"{}\"}}", "x".repeat(3 * 1024 * 1024)),
        ),
    ];
    for (name, variables) in cases {
        assert_eq!(
            refused(&graph, query, Some(variables)).await,
            Code::MaxVariables,
            "{name}"
        );
    }
}

#[tokio::test]
async fn malformed_requests_are_told_apart() {
    let graph = tree(Limits::default()).await;
    let query = "query($ids: [ID!], $filter: Filter) { list(ids: $ids, filter: $filter) }";
    let cases = [
        ("{ node ", None, Code::ParseFailed),
        ("", None, Code::ParseFailed),
        ("{ unknown }", None, Code::ValidationFailed),
        (
            "query A { node { id } } query B { node { id } }",
            None,
            Code::OperationResolution,
        ),
        ("fragment F on Node { id }", None, Code::ValidationFailed),
        (
            "{ node { ...F } } fragment F on Node { ...F }",
            None,
            Code::ValidationFailed,
        ),
        (query, Some("{\"ids\": {}}"), Code::BadUserInput),
        (query, Some("{\"ids\": [null]}"), Code::BadUserInput),
        (query, Some("{\"ids\": [1.5]}"), Code::BadUserInput),
        (
            query,
            Some("{\"filter\": {\"nope\": 1}}"),
            Code::BadUserInput,
        ),
        (query, Some("{\"ids\": [1"), Code::BadUserInput),
        (query, Some("[]"), Code::BadUserInput),
    ];
    for (query, variables, code) in cases {
        let variables = variables.map(str::to_owned);
        assert_eq!(refused(&graph, query, variables).await, code, "{query}");
    }
}

#[tokio::test]
async fn a_limit_on_representations_protects_subgraphs() {
    let limits = Limits {
        representations_max: 1,
        ..Limits::default()
    };
    let graph = tree(limits).await;
    let many = json!({"data": {"node": {"__typename": "Node", "id": "1", "next": {"__typename": "Node", "id": "2"}}}});
    graph
        .subgraph("tree")
        .fail(crate::support::subgraph::Fault::Answer(
            200,
            many.to_string(),
        ));
    let answer = graph.query("{ node { size } }").await;
    assert!(
        answer
            .get("errors")
            .is_none_or(|errors| errors[0]["extensions"]["code"] != "MAX_REPRESENTATIONS_EXCEEDED")
    );
    let answer = graph.query("{ node { size next { size } } }").await;
    assert_eq!(
        answer["errors"][0]["extensions"]["code"], "MAX_REPRESENTATIONS_EXCEEDED",
        "{answer}"
    );
}

#[tokio::test]
async fn introspection_can_be_switched_off() {
    let settings = Settings {
        introspection: false,
        ..Settings::default()
    };
    let subgraph = Subgraph::new("one", "type Query { x: Int }").query(json!({"x": 1}));
    let graph = graph_with(settings, vec![subgraph]).await;
    let query = "{ ...F } fragment F on Query { __schema { queryType { name } } }";
    assert_eq!(
        refused(&graph, query, None).await,
        Code::IntrospectionDisabled
    );
    assert_eq!(
        graph.query("{ x __typename }").await,
        json!({"data": {"x": 1, "__typename": "Query"}})
    );
}

#[tokio::test]
async fn a_document_with_many_faults_gets_a_short_answer() {
    let graph = tree(Limits::default()).await;
    let fields: String = (0..1_000).map(|index| format!(" f{index}")).collect();
    let usages = " list(any: {a: $n a: $n})".repeat(60);
    for (query, count) in [
        (format!("{{ node {{{fields} }} }}"), 1_000),
        (format!("query($n: ID) {{{usages} }}"), 60),
    ] {
        let answer = graph.query(&query).await;
        let errors = answer["errors"].as_array().expect("errors");
        assert_eq!(errors.len(), 51);
        let rest = format!("{} more errors are left out", count - 50);
        assert_eq!(errors[50]["message"], rest);
        let code = &errors[50]["extensions"]["code"];
        assert_eq!(code, "GRAPHQL_VALIDATION_FAILED");
    }
    let unclosed = graph.query(&"{ node { ".repeat(60)).await;
    let errors = unclosed["errors"].as_array().expect("errors");
    assert!(errors.len() <= 51, "{}", errors.len());
}
