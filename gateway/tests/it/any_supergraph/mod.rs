//! Random operations over any supergraph, whose subgraphs are simulated by what its join directives
//! say of them: answered by the gateway and by one executor that has everything.
//!
//! The supergraphs are those of this repository; `DIFFERENTIAL_SUPERGRAPHS` names a directory with
//! others, and `DIFFERENTIAL_PER_SUPERGRAPH` how many operations each is asked (20 if unset).

mod context_scope;
mod joins;
mod protected;
mod random;
mod schema;
mod simulated;
mod universe;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use apollo_compiler::{
    Name, Schema,
    ast::{Definition, Document},
};
use fastrand::Rng;
use serde_json::Value;

use crate::{
    random_graphs::{note_plan, number_from, operation, shrink},
    support::{
        TestGraph, any_cost, graph_over,
        subgraph::{Answers, serve},
    },
};
use joins::Joins;
use simulated::Simulated;
use universe::Universe;

#[tokio::test]
async fn any_supergraph_answers_as_one_graph_would() {
    let others = std::env::var("DIFFERENTIAL_SUPERGRAPHS").ok();
    let directories = match &others {
        Some(directory) => vec![PathBuf::from(directory)],
        None => {
            let here = Path::new(env!("CARGO_MANIFEST_DIR"));
            let own = ["tests/it/federation/supergraphs", "../schema"];
            own.map(|directory| here.join(directory)).to_vec()
        }
    };
    let mut files: Vec<PathBuf> = Vec::new();
    for directory in directories {
        let entries = std::fs::read_dir(directory).expect("a directory");
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    files.sort();
    let mut told = Told::default();
    for file in &files {
        let sdl = std::fs::read_to_string(file).unwrap_or_default();
        if sdl.contains("enum join__Graph") {
            ask(file, &sdl, &mut told).await;
        }
    }
    println!(
        "{} operations compared over {} supergraphs, {} left out; {} differences",
        told.compared, told.supergraphs, told.left_out, told.differences
    );
    assert_eq!(told.differences, 0);
    assert!(told.compared > 0);
    assert!(others.is_some() || told.left_out == 0);
}

#[derive(Default)]
struct Told {
    supergraphs: usize,
    /// Supergraphs that nobody can be asked with, or for which there is no data.
    left_out: usize,
    compared: u64,
    differences: usize,
}

async fn ask(file: &Path, sdl: &str, told: &mut Told) {
    let wanted = number_from("DIFFERENTIAL_PER_SUPERGRAPH", 20);
    let seed = number_from("DIFFERENTIAL_SEED", 1);
    let started = match start(sdl, seed).await {
        Ok(started) => started,
        Err(why) => {
            println!("{}: left out: {why}", file.display());
            told.left_out += 1;
            return;
        }
    };
    let (graph, whole) = started;
    told.supergraphs += 1;
    let api = Schema::parse_and_validate(graph.inner().api_sdl(), "api").expect("an API schema");
    let mut rng = Rng::with_seed(seed);
    let before = told.compared;
    for _ in 0..wanted {
        let mut operation = operation::operation(&api, &mut rng);
        match differs(&graph, &whole, &operation).await {
            None => continue,
            Some(false) => note_plan(&graph, &operation),
            Some(true) => {
                told.differences += 1;
                'smaller: loop {
                    for candidate in shrink::smaller(&operation) {
                        if differs(&graph, &whole, &candidate).await == Some(true) {
                            operation = candidate;
                            continue 'smaller;
                        }
                    }
                    break;
                }
                report(file, &graph, &whole, &operation).await;
                return;
            }
        }
        told.compared += 1;
    }
    if told.compared == before {
        println!("{}: left out: no operation was valid", file.display());
        told.supergraphs -= 1;
        told.left_out += 1;
    }
}

async fn start(sdl: &str, seed: u64) -> Result<(TestGraph, Simulated), String> {
    let joins = Joins::read(sdl).ok_or("it is no valid supergraph")?;
    let universe = Arc::new(Universe::new(joins, seed));
    if !universe.is_distinct() {
        return Err("several objects would have the same key".to_owned());
    }
    let (mut running, mut urls) = (Vec::new(), HashMap::new());
    for (graph, (key, name)) in universe.joins.graphs.iter().enumerate() {
        let own = schema::subgraph(&universe.joins, graph);
        let schema = Schema::parse_and_validate(&own, "subgraph")
            .map_err(|invalid| format!("{name}: {}\n{own}", invalid.errors))?;
        let simulated = Simulated {
            universe: Arc::clone(&universe),
            schema,
            graph: Some(graph),
            unseen: BTreeSet::new(),
        };
        let subgraph = serve(name.clone(), own, Box::new(simulated)).await;
        urls.insert(key.clone(), subgraph.url().to_owned());
        running.push(subgraph);
    }
    let graph = graph_over(&addressed(sdl, &urls), any_cost(), running)?;
    let whole = Simulated {
        schema: universe.joins.schema.clone(),
        universe,
        graph: None,
        unseen: BTreeSet::new(),
    };
    Ok((graph, whole))
}

/// The supergraph with the addresses of its subgraphs.
fn addressed(sdl: &str, urls: &HashMap<Name, String>) -> String {
    let mut document = Document::parse(sdl, "supergraph").expect("read before");
    for definition in &mut document.definitions {
        let Definition::EnumTypeDefinition(graphs) = definition else {
            continue;
        };
        for value in &mut graphs.make_mut().values {
            let Some(url) = urls.get(&value.value) else {
                continue;
            };
            let directives = &mut value.make_mut().directives;
            for join in directives.iter_mut().filter(|it| it.name == "join__graph") {
                for argument in &mut join.make_mut().arguments {
                    if argument.name == "url" {
                        argument.make_mut().value = url.as_str().into();
                    }
                }
            }
        }
    }
    document.to_string()
}

/// Whether the answers differ; nothing for what is no valid operation.
async fn differs(graph: &TestGraph, whole: &Simulated, operation: &str) -> Option<bool> {
    let variables = operation::variables();
    let expected = whole.execute(operation, &variables);
    expected.get("data")?;
    let answer = graph.ask(operation, Some(variables)).await;
    graph.requests();
    if is_without_context(whole, operation, &expected, &answer) {
        return None;
    }
    let has_errors = |response: &Value| response.get("errors").is_some();
    // As text, so that the order of keys counts.
    let text = |response: &Value| response["data"].to_string();
    Some(text(&answer) != text(&expected) || has_errors(&answer) != has_errors(&expected))
}

/// Whether nothing above sets a context that an operation needs, in the data or in a plan.
fn is_without_context(
    whole: &Simulated,
    operation: &str,
    expected: &Value,
    answer: &Value,
) -> bool {
    let joins = &whole.universe.joins;
    if !joins.has_contexts() {
        return false;
    }
    let error = answer["errors"][0]["message"].as_str().unwrap_or_default();
    let errors = expected["errors"].to_string();
    errors.contains(simulated::NO_CONTEXT)
        || (error.starts_with("no subgraph can be asked for ")
            && !context_scope::all_are_set(joins, operation))
}

async fn report(file: &Path, graph: &TestGraph, whole: &Simulated, operation: &str) {
    let variables = operation::variables();
    let expected = whole.execute(operation, &variables);
    let answer = graph.ask(operation, Some(variables)).await;
    let requests = graph.requests().join("\n");
    println!(
        "{}: {operation}\nexpected {expected}\ngot      {answer}\n{requests}\n{}\n",
        file.display(),
        graph.plan(operation)
    );
}
