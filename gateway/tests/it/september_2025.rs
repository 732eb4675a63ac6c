//! GraphQL's September 2025 edition, item by item of its list of changes
//! (<https://github.com/graphql/graphql-spec/blob/main/changelogs/September2025.md>): a row for each change
//! that an answer can show. What is left are wordings, algorithms that were only rewritten, rules for those
//! who write schemas (composition holds those), and schema coordinates, which no request has.

use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, graph_of, test_supergraph::supergraph};

const TYPES: &str = r#"
scalar Url @join__type(graph: A) @specifiedBy(url: "https://url.spec.whatwg.org/")
input Pick @join__type(graph: A) @oneOf { id: ID name: String }
input Lists @join__type(graph: A) { ids: [[ID]] old: Int @deprecated(reason: "as of now") new: Int }
type Query @join__type(graph: A) {
  pick(by: Pick): String
  text(of: String): String
  lists(in: Lists, ids: [[ID]]): String
  count(n: Int! = 7, old: Int @deprecated): Int
  id: ID
  node: Node
  url: Url
}
type Node @join__type(graph: A) { id: ID number: Int gone: Int @deprecated(reason: "it is gone") }
type Subscription @join__type(graph: A) { ticks: Int other: Int }
"#;

const SUBGRAPH: &str = "
type Query {
  pick(by: Pick): String text(of: String): String lists(in: Lists, ids: [[ID]]): String
  count(n: Int! = 7, old: Int): Int id: ID node: Node url: Url
}
scalar Url
input Pick @oneOf { id: ID name: String }
input Lists { ids: [[ID]] old: Int new: Int }
type Node { id: ID number: Int gone: Int }
type Subscription { ticks: Int other: Int }
directive @oneOf on INPUT_OBJECT";

/// What the gateway says to a document.
enum Says {
    /// Exactly this response.
    Answer(Value),
    /// An error with this code, and with this in its message.
    Refuses(&'static str, &'static str),
}
use Says::{Answer, Refuses};

struct Row {
    /// The pull request of the change, and what it says.
    change: &'static str,
    document: &'static str,
    variables: Value,
    says: Says,
}

fn row(change: &'static str, document: &'static str, variables: Value, says: Says) -> Row {
    Row {
        change,
        document,
        variables,
        says,
    }
}

fn data(data: Value) -> Says {
    Answer(json!({ "data": data }))
}

async fn graph() -> TestGraph {
    let text = |_: &Value, arguments: &Value| Ok(arguments["of"].clone());
    let echo = |_: &Value, arguments: &Value| Ok(json!(arguments.to_string()));
    let count = |_: &Value, arguments: &Value| Ok(arguments["n"].clone());
    let subgraph = Subgraph::raw("a", SUBGRAPH)
        .query(json!({"id": 12, "node": {"id": "1", "number": "no number"}, "url": "http://a/"}))
        .field("Query", "text", text)
        .field("Query", "pick", echo)
        .field("Query", "lists", echo)
        .field("Query", "count", count);
    graph_of(&supergraph(&["a"], TYPES), vec![subgraph]).await
}

fn language() -> Vec<Row> {
    let none = || json!({});
    let parse = "GRAPHQL_PARSE_FAILED";
    vec![
        row(
            "#1170: operations, variables and fragments have descriptions",
            "\"An operation\" query Q(\"\"\"A variable \"\"\" $of: String = \"x\") { text(of: $of) ...F }\n\
             \"\"\"A fragment\"\"\" fragment F on Query { b: text(of: \"y\") }",
            none(),
            data(json!({"text": "x", "b": "y"})),
        ),
        row(
            "#1170: the shorthand has none",
            "\"No operation\" { text(of: \"x\") }",
            none(),
            Refuses(parse, ""),
        ),
        row(
            "#1170: a description is one string",
            "\"One\" \"two\" query { text(of: \"x\") }",
            none(),
            Refuses(parse, ""),
        ),
        row(
            "#1170: and its escapes are a string's",
            "\"\\q\" query { text(of: \"x\") }",
            none(),
            Refuses(parse, ""),
        ),
        row(
            "#849: every Unicode scalar value may be written",
            "{ text(of: \"\u{1F600} \\u{1F600} \\uD83D\\uDE00 \\u{e9}\") }",
            none(),
            data(json!({"text": "\u{1F600} \u{1F600} \u{1F600} \u{e9}"})),
        ),
        row(
            "#849: nothing else may",
            "{ text(of: \"\\uD83D\") }",
            none(),
            Refuses(parse, "surrogate"),
        ),
        row(
            "#849: nothing else may, in braces either",
            "{ text(of: \"\\u{110000}\") }",
            none(),
            Refuses(parse, "Unicode scalar value"),
        ),
        row(
            "#1025: a selection set is not empty",
            "{ node { } }",
            none(),
            Refuses(parse, ""),
        ),
        row(
            "#873: the shorthand has no directives",
            "@include(if: true) { id }",
            none(),
            Refuses(parse, ""),
        ),
    ]
}

fn validation() -> Vec<Row> {
    let none = || json!({});
    let invalid = "GRAPHQL_VALIDATION_FAILED";
    vec![
        row(
            "#825: one member of a OneOf input object",
            "{ pick(by: {name: \"n\"}) }",
            none(),
            data(json!({"pick": "{\"by\":{\"name\":\"n\"}}"})),
        ),
        row(
            "#825: not two",
            "{ pick(by: {name: \"n\", id: 1}) }",
            none(),
            Refuses(invalid, "exactly one"),
        ),
        row(
            "#825: not null",
            "{ pick(by: {name: null}) }",
            none(),
            Refuses(invalid, "must not be"),
        ),
        row(
            "#825: a variable in it is not null",
            "query($n: String) { pick(by: {name: $n}) }",
            json!({"n": "n"}),
            Refuses(invalid, "Pick"),
        ),
        row(
            "#825: a variable's value has one member",
            "query($by: Pick) { pick(by: $by) }",
            json!({"by": {"name": "n", "id": null}}),
            Refuses("BAD_USER_INPUT", "exactly one"),
        ),
        row(
            "#860: no condition decides a subscription's root",
            "subscription($t: Boolean!) { ticks @skip(if: $t) }",
            json!({"t": false}),
            Refuses(invalid, "@skip"),
        ),
        row(
            "#860: not in a fragment either",
            "subscription { ... @include(if: true) { ticks } }",
            none(),
            Refuses(invalid, "@include"),
        ),
        row(
            "#955: an operation's type exists",
            "mutation { id }",
            none(),
            Refuses(invalid, "mutation"),
        ),
        row(
            "#958: leaves have no selections",
            "{ id { x } }",
            none(),
            Refuses(invalid, ""),
        ),
        row(
            "#958: others have",
            "{ node }",
            none(),
            Refuses(invalid, ""),
        ),
        row(
            "#979: merged fields have the same type",
            "{ node { x: id } node { x: number } }",
            none(),
            Refuses(invalid, "x"),
        ),
        row(
            "#891: an argument is given once",
            "{ text(of: \"a\", of: \"b\") }",
            none(),
            Refuses(invalid, "of"),
        ),
        row(
            "#1118: literals have the right type",
            "{ text(of: 1) }",
            none(),
            Refuses(invalid, ""),
        ),
    ]
}

fn execution() -> Vec<Row> {
    let none = || json!({});
    vec![
        row(
            "#1057: single values become lists in lists",
            "query($ids: [[ID]]) { lists(ids: $ids) }",
            json!({"ids": ["a", ["b"], null]}),
            data(json!({"lists": "{\"ids\":[[\"a\"],[\"b\"],null]}"})),
        ),
        row(
            "#1068: lists are input fields",
            "{ lists(in: {ids: [[\"a\"], null]}) }",
            none(),
            data(json!({"lists": "{\"in\":{\"ids\":[[\"a\"],null]}}"})),
        ),
        row(
            "#1056, #793: an argument's default stands in for a variable without a value",
            "query($n: Int) { count(n: $n) }",
            none(),
            data(json!({"count": 7})),
        ),
        row(
            "#793: a default is a value of its type",
            "query($n: Int = \"seven\") { count(n: $n) }",
            none(),
            Refuses("GRAPHQL_VALIDATION_FAILED", "seven"),
        ),
        row(
            "#1086: an ID is a string, whatever it was",
            "{ id }",
            none(),
            data(json!({"id": "12"})),
        ),
        row(
            "#1073, #1152: an execution error's path is one of response names",
            "{ a: node { b: number } }",
            none(),
            Refuses("DOWNSTREAM_SERVICE_ERROR", ""),
        ),
    ]
}

fn introspection() -> Vec<Row> {
    let none = || json!({});
    let named = |ty: &str| json!({"kind": "NON_NULL", "ofType": {"name": ty}});
    let argument = json!({
        "name": "includeDeprecated", "defaultValue": "false", "type": named("Boolean"),
    });
    let with = json!({"args": [argument]});
    vec![
        row(
            "#1142: includeDeprecated is not null",
            "{ __type(name: \"__Type\") { fields { name args { name defaultValue type { kind ofType { name } } } } } }",
            none(),
            data(json!({"__type": {"fields": [
                {"name": "kind", "args": []}, {"name": "name", "args": []},
                {"name": "description", "args": []},
                {"name": "fields", "args": with["args"]},
                {"name": "interfaces", "args": []}, {"name": "possibleTypes", "args": []},
                {"name": "enumValues", "args": with["args"]},
                {"name": "inputFields", "args": with["args"]},
                {"name": "ofType", "args": []}, {"name": "specifiedByURL", "args": []},
                {"name": "isOneOf", "args": []},
            ]}})),
        ),
        row(
            "#1142: of the arguments of fields and directives, too",
            "{ f: __type(name: \"__Field\") { ...A } d: __type(name: \"__Directive\") { ...A } }
             fragment A on __Type { fields { args { name defaultValue type { kind ofType { name } } } } }",
            none(),
            data(json!({
                "f": {"fields": [{"args": []}, {"args": []}, with, {"args": []}, {"args": []}, {"args": []}]},
                "d": {"fields": [{"args": []}, {"args": []}, {"args": []}, with, {"args": []}]},
            })),
        ),
        row(
            "#1142: null is no value for it",
            "{ __type(name: \"Node\") { fields(includeDeprecated: null) { name } } }",
            none(),
            Refuses("GRAPHQL_VALIDATION_FAILED", ""),
        ),
        row(
            "#1142: a variable may be left out, and is not null",
            "query($d: Boolean) { __type(name: \"Node\") { fields(includeDeprecated: $d) { name } } }",
            json!({"d": null}),
            Refuses("BAD_USER_INPUT", "includeDeprecated"),
        ),
        row(
            "#805: arguments and input fields are deprecated",
            "{ q: __type(name: \"Query\") { fields { name args(includeDeprecated: true) { name isDeprecated deprecationReason } } }
               l: __type(name: \"Lists\") { inputFields { name } all: inputFields(includeDeprecated: true) { name deprecationReason } } }",
            none(),
            data(json!({
                "q": {"fields": [
                    {"name": "pick", "args": [{"name": "by", "isDeprecated": false, "deprecationReason": null}]},
                    {"name": "text", "args": [{"name": "of", "isDeprecated": false, "deprecationReason": null}]},
                    {"name": "lists", "args": [
                        {"name": "in", "isDeprecated": false, "deprecationReason": null},
                        {"name": "ids", "isDeprecated": false, "deprecationReason": null},
                    ]},
                    {"name": "count", "args": [
                        {"name": "n", "isDeprecated": false, "deprecationReason": null},
                        {"name": "old", "isDeprecated": true, "deprecationReason": "No longer supported"},
                    ]},
                    {"name": "id", "args": []}, {"name": "node", "args": []}, {"name": "url", "args": []},
                ]},
                "l": {
                    "inputFields": [{"name": "ids"}, {"name": "new"}],
                    "all": [
                        {"name": "ids", "deprecationReason": null},
                        {"name": "old", "deprecationReason": "as of now"},
                        {"name": "new", "deprecationReason": null},
                    ],
                },
            })),
        ),
        row(
            "#805: deprecated fields are left out unless asked for",
            "{ __type(name: \"Node\") { fields { name } all: fields(includeDeprecated: true) { name } } }",
            none(),
            data(json!({"__type": {
                "fields": [{"name": "id"}, {"name": "number"}],
                "all": [{"name": "id"}, {"name": "number"}, {"name": "gone"}],
            }})),
        ),
        row(
            "#825: a type says whether it is a OneOf input object",
            "{ __type(name: \"Pick\") { isOneOf } }",
            none(),
            data(json!({"__type": {"isOneOf": true}})),
        ),
        row(
            "October 2021, still so: a scalar says where it is specified",
            "{ __type(name: \"Url\") { specifiedByURL } }",
            none(),
            data(json!({"__type": {"specifiedByURL": "https://url.spec.whatwg.org/"}})),
        ),
    ]
}

#[tokio::test]
async fn every_change_of_the_edition_holds() {
    let graph = graph().await;
    let rows = [language(), validation(), execution(), introspection()];
    let mut faults = Vec::new();
    for row in rows.into_iter().flatten() {
        let answer = graph.ask(row.document, Some(row.variables)).await;
        let is_right = match &row.says {
            Answer(expected) => answer == *expected,
            Refuses(code, text) => answer["errors"].as_array().is_some_and(|errors| {
                errors.iter().any(|error| {
                    let message = error["message"].as_str().unwrap_or_default();
                    error["extensions"]["code"] == *code && message.contains(text)
                })
            }),
        };
        if !is_right {
            faults.push(format!("{}\n  {}\n  {answer}", row.change, row.document));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn an_error_is_where_the_document_has_it_after_a_description() {
    let graph = graph().await;
    let document = "\"\"\"Two lines\nand \u{1F600}\"\"\" query { nothing }";
    let answer = graph.ask(document, Some(json!({}))).await;
    let at = &answer["errors"][0]["locations"];
    assert_eq!(*at, json!([{"line": 2, "column": 18}]), "{answer}");
}

#[tokio::test]
async fn an_execution_errors_path_has_response_names_and_indices() {
    let graph = graph().await;
    let answer = graph.query("{ a: node { b: number } }").await;
    assert_eq!(answer["errors"][0]["path"], json!(["a", "b"]), "{answer}");
}

/// The definitions that the edition's appendix C has, and apollo-compiler does not.
#[tokio::test]
async fn the_directives_are_those_of_the_edition() {
    let graph = graph().await;
    let query = "{ __schema { directives { name locations args { name defaultValue type { kind ofType { name } } } } } }";
    let answer = graph.query(query).await;
    let directives = answer["data"]["__schema"]["directives"].as_array().cloned();
    let directives = directives.expect("directives");
    let reason = json!([{
        "name": "reason", "defaultValue": "\"No longer supported\"",
        "type": {"kind": "NON_NULL", "ofType": {"name": "String"}},
    }]);
    let of = |name: &str| directives.iter().find(|it| it["name"] == name);
    let deprecated = of("deprecated").expect("@deprecated");
    assert_eq!(deprecated["args"], reason);
    let places = [
        "FIELD_DEFINITION",
        "ARGUMENT_DEFINITION",
        "INPUT_FIELD_DEFINITION",
        "ENUM_VALUE",
    ];
    assert_eq!(deprecated["locations"], json!(places));
    let one_of = of("oneOf").expect("@oneOf");
    assert_eq!(one_of["locations"], json!(["INPUT_OBJECT"]));
    for name in ["skip", "include", "specifiedBy"] {
        assert!(of(name).is_some(), "@{name}");
    }
}
