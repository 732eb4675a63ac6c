//! Requests that try to stop a subgraph: small to send and, without limits, endless to answer.
//!
//! They ask for what every subgraph has: `_entities`, a `Post` with an `id`, `__typename`, introspection.
//! Sources: the advisories on graphql-java, graphql-js, async-graphql, Hot Chocolate and Apollo Server about
//! aliases, directives, fragments, recursion and introspection; the rest follows from how the parser and
//! the validation of async-graphql work.

use std::fmt::Write;

use serde_json::{Value, json};

/// A request, and the code with which it is refused.
pub struct Hostile {
    /// What the request tries to exhaust, for the message of a failed test.
    pub name: &'static str,
    pub query: String,
    pub variables: Value,
    /// The `extensions.code` of its refusal.
    pub code: &'static str,
}

/// All hostile requests, each with the code that refuses it under default settings.
pub fn requests() -> Vec<Hostile> {
    let mut all: Vec<_> = documents()
        .into_iter()
        .map(|(name, code, query)| Hostile {
            name,
            query,
            variables: json!({}),
            code,
        })
        .collect();
    all.extend(with_variables());
    all
}

fn documents() -> Vec<(&'static str, &'static str, String)> {
    let many = |count: usize, part: &dyn Fn(usize) -> String| -> String {
        (0..count).map(part).collect::<Vec<_>>().join(" ")
    };
    let fragments = |count: usize, body: &dyn Fn(usize) -> String| {
        many(count, &|i| {
            format!("fragment F{i} on Query {{ {} }}", body(i))
        })
    };
    let four = |next: usize| many(4, &|_| format!("...F{next}"));
    let list_of = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let object_of = |depth: usize| format!("{}1{}", "{a:".repeat(depth), "}".repeat(depth));
    let fields_of_types = |depth: usize| {
        let (open, close) = ("{ fields { type".repeat(depth), "} }".repeat(depth));
        format!("{{ __schema {{ types {open} {{ name }} {close} }} }}")
    };
    let entities = |representations: &str| {
        format!("{{ _entities(representations: {representations}) {{ __typename }} }}")
    };
    vec![
        (
            "fragments that spread the next one four times",
            "MAX_SELECTIONS_EXCEEDED",
            format!(
                "{{ ...F0 }} {} fragment F30 on Query {{ __typename }}",
                fragments(30, &|i| four(i + 1))
            ),
        ),
        (
            "the same, where no operation spreads them",
            "GRAPHQL_VALIDATION_FAILED",
            format!(
                "{{ __typename }} {} fragment F30 on Query {{ __typename }}",
                fragments(30, &|i| four(i + 1))
            ),
        ),
        (
            "the same within inline fragments",
            "MAX_SELECTIONS_EXCEEDED",
            format!(
                "{{ ...F0 }} {} fragment F12 on Query {{ __typename }}",
                fragments(12, &|i| format!(
                    "... {{ {} }} ... on Query {{ {} }}",
                    four(i + 1),
                    four(i + 1)
                ))
            ),
        ),
        (
            "the same within fields",
            "MAX_SELECTIONS_EXCEEDED",
            format!(
                "{{ ...F0 }} {} fragment F12 on Query {{ __typename }}",
                fragments(12, &|i| {
                    many(4, &|j| format!("a{j}: __schema {{ ...F{} }}", i + 1))
                })
            ),
        ),
        (
            "the same from many operations",
            "MAX_SELECTIONS_EXCEEDED",
            format!(
                "{} {} fragment F5 on Query {{ __typename }}",
                many(90, &|i| format!("query Q{i} {{ __schema {{ ...F0 }} }}")),
                fragments(5, &|i| four(i + 1))
            ),
        ),
        (
            "one fragment with many variables, from many operations",
            "MAX_TOKENS_EXCEEDED",
            format!(
                "{} fragment F on Query {{ _entities(representations: [{}]) {{ __typename }} }}",
                many(90, &|i| format!("query Q{i} {{ ...F }}")),
                many(1_000, &|i| format!("$v{i}"))
            ),
        ),
        (
            "a fragment that spreads itself",
            "GRAPHQL_VALIDATION_FAILED",
            "{ ...F } fragment F on Query { __typename ...F }".to_owned(),
        ),
        (
            "a cycle of fragments",
            "GRAPHQL_VALIDATION_FAILED",
            format!(
                "{{ ...F0 }} {} fragment F9 on Query {{ __typename ...F0 }}",
                fragments(9, &|i| format!("...F{} ...F{}", i + 1, i + 1))
            ),
        ),
        (
            "cycles that no operation spreads",
            "GRAPHQL_VALIDATION_FAILED",
            "{ __typename } fragment A on Query { ...B } fragment B on Query { ...A }".to_owned(),
        ),
        (
            "a long chain of fragments",
            "MAX_DEPTH_EXCEEDED",
            format!(
                "{{ ...F0 }} {} fragment F490 on Query {{ __typename }}",
                fragments(490, &|i| format!("...F{}", i + 1))
            ),
        ),
        (
            "thousands of fragments that nothing spreads",
            "MAX_SELECTIONS_EXCEEDED",
            format!(
                "{{ __typename }} {}",
                fragments(1_000, &|_| "__typename".to_owned())
            ),
        ),
        (
            "braces without end",
            "MAX_DEPTH_EXCEEDED",
            "{a".repeat(50_000),
        ),
        ("brackets without end", "MAX_DEPTH_EXCEEDED", {
            format!("{{ a(b: {}", "[".repeat(100_000))
        }),
        (
            "parentheses without end",
            "MAX_DEPTH_EXCEEDED",
            "(".repeat(100_000),
        ),
        ("brackets in a type", "MAX_DEPTH_EXCEEDED", {
            format!("query ($a: {}) {{ a }}", "[".repeat(100_000))
        }),
        (
            "brackets after a string that is not closed",
            "GRAPHQL_PARSE_FAILED",
            { format!("{{ a(b: [\"\"\" \" {}", "[".repeat(100_000)) },
        ),
        ("nested fields", "MAX_DEPTH_EXCEEDED", {
            format!("{}{}", "{ __schema ".repeat(60), "}".repeat(60))
        }),
        ("nested inline fragments", "MAX_DEPTH_EXCEEDED", {
            format!("{{ {} __typename {} }}", "... {".repeat(50), "}".repeat(50))
        }),
        (
            "a literal of nested lists",
            "MAX_DEPTH_EXCEEDED",
            entities(&list_of(1_000)),
        ),
        (
            "a literal of nested objects",
            "MAX_DEPTH_EXCEEDED",
            entities(&object_of(1_000)),
        ),
        ("a default of nested lists", "MAX_DEPTH_EXCEEDED", {
            format!("query ($a: [Int] = {}) {{ __typename }}", list_of(1_000))
        }),
        (
            "a directive's argument of nested objects",
            "MAX_DEPTH_EXCEEDED",
            { format!("{{ __typename @include(if: {}) }}", object_of(1_000)) },
        ),
        (
            "a large list of values",
            "MAX_TOKENS_EXCEEDED",
            entities(&format!("[{}]", many(40_000, &|_| "A".to_owned()))),
        ),
        (
            "a large list in a directive of a fragment",
            "MAX_TOKENS_EXCEEDED",
            {
                format!(
                    "{{ {} }} fragment F on Query {{ __typename @include(if: [{}]) }}",
                    many(100, &|_| "...F".to_owned()),
                    many(1_000, &|_| "1".to_owned())
                )
            },
        ),
        ("many aliases", "MAX_ALIASES_EXCEEDED", {
            format!(
                "{{ __schema {{ {} }} }}",
                many(3_000, &|i| format!("a{i}: __typename"))
            )
        }),
        ("many root fields", "MAX_ROOT_FIELDS_EXCEEDED", {
            format!("{{ {} }}", many(500, &|i| format!("a{i}: __typename")))
        }),
        ("many directives", "MAX_DIRECTIVES_EXCEEDED", {
            format!("{{ __typename {} }}", many(4_000, &|_| "@a".to_owned()))
        }),
        (
            "many directives on an operation",
            "MAX_DIRECTIVES_EXCEEDED",
            {
                format!(
                    "query {} {{ __typename }}",
                    many(4_000, &|_| "@a".to_owned())
                )
            },
        ),
        (
            "many directives on a variable",
            "MAX_DIRECTIVES_EXCEEDED",
            {
                format!(
                    "query ($a: Int {}) {{ __typename }}",
                    many(4_000, &|_| "@a".to_owned())
                )
            },
        ),
        (
            "many directives on a fragment",
            "MAX_DIRECTIVES_EXCEEDED",
            {
                format!(
                    "{{ ...F }} fragment F on Query {} {{ __typename }}",
                    many(4_000, &|_| "@a".to_owned())
                )
            },
        ),
        ("one field 50,000 times", "MAX_TOKENS_EXCEEDED", {
            format!("{{ {} }}", "__typename ".repeat(50_000))
        }),
        ("empty comments", "MAX_TOKENS_EXCEEDED", {
            format!("{}{{ __typename }}", "#\n".repeat(60_000))
        }),
        ("one field 7,000 times", "MAX_SELECTIONS_EXCEEDED", {
            format!("{{ __schema {{ {} }} }}", "__typename ".repeat(7_000))
        }),
        ("fields that conflict", "GRAPHQL_VALIDATION_FAILED", {
            format!(
                "{{ __schema {{ {} }} }}",
                many(900, &|i| format!("a: b{i}"))
            )
        }),
        (
            "fields that conflict in many arguments",
            "GRAPHQL_VALIDATION_FAILED",
            {
                format!(
                    "{{ __schema {{ a({}) {} }} }}",
                    many(60, &|i| format!("x{i}: 1")),
                    "a ".repeat(5_000)
                )
            },
        ),
        (
            "a field with many arguments",
            "GRAPHQL_VALIDATION_FAILED",
            { format!("{{ a({}) }}", many(3_000, &|i| format!("x{i}: 1"))) },
        ),
        ("many variables", "MAX_VARIABLES_EXCEEDED", {
            format!(
                "query ({}) {{ __typename }}",
                many(2_000, &|i| format!("$a{i}: Int"))
            )
        }),
        ("many operations", "MAX_ROOT_FIELDS_EXCEEDED", {
            many(1_500, &|i| format!("query Q{i} {{ __typename }}"))
        }),
        ("many unknown fields", "GRAPHQL_VALIDATION_FAILED", {
            format!(
                "{{ __schema {{ {} }} }}",
                many(5_900, &|i| format!("unknownField{i}"))
            )
        }),
        (
            "thousands of known fields and an unknown one",
            "GRAPHQL_VALIDATION_FAILED",
            {
                let fields = "__typename ".repeat(5_900);
                format!("{{ __schema {{ {fields} unknownField }} }}")
            },
        ),
        (
            "thousands of undefined variables",
            "GRAPHQL_VALIDATION_FAILED",
            entities(&format!("[{}]", many(4_800, &|i| format!("$v{i}")))),
        ),
        (
            "undefined variables in a directive",
            "GRAPHQL_VALIDATION_FAILED",
            {
                format!(
                    "{{ __typename @include(if: [{}]) }}",
                    many(4_800, &|i| format!("$v{i}"))
                )
            },
        ),
        (
            "a default for a list of an unknown type",
            "GRAPHQL_VALIDATION_FAILED",
            "query ($a: [[Foo!]] = [[1]]) { __typename }".to_owned(),
        ),
        (
            "operations that spread an unknown fragment",
            "GRAPHQL_VALIDATION_FAILED",
            many(100, &|i| format!("query Q{i} {{ ...Unknown }}")),
        ),
        (
            "a fragment with long texts, spread often",
            "MAX_TOKENS_EXCEEDED",
            {
                format!(
                    "{{ {} }} fragment F on Query {{ __typename(x: \"{}\") }}",
                    "...F ".repeat(1_900),
                    "y".repeat(40_000)
                )
            },
        ),
        (
            "inline fragments on impossible types",
            "GRAPHQL_VALIDATION_FAILED",
            {
                format!(
                    "{{ __schema {{ {} }} }}",
                    "... on Post { id } ".repeat(1_600)
                )
            },
        ),
        ("a name of 100 KB", "MAX_TOKENS_EXCEEDED", {
            format!("{{ {} }}", "a".repeat(100_000))
        }),
        (
            "an operation with a long name and many unknown variables",
            "MAX_TOKENS_EXCEEDED",
            {
                format!(
                    "query {} {{ _entities(representations: [{}]) {{ __typename }} }}",
                    "a".repeat(60_000),
                    many(5_000, &|i| format!("$v{i}"))
                )
            },
        ),
        (
            "a document of 1 MB of white space",
            "MAX_TOKENS_EXCEEDED",
            { format!("{{ __typename }}{}", " ".repeat(1_000_000)) },
        ),
        ("a document of 1 MB of text", "MAX_TOKENS_EXCEEDED", {
            entities(&format!("\"{}\"", "x".repeat(1_000_000)))
        }),
        (
            "recursive introspection",
            "MAX_DEPTH_EXCEEDED",
            fields_of_types(3),
        ),
        (
            "deep recursive introspection",
            "MAX_DEPTH_EXCEEDED",
            fields_of_types(10),
        ),
        (
            "recursive introspection by fragments",
            "MAX_DEPTH_EXCEEDED",
            {
                let fields = |i: usize| {
                    format!(
                        "fragment F{i} on __Type {{ fields {{ type {{ ...F{} }} }} }}",
                        i + 1
                    )
                };
                format!(
                    "{{ __type(name: \"Query\") {{ ...F0 }} }} {} fragment F3 on __Type {{ name }}",
                    many(3, &fields)
                )
            },
        ),
        ("introspection under many aliases", "MAX_COST_EXCEEDED", {
            let types = |i: usize| format!("a{i}: types {{ fields {{ args {{ name }} }} }}");
            format!("{{ __schema {{ {} }} }}", many(300, &types))
        }),
        ("many representations", "MAX_TOKENS_EXCEEDED", {
            entities(&format!("[{}]", many(15_000, &|_| "{a: 1}".to_owned())))
        }),
    ]
}

fn with_variables() -> Vec<Hostile> {
    let of = "query ($of: [_Any!]!) { _entities(representations: $of) { __typename } }";
    let post = json!({ "__typename": "Post", "id": "000000000000000000000000" });
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let mut aliases = String::new();
    for alias in 0..150 {
        let _ = write!(
            aliases,
            "a{alias}: _entities(representations: $of) {{ __typename }} "
        );
    }
    let every = format!("query ($of: [_Any!]!) {{ {aliases} }}");
    let unused = "query ($x: String) { __typename }";
    [
        (
            "many representations in a variable",
            of,
            json!({ "of": vec![post.clone(); 12_000] }),
            "MAX_REPRESENTATIONS_EXCEEDED",
        ),
        (
            "representations under many aliases",
            &every,
            json!({ "of": vec![post; 200] }),
            "MAX_REPRESENTATIONS_EXCEEDED",
        ),
        (
            "a large variable under many aliases",
            &every,
            json!({ "of": [{ "a": "x".repeat(500_000) }] }),
            "MAX_VARIABLES_EXCEEDED",
        ),
        (
            "a deep variable",
            of,
            json!({ "of": [deep.clone()] }),
            "MAX_VARIABLES_EXCEEDED",
        ),
        (
            "a deep variable that nothing refers to",
            unused,
            json!({ "y": deep }),
            "MAX_VARIABLES_EXCEEDED",
        ),
    ]
    .map(|(name, query, variables, code)| Hostile {
        name,
        query: query.to_owned(),
        variables,
        code,
    })
    .into()
}
