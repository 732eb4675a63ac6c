//! What has a plan, what has none, and what is refused.

use std::time::Duration;

use apollo_compiler::ExecutableDocument;

use super::{select::DEPTH_MAX, *};

/// `b` can be found by `id`, which only `a` has; `c` has nothing but a value of its own.
const SUPERGRAPH: &str = r#"
    enum join__Graph { A @join__graph(name: "a") B @join__graph(name: "b") C @join__graph(name: "c") }
    type Query @join__type(graph: A) @join__type(graph: C) {
      thing: Thing @join__field(graph: A)
      other: Thing @join__field(graph: C) }
    type Thing @join__type(graph: A, key: "id") @join__type(graph: B, key: "id") @join__type(graph: C) {
      id: ID @join__field(graph: A) @join__field(graph: B)
      next: Thing @join__field(graph: A)
      far: Int @join__field(graph: B)
      own: Int @join__field(graph: C) }"#;

fn planned(query: &str, deadline: Instant) -> Result<usize, PlanError> {
    planned_over(SUPERGRAPH, query, Some(deadline))
}

/// How many fetches are sent.
fn planned_over(sdl: &str, query: &str, deadline: Option<Instant>) -> Result<usize, PlanError> {
    let supergraph = Supergraph::parse(sdl).expect("a supergraph");
    let document = ExecutableDocument::parse(supergraph.api_schema(), query, "");
    let document = document.expect("a query");
    let operation = document.operations.get(None).expect("one operation");
    let operation = Operation::new(&supergraph, &document, operation)?;
    let options = PlanOptions {
        deadline,
        ..PlanOptions::default()
    };
    plan(&supergraph, &operation, options).map(|plan| plan.sent().count())
}

fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn a_field_is_reached_by_a_key_or_not_at_all() {
    assert_eq!(
        planned("{ thing { far next { far } } }", in_a_minute()),
        Ok(3)
    );
    assert_eq!(planned("{ other { own } }", in_a_minute()), Ok(1));
    assert_eq!(
        planned("{ other { own far } }", in_a_minute()),
        Err(PlanError::Unreachable("Thing.far".into()))
    );
}

#[test]
fn a_plan_that_takes_too_long_is_given_up() {
    let late = planned("{ thing { far } }", Instant::now());
    assert_eq!(late, Err(PlanError::OutOfTime));
}

/// On the stack that an operation is prepared on.
fn on_its_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work);
    thread.expect("a thread").join().expect("an end")
}

#[test]
fn what_is_too_deep_is_refused_before_the_stack_ends() {
    let nested = |depth: usize| {
        let query = format!(
            "{{ thing {}{{ id }}{} }}",
            "{ next ".repeat(depth),
            "}".repeat(depth)
        );
        on_its_stack(move || planned(&query, in_a_minute()))
    };
    assert_eq!(nested(100), Ok(1));
    assert_eq!(nested(DEPTH_MAX), Err(PlanError::TooLarge));
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
        let sdl = format!(
            r#"enum join__Graph {{
                 A @join__graph(name: "a") B @join__graph(name: "b") C @join__graph(name: "c") }}
               type Query @join__type(graph: A) {{ t: T }}
               type T @join__type(graph: A, key: "id") @join__type(graph: B, key: "id") @join__type(graph: C, key: "id") {{
                 id: ID! {fields} f{length}: Int @join__field(graph: A) }}"#
        );
        on_its_stack(move || planned_over(&sdl, "{ t { f0 } }", Some(in_a_minute())))
    };
    assert_eq!(chain(60), Ok(61));
    assert_eq!(chain(DEPTH_MAX), Err(PlanError::TooLarge));
}

/// `n` types in a row, each found by the name of the next one, which only the next subgraph has.
fn keys_in_keys(n: usize) -> String {
    let graphs: String = (0..n)
        .map(|i| format!("S{i} @join__graph(name: \"s{i}\") "))
        .collect();
    let mut sdl = format!(
        "enum join__Graph {{ START @join__graph(name: \"start\") {graphs} }}
         type Query @join__type(graph: START) {{ a: N0 @join__field(graph: START) }}"
    );
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
        let planned = planned_over(&keys_in_keys(levels), "{ a { name } }", None);
        assert_eq!(planned, Ok(levels + 1), "{levels}");
    }
}

/// Each of the subgraphs has the type by the names that the others have of the next type, and none of
/// them has the first: there are more chains of keys than anyone could try.
#[test]
fn keys_that_lead_nowhere_come_to_an_end() {
    let nowhere = Err(PlanError::Unreachable("N0.f0".into()));
    assert_eq!(
        planned_over(&keys_to_nowhere(5), "{ a { f0 } }", None),
        nowhere
    );
    // So many that one of them finds the next for longer than the stack lasts.
    let sdl = keys_to_nowhere(20);
    let soon = Instant::now() + Duration::from_secs(2);
    let planned = on_its_stack(move || planned_over(&sdl, "{ a { f0 } }", Some(soon)));
    assert!(planned.is_err());
}

fn keys_to_nowhere(n: usize) -> String {
    let graphs: Vec<String> = (0..n).map(|i| format!("S{i}")).collect();
    let declared: String = graphs
        .iter()
        .map(|graph| format!("{graph} @join__graph(name: \"{graph}\") "))
        .collect();
    let mut types = String::new();
    for level in 0..24 {
        let next = (level + 1) % 24;
        types += &format!("type N{level} @join__type(graph: START, key: \"id\") ");
        for (i, graph) in graphs.iter().enumerate() {
            for other in (0..n).filter(|other| *other != i) {
                types += &format!("@join__type(graph: {graph}, key: \"next {{ f{other} }}\") ");
            }
        }
        types += &format!("{{ id: ID! @join__field(graph: START) next: N{next} ");
        for i in 0..n {
            types += &format!("f{i}: Int @join__field(graph: S{i}) ");
        }
        types += "}";
    }
    format!(
        "enum join__Graph {{ START @join__graph(name: \"start\") {declared} }}
         type Query @join__type(graph: START) {{ a: N0 @join__field(graph: START) }} {types}"
    )
}

#[test]
fn fragments_that_multiply_are_refused() {
    let doubled = |depth: usize| {
        let mut query = String::from("{ thing { ...F0 } }");
        for i in 0..depth {
            query += &format!(" fragment F{i} on Thing {{ ...F{0} ...F{0} }}", i + 1);
        }
        query + &format!(" fragment F{depth} on Thing {{ id }}")
    };
    assert_eq!(planned(&doubled(10), in_a_minute()), Ok(1));
    assert_eq!(
        planned(&doubled(60), in_a_minute()),
        Err(PlanError::TooLarge)
    );
}

/// Some of `node`'s objects set the context, and others do not: those take the value from further above.
#[test]
fn the_nearest_object_sets_a_context_behind_an_interface_too() {
    let sdl = r#"
        enum join__Graph { A @join__graph(name: "a") B @join__graph(name: "b") }
        type Query @join__type(graph: A) @join__type(graph: B) { outer: Outer @join__field(graph: A) }
        type Outer @join__type(graph: A) @context(name: "b__c") { v: Int node: Node any: Any }
        interface Node @join__type(graph: A) { child: Child }
        union Any @join__type(graph: A) @join__unionMember(graph: A, member: "Sets") = Sets
        type Sets implements Node @join__implements(graph: A, interface: "Node") @join__type(graph: A)
          @context(name: "b__c") { child: Child w: Int }
        type Plain implements Node @join__implements(graph: A, interface: "Node") @join__type(graph: A) {
          child: Child }
        type Child @join__type(graph: A, key: "id") @join__type(graph: B, key: "id") {
          id: ID
          f: Int @join__field(graph: B, contextArguments: [{ name: "x", type: "Int", context: "b__c",
            selection: "... on Outer { v } ... on Sets { w }" }]) }"#;
    let of_both = plan_text(sdl, "{ outer { node { child { f } } } }");
    assert_eq!(
        of_both,
        "1. a: { outer { node { __typename ... on Sets { child { id } w } ... on Plain { child { id } } } v } }\n\
         2. b, after 1: { f }\n   for outer.node|Sets.child as Child by { id }\n   \
            with f(x:) from outer.node|Sets by { ... on Outer { v } ... on Sets { w } }\n\
         3. b, after 1: { f }\n   for outer.node|Plain.child as Child by { id }\n   \
            with f(x:) from outer by { ... on Outer { v } ... on Sets { w } }\n"
    );
    let of_one = plan_text(sdl, "{ outer { any { ... on Node { child { f } } } } }");
    let set_by = |plan: &str| plan.split("with f(x:) from ").nth(1).map(str::to_owned);
    let set_by = set_by(&of_one).expect("a context");
    assert!(set_by.starts_with("outer.any"), "{of_one}");
}

fn plan_text(sdl: &str, query: &str) -> String {
    let supergraph = Supergraph::parse(sdl).expect("a supergraph");
    let document = ExecutableDocument::parse(supergraph.api_schema(), query, "");
    let document = document.expect("a query");
    let operation = document.operations.get(None).expect("one operation");
    let operation = Operation::new(&supergraph, &document, operation).expect("not too large");
    let plan = plan(&supergraph, &operation, PlanOptions::default()).expect("a plan");
    plan.to_string()
}
