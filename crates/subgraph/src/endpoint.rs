//! `/graphql`: POST and GET for one answer, WebSocket and SSE for a stream of them.
//!
//! HTTP follows the GraphQL-over-HTTP specification
//! (<https://graphql.github.io/graphql-over-http/draft/>).

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::Poll;
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
use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http::{Method, header};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::answer::{self, Accepted, Refusal};
use crate::documents::{Documents, Worker};
use crate::error::{CodedError, MASKED, finish_response};
use crate::limits::answer::{Turn, Turns};
use crate::overload::Operation;
use crate::{CallGate, Code, Limits, Overloaded, cross_site, sse, websocket};

/// The largest request body and WebSocket message, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// How deep async-graphql follows a document: it counts other levels than we do, and gives no code.
const RECURSION_MAX: usize = 2 * PARSER_DEPTH_MAX;
/// Where its parser gives up.
const PARSER_DEPTH_MAX: usize = 64;

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

/// A schema of Federation 2. Its documents are limited by [`Limits`], before it sees them.
pub fn federated<Q, M, S>(builder: SchemaBuilder<Q, M, S>) -> SchemaBuilder<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    builder
        .enable_federation()
        .enable_subscription_in_federation()
        // They compare an unknown field with all others, and there may be thousands of them.
        .disable_suggestions()
        .limit_recursive_depth(RECURSION_MAX)
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
    limits: Limits,
) -> Router {
    routes_within::<E, X>(
        executor,
        shutdown,
        Some(gate),
        limits,
        TimeLimits::default(),
    )
}

/// [`routes`], with other limits of time, and perhaps without a database that limits them.
pub fn routes_within<E: CodedError, X: Executor>(
    executor: X,
    shutdown: CancellationToken,
    gate: Option<CallGate>,
    limits: Limits,
    times: TimeLimits,
) -> Router {
    let endpoint = Endpoint {
        executor,
        shutdown,
        gate,
        times,
        turns: Turns::new(&limits),
        documents: Documents::new(limits),
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
    times: TimeLimits,
    turns: Turns,
    documents: Documents,
    errors: PhantomData<fn() -> E>,
}

/// An operation that is about to run.
pub(crate) enum Execution {
    /// A query, a mutation or a refusal. Nothing runs before it is polled. The outcome lasts until its holder
    /// has written the answer.
    Answer(BoxFuture<'static, Outcome>),
    /// The events of a subscription.
    Events(BoxStream<'static, Response>),
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
    let request = match answer::read_request(request, endpoint.times.body).await {
        Ok(request) => request,
        Err(refusal) => return refusal.into(),
    };
    if accepted == Accepted::EventStream {
        return sse::answer(endpoint, request, read_only).await;
    }
    match endpoint.execute(request, read_only).await {
        Ok(outcome) => answer::write_response(&outcome.response, outcome.is_overload, accepted),
        Err(refusal) => refusal.into(),
    }
}

/// What became of a query or a mutation.
pub(crate) struct Outcome {
    pub(crate) response: Response,
    /// Nothing of it was begun, as the service has too much to do.
    is_overload: bool,
    /// Lasts until the answer is written.
    _turn: Option<Turn>,
}

impl Outcome {
    /// `response` to what was not run.
    fn refused(response: Response) -> Self {
        Self {
            response,
            is_overload: false,
            _turn: None,
        }
    }
}

impl Outcome {
    fn waited_too_long() -> Self {
        let reason = ServerError::new(Overloaded::WaitedTooLong.to_string(), None);
        Self {
            is_overload: true,
            ..Self::refused(coded(reason, Code::Overloaded))
        }
    }
}

impl<E: CodedError, X: Executor> Endpoint<E, X> {
    /// Runs a query or a mutation. A panic harms this request alone.
    async fn execute(&self, mut request: Request, read_only: bool) -> Result<Outcome, Refusal> {
        self.admit()?;
        let deadline = Instant::now() + self.times.execution;
        let cost = match self.admit_document(&mut request, deadline).await {
            Ok(cost) => cost,
            Err(outcome) => return Ok(outcome),
        };
        let operation = operation(&mut request);
        permit(operation, read_only)?;
        Ok(self
            .run_to_the_end(request, operation, cost, deadline)
            .await)
    }

    /// Refuses what would find no room in the queue to the database.
    fn admit(&self) -> Result<(), Refusal> {
        let refusal = self.gate.as_ref().and_then(CallGate::refusal);
        refusal.map_or(Ok(()), |reason| Err(Refusal::overloaded(reason)))
    }

    /// Parses the request's document and checks its limits; returns its cost, or what refuses it.
    async fn admit_document(
        &self,
        request: &mut Request,
        deadline: Instant,
    ) -> Result<u64, Outcome> {
        let Ok(_worker) = timeout_at(deadline, self.documents.worker(&request.query)).await else {
            return Err(Outcome::waited_too_long());
        };
        let admitted = self.documents.admit(request);
        admitted.map_err(|error| Outcome::refused(Response::from_errors(vec![error.into()])))
    }

    /// Waits for the request's turn and runs it. The turn lasts until its holder has written the answer.
    async fn run_to_the_end(
        &self,
        request: Request,
        operation: Option<Operation>,
        cost: u64,
        deadline: Instant,
    ) -> Outcome {
        let waits = async {
            let turn = self.turns.take(cost).await;
            (turn, self.documents.worker(&request.query).await)
        };
        let Ok((turn, worker)) = timeout_at(deadline, waits).await else {
            return Outcome::waited_too_long();
        };
        let execution = AssertUnwindSafe(self.executor.execute(request)).catch_unwind();
        let mut response = match timeout_at(deadline, validate_with(worker, execution)).await {
            Ok(Ok(response)) => finish_response::<E>(response),
            Ok(Err(_)) => internal("a resolver panicked"),
            Err(_) => internal("the request took too long"),
        };
        let is_overload = operation.is_some_and(|operation| operation.settle(&mut response));
        Outcome {
            response,
            is_overload,
            _turn: Some(turn),
        }
    }

    /// Prepares any operation for a transport that has streams.
    pub(crate) async fn execute_any(&self, mut request: Request, read_only: bool) -> Execution {
        let refused = |outcome| Execution::Answer(future::ready(outcome).boxed());
        if let Err(refusal) = self.admit() {
            return refused(Outcome::refused(refusal.response()));
        }
        let deadline = Instant::now() + self.times.execution;
        let cost = match self.admit_document(&mut request, deadline).await {
            Ok(cost) => cost,
            Err(outcome) => return refused(outcome),
        };
        let operation = operation(&mut request);
        match operation.map(|operation| operation.ty) {
            Some(OperationType::Mutation) if read_only => {
                refused(Outcome::refused(Refusal::mutation_over_get().response()))
            }
            Some(OperationType::Subscription) => {
                let worker = timeout_at(deadline, self.documents.worker(&request.query)).await;
                let Ok(worker) = worker else {
                    return refused(Outcome::waited_too_long());
                };
                let responses = AssertUnwindSafe(self.executor.execute_stream(request, None));
                let mut finished = responses.catch_unwind().map(|response| match response {
                    Ok(response) => finish_response::<E>(response),
                    Err(_) => internal("a resolver panicked"),
                });
                let mut worker = Some(worker);
                let events = stream::poll_fn(move |context| {
                    let polled = finished.poll_next_unpin(context);
                    worker.take();
                    polled
                });
                Execution::Events(events.boxed())
            }
            _ => {
                let endpoint = self.clone();
                Execution::Answer(
                    async move {
                        let deadline = Instant::now() + endpoint.times.execution;
                        endpoint
                            .run_to_the_end(request, operation, cost, deadline)
                            .await
                    }
                    .boxed(),
                )
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
            times: self.times,
            turns: self.turns.clone(),
            documents: self.documents.clone(),
            errors: PhantomData,
        }
    }
}

/// Polls `execution` with a worker for the first time, which is when async-graphql validates the document.
async fn validate_with<T>(worker: Worker, execution: impl Future<Output = T>) -> T {
    let mut execution = pin!(execution);
    let first = futures_util::poll!(execution.as_mut());
    drop(worker);
    match first {
        Poll::Ready(done) => done,
        Poll::Pending => execution.await,
    }
}

/// The operation that will run; none when the document has no such operation, which
/// validation will say.
fn operation(request: &mut Request) -> Option<Operation> {
    let name = request.operation_name.clone();
    let document = request.parsed_query().ok()?;
    let mut operations = document.operations.iter();
    let operation = match name {
        Some(name) => operations.find(|(found, _)| found.is_some_and(|it| **it == name)),
        None => operations.next(),
    };
    operation.map(|(_, operation)| Operation::of(&operation.node))
}

/// Whether an operation may run over a plain HTTP request.
fn permit(operation: Option<Operation>, read_only: bool) -> Result<(), Refusal> {
    match operation.map(|operation| operation.ty) {
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
