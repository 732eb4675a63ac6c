//! GraphQL over HTTP: `/graphql` for every method and media type.
//!
//! Source: <https://graphql.github.io/graphql-over-http/draft/>. One file a transport; what they
//! share: [`accept`] (which media type the client wants), [`request_json`] (reading), [`csrf`],
//! [`respond`] (status and headers).

pub mod accept;
mod cors;
pub mod csrf;
mod get;
mod post;
pub mod request_json;
mod respond;

use std::{
    convert::Infallible,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{any, future::RouteFuture},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either},
};
use http::{HeaderMap, Method, StatusCode, Version, header, request::Parts};
use hyper::body::Incoming;
use tower::Service;

use crate::{
    error::{Code, RequestError},
    gateway::Gateway,
    graphiql, guard,
    metrics::Transport,
    multipart,
    pipeline::Outcome,
    request::{ClientContext, GraphqlRequest},
    sse, streaming, trace_context, ws,
};
use accept::{Accepted, Media, Streaming};

/// Where GraphQL requests are answered.
const PATH: &str = "/graphql";
/// The methods of `/graphql`.
const ALLOWED: &str = "GET, POST, OPTIONS";

/// `/graphql`.
pub fn routes(gateway: &Arc<Gateway>) -> Router {
    let routes = Router::new()
        .route(PATH, any(handle))
        .with_state(Arc::clone(gateway));
    let rules = &gateway.graph_settings().header_rules;
    match cors::layer(&gateway.config().http, rules) {
        Some(layer) => routes.layer(layer),
        None => routes,
    }
}

/// All that the gateway serves. Requests to `/graphql` pass by the router, which would spend on each
/// small one a good part of what the gateway itself does; where a layer is around that route, they go
/// through it.
#[derive(Clone)]
pub struct Front {
    graphql: Option<Arc<Gateway>>,
    router: Router,
}

impl Front {
    /// Around a router that has the [`routes`].
    pub fn new(gateway: &Arc<Gateway>, router: Router) -> Self {
        let rules = &gateway.graph_settings().header_rules;
        let has_layer = cors::layer(&gateway.config().http, rules).is_some();
        Self {
            graphql: (!has_layer).then(|| Arc::clone(gateway)),
            router,
        }
    }
}

impl Service<http::Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        match &self.graphql {
            Some(gateway) if request.uri().path() == PATH && request.method() != Method::HEAD => {
                let answer = handle(State(Arc::clone(gateway)), request.map(Body::new));
                Either::Left(answer.map(Ok).boxed())
            }
            _ => Either::Right(self.router.call(request)),
        }
    }
}

async fn handle(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let request_id = trace_context::ensure_request_id(&mut parts.headers);
    let answer = {
        let answer = pin!(dispatch(&gateway, &mut parts, body));
        guard::caught(gateway.metrics(), answer).await
    };
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) | Err(refusal) => {
            gateway.metrics().refusal(refusal.code);
            respond::refusal(refusal, &parts.headers)
        }
    };
    response
        .headers_mut()
        .insert(trace_context::REQUEST_ID, request_id);
    response
}

async fn dispatch(
    gateway: &Arc<Gateway>,
    parts: &mut Parts,
    body: Body,
) -> Result<Response, RequestError> {
    match parts.method {
        Method::POST => {
            csrf::check(parts, gateway.config())?;
            let request = post::read(parts, body, gateway.config().http.request_bytes_max).await?;
            exchange(gateway, Transport::Post, request, parts).await
        }
        Method::GET if ws::is_upgrade(&parts.headers) => {
            Box::pin(ws::upgrade(gateway, parts)).await
        }
        Method::GET if graphiql::is_asked_for(gateway, parts) => {
            Ok(Box::pin(graphiql::page(gateway)).await)
        }
        Method::GET => {
            csrf::check(parts, gateway.config())?;
            let request = get::read(&parts.uri, gateway.config().http.request_bytes_max)?;
            exchange(gateway, Transport::Get, request, parts).await
        }
        Method::OPTIONS => Ok((StatusCode::NO_CONTENT, [(header::ALLOW, ALLOWED)]).into_response()),
        _ => Err(RequestError::new(
            Code::MethodNotAllowed,
            "send a GraphQL request by POST, or a query by GET",
        )),
    }
}

/// Answers one request in the media type that the client wants.
async fn exchange(
    gateway: &Arc<Gateway>,
    transport: Transport,
    request: GraphqlRequest,
    parts: &mut Parts,
) -> Result<Response, RequestError> {
    let accepted = Accepted::read(&parts.headers)?;
    let headers: HeaderMap = std::mem::take(&mut parts.headers);
    let client = ClientContext {
        headers: Arc::new(headers),
        mutations_allowed: transport == Transport::Post,
        subscriptions_allowed: accepted.streaming.is_some(),
        key: Default::default(),
    };
    let transport = match (accepted.single, accepted.streaming) {
        (None, Some(Streaming::Sse)) => Transport::Sse,
        (None, Some(Streaming::Multipart)) => Transport::Multipart,
        _ => transport,
    };
    let outcome = match guard::answer(gateway, transport, request, client).await {
        Outcome::Stream(events) if parts.version == Version::HTTP_2 => {
            Outcome::Stream(streaming::while_taken(gateway, events))
        }
        outcome => outcome,
    };
    Ok(match (outcome, accepted.single, accepted.streaming) {
        (Outcome::Single(response), Some(media), _) => respond::single(response, media),
        (outcome, _, Some(Streaming::Sse)) => sse::respond(gateway, outcome),
        (outcome, _, Some(Streaming::Multipart)) => multipart::respond(gateway, outcome),
        // Neither can be: a stream only comes where streaming was allowed, and `Accepted` always
        // has a media type for a single answer or for a stream.
        (Outcome::Single(response), None, None) => respond::single(response, Media::Json),
        (Outcome::Stream(_), _, None) => respond::single(
            RequestError::new(
                Code::SubscriptionForbidden,
                "this request has no way to stream",
            )
            .into_response(),
            Media::Json,
        ),
    })
}
