//! The request pipeline, shared by all transports.

use std::sync::Arc;

use futures_util::FutureExt;
use graphql_transport::{
    ClientContext, Code as TransportCode, GraphqlRequest, GraphqlResponse, Outcome,
};

use crate::{
    error::{Code, RequestError},
    execute,
    gateway::Gateway,
    graph::Graph,
    prepare::{self, OperationKind, Prepared},
    subscriptions,
    variables::Variables,
};

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

/// Executes a query or a mutation where there is room for an answer as large as its last one.
async fn execute(
    gateway: &Gateway,
    graph: &Graph,
    prepared: &Arc<Prepared>,
    variables: &Variables,
    client: &ClientContext,
) -> GraphqlResponse {
    let bytes = prepared.sizes.answer.last();
    match gateway.serving().room_for_answer(client.key, bytes) {
        Ok(_room) => execute::operation(graph, prepared, variables, client).await,
        Err(refusal) => RequestError::new(refusal.code, refusal.message).into_response(),
    }
}

async fn answer(
    gateway: &Arc<Gateway>,
    request: GraphqlRequest,
    client: ClientContext,
) -> Result<Outcome, RequestError> {
    let graph = gateway.graph().ok_or_else(|| {
        RequestError::new(
            Code::SupergraphUnavailable,
            "the gateway has no supergraph yet",
        )
    })?;
    let document = gateway.persisted().document(&request)?;
    let name = request.operation_name.as_deref();
    let given = request.variables.as_ref();
    let preparing = prepare::operation_for(&graph, client.key, &document, name, given);
    let (prepared, variables) = preparing.await?;
    match prepared.kind() {
        OperationKind::Mutation if !client.mutations_allowed => Err(RequestError::new(
            TransportCode::MutationForbidden,
            "a mutation needs a POST request",
        )),
        OperationKind::Query | OperationKind::Mutation if client.answers_deferred => {
            let gateway = Arc::clone(gateway);
            let work =
                async move { execute(&gateway, &graph, &prepared, &variables, &client).await };
            Ok(Outcome::Deferred(work.boxed()))
        }
        OperationKind::Query | OperationKind::Mutation => Ok(Outcome::Single(
            execute(gateway, &graph, &prepared, &variables, &client).await,
        )),
        OperationKind::Subscription if !client.subscriptions_allowed => Err(RequestError::new(
            TransportCode::SubscriptionForbidden,
            "this transport has no way to stream a subscription's events",
        )),
        OperationKind::Subscription => {
            let accepted = subscriptions::Accepted {
                graph,
                prepared,
                variables,
                document,
                request: &request,
                client: &client,
            };
            subscriptions::subscribe(gateway, accepted).map(Outcome::Stream)
        }
    }
}
