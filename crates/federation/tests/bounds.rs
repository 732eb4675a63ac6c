//! Every recursion of the planner has a bound: whatever the supergraph and the operation are, there is a plan
//! or a reason, soon and without running out of stack. Nothing here has a deadline.

mod support;

use federation::PlanError;
use support::{graphs, on_its_stack, planned};

fn ends_without_a_plan(sdl: String, query: &str) {
    let query = query.to_owned();
    let planned = on_its_stack(move || planned(&sdl, &query));
    assert!(
        matches!(
            planned,
            Err(PlanError::Unreachable(_) | PlanError::TooManySteps(_) | PlanError::TooLarge)
        ),
        "{planned:?}"
    );
}

fn unreachable(place: &str) -> Result<usize, PlanError> {
    Err(PlanError::Unreachable(place.to_owned()))
}

/// `n` types in a row, each found by the name of the next one, which only the next subgraph has.
fn keys_in_keys(n: usize) -> String {
    let names: Vec<String> = (0..n).map(|i| format!("S{i}")).collect();
    let mut sdl = graphs(&names)
        + "type Query @join__type(graph: START) { a: N0 @join__field(graph: START) }";
    for i in 0..n {
        let (key, id, next) = match i + 1 == n {
            true => (
                "id".to_owned(),
                format!("@join__field(graph: S{i})"),
                String::new(),
            ),
            false => (
                format!("n{} {{ name }}", i + 1),
                String::new(),
                format!(
                    "n{0}: N{0} @join__field(graph: START) @join__field(graph: S{i}, external: true)",
                    i + 1
                ),
            ),
        };
        let (before, external) = match i {
            0 => (String::new(), String::new()),
            _ => (
                format!("@join__type(graph: S{})", i - 1),
                format!("@join__field(graph: S{}, external: true)", i - 1),
            ),
        };
        sdl += &format!(
            "type N{i} @join__type(graph: START, key: \"id\") @join__type(graph: S{i}, key: \"{key}\") {before} {{
               id: ID! @join__field(graph: START) {id}
               name: String @join__field(graph: S{i}) {external} {next} }}"
        );
    }
    sdl
}

#[test]
fn keys_may_be_in_keys_in_keys() {
    for levels in [3, 4, 5, 6, 12, 20] {
        let planned = planned(&keys_in_keys(levels), "{ a { name } }");
        assert_eq!(planned, Ok(levels + 1), "{levels}");
    }
}

/// Each of `n` subgraphs has the type by the names that the others have of the next type, and none of them has
/// the first.
fn keys_to_nowhere(n: usize, key: impl Fn(usize) -> String) -> String {
    let names: Vec<String> = (0..n).map(|i| format!("S{i}")).collect();
    let mut sdl = graphs(&names)
        + "type Query @join__type(graph: START) { a: N0 @join__field(graph: START) }";
    for level in 0..24 {
        let next = (level + 1) % 24;
        sdl += &format!("type N{level} @join__type(graph: START, key: \"id\") ");
        for i in 0..n {
            for other in (0..n).filter(|other| *other != i) {
                sdl += &format!("@join__type(graph: S{i}, key: \"{}\") ", key(other));
            }
        }
        sdl += &format!(
            "{{ id: ID! @join__field(graph: START) next: N{next} other: N{next} last: N{next} "
        );
        for i in 0..n {
            sdl += &format!("f{i}: Int @join__field(graph: S{i}) ");
        }
        sdl += "}";
    }
    sdl
}

#[test]
fn keys_that_lead_nowhere_are_all_tried() {
    for n in [2, 5, 10] {
        let sdl = keys_to_nowhere(n, |other| format!("next {{ f{other} }}"));
        assert_eq!(planned(&sdl, "{ a { f0 } }"), unreachable("N0.f0"), "{n}");
    }
    // So many that one of them finds the next for longer than the stack lasts.
    let sdl = keys_to_nowhere(20, |other| format!("next {{ f{other} }}"));
    ends_without_a_plan(sdl, "{ a { f0 } }");
}

/// Each level of keys has three times as many paths as the one before.
#[test]
fn paths_that_multiply_with_the_levels_of_keys_use_up_the_steps() {
    let key = |other| format!("next {{ f{other} }} other {{ f{other} }} last {{ f{other} }}");
    ends_without_a_plan(keys_to_nowhere(6, key), "{ a { f0 } }");
}

/// Each field requires two of the next level, of which each requires two.
fn requirements_that_double(length: usize, below: &str, ty: &str) -> String {
    let names = ["B".to_owned(), "C".to_owned()];
    let mut fields = String::new();
    for i in 0..length {
        let (own, other) = (["B", "C"][i % 2], ["C", "B"][i % 2]);
        let next = i + 1;
        for letter in ["f", "g"] {
            fields += &format!(
                "{letter}{i}: {ty} @join__field(graph: {own}, requires: \"f{next} {below} g{next} {below}\")
                 @join__field(graph: {other}, external: true) "
            );
        }
    }
    graphs(&names)
        + &format!(
            "type Query @join__type(graph: START) {{ t: T }}
             type O @join__type(graph: START) @join__type(graph: B) @join__type(graph: C) {{ x: Int }}
             type T @join__type(graph: START, key: \"id\") @join__type(graph: B, key: \"id\")
               @join__type(graph: C, key: \"id\") {{
               id: ID! {fields}
               f{length}: {ty} @join__field(graph: START) @join__field(graph: B, external: true)
                 @join__field(graph: C, external: true)
               g{length}: {ty} @join__field(graph: START) @join__field(graph: B, external: true)
                 @join__field(graph: C, external: true) }}"
        )
}

#[test]
fn requirements_that_double_are_planned_once() {
    let leaves = requirements_that_double(40, "", "Int");
    assert!(planned(&leaves, "{ t { f0 } }").is_ok());
    let objects = requirements_that_double(40, "{ x }", "O");
    assert!(planned(&objects, "{ t { f0 { x } } }").is_ok());
}

#[test]
fn requirements_that_require_each_other_come_to_an_end() {
    let sdl = graphs(&["B".into(), "C".into()])
        + "type Query @join__type(graph: START) { t: T }
           type T @join__type(graph: START, key: \"id\") @join__type(graph: B, key: \"id\") @join__type(graph: C, key: \"id\") {
             id: ID!
             f: Int @join__field(graph: B, requires: \"g\") @join__field(graph: C, external: true)
             g: Int @join__field(graph: C, requires: \"f\") @join__field(graph: B, external: true) }";
    ends_without_a_plan(sdl, "{ t { f } }");
}

/// Each field requires the next one, which the other subgraph has.
#[test]
fn requirements_that_require_others_come_to_an_end_before_the_stack_does() {
    let chain = |length: usize| {
        let mut fields = String::new();
        for i in 0..length {
            let (own, other) = (["B", "C"][i % 2], ["C", "B"][i % 2]);
            fields += &format!(
                "f{i}: Int @join__field(graph: {own}, requires: \"f{}\") @join__field(graph: {other}, external: true) ",
                i + 1
            );
        }
        let sdl = graphs(&["B".into(), "C".into()])
            + &format!(
                "type Query @join__type(graph: START) {{ t: T }}
                 type T @join__type(graph: START, key: \"id\") @join__type(graph: B, key: \"id\") @join__type(graph: C, key: \"id\") {{
                   id: ID! {fields} f{length}: Int @join__field(graph: START) }}"
            );
        on_its_stack(move || planned(&sdl, "{ t { f0 } }"))
    };
    assert_eq!(chain(60), Ok(61));
    assert_eq!(chain(400), Err(PlanError::TooLarge));
}

/// The key of a thing is a field of the thing inside it, if that is of one type: looking for it leads from the
/// type to the interface, whose key is found the same way, and so on.
#[test]
fn keys_below_type_conditions_end_before_the_stack_does() {
    let sdl = graphs(&["B".into()])
        + "type Query @join__type(graph: START) { a: Thing @join__field(graph: START) }
           interface Thing @join__type(graph: START) @join__type(graph: B, key: \"next { ... on One { far } }\") {
             id: ID! @join__field(graph: START)
             next: Thing
             far: Int @join__field(graph: B) }
           type One implements Thing @join__implements(graph: START, interface: \"Thing\")
             @join__implements(graph: B, interface: \"Thing\")
             @join__type(graph: START) @join__type(graph: B, key: \"next { ... on One { far } }\") {
             id: ID! @join__field(graph: START)
             next: Thing
             far: Int @join__field(graph: B) }
           type Two implements Thing @join__implements(graph: START, interface: \"Thing\")
             @join__implements(graph: B, interface: \"Thing\")
             @join__type(graph: START) @join__type(graph: B, key: \"next { ... on Two { far } }\") {
             id: ID! @join__field(graph: START)
             next: Thing
             far: Int @join__field(graph: B) }";
    ends_without_a_plan(sdl.clone(), "{ a { far } }");
    ends_without_a_plan(sdl, "{ a { ... on One { far } } }");
}

/// The value of a context is a field that takes the context itself.
#[test]
fn contexts_that_take_themselves_come_to_an_end() {
    let argument = |selection: &str| {
        format!(
            "contextArguments: [{{ name: \"x\", type: \"Int\", context: \"c\", selection: \"{selection}\" }}]"
        )
    };
    let sdl = graphs(&["B".into()])
        + &format!(
            "type Query @join__type(graph: START) {{ a: Thing @join__field(graph: START) }}
             type Thing @context(name: \"c\") @join__type(graph: START, key: \"id\") @join__type(graph: B, key: \"id\") {{
               id: ID!
               next: Thing @join__field(graph: START)
               f: Int @join__field(graph: B, {}) }}",
            argument("{ f }")
        );
    let nested = format!(
        "{{ a {} {{ f }} {} }}",
        "{ next ".repeat(50),
        "}".repeat(50)
    );
    ends_without_a_plan(sdl.clone(), "{ a { next { f } } }");
    ends_without_a_plan(sdl, &nested);
}

/// An interface of `n` types, none of whose fields the first subgraph has of the interface itself.
fn many_types(n: usize, key: &str) -> String {
    let mut sdl = graphs(&["B".into()])
        + "type Query @join__type(graph: START) { node: Node @join__field(graph: START) }
           interface Node @join__type(graph: START) { id: ID! node: Node }";
    for i in 0..n {
        sdl += &format!(
            " type T{i} implements Node @join__implements(graph: START, interface: \"Node\")
                @join__type(graph: START, key: \"id\") @join__type(graph: B, key: \"{key}\") {{
                id: ID! @join__field(graph: START)
                node: Node @join__field(graph: START)
                far: Int @join__field(graph: B) }}"
        );
    }
    sdl
}

#[test]
fn types_in_types_come_to_an_end() {
    let spread = |n: usize, inner: &str| -> String {
        (0..n).map(|i| format!("... on T{i} {inner} ")).collect()
    };
    let mut query = "{ far }".to_owned();
    for _ in 0..3 {
        query = format!("{{ node {{ {} }} }}", spread(30, &query));
    }
    let sdl = many_types(30, "id");
    let planned = on_its_stack(move || planned(&sdl, &query));
    assert_eq!(planned, Err(PlanError::TooLarge));
    // A key that would have to be looked for in 30 to the 6th types.
    let mut key = "nothing".to_owned();
    for _ in 0..6 {
        key = format!("node {{ {key} }}");
    }
    ends_without_a_plan(many_types(30, &key), "{ node { ... on T0 { far } } }");
}

const THINGS: &str = "
    enum join__Graph { START @join__graph(name: \"start\") B @join__graph(name: \"b\") C @join__graph(name: \"c\") }
    type Query @join__type(graph: START) { thing: Thing }
    type Thing @join__type(graph: START, key: \"id\") @join__type(graph: B, key: \"id\") @join__type(graph: C, key: \"id\") {
      id: ID!
      next: Thing @join__field(graph: START)
      far: Int @join__field(graph: B) @join__field(graph: C) }";

#[test]
fn what_is_too_deep_is_refused_before_the_stack_ends() {
    let nested = |depth: usize| {
        let query = format!(
            "{{ thing {}{{ id }}{} }}",
            "{ next ".repeat(depth),
            "}".repeat(depth)
        );
        on_its_stack(move || planned(THINGS, &query))
    };
    assert_eq!(nested(100), Ok(1));
    assert_eq!(nested(400), Err(PlanError::TooLarge));
}

#[test]
fn fragments_that_lead_too_deep_are_refused() {
    let chain = |length: usize| {
        let mut query = "{ thing { ...F0 } }".to_owned();
        for i in 0..length {
            query += &format!(" fragment F{i} on Thing {{ next {{ ...F{} }} }}", i + 1);
        }
        query += &format!(" fragment F{length} on Thing {{ id }}");
        on_its_stack(move || planned(THINGS, &query))
    };
    assert_eq!(chain(50), Ok(1));
    assert_eq!(chain(5_000), Err(PlanError::TooLarge));
}

#[test]
fn a_fragment_that_spreads_itself_is_refused() {
    let query = "{ thing { ...F } } fragment F on Thing { next { ...F } }";
    assert_eq!(planned(THINGS, query), Err(PlanError::TooLarge));
}

#[test]
fn fragments_that_multiply_are_refused() {
    let doubled = |depth: usize, condition: &str| {
        let mut query = format!("{{ thing {{ id ...F0 {condition} }} }}");
        for i in 0..depth {
            query += &format!(" fragment F{i} on Thing {{ ...F{0} ...F{0} }}", i + 1);
        }
        query + &format!(" fragment F{depth} on Thing {{ id }}")
    };
    assert_eq!(planned(THINGS, &doubled(10, "")), Ok(1));
    assert_eq!(planned(THINGS, &doubled(60, "")), Err(PlanError::TooLarge));
    assert_eq!(
        planned(THINGS, &doubled(60, "@skip(if: true)")),
        Err(PlanError::TooLarge)
    );
}

/// Thousands of selections in one place, that either of two subgraphs could have.
#[test]
fn wide_operations_are_planned() {
    let fields: String = (0..3_000).map(|i| format!("f{i}: far ")).collect();
    let query = format!("{{ thing {{ {fields} }} }}");
    assert_eq!(planned(THINGS, &query), Ok(2));
}
