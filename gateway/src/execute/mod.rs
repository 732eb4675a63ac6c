//! A prepared operation -> response bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    error::{Code, RequestError},
    graph::Graph,
    prepare::Prepared,
    request::ClientContext,
    response::GraphqlResponse,
    variables::Variables,
};

/// Executes a query or a mutation.
pub async fn operation(
    _graph: &Graph,
    _prepared: &Arc<Prepared>,
    _variables: &Variables,
    _client: &ClientContext,
) -> GraphqlResponse {
    RequestError::new(Code::InternalServerError, "not built yet").into_response()
}

/// Completes one event of a subscription: `payload` is the subgraph's GraphQL response
/// (`{"data": ...}`, perhaps with `errors`); the rest of the selection comes from other subgraphs.
pub async fn event(
    _graph: &Graph,
    _prepared: &Arc<Prepared>,
    _variables: &Variables,
    _payload: Bytes,
    _client: &ClientContext,
) -> GraphqlResponse {
    RequestError::new(Code::InternalServerError, "not built yet").into_response()
}
