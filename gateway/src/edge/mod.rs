//! How clients reach the gateway: as a service of `graphql_transport` (POST, GET, WebSocket, SSE,
//! multipart), with request ids, pages and forwarded headers.

mod graphiql;
mod page_service;
pub mod pages;
mod sign_in;

use std::{future::Future, sync::Arc};

use axum::response::Response;
use futures_util::{FutureExt, future::BoxFuture};
use graphql_transport::{
    Admitted, ClientContext, ClientKey, Code, GraphqlRequest, GraphqlResponse, NotAdmitted,
    Outcome, Service, Serving,
};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::{gateway::Gateway, headers::trace_context, pipeline, rate_limit, watch};

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

    /// Charges 1 for it, by the rate limit.
    fn refused(
        &self,
        code: Code,
        headers: &HeaderMap,
        client: ClientKey,
    ) -> Option<GraphqlResponse> {
        watch::request::refused(code);
        let limits = self.rate_limits()?;
        if !rate_limit::is_charged(code) {
            return None;
        }
        let identity = self.identities().and_then(|it| it.known(headers));
        let mut account = limits.account(identity.as_deref(), client);
        let refusal = limits.arrives(&mut account, || None).err()?;
        Some(refusal.into_response())
    }

    fn admit_live_client(&self, client: ClientKey) -> Result<(), u64> {
        Gateway::admit_live_client(self, client)
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
        self.graph_settings().header_rules.takes(name)
            || watch::is_of_client(name)
            || self.takes_from_ping(name)
    }

    fn takes_from_ping(&self, name: &HeaderName) -> bool {
        self.identities().is_some() && name == header::AUTHORIZATION
    }

    async fn admit_socket(
        self: &Arc<Self>,
        headers: &HeaderMap,
        client: ClientKey,
    ) -> Result<Admitted, NotAdmitted> {
        let Some(identities) = self.identities() else {
            return Ok(Admitted::default());
        };
        let attempt = self.rate_limits().map(|it| it.attempt(client));
        let admitted = identities.admit_socket(headers, client).await;
        if let Some(attempt) = attempt {
            // The close of the socket is charged.
            attempt.ended(false);
        }
        admitted
    }
}
