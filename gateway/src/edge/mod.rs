//! How clients reach the gateway: as a service of `graphql_transport` (POST, GET, WebSocket, SSE,
//! multipart), with request ids, pages and forwarded headers.

mod graphiql;
pub mod pages;
mod sign_in;

use std::{future::Future, sync::Arc};

use axum::response::Response;
use futures_util::{FutureExt, future::BoxFuture};
use graphql_transport::{
    Admitted, ClientContext, ClientKey, GraphqlRequest, NotAdmitted, Outcome, Service, Serving,
};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::{gateway::Gateway, headers::trace_context, pipeline};

impl Service for Gateway {
    fn serving(&self) -> &Serving {
        self.transport()
    }

    fn answer(
        self: &Arc<Self>,
        request: GraphqlRequest,
        client: ClientContext,
    ) -> impl Future<Output = Outcome> + Send {
        pipeline::run(self, request, client)
    }

    fn mark(&self, headers: &mut HeaderMap) -> Option<(HeaderName, HeaderValue)> {
        let id = trace_context::ensure_request_id(headers);
        Some((trace_context::REQUEST_ID, id))
    }

    fn page(self: &Arc<Self>, request: &Parts) -> Option<BoxFuture<'static, Response>> {
        let gateway = Arc::clone(self);
        graphiql::is_asked_for(self, request)
            .then(|| async move { graphiql::page(&gateway).await }.boxed())
    }

    fn takes_from_init(&self, name: &HeaderName) -> bool {
        self.graph_settings().header_rules.takes(name) || self.takes_from_ping(name)
    }

    fn takes_from_ping(&self, name: &HeaderName) -> bool {
        self.identities().is_some() && name == header::AUTHORIZATION
    }

    async fn admit_socket(
        self: &Arc<Self>,
        headers: &HeaderMap,
        client: ClientKey,
    ) -> Result<Admitted, NotAdmitted> {
        match self.identities() {
            Some(identities) => identities.admit_socket(headers, client).await,
            None => Ok(Admitted::default()),
        }
    }
}
