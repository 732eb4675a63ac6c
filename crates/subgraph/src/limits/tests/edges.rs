//! The last value that each limit accepts, and the first one that it refuses.

use async_graphql::{Pos, ServerError};
use clap::Parser;

use super::{FIELDS, limits, limits_of_a_schema, many};
use crate::limits::{LimitError, LimitSettings, Limits};

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
