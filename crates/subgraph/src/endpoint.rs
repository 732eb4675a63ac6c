//! `/graphql`: POST and GET for one answer, WebSocket and SSE for a stream of them.
//!
//! HTTP follows the GraphQL-over-HTTP specification
//! (<https://graphql.github.io/graphql-over-http/draft/>).

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use async_graphql::{
    Executor, ObjectType, Request, Response, SDLExportOptions, Schema, SchemaBuilder, ServerError,
    SubscriptionType,
};
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request as HttpRequest, State};
use axum::response::Response as HttpResponse;
use axum::routing::get;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http::{Method, header};
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Accepted, Refusal};
use crate::documents::Documents;
use crate::error::{CodedError, MASKED, finish_response};
use crate::{CallGate, Code, cross_site, sse, websocket};

/// The largest request body and WebSocket message, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// The deepest selection accepted; the introspection query of GraphiQL needs 15.
pub const MAX_DEPTH: usize = 20;
/// The most fields that one operation may ask for, list sizes multiplied in.
pub const MAX_COMPLEXITY: usize = 50_000;
/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// A query or a mutation, whatever brought it. Default 30 s.
    pub execution: Duration,
    /// A client's way through the body of its request. Default 30 s.
    pub body: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            execution: Duration::from_secs(30),
            body: Duration::from_secs(30),
        }
    }
}

/// Federation 2 with the limits that every subgraph has.
pub fn limited<Q, M, S>(builder: SchemaBuilder<Q, M, S>) -> SchemaBuilder<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    builder
        .enable_federation()
        .enable_subscription_in_federation()
        .limit_depth(MAX_DEPTH)
        .limit_complexity(MAX_COMPLEXITY)
}

/// A schema in Federation 2's schema language, for composition.
pub fn sdl<Q, M, S>(schema: &Schema<Q, M, S>) -> String
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let options = SDLExportOptions::new()
        .federation()
        .include_specified_by()
        .use_space_ident();
    schema.sdl_with_options(options)
}

/// The route `/graphql` of a schema whose resolvers fail with `E`. Streams end when `shutdown` is
/// cancelled. While `gate` is full, nothing is executed: everything is refused with `OVERLOADED`.
pub fn routes<E: CodedError, X: Executor>(
    executor: X,
    shutdown: CancellationToken,
    gate: CallGate,
) -> Router {
    routes_within::<E, X>(executor, shutdown, Some(gate), TimeLimits::default())
}

/// [`routes`], with other limits, and perhaps without a database that limits them.
pub fn routes_within<E: CodedError, X: Executor>(
    executor: X,
    shutdown: CancellationToken,
    gate: Option<CallGate>,
    limits: TimeLimits,
) -> Router {
    let endpoint = Endpoint {
        executor,
        shutdown,
        gate,
        limits,
        documents: Documents::default(),
        errors: PhantomData::<fn() -> E>,
    };
    Router::new()
        .route("/graphql", get(handle::<E, X>).post(handle::<E, X>))
        .with_state(endpoint)
}

/// What the transports share: how an operation is run.
pub(crate) struct Endpoint<E, X> {
    executor: X,
    pub(crate) shutdown: CancellationToken,
    gate: Option<CallGate>,
    limits: TimeLimits,
    documents: Documents,
    errors: PhantomData<fn() -> E>,
}

async fn handle<E: CodedError, X: Executor>(
    State(endpoint): State<Endpoint<E, X>>,
    request: HttpRequest,
) -> HttpResponse {
    if cross_site::is_cross_site(request.headers()) {
        return Refusal::cross_site().into();
    }
    let accepted = Accepted::read(request.headers());
    if request.method() == Method::GET && request.headers().contains_key(header::UPGRADE) {
        let (mut parts, _) = request.into_parts();
        return match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => websocket::accept(upgrade, endpoint),
            Err(_) => Refusal::bad_request("this is not a WebSocket handshake").into(),
        };
    }
    let read_only = request.method() == Method::GET;
    let request = match answer::read_request(request, endpoint.limits.body).await {
        Ok(request) => request,
        Err(refusal) => return refusal.into(),
    };
    if accepted == Accepted::EventStream {
        return sse::answer(endpoint, request, read_only);
    }
    match endpoint.execute(request, read_only).await {
        Ok(response) => answer::write_response(&response, accepted),
        Err(refusal) => refusal.into(),
    }
}

impl<E: CodedError, X: Executor> Endpoint<E, X> {
    /// Runs a query or a mutation. A panic harms this request alone.
    async fn execute(&self, mut request: Request, read_only: bool) -> Result<Response, Refusal> {
        self.admit()?;
        self.documents.parse(&mut request);
        match operation_type(&mut request) {
            Err(response) => return Ok(*response),
            Ok(operation) => permit(operation, read_only)?,
        }
        Ok(self.run_to_the_end(request).await)
    }

    /// Refuses what would find no room in the queue to the database.
    fn admit(&self) -> Result<(), Refusal> {
        let refusal = self.gate.as_ref().and_then(CallGate::refusal);
        refusal.map_or(Ok(()), |reason| Err(Refusal::overloaded(reason)))
    }

    async fn run_to_the_end(&self, request: Request) -> Response {
        let execution = AssertUnwindSafe(self.executor.execute(request)).catch_unwind();
        match tokio::time::timeout(self.limits.execution, execution).await {
            Ok(Ok(response)) => finish_response::<E>(response),
            Ok(Err(_)) => internal("a resolver panicked"),
            Err(_) => internal("the request took too long"),
        }
    }

    /// Runs any operation; a query or a mutation gives one response, and so does a refusal.
    pub(crate) fn execute_stream(
        &self,
        mut request: Request,
        read_only: bool,
    ) -> BoxStream<'static, Response> {
        if let Err(refusal) = self.admit() {
            return stream::iter([refusal.response()]).boxed();
        }
        match operation_type(&mut request) {
            Err(response) => stream::iter([*response]).boxed(),
            Ok(Some(OperationType::Mutation)) if read_only => {
                stream::iter([Refusal::mutation_over_get().response()]).boxed()
            }
            Ok(Some(OperationType::Subscription)) => {
                let responses = AssertUnwindSafe(self.executor.execute_stream(request, None));
                let finished = responses.catch_unwind().map(|response| match response {
                    Ok(response) => finish_response::<E>(response),
                    Err(_) => internal("a resolver panicked"),
                });
                finished.boxed()
            }
            Ok(_) => {
                let endpoint = self.clone();
                stream::once(async move { endpoint.run_to_the_end(request).await }).boxed()
            }
        }
    }
}

impl<E, X: Clone> Clone for Endpoint<E, X> {
    fn clone(&self) -> Self {
        Self {
            executor: self.executor.clone(),
            shutdown: self.shutdown.clone(),
            gate: self.gate.clone(),
            limits: self.limits,
            documents: self.documents.clone(),
            errors: PhantomData,
        }
    }
}

/// The type of the operation that will run; none when the document has no such operation, which
/// validation will say. A document that cannot be parsed is answered right away.
fn operation_type(request: &mut Request) -> Result<Option<OperationType>, Box<Response>> {
    let name = request.operation_name.clone();
    match request.parsed_query() {
        Err(error) => Err(Box::new(coded(error, Code::GraphqlParseFailed))),
        Ok(document) => {
            let mut operations = document.operations.iter();
            let operation = match name {
                Some(name) => operations.find(|(found, _)| found.is_some_and(|it| **it == name)),
                None => operations.next(),
            };
            Ok(operation.map(|(_, operation)| operation.node.ty))
        }
    }
}

/// Whether an operation may run over a plain HTTP request.
fn permit(operation: Option<OperationType>, read_only: bool) -> Result<(), Refusal> {
    match operation {
        Some(OperationType::Subscription) => Err(Refusal::subscription_without_stream()),
        Some(OperationType::Mutation) if read_only => Err(Refusal::mutation_over_get()),
        _ => Ok(()),
    }
}

/// A response with one error and its code.
pub(crate) fn coded(mut error: ServerError, code: Code) -> Response {
    error
        .extensions
        .get_or_insert_default()
        .set("code", code.as_str());
    Response::from_errors(vec![error])
}

fn internal(reason: &'static str) -> Response {
    tracing::error!(reason, "a request failed");
    coded(ServerError::new(MASKED, None), Code::InternalServerError)
}
