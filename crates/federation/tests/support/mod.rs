//! Supergraphs and plans for tests.

// Each test program has some of it.
#![allow(dead_code)]

use apollo_compiler::ExecutableDocument;
use federation::{Operation, Plan, PlanError, PlanOptions, Supergraph, plan};

/// How many fetches the plan of an operation sends. The operation is not validated.
pub fn planned(sdl: &str, query: &str) -> Result<usize, PlanError> {
    planned_with(sdl, query, PlanOptions::default())
}

/// The same with options.
pub fn planned_with(sdl: &str, query: &str, options: PlanOptions) -> Result<usize, PlanError> {
    with_plan(sdl, query, options, |plan| plan.sent().count())
}

/// The printed plan of an operation that has one.
pub fn plan_text(sdl: &str, query: &str) -> String {
    let text = with_plan(sdl, query, PlanOptions::default(), |plan| plan.to_string());
    text.expect("a plan")
}

fn with_plan<T>(
    sdl: &str,
    query: &str,
    options: PlanOptions,
    read: impl FnOnce(&Plan<'_>) -> T,
) -> Result<T, PlanError> {
    let supergraph = Supergraph::parse(sdl).expect("a supergraph");
    let document = ExecutableDocument::parse(supergraph.api_schema(), query, "query.graphql");
    let document = document.expect("a query");
    let operation = document.operations.get(None).expect("one operation");
    let operation = Operation::new(&supergraph, &document, operation)?;
    let plan = plan(&supergraph, &operation, options)?;
    Ok(read(&plan))
}

/// The subgraph `start` and others.
pub fn graphs(others: &[String]) -> String {
    let others = others.iter();
    let others: String = others
        .map(|name| format!("{name} @join__graph(name: \"{name}\") "))
        .collect();
    format!("enum join__Graph {{ START @join__graph(name: \"start\") {others} }} ")
}

/// Runs `work` with as little stack as a thread of a server has.
pub fn on_its_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work);
    thread.expect("a thread").join().expect("an end")
}
