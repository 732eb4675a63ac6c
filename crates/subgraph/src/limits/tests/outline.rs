//! What is counted in the text before it is parsed, against the parsed document.

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{Selection, SelectionSet};

use super::limits_of_a_schema;
use super::random::Dice;
use crate::limits::{LimitSettings, outline, selections};

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
