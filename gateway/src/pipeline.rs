//! The way of every request.

use std::sync::{Arc, RwLock};

use futures_util::stream::BoxStream;

use crate::{
    error::{Code, RequestError},
    execute,
    graph::Graph,
    prepare::{self, OperationKind},
    request::{ClientContext, GraphqlRequest},
    response::GraphqlResponse,
    variables::Variables,
};

/// What a request leads to.
pub enum Outcome {
    /// One answer: a query, a mutation, or an error.
    Single(GraphqlResponse),
    /// A subscription's events, each a whole GraphQL response.
    Stream(BoxStream<'static, GraphqlResponse>),
}

/// What all requests share. The graph can be exchanged while requests run: each keeps the one it
/// began with.
pub struct Gateway {
    graph: RwLock<Arc<Graph>>,
}

impl Gateway {
    /// A gateway that serves `graph`.
    pub fn new(graph: Graph) -> Self {
        Self {
            graph: RwLock::new(Arc::new(graph)),
        }
    }

    /// The graph of now.
    pub fn graph(&self) -> Arc<Graph> {
        let graph = self
            .graph
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        Arc::clone(&graph)
    }

    /// Serves another graph from the next request on.
    pub fn set_graph(&self, graph: Graph) {
        let mut current = self
            .graph
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *current = Arc::new(graph);
    }
}

/// Answers one request.
pub async fn run(
    gateway: &Arc<Gateway>,
    request: GraphqlRequest,
    client: ClientContext,
) -> Outcome {
    match answer(gateway, request, client).await {
        Ok(outcome) => outcome,
        Err(refusal) => Outcome::Single(refusal.into_response()),
    }
}

async fn answer(
    gateway: &Arc<Gateway>,
    request: GraphqlRequest,
    client: ClientContext,
) -> Result<Outcome, RequestError> {
    let graph = gateway.graph();
    let query = request
        .query
        .as_deref()
        .ok_or_else(|| RequestError::new(Code::BadUserInput, "the request has no `query`"))?;
    let prepared = prepare::operation(&graph, query, request.operation_name.as_deref()).await?;
    let variables = Variables::coerce(&graph, &prepared, request.variables.as_ref())?;
    match prepared.kind() {
        OperationKind::Mutation if !client.mutations_allowed => Err(RequestError::new(
            Code::MutationForbidden,
            "a mutation needs a POST request",
        )),
        OperationKind::Query | OperationKind::Mutation => Ok(Outcome::Single(
            execute::operation(&graph, &prepared, &variables, &client).await,
        )),
        OperationKind::Subscription if !client.subscriptions_allowed => Err(RequestError::new(
            Code::SubscriptionForbidden,
            "this transport has no way to stream a subscription's events",
        )),
        OperationKind::Subscription => Err(RequestError::new(
            Code::InternalServerError,
            "subscriptions are not connected",
        )),
    }
}
