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
    let supergraph = Supergraph::parse(SUPERGRAPH).expect("a supergraph");
    let document = ExecutableDocument::parse(supergraph.api_schema(), query, "");
    let document = document.expect("a query");
    let operation = document.operations.get(None).expect("one operation");
    let operation = Operation::new(&supergraph, &document, operation);
    let options = PlanOptions {
        deadline: Some(deadline),
        ..PlanOptions::default()
    };
    plan(&supergraph, &operation, options).map(|plan| plan.fetches.iter().count())
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
#[test]
fn what_is_too_deep_is_refused_before_the_stack_ends() {
    let nested = |depth: usize| {
        let query = format!(
            "{{ thing {}{{ id }}{} }}",
            "{ next ".repeat(depth),
            "}".repeat(depth)
        );
        let planned = move || planned(&query, in_a_minute());
        let thread = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(planned);
        thread.expect("a thread").join().expect("an end")
    };
    assert_eq!(nested(100), Ok(1));
    assert_eq!(nested(DEPTH_MAX), Err(PlanError::TooLarge));
}
