//! Random operations over random graphs with random data, answered by the gateway over its
//! subgraphs and by one executor that has everything: the answers must be the same bytes.
//!
//! `DIFFERENTIAL_OPERATIONS` tells how many are compared (200 if unset), `DIFFERENTIAL_SEED` where
//! the random numbers begin. A failure prints its seed, the smallest operation that still fails,
//! its plan, and the subgraphs' schemas. `DIFFERENTIAL_PLANS` names a file that gets the plan of every
//! operation: two planners that plan alike write equal files. The longer run, with its count at the end:
//!
//! ```sh
//! DIFFERENTIAL_OPERATIONS=10000 cargo test -p gateway --test it random_graphs -- --nocapture
//! ```

pub mod operation;
pub mod shrink;
mod types;
mod world;

use std::{fs::OpenOptions, io::Write as _};

use fastrand::Rng;
use serde_json::Value;

use crate::support::{TestGraph, data::Data, subgraph::Answers};
use world::World;

/// Operations compared in each world.
const OPERATIONS_PER_WORLD: u64 = 50;

#[tokio::test]
async fn random_graphs_answer_as_one_graph_would() {
    let wanted = number_from("DIFFERENTIAL_OPERATIONS", 200);
    let mut seed = number_from("DIFFERENTIAL_SEED", 1);
    let (mut compared, mut requests) = (0, 0);
    while compared < wanted {
        let mut rng = Rng::with_seed(seed);
        let world = World::new(&mut rng);
        let graph = world.federated().await;
        let whole = world.whole(&graph);
        let mut of_this_world = 0;
        while of_this_world < OPERATIONS_PER_WORLD.min(wanted) {
            let operation = operation::operation(&whole.schema, &mut rng);
            match compare(&world, &graph, &whole, &operation).await {
                Outcome::Invalid => {}
                Outcome::Same => of_this_world += 1,
                Outcome::Different => report(seed, &world, &graph, &whole, operation).await,
            }
            requests += graph.requests().len();
        }
        compared += of_this_world;
        seed += 1;
    }
    println!("{compared} operations compared, 0 differences; {requests} requests to subgraphs");
}

/// A random supergraph, for those who answer from its directives alone.
pub fn supergraph(rng: &mut Rng) -> String {
    World::new(rng).supergraph()
}

/// Appends an operation's plan to the file that `DIFFERENTIAL_PLANS` names.
pub fn note_plan(graph: &TestGraph, operation: &str) {
    if let Some(path) = std::env::var_os("DIFFERENTIAL_PLANS") {
        let mut file = OpenOptions::new().create(true).append(true).open(path);
        let plan = graph.plan(operation);
        let file = file.as_mut().expect("the file of plans");
        write!(file, "{operation}\n{plan}\n").expect("room for a plan");
    }
}

pub fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

enum Outcome {
    /// Not a valid operation: the writer does not know every rule.
    Invalid,
    Same,
    Different,
}

async fn compare(world: &World, graph: &TestGraph, whole: &Data, operation: &str) -> Outcome {
    world.forget_mutations();
    let expected = whole.execute(operation, &operation::variables());
    if expected.get("data").is_none() {
        return Outcome::Invalid;
    }
    let answer = graph.ask(operation, Some(operation::variables())).await;
    // As text, so that the order of keys counts.
    let text = |response: &Value| response["data"].to_string();
    let has_errors = |response: &Value| response.get("errors").is_some();
    if text(&answer) == text(&expected) && has_errors(&answer) == has_errors(&expected) {
        note_plan(graph, operation);
        Outcome::Same
    } else {
        Outcome::Different
    }
}

async fn report(seed: u64, world: &World, graph: &TestGraph, whole: &Data, mut operation: String) {
    'smaller: loop {
        for candidate in shrink::smaller(&operation) {
            if matches!(
                compare(world, graph, whole, &candidate).await,
                Outcome::Different
            ) {
                operation = candidate;
                continue 'smaller;
            }
        }
        break;
    }
    world.forget_mutations();
    let expected = whole.execute(&operation, &operation::variables());
    graph.requests();
    let answer: Value = graph.ask(&operation, Some(operation::variables())).await;
    let requests = graph.requests().join("\n");
    let schemas = world.describe();
    eprintln!(
        "seed {seed}: {operation}\nexpected {expected}\ngot      {answer}\n{requests}\n{schemas}"
    );
    panic!(
        "two answers to one operation; the gateway's plan:\n{}",
        graph.plan(&operation)
    );
}
