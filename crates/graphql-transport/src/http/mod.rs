//! GraphQL over HTTP: `/graphql` for every method and media type.
//!
//! Source: <https://graphql.github.io/graphql-over-http/draft/>. One file a method; what they
//! share: `batch` (several requests in one), [`accept`] (which media type the client wants), [`request_json`] (reading), `host`,
//! `origin` and `csrf` (whose requests are answered), `respond` (status and headers), `compress`.

pub mod accept;
mod batch;
mod compress;
mod cors;
pub(crate) mod csrf;
mod get;
mod host;
pub(crate) mod origin;
mod post;
pub mod request_json;
mod respond;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts};
use hyper::body::{Body as _, Incoming};
use socket_outlet::Outlet;

use crate::{
    client_key::ClientKey,
    code::{Code, Refusal},
    isolation,
    metrics::{Transport, TransportMetrics},
    multipart,
    request::{ClientContext, EventStreamSocket, GraphqlRequest},
    response::GraphqlResponse,
    service::{Outcome, Service},
    settings::COMPRESSION_BYTES_LEAST,
    sse, streaming,
    trusted_proxies::TrustedProxies,
    turns::ClientTurns,
    websocket,
};
use accept::{Accepted, Media, Streaming};
use post::Posted;

/// Where GraphQL requests are answered.
const PATH: &str = "/graphql";
/// The methods of `/graphql`.
const ALLOWED: &str = "GET, POST, OPTIONS";
/// Where an event stream is resumed from.
const LAST_EVENT_ID: &str = "last-event-id";

/// Returns the route `/graphql`, which answers every transport, with CORS where the settings allow origins.
pub fn routes<S: Service>(service: &Arc<S>) -> Router {
    let routes = Router::new()
        .route(PATH, any(handle::<S>))
        .with_state(Arc::clone(service));
    match cors::layer(&service.serving().settings) {
        Some(layer) => routes.layer(layer),
        None => routes,
    }
}

/// All routes of a process. Requests to `/graphql` skip the router: on a small request it would cost
/// nearly as much as the transport itself. Where CORS puts a layer around that route, they go through
/// the router; of a service that allows only pages of its own machine, those that a page sends.
pub struct Front<S> {
    graphql: Option<Arc<S>>,
    pages_through_router: bool,
    router: Router,
    trusted_proxies: TrustedProxies,
    peer: Option<Peer>,
}

/// The client of one connection, or of one request that a proxy sends.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    key: ClientKey,
    /// Whether it may send the requests of others.
    is_proxy: bool,
    /// Where there is `graphql`.
    turns: Option<ClientTurns>,
}

impl<S: Service> Front<S> {
    /// Around a router that has the [`routes`].
    pub fn new(service: &Arc<S>, router: Router) -> Self {
        let settings = &service.serving().settings;
        let has_layer = cors::layer(settings).is_some();
        // No cache is between a machine and itself, which would need `Vary` on every response.
        let only_loopback = settings.http.cors_origins == [origin::LOOPBACK];
        Self {
            graphql: (!has_layer || only_loopback).then(|| Arc::clone(service)),
            pages_through_router: only_loopback,
            router,
            trusted_proxies: service.serving().settings.trusted_proxies.clone(),
            peer: None,
        }
    }

    /// The same for one connection, with the address of its client. If that is a trusted proxy, each request has the
    /// client that the proxy tells.
    pub fn for_peer(&self, peer: SocketAddr) -> Self {
        let is_proxy = self.trusted_proxies.has(peer.ip());
        Self {
            peer: Some(self.peer_at(peer, is_proxy)),
            ..self.clone()
        }
    }

    fn peer_at(&self, address: SocketAddr, is_proxy: bool) -> Peer {
        let key = ClientKey::of(address.ip());
        let service = self.graphql.as_ref();
        Peer {
            address,
            key,
            is_proxy,
            turns: service.map(|service| service.serving().turns.of(key)),
        }
    }

    /// The client of a request that a trusted proxy sends, if the proxy tells it.
    fn behind_proxy(&self, headers: &HeaderMap) -> Option<Peer> {
        let proxy = self.peer.as_ref().filter(|peer| peer.is_proxy)?;
        let client = self.trusted_proxies.client(headers)?;
        // Its port is not known.
        (client != proxy.address.ip()).then(|| self.peer_at((client, 0).into(), false))
    }
}

impl<S> Clone for Front<S> {
    fn clone(&self) -> Self {
        Self {
            graphql: self.graphql.clone(),
            pages_through_router: self.pages_through_router,
            router: self.router.clone(),
            trusted_proxies: self.trusted_proxies.clone(),
            peer: self.peer.clone(),
        }
    }
}

impl<S: Service> tower::Service<http::Request<Incoming>> for Front<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        self.respond(request)
    }
}

impl<S: Service> Front<S> {
    /// Answers requests to `/graphql` by the GraphQL service, if there is one, and all others by the routes.
    pub fn respond(
        &self,
        mut request: http::Request<Incoming>,
    ) -> BoxFuture<'static, Result<Response, Infallible>> {
        let client = self.behind_proxy(request.headers());
        let peer = client.as_ref().or(self.peer.as_ref());
        match &self.graphql {
            Some(service)
                if request.uri().path() == PATH
                    && request.method() != Method::HEAD
                    && !(self.pages_through_router
                        && request.headers().contains_key(header::ORIGIN)) =>
            {
                let client = peer.map_or_else(ClientKey::default, |peer| peer.key);
                let turns = peer.and_then(|peer| peer.turns.clone());
                let turns = turns.unwrap_or_else(|| service.serving().turns.of(client));
                // Boxed as it is made: each combinator around it would copy it once more.
                Box::pin(answer(
                    Arc::clone(service),
                    client,
                    turns,
                    request.map(Body::new),
                ))
            }
            _ => {
                if let Some(peer) = peer {
                    request.extensions_mut().insert(ConnectInfo(peer.address));
                }
                Box::pin(tower::Service::call(&mut self.router.clone(), request))
            }
        }
    }
}

async fn handle<S: Service>(
    State(service): State<Arc<S>>,
    request: Request,
) -> Result<Response, Infallible> {
    let client = ClientKey::of_peer(request.extensions());
    let turns = service.serving().turns.of(client);
    answer(service, client, turns, request).await
}

async fn answer<S: Service>(
    service: Arc<S>,
    client: ClientKey,
    turns: ClientTurns,
    request: Request,
) -> Result<Response, Infallible> {
    let (mut parts, body) = request.into_parts();
    name_host(&mut parts);
    let mark = service.mark(&mut parts.headers);
    let accepts_gzip = compress::accepts_gzip(&parts.headers);
    let metrics = &service.serving().metrics;
    let answer = {
        // Compressing is work of the client's own, in its turns.
        let answer = pin!(async {
            let response = dispatch(&service, client, &mut parts, body).await?;
            let is_large = |size| size >= COMPRESSION_BYTES_LEAST as u64;
            if !response.body().size_hint().exact().is_some_and(is_large) {
                return Ok::<_, Refusal>(response);
            }
            Ok(compress::compressed(response, accepts_gzip, service.serving(), client).await)
        });
        isolation::caught(metrics, turns.run(answer)).await
    };
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => {
            // A page of another site may have sent it: the visitor is not to blame, whatever is wrong with it.
            let is_own = csrf::check(&parts.headers, &service.serving().settings.http).is_ok();
            let instead = is_own.then(|| service.refused(refusal.code, &parts.headers, client));
            let instead = instead.flatten();
            refused(metrics, instead, refusal, &parts.headers)
        }
        Err(defect) => refused(metrics, None, defect, &parts.headers),
    };
    if let Some((name, value)) = mark {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Over HTTP/2, browsers name the host in the address alone: from here on it is the header that HTTP/1.1 has.
fn name_host(parts: &mut Parts) {
    if parts.headers.contains_key(header::HOST) {
        return;
    }
    let host = parts.uri.authority().map(|authority| authority.as_str());
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        parts.headers.insert(header::HOST, host);
    }
}

/// The response to a request that a transport refuses, or the service `instead`.
fn refused(
    metrics: &TransportMetrics,
    instead: Option<GraphqlResponse>,
    refusal: Refusal,
    headers: &HeaderMap,
) -> Response {
    let response = instead.unwrap_or_else(|| refusal.into());
    if let Some(refused) = response.refused {
        metrics.refusal(refused);
    }
    respond::refusal(response, headers)
}

async fn dispatch<S: Service>(
    service: &Arc<S>,
    client: ClientKey,
    parts: &mut Parts,
    body: Body,
) -> Result<Response, Refusal> {
    let serving = service.serving();
    let settings = &serving.settings.http;
    host::check(parts, settings)?;
    // That of a POST is checked where its body is read.
    if parts.method != Method::POST {
        let verifier = &serving.settings.verifier;
        verifier.verify(&parts.method, &parts.uri, &parts.headers)?;
    }
    match parts.method {
        Method::POST => {
            let share = serving.bodies.share(client);
            let verifier = &serving.settings.verifier;
            match post::read(parts, body, settings, verifier, share).await? {
                Posted::One(request) => {
                    exchange(service, Transport::Post, request, client, parts).await
                }
                // Boxed because it is rare.
                Posted::Batch(entries) => {
                    Box::pin(batch::exchange(service, entries, client, parts)).await
                }
            }
        }
        Method::GET if websocket::is_upgrade(&parts.headers) => {
            Box::pin(websocket::upgrade(service, client, parts)).await
        }
        Method::GET => {
            if let Some(page) = service.page(parts) {
                return Ok(page.await);
            }
            csrf::check(&parts.headers, settings)?;
            let request = get::read(&parts.uri, settings.request_bytes_max)?;
            exchange(service, Transport::Get, request, client, parts).await
        }
        Method::OPTIONS => Ok((StatusCode::NO_CONTENT, [(header::ALLOW, ALLOWED)]).into_response()),
        _ => Err(Refusal::new(
            Code::MethodNotAllowed,
            "send a GraphQL request by POST, or a query by GET",
        )),
    }
}

/// Refuses a `Last-Event-ID` that cannot be read: ignored, it would resume from the wrong place.
fn check_last_event_id(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(LAST_EVENT_ID).map(HeaderValue::to_str) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(_)) => Err(Refusal::new(
            Code::BadRequest,
            "Last-Event-ID is no cursor of this service: cursors are ASCII",
        )),
    }
}

/// Answers one request in the media type that the client wants.
async fn exchange<S: Service>(
    service: &Arc<S>,
    transport: Transport,
    request: GraphqlRequest,
    key: ClientKey,
    parts: &mut Parts,
) -> Result<Response, Refusal> {
    let accepted = Accepted::read(&parts.headers)?;
    if accepted.streaming.is_some() {
        check_last_event_id(&parts.headers)?;
    }
    // A browser's EventSource sends nothing else.
    let is_event_source =
        transport == Transport::Get && matches!(accepted.streaming, Some(Streaming::Sse));
    let headers: HeaderMap = std::mem::take(&mut parts.headers);
    let outlet = parts.extensions.get::<Arc<Outlet>>();
    // Each event is a chunk of the response, which only HTTP/1.1 has.
    let outlet = outlet.filter(|_| parts.version == Version::HTTP_11);
    let client = ClientContext {
        headers: Arc::new(headers),
        mutations_allowed: transport == Transport::Post,
        subscriptions_allowed: accepted.streaming.is_some(),
        answers_deferred: false,
        key,
        socket: None,
        operation: None,
        event_stream: outlet.zip(accepted.streaming).map(|(outlet, streaming)| {
            let outlet = Arc::clone(outlet);
            EventStreamSocket { outlet, streaming }
        }),
    };
    let transport = match (accepted.single, accepted.streaming) {
        (None, Some(Streaming::Sse)) => Transport::Sse,
        (None, Some(Streaming::Multipart)) => Transport::Multipart,
        _ => transport,
    };
    let outcome = match isolation::answer(service, transport, request, client).await {
        Outcome::Stream(events) if parts.version == Version::HTTP_2 => {
            Outcome::Stream(streaming::while_taken(&**service, events))
        }
        // No service should, where there is one answer to a connection.
        Outcome::Deferred(work) => {
            let began = Instant::now();
            let work = isolation::deferred(service.serving(), transport, key, began, work);
            Outcome::Single(work.await)
        }
        outcome => outcome,
    };
    Ok(match (outcome, accepted.single, accepted.streaming) {
        (Outcome::Single(response), None, _)
            if is_event_source
                && response
                    .refused
                    .is_some_and(|refused| refused.is(Code::TooManyNewClients)) =>
        {
            sse::come_again(&response)
        }
        // Clients of streams look at the status, too, to learn that they need a token or have to come again later.
        (Outcome::Single(response), single, _) if respond::is_status_of_streams(&response) => {
            respond::single(response, single.unwrap_or(Media::Json))
        }
        (Outcome::Single(response), Some(media), _) => respond::single(response, media),
        (outcome, _, Some(Streaming::Sse)) => sse::respond(service, outcome, is_event_source),
        (outcome, _, Some(Streaming::Multipart)) => multipart::respond(service, outcome),
        // Neither can be: a stream only comes where streaming was allowed, and `Accepted` always
        // has a media type for a single answer or for a stream.
        (Outcome::Single(response), None, None) => respond::single(response, Media::Json),
        (_, _, None) => respond::single(
            Refusal::new(
                Code::SubscriptionForbidden,
                "this request has no way to stream",
            )
            .into(),
            Media::Json,
        ),
    })
}
