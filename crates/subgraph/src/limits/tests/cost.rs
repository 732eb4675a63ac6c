//! What an operation costs: page sizes, representations and large arguments.

use async_graphql::{Request, Variables};
use serde_json::json;

use super::limits;
use crate::limits::LimitError;

fn cost(query: &str, variables: serde_json::Value) -> Result<u64, LimitError> {
    let limits = limits();
    let admitted = limits.admit(query)?;
    let request = Request::new(query).variables(Variables::from_json(variables));
    limits.cost(&admitted, &request)
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
