//! A gateway with small real subgraphs, composed and served over sockets, and a client for it.

pub mod compose;
pub mod data;
pub mod subgraph;
#[path = "../../../src/test_supergraph.rs"]
pub mod test_supergraph;

use std::sync::Arc;

use bytes::Bytes;
use gateway::{
    authorization::Claims,
    config::{CostMode, Limits},
    error::RequestError,
    execute,
    graph::{Graph, Settings},
    prepare::{self, Asker, OperationRequest, Serving},
    request::ClientContext,
    response::GraphqlResponse,
};
use serde_json::{Value, json};
pub use subgraph::Subgraph;

/// A graph over running subgraphs.
pub struct TestGraph {
    serving: Arc<Serving>,
    subgraphs: Vec<subgraph::Running>,
}

/// Starts the subgraphs and composes them.
pub async fn graph(subgraphs: Vec<Subgraph>) -> TestGraph {
    graph_with(Settings::default(), subgraphs).await
}

/// The same, with settings.
pub async fn graph_with(settings: Settings, subgraphs: Vec<Subgraph>) -> TestGraph {
    let mut running = Vec::new();
    for subgraph in subgraphs {
        running.push(subgraph.start().await);
    }
    let sdl = composed(&running);
    loaded(&sdl, settings, running)
}

/// Settings for generated operations, which may have any cost.
pub fn any_cost() -> Settings {
    let limits = Limits {
        cost_mode: CostMode::Measure,
        ..Limits::default()
    };
    Settings {
        limits,
        ..Settings::default()
    }
}

/// Starts the subgraphs of a supergraph that was composed before, by a composer that knows more
/// than ours: it names each one's address `http://NAME.test/graphql`.
pub async fn graph_of(supergraph: &str, subgraphs: Vec<Subgraph>) -> TestGraph {
    graph_of_with(Settings::default(), supergraph, subgraphs).await
}

/// The same, with settings.
pub async fn graph_of_with(
    settings: Settings,
    supergraph: &str,
    subgraphs: Vec<Subgraph>,
) -> TestGraph {
    let mut running = Vec::new();
    for subgraph in subgraphs {
        running.push(subgraph.start().await);
    }
    let mut sdl = supergraph.to_owned();
    for subgraph in &running {
        let address = format!("http://{}.test/graphql", subgraph.name());
        sdl = sdl.replace(&address, subgraph.url());
    }
    loaded(&sdl, settings, running)
}

fn composed(running: &[subgraph::Running]) -> String {
    let ingredients: Vec<(&str, &str, &str)> = running
        .iter()
        .map(|it| (it.name(), it.url(), it.sdl()))
        .collect();
    compose::supergraph(&ingredients)
}

/// The graph of a supergraph whose subgraphs run, if it can be loaded.
pub fn graph_over(
    sdl: &str,
    settings: Settings,
    subgraphs: Vec<subgraph::Running>,
) -> Result<TestGraph, String> {
    match Graph::load(sdl, settings) {
        Ok(graph) => Ok(TestGraph {
            serving: Arc::new(Serving::new(graph)),
            subgraphs,
        }),
        Err(error) => Err(format!("{error:#}")),
    }
}

fn loaded(sdl: &str, settings: Settings, subgraphs: Vec<subgraph::Running>) -> TestGraph {
    graph_over(sdl, settings, subgraphs).expect("the supergraph loads")
}

impl TestGraph {
    /// The response to a query, then the requests that the subgraphs received, one on each line.
    pub async fn told(&self, query: &str) -> String {
        self.told_with(query, json!({})).await
    }

    /// The same with the requests sorted, where some are made at the same time.
    pub async fn told_sorted(&self, query: &str) -> String {
        let told = self.told(query).await;
        let mut lines: Vec<&str> = told.lines().collect();
        lines[1..].sort_unstable();
        lines.join("\n")
    }

    /// The same with variables.
    pub async fn told_with(&self, query: &str, variables: Value) -> String {
        self.requests();
        let answer = self.ask(query, Some(variables)).await;
        let mut story = vec![answer.to_string()];
        story.extend(self.requests());
        story.join("\n")
    }

    /// The answer to a query without variables.
    pub async fn query(&self, query: &str) -> Value {
        self.ask(query, None).await
    }

    /// The answer to an operation with variables.
    pub async fn ask(&self, query: &str, variables: Option<Value>) -> Value {
        let response = self.response(query, variables).await;
        serde_json::from_slice(&response.body).unwrap_or_else(|error| {
            panic!(
                "the answer is not JSON: {error}: {}",
                String::from_utf8_lossy(&response.body)
            )
        })
    }

    /// The answer to a client of whom this is known.
    pub async fn ask_as(&self, query: &str, variables: Option<Value>, claims: Claims<'_>) -> Value {
        let variables = variables.map(|json| Bytes::from(json.to_string()));
        let (asker, client) = (Asker::Client(claims), client());
        let request =
            OperationRequest::new(&self.serving, query, None, client.key, &client.headers);
        let request = request.from_asker(asker);
        let response = match prepare::ready(&self.serving, &request, variables.as_ref()).await {
            Ok((prepared, variables)) => {
                execute::operation(self.inner(), &prepared, &variables, &client).await
            }
            Err(refusal) => refusal.into_response(),
        };
        serde_json::from_slice(&response.body).expect("JSON")
    }

    /// The answer as a transport gets it.
    pub async fn response(&self, query: &str, variables: Option<Value>) -> GraphqlResponse {
        let variables = variables.map(|json| Bytes::from(json.to_string()));
        match self.execute(query, variables.as_ref()).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        }
    }

    /// The answer, or why there is none.
    pub async fn execute(
        &self,
        query: &str,
        variables: Option<&Bytes>,
    ) -> Result<GraphqlResponse, RequestError> {
        let (prepared, variables) =
            prepare::with_variables(&self.serving, query, None, variables).await?;
        Ok(execute::operation(self.inner(), &prepared, &variables, &client()).await)
    }

    /// The planner's plan, printed.
    pub fn plan(&self, query: &str) -> String {
        prepare::explain(&self.serving, query, None).expect("the operation has a plan")
    }

    /// The graph under test.
    pub fn inner(&self) -> &Graph {
        &self.serving.graph
    }

    /// The graph with what is prepared for it.
    pub fn serving(&self) -> &Arc<Serving> {
        &self.serving
    }

    /// A subgraph by name.
    pub fn subgraph(&self, name: &str) -> &subgraph::Running {
        self.subgraphs
            .iter()
            .find(|it| it.name() == name)
            .expect("a subgraph of that name")
    }

    /// What the subgraphs were asked since the last time, in the order it came, as
    /// `name: operation` (with `<representations>` where there are any).
    pub fn requests(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .subgraphs
            .iter()
            .flat_map(subgraph::Running::take_log)
            .collect();
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, text)| text).collect()
    }
}

/// A client without headers that may do everything.
pub fn client() -> ClientContext {
    ClientContext {
        headers: Arc::default(),
        mutations_allowed: true,
        subscriptions_allowed: true,
        answers_deferred: false,
        key: Default::default(),
        socket: None,
        operation: None,
        event_stream: None,
    }
}
