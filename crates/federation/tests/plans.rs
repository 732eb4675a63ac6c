//! What has a plan, which plan that is, and what has none. What is refused: `bounds.rs`.

mod support;

use std::time::Instant;

use federation::{PlanError, PlanOptions};
use support::{plan_text, planned, planned_with};

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

#[test]
fn a_field_is_reached_by_a_key_or_not_at_all() {
    assert_eq!(planned(SUPERGRAPH, "{ thing { far next { far } } }"), Ok(3));
    assert_eq!(planned(SUPERGRAPH, "{ other { own } }"), Ok(1));
    assert_eq!(
        planned(SUPERGRAPH, "{ other { own far } }"),
        Err(PlanError::Unreachable("Thing.far".into()))
    );
}

#[test]
fn a_plan_that_takes_too_long_is_given_up() {
    let late = PlanOptions::default().deadline(Instant::now());
    let planned = planned_with(SUPERGRAPH, "{ thing { far } }", late);
    assert_eq!(planned, Err(PlanError::OutOfTime));
}

/// `d` brings the key of `a`, too.
#[test]
fn keys_come_from_the_subgraphs_that_are_asked_anyway() {
    let sdl = r#"
        enum join__Graph {
          A @join__graph(name: "a") B @join__graph(name: "b") C @join__graph(name: "c") D @join__graph(name: "d") }
        type Query @join__type(graph: C) { t: T }
        type T @join__type(graph: A, key: "id") @join__type(graph: B, key: "sku") @join__type(graph: C)
          @join__type(graph: D, key: "upc") {
          id: ID @join__field(graph: A) @join__field(graph: B) @join__field(graph: D)
          sku: ID @join__field(graph: B) @join__field(graph: C)
          upc: ID @join__field(graph: C) @join__field(graph: D)
          a: Int @join__field(graph: A)
          d: Int @join__field(graph: D) }"#;
    assert_eq!(
        plan_text(sdl, "{ t { a d } }"),
        "1. c: { t { upc } }\n\
         2. d, after 1: { id d }\n   for t as T by { upc }\n\
         3. a, after 1 and 2: { a }\n   for t as T by { id }\n"
    );
}

/// `a` has all of its own key, and so seems to need fewer requests than `b`, `c` and `d` for it.
#[test]
fn a_key_does_not_come_from_the_subgraph_that_it_leads_to() {
    let sdl = r#"
        enum join__Graph {
          A @join__graph(name: "a") B @join__graph(name: "b") C @join__graph(name: "c") D @join__graph(name: "d") }
        type Query @join__type(graph: B) { t: T }
        type T @join__type(graph: A, key: "o { x q { z } }") @join__type(graph: B) {
          o: O
          far: Int @join__field(graph: A) }
        type O @join__type(graph: A) @join__type(graph: B) @join__type(graph: D, key: "id") @join__type(graph: C, key: "k") {
          id: ID @join__field(graph: B) @join__field(graph: D)
          x: Int @join__field(graph: A) @join__field(graph: C)
          k: ID @join__field(graph: D) @join__field(graph: C)
          q: Q @join__field(graph: A) @join__field(graph: B) }
        type Q @join__type(graph: A) @join__type(graph: B) @join__type(graph: D, key: "id") @join__type(graph: C, key: "k") {
          id: ID @join__field(graph: B) @join__field(graph: D)
          z: Int @join__field(graph: A) @join__field(graph: C)
          k: ID @join__field(graph: D) @join__field(graph: C) }"#;
    assert_eq!(planned(sdl, "{ t { far } }"), Ok(6));
}

/// `a` computes `x` from `id`, but finds no object by a key.
#[test]
fn what_requires_something_is_not_asked_of_a_subgraph_without_keys() {
    let sdl = r#"
        enum join__Graph { A @join__graph(name: "a") B @join__graph(name: "b") C @join__graph(name: "c") }
        type Query @join__type(graph: A) @join__type(graph: B) { t: T }
        type T @join__type(graph: A) @join__type(graph: B, key: "id") @join__type(graph: C, key: "id") {
          id: ID @join__field(graph: A, external: true) @join__field(graph: B) @join__field(graph: C)
          x: Int @join__field(graph: A, requires: "id") @join__field(graph: C) }"#;
    assert_eq!(
        plan_text(sdl, "{ t { x } }"),
        "1. b: { t { id } }\n\
         2. c, after 1: { x }\n   for t as T by { id }\n"
    );
}

/// `a` resolves `s` of the interface, but nothing leads from there to `y`.
#[test]
fn fields_that_lead_nowhere_are_no_better_for_being_many() {
    let sdl = r#"
        enum join__Graph { A @join__graph(name: "a") B @join__graph(name: "b") }
        type Query @join__type(graph: A) @join__type(graph: B) { i: I @join__field(graph: A) }
        interface I @join__type(graph: A) { s: S }
        type T implements I @join__implements(graph: A, interface: "I") @join__type(graph: A, key: "id")
          @join__type(graph: B, key: "id") { id: ID! s: S }
        type S @join__type(graph: A) @join__type(graph: B) { x: Int y: Int @join__field(graph: B) }"#;
    let fields: String = (0..6).map(|i| format!("s{i}: s {{ y }} ")).collect();
    assert_eq!(planned(sdl, &format!("{{ i {{ {fields} }} }}")), Ok(2));
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
