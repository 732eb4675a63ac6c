//! The counts against a naive expansion, and the edges of each limit.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{EmptyMutation, EmptySubscription, Pos, Request, Schema, Variables};
use clap::Parser;
use serde_json::json;

use super::*;

const FIELDS: FieldCosts = &[
    ("_entities", FieldCost::Entities { item: 2 }),
    ("items", crate::page::page_cost(3)),
    ("text", FieldCost::Leaf(5)),
];

fn limits() -> Limits {
    Limits {
        fields: FIELDS,
        ..Limits::default()
    }
}

fn cost(query: &str, variables: serde_json::Value) -> Result<u64, LimitError> {
    let limits = limits();
    let admitted = limits.admit(query)?;
    let request = Request::new(query).variables(Variables::from_json(variables));
    limits.cost(&admitted, &request)
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    limits: LimitSettings,
}

#[test]
fn the_settings_have_the_defaults_of_the_library() {
    assert_eq!(
        Flags::parse_from(["subgraph"]).limits,
        LimitSettings::default()
    );
}

#[test]
fn sizes_multiply_what_is_below_a_list() {
    let variables = json!({ "n": 7, "of": [{}, {}, {}], "many": 1_000, "text": "7" });
    for (query, expected) in [
        ("{ a b }", 2),
        ("{ a { b text } }", 8),
        ("{ items { b } }", 1 + 20 * 4),
        ("{ items(first: 5) { b } }", 1 + 5 * 4),
        ("{ items(last: 5) { b } }", 1 + 5 * 4),
        ("{ items(first: null, last: 5) { b } }", 1 + 5 * 4),
        ("{ items(first: 0) { b } }", 1),
        ("{ items(first: -1) { b } }", 1 + 100 * 4),
        ("{ items(first: 1000) { b } }", 1 + 100 * 4),
        ("{ items(first: \"5\") { b } }", 1 + 100 * 4),
        ("query ($n: Int) { items(first: $n) { b } }", 1 + 7 * 4),
        (
            "query ($many: Int) { items(first: $many) { b } }",
            1 + 100 * 4,
        ),
        (
            "query ($text: Int) { items(first: $text) { b } }",
            1 + 100 * 4,
        ),
        ("query ($x: Int = 3) { items(first: $x) { b } }", 1 + 3 * 4),
        ("query ($x: Int) { items(first: $x) { b } }", 1 + 20 * 4),
        (
            "{ items(first: 5) { items(first: 2) { b } } }",
            1 + 5 * (3 + 1 + 2 * 4),
        ),
        (
            "{ ...A } fragment A on Query { items(first: 5) { ...B } } fragment B on Item { b c }",
            1 + 5 * 5,
        ),
        (
            "query ($of: [_Any!]!) { _entities(representations: $of) { a } }",
            1 + 3 * 3,
        ),
        ("{ _entities(representations: [{}, {}]) { a } }", 1 + 2 * 3),
        ("{ _entities(representations: {}) { a } }", 1 + 3),
        (
            "query ($of: [_Any!]!, $n: Int) { _entities(representations: $of) { items(first: $n) { b } } }",
            1 + 3 * (2 + 1 + 7 * 4),
        ),
    ] {
        let cost = cost(query, variables.clone()).expect("within the limits");
        assert_eq!(cost, expected, "{query}");
    }
}

#[test]
fn the_cost_is_that_of_the_operation_that_runs() {
    let query = "query A { a } query B { items { text } }";
    let limits = limits();
    let admitted = limits.admit(query).expect("within the limits");
    for (name, expected) in [("A", 1), ("B", 1 + 20 * (3 + 6)), ("C", 0)] {
        let request = Request::new(query).operation_name(name);
        let cost = limits.cost(&admitted, &request).expect("within the limits");
        assert_eq!(cost, expected, "{name}");
    }
}

#[test]
fn a_large_argument_costs_for_each_object_that_copies_it() {
    let query = "query ($x: String) { items(first: 100) { a(b: $x) } }";
    let small = cost(query, json!({ "x": "x" })).expect("within the limits");
    let large = cost(query, json!({ "x": "x".repeat(25_600) })).expect("within the limits");
    assert_eq!(large, small + 100 * 100);
    let literal = format!("{{ a(b: \"{}\") }}", "x".repeat(25_600));
    assert_eq!(cost(&literal, json!({})).expect("within the limits"), 101);
}

#[test]
fn products_beyond_every_number_are_refused() {
    let items = "items(first: 100) { ".repeat(30);
    let query = format!("{{ {items} b {} }}", "}".repeat(30));
    let refused = cost(&query, json!({})).expect_err("too much");
    assert!(
        matches!(refused, LimitError::Cost { cost: u64::MAX, .. }),
        "{refused}"
    );
}

#[test]
fn a_subscription_may_cost_less() {
    let fields = "items(first: 100) { text }";
    let wide = (0..10)
        .map(|it| format!("a{it}: {fields} "))
        .collect::<String>();
    assert!(cost(&format!("{{ {wide} }}"), json!({})).is_ok());
    let refused = cost(&format!("subscription {{ a {{ {wide} }} }}"), json!({}));
    assert!(
        matches!(refused, Err(LimitError::Cost { max: 5_000, .. })),
        "{refused:?}"
    );
}

#[test]
fn the_introspection_query_of_clients_is_accepted() {
    let of_type = "ofType { kind name ".repeat(9) + &"}".repeat(9);
    let query = format!(
        "query IntrospectionQuery {{ __schema {{ queryType {{ name kind }} mutationType {{ name kind }}
         subscriptionType {{ name kind }} types {{ ...FullType }}
         directives {{ name description locations args(includeDeprecated: true) {{ ...InputValue }} }} }} }}
         fragment FullType on __Type {{ kind name description specifiedByURL isOneOf
           fields(includeDeprecated: true) {{ name description
             args(includeDeprecated: true) {{ ...InputValue }} type {{ ...TypeRef }} isDeprecated deprecationReason }}
           inputFields(includeDeprecated: true) {{ ...InputValue }} interfaces {{ ...TypeRef }}
           enumValues(includeDeprecated: true) {{ name description isDeprecated deprecationReason }}
           possibleTypes {{ ...TypeRef }} }}
         fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }} defaultValue
           isDeprecated deprecationReason }}
         fragment TypeRef on __Type {{ kind name {of_type} }}"
    );
    let cost = cost(&query, json!({})).expect("within the limits");
    assert!(cost > 10_000, "{cost}");
}

/// Random, but the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn set(&mut self, text: &mut String, depth: u64, fragments: std::ops::Range<u64>) {
        text.push_str("{ ");
        for _ in 0..=self.below(3) {
            match self.below(8) {
                0 | 1 if depth < 4 => {
                    text.push_str(
                        [
                            "a ",
                            "x: a ",
                            "items(first: 2) ",
                            "_entities(representations: [{} {} {}]) ",
                        ][self.below(4) as usize],
                    );
                    self.set(text, depth + 1, fragments.clone());
                }
                2 if depth < 4 => {
                    text.push_str("... on T ");
                    self.set(text, depth + 1, fragments.clone());
                }
                3 | 4 if !fragments.is_empty() => {
                    let picked = fragments.start + self.below(fragments.end - fragments.start);
                    text.push_str(&format!("...F{picked} "));
                }
                5 => text.push_str("y: b "),
                6 => text.push_str("text "),
                _ => text.push_str("b "),
            }
        }
        text.push_str("} ");
    }
}

/// Writes everything out: selections, root fields, aliases and depth of a set, and its cost.
fn expand(document: &ExecutableDocument, set: &SelectionSet) -> ([u64; 4], u64) {
    let (mut counts, mut cost) = ([0; 4], 0);
    for selection in &set.items {
        counts[0] += 1;
        let (inner, is_field) = match &selection.node {
            Selection::Field(field) => (&field.node.selection_set.node, true),
            Selection::InlineFragment(fragment) => (&fragment.node.selection_set.node, false),
            Selection::FragmentSpread(spread) => {
                let fragment = &document.fragments[&spread.node.fragment_name.node];
                (&fragment.node.selection_set.node, false)
            }
        };
        let (below, mut below_cost) = expand(document, inner);
        counts[0] += below[0];
        counts[1] += if is_field { 1 } else { below[1] };
        counts[2] += below[2];
        if !inner.items.is_empty() {
            counts[3] = counts[3].max(below[3] + 1);
        }
        if let Selection::Field(field) = &selection.node {
            counts[2] += u64::from(field.node.alias.is_some());
            below_cost = match field.node.name.node.as_str() {
                "items" => 1 + 2 * (3 + below_cost),
                "_entities" => 1 + 3 * (2 + below_cost),
                "text" => 1 + 5,
                _ => 1 + below_cost,
            };
        }
        cost += below_cost;
    }
    (counts, cost)
}

#[test]
fn counts_and_costs_are_those_of_the_document_written_out() {
    let mut refused = HashMap::new();
    let mut compared = 0;
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let mut text = String::new();
        let fragments = dice.below(5);
        dice.set(&mut text, 0, 0..fragments);
        for fragment in 0..fragments {
            text.push_str(&format!("fragment F{fragment} on T "));
            dice.set(&mut text, 2, fragment + 1..fragments);
        }
        let document = parse_query(&text).expect("well-formed");
        let (_, operation) = document.operations.iter().next().expect("an operation");
        let (counts, expected) = expand(&document, &operation.node.selection_set.node);
        assert_eq!(
            selections::counted(&document).expect("small"),
            counts,
            "{text}"
        );
        let [operation] = &cost::of_operations(&document, FIELDS).expect("defined")[..] else {
            panic!("one operation");
        };
        assert_eq!(
            operation.total(&Variables::default()).cost,
            expected,
            "{text}"
        );
        match limits().admit(&text) {
            Ok(_) => compared += 1,
            Err(error) => *refused.entry(error.code().as_str()).or_insert(0) += 1,
        }
    }
    assert!(compared > 200, "{compared}, {refused:?}");
}

/// What a set has as it is written, fragments not followed: selections, root fields, aliases, and fields
/// that the schema of one field, `a`, does not have.
fn written(set: &SelectionSet, is_root: bool) -> [usize; 4] {
    let mut counts = [0; 4];
    for selection in &set.items {
        counts[0] += 1;
        let below = match &selection.node {
            Selection::Field(field) => {
                let field = &field.node;
                counts[1] += usize::from(is_root);
                counts[2] += usize::from(field.alias.is_some());
                counts[3] += usize::from(
                    !["a", "__typename", "_entities"].contains(&field.name.node.as_str()),
                );
                written(&field.selection_set.node, false)
            }
            Selection::InlineFragment(it) => written(&it.node.selection_set.node, false),
            Selection::FragmentSpread(_) => continue,
        };
        counts = std::array::from_fn(|i| counts[i] + below[i]);
    }
    counts
}

#[test]
fn the_outline_is_that_of_the_parsed_document() {
    // What may stand between tokens, or after a field's name, without another selection.
    const PARTS: [&str; 8] = [
        " \u{feff}",
        ",\n",
        "# { a: b }\r",
        "(a: {b: [c, {d: $e}], on: \"} {\"}) ",
        "@skip(if: $on) ",
        "@a @b(c: \"\"\"{ a \\\"\"\" \"\"\") ",
        "(c: 1.5e3 # )\n d: -2) ",
        "(e: \"é\") ",
    ];
    let types = limits_of_a_schema().types.expect("a schema");
    for seed in 0..500 {
        let mut dice = Dice(seed);
        let mut text = String::new();
        let fragments = dice.below(3);
        if dice.below(2) == 0 {
            text.push_str(
                "\u{feff}query Q($on: [I!]! = [{a: {b: 1}}], $e: J = {f: E}) @d(e: {f: 1}) ",
            );
        }
        dice.set(&mut text, 0, 0..fragments);
        for fragment in 0..fragments {
            text.push_str(&format!("fragment F{fragment} on T "));
            dice.set(&mut text, 1, fragment + 1..fragments);
        }
        while let Some(at) = text.find("b ") {
            let name = ["on", "fragment", "a", "__typename"][dice.below(4) as usize];
            text.replace_range(at..at + 2, &format!("{name}§{}", dice.below(8)));
        }
        for (number, part) in PARTS.iter().enumerate() {
            text = text.replace(&format!("§{number}"), part);
        }
        let document = parse_query(&text).expect("well-formed");
        let (_, operation) = document.operations.iter().next().expect("an operation");
        let mut expected = written(&operation.node.selection_set.node, true);
        for fragment in document.fragments.values() {
            let counts = written(&fragment.node.selection_set.node, false);
            expected[0] += counts[0];
            expected[3] += counts[3];
        }
        let counted = outline::counted(&text, &types).expect("small");
        assert_eq!(counted, expected, "{text}");
    }
}

#[test]
fn the_outline_refuses_nothing_that_the_parsed_document_may_ask_for() {
    // Whatever stands next to whatever, most of it well-formed.
    const PARTS: [&str; 34] = [
        "a",
        "a",
        "on",
        "fragment",
        "query",
        "mutation",
        "true",
        "null",
        "__typename",
        "b: a",
        "on:a",
        "fragment : on",
        "a { a }",
        "a { b: a, a }",
        "on { on }",
        "... { a }",
        "... on T { a }",
        "...\u{feff}on T\r{ a b: a }",
        "...on on { a }",
        "...@skip(if: true) { a }",
        "...F",
        "...\r\nF",
        "...F @include(if: $on)",
        "# } {\n",
        "#\r",
        "\u{feff}",
        "a(x: 1.5e-3)",
        "a(x: [1 2, {y: -0}])",
        "a(x: \"{ \\\" }\")",
        "a(x: \"\"\"{ \\\"\"\" \"\"\")",
        "a(on: $fragment y: E)",
        "a @d(x: {a: {}})",
        "a @b @c",
        ",",
    ];
    const BEGINS: [&str; 6] = [
        "",
        "\u{feff}",
        "query ",
        "query query ($on: [I!]! = [{a: {b: 1}}] @d, $b: J = \"\") @d(x: {y: 1}) ",
        "#c\rmutation on @on ",
        "subscription fragment\u{feff}",
    ];
    const FRAGMENT: &str = "fragment\u{feff}F on T @d(x: [{}])";
    let settings = LimitSettings {
        aliases_max: 3,
        root_fields_max: 6,
        selections_max: 10,
        ..LimitSettings::default()
    };
    let (mut parsed, mut refused) = (0, 0);
    for seed in 0..4_000 {
        let mut dice = Dice(seed);
        let set = |dice: &mut Dice| {
            let count = 1 + dice.below(7);
            let parts = (0..count).map(|_| PARTS[dice.below(PARTS.len() as u64) as usize]);
            format!("{{ {} }}", parts.collect::<Vec<_>>().join(" "))
        };
        let begin = BEGINS[dice.below(BEGINS.len() as u64) as usize];
        let operation = format!("{begin}{}", set(&mut dice));
        let fragment = format!("{FRAGMENT}{}", set(&mut dice));
        let text = match dice.below(4) {
            0 => operation,
            1 => format!("{operation}{fragment}"),
            2 => format!("\u{feff}#\r{fragment}\u{feff}{operation}"),
            _ => format!("{fragment} query B{} {operation}", set(&mut dice)),
        };
        let Ok(document) = parse_query(&text) else {
            continue;
        };
        parsed += 1;
        if let Err(early) = outline::check(&text, &settings, None) {
            refused += 1;
            let late = selections::check(&document, &settings, None);
            assert!(late.is_err(), "{early}: {text}");
        }
    }
    assert!(parsed > 1_000 && refused > 100, "{parsed} {refused}");
}

#[test]
fn the_tokens_are_those_that_the_parser_sees() {
    for (text, expected) in [
        ("{ a(b: \"[[[ \\\" {{{\") }", Ok(8)),
        ("{ a(b: \"\"\"[[[ \\\"\"\" \" {{{\"\"\") } # [[[", Ok(8 + 1)),
        ("query($a:[Int!]=1){...A@b}", Ok(18)),
        ("{ a(b: \"[[[ ) }", Err("GRAPHQL_PARSE_FAILED")),
        ("{ a(b: \"\"\" \") }", Err("GRAPHQL_PARSE_FAILED")),
        ("{ a(b: \"\n\") }", Err("GRAPHQL_PARSE_FAILED")),
        ("{ a(b: \"\\", Err("GRAPHQL_PARSE_FAILED")),
        (
            "\u{feff}{\u{feff}a\u{feff}(b: \u{feff}\"é\u{feff}\") }",
            Ok(8),
        ),
    ] {
        let counted = outline::check(text, &LimitSettings::default(), None);
        let counted = counted.map_err(|error| error.code().as_str());
        assert_eq!(counted, expected, "{text}");
    }
}

#[test]
fn a_limit_is_the_last_that_is_accepted() {
    let settings = LimitSettings {
        tokens_max: 50,
        depth_max: 4,
        aliases_max: 3,
        root_fields_max: 3,
        directives_max: 2,
        selections_max: 8,
        ..LimitSettings::default()
    };
    let limits = Limits {
        settings,
        fields: FIELDS,
        types: None,
    };
    let code = |text: &str| limits.admit(text).err().map(|error| error.code().as_str());
    let spreads = |count: usize| {
        format!(
            "{{ a {{ {} }} }} fragment F on T {{ b c }}",
            "...F ".repeat(count)
        )
    };
    for (accepted, refused, expected) in [
        (
            "{a{b{c{d}}}}".to_owned(),
            "{a{b{c{d{e}}}}}".to_owned(),
            "MAX_DEPTH_EXCEEDED",
        ),
        (
            "{ a { b { ...F } } } fragment F on T { c }".to_owned(),
            "{ a { b { c { ...F } } } } fragment F on T { c }".to_owned(),
            "MAX_DEPTH_EXCEEDED",
        ),
        (
            "{ a: b c: d e: f }".to_owned(),
            "{ a { a: b c: d e: f g: h } }".to_owned(),
            "MAX_ALIASES_EXCEEDED",
        ),
        (
            "{ a b c }".to_owned(),
            "{ a b ... { c d } }".to_owned(),
            "MAX_ROOT_FIELDS_EXCEEDED",
        ),
        (
            "{ a @b @b }".to_owned(),
            "{ a @b @b @b }".to_owned(),
            "MAX_DIRECTIVES_EXCEEDED",
        ),
        (spreads(2), spreads(3), "MAX_SELECTIONS_EXCEEDED"),
    ] {
        assert_eq!(code(&accepted), None, "{accepted}");
        assert_eq!(code(&refused), Some(expected), "{refused}");
    }
}

fn many(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().join(" ")
}

#[test]
fn operations_fragments_and_written_out_texts_have_fixed_limits() {
    let code = |text: &str| {
        limits()
            .admit(text)
            .err()
            .map(|error| error.code().as_str())
    };
    let operations = |count| many(count, |i| format!("query Q{i} {{ a }}"));
    let fragments = |count| {
        let spreads = many(count, |i| format!("...F{i}"));
        let defined = many(count, |i| format!("fragment F{i} on T {{ b }}"));
        format!("{{ a {{ {spreads} }} }} {defined}")
    };
    let texts = |count: usize| {
        let (spreads, text) = ("...F ".repeat(count), "y".repeat(13_107));
        format!("{{ a {{ {spreads} }} }} fragment F on T {{ b(c: {{ d: [\"{text}\"] }}) }}")
    };
    for (accepted, refused, expected) in [
        (operations(100), operations(101), "MAX_ROOT_FIELDS_EXCEEDED"),
        (fragments(500), fragments(501), "MAX_SELECTIONS_EXCEEDED"),
        (texts(10), texts(11), "MAX_TOKENS_EXCEEDED"),
    ] {
        assert_eq!(code(&accepted), None, "{expected}");
        assert_eq!(code(&refused), Some(expected));
    }
}

#[test]
fn what_is_referred_to_must_be_defined() {
    for (text, expected) in [
        ("{ ...F }", "the fragment \"F\" is not defined"),
        ("{ a { b { ...F } } }", "the fragment \"F\" is not defined"),
        ("{ a(b: [{ c: $x }]) }", "the variable \"$x\" is not"),
        ("query @d(a: $x) { a }", "the variable \"$x\" is not"),
        ("{ a @include(if: $x) }", "the variable \"$x\" is not"),
        ("{ ... @skip(if: $x) { a } }", "the variable \"$x\" is not"),
        (
            "{ ...F } fragment F on T @d(a: $x) { a }",
            "the variable \"$x\" is not",
        ),
        (
            "query A($x: Int) { ...F } query B { ...F } fragment F on T { a(b: $x) }",
            "the variable \"$x\" is not",
        ),
    ] {
        let error = limits().admit(text).expect_err("something is undefined");
        assert_eq!(error.code().as_str(), "GRAPHQL_VALIDATION_FAILED", "{text}");
        assert!(error.to_string().starts_with(expected), "{text}: {error}");
    }
    let defined = "query ($x: Int) { ...F @include(if: $x) } fragment F on T { a(b: [$x, $x]) }";
    assert!(limits().admit(defined).is_ok());
}

/// Limits of a schema whose one field is `a`.
fn limits_of_a_schema() -> Limits {
    struct Query;

    #[async_graphql::Object]
    impl Query {
        async fn a(&self) -> i32 {
            1
        }
    }

    let builder = Schema::build(Query, EmptyMutation, EmptySubscription);
    let schema = crate::endpoint::federated(builder).finish();
    Limits {
        types: TypeNames::of(&schema),
        ..Limits::default()
    }
}

#[test]
fn more_unknown_fields_than_can_be_reported_are_refused_before_validation() {
    let limits = limits_of_a_schema();
    let unknown = |count: usize| -> String { (0..count).map(|i| format!(" x{i}")).collect() };
    let known = "a __typename __schema { types { kind isOneOf specifiedByURL } } _service { sdl } ";
    let few = format!("{{ {} {} }}", known.repeat(30), unknown(50));
    assert!(limits.admit(&few).is_ok());
    let many = format!(
        "{{ a ... on Query {{ ...F }} }} fragment F on Query {{ a {} }}",
        unknown(51)
    );
    let refused = limits.admit(&many).expect_err("too many");
    assert!(
        matches!(&refused, LimitError::UnknownFields { name, .. } if name == "x0"),
        "{refused:?}"
    );
    let ServerError { locations, .. } = limits
        .admit(&format!("{{ a # é\r\n \"é\" {} }}", unknown(51)))
        .expect_err("too many")
        .into();
    assert_eq!(locations, [Pos { line: 2, column: 7 }]);
    assert_eq!(refused.code().as_str(), "GRAPHQL_VALIDATION_FAILED");
}

#[test]
fn the_types_of_variables_are_those_of_the_schema() {
    let limits = limits_of_a_schema();
    for known in [
        "Int",
        "[String!]",
        "[[ID]]",
        "Boolean",
        "Float",
        "[_Any!]!",
        "Query",
    ] {
        let text = format!("query ($x: {known}) {{ a }}");
        assert!(limits.admit(&text).is_ok(), "{known}");
    }
    for unknown in ["Foo", "[Foo] = [1]", "[[Foo!]!] = [[1]]", "a"] {
        let refused = limits.admit(&format!("query ($x: {unknown}) {{ a }}"));
        assert!(
            matches!(refused, Err(LimitError::UnknownType { .. })),
            "{unknown}: {refused:?}"
        );
    }
}
