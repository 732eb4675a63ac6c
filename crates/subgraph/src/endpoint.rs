//! `/graphql` of a subgraph: an async-graphql schema as a service of `graphql_transport`.
//!
//! The transports read requests and write answers; here an operation is checked, waits for its turn
//! and runs.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context;
use async_graphql::parser::types::OperationType;
use async_graphql::{
    Executor, ObjectType, Request, Response, SDLExportOptions, Schema, SchemaBuilder, ServerError,
    SubscriptionType, Value, Variables,
};
use axum::Router;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use graphql_transport::settings::trimmed;
use graphql_transport::{
    ClientContext, Code as TransportCode, Delivery as AskedDelivery, EventStream, Front,
    GraphqlRequest, GraphqlResponse, HttpSettings, Outcome, Refusal, SecretSetting, Service,
    Serving, Settings, TransportMetrics, Verifier, WebSocketSettings,
};
use service::{Lifecycle, MakeResponder, Metrics};
use tokio::time::{Instant, timeout_at};
use traces::{Kind, Span};

use crate::answer;
use crate::claims::{self, ClaimsError};
use crate::documents::{DocumentMetrics, Documents, Worker};
use crate::error::{CodedError, finish_response, internal};
use crate::limits::answer::{Turn, Turns};
use crate::limits::json_size::{VALUES_MAX, has_too_many_values};
use crate::limits::{LimitError, LimitSettings};
use crate::overload::Operation;
use crate::{AnonymousWrites, CallGate, Delivery, Limits, Overloaded, Viewer};

/// A query or a mutation, whatever brought it.
const REQUEST_TIME_LIMIT: Duration = Duration::from_secs(30);
/// Operations that one WebSocket may have open: a gateway has one for all its clients.
const SOCKET_OPERATIONS_MAX: usize = 10_000;
/// How deep async-graphql follows a document: it counts other levels than we do, and gives no code.
const RECURSION_MAX: usize = 2 * PARSER_DEPTH_MAX;
/// Where its parser gives up.
const PARSER_DEPTH_MAX: usize = 64;

/// Which requests a subgraph answers, and who may write.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AccessSettings {
    /// Serve only requests to these host names (`posts.internal`), with a port or at any; `*` allows all. In
    /// development the default is `localhost`, `127.0.0.1` and `[::1]`, otherwise all.
    #[arg(long, env = "SUBGRAPH_ALLOWED_HOSTS", value_delimiter = ',', value_parser = trimmed)]
    pub allowed_hosts: Vec<String>,
    /// Answer only requests that a gateway has signed for this subgraph, each once. The value is the gateway's secret,
    /// of at least 32 characters, or the key of this subgraph that `gateway --print-signing-key` prints. Several,
    /// separated by commas, are all accepted, so that a secret can be replaced. By default everybody's requests are
    /// answered.
    #[arg(
        long,
        env = "SUBGRAPH_SECRET",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub subgraph_secret: SecretSetting,
    /// Accept only signatures for the subgraph of this name, which it has in the gateway's supergraph. Each subgraph has
    /// another one. By default it is the program's name, `posts` or `comments`.
    #[arg(long, env = "SUBGRAPH_NAME")]
    pub subgraph_name: Option<String>,
    /// Choose what may be written without a token: `off` refuses it; `create` accepts new posts and comments, marked as
    /// a guest's, and no changes; `change` also lets everybody edit and delete what has no owner, which is for closed
    /// networks. Who has a token is known only with `SUBGRAPH_SECRET`, and the gateway's `SUBGRAPH_CLAIMS`.
    #[arg(long, env = "ANONYMOUS_WRITES", value_enum, default_value = "off")]
    pub anonymous_writes: AnonymousWrites,
}

impl AccessSettings {
    /// Accepts requests that are signed for this subgraph; without a secret, all.
    fn verifier(&self) -> anyhow::Result<Verifier> {
        let verifier = self
            .subgraph_secret
            .verifier(self.name().unwrap_or_default())
            .map_err(anyhow::Error::msg)
            .context("SUBGRAPH_SECRET")?;
        anyhow::ensure!(
            !verifier.is_on() || self.name().is_some(),
            "SUBGRAPH_SECRET needs SUBGRAPH_NAME, by which the gateway signs"
        );
        Ok(verifier)
    }

    /// Logs a warning if these settings refuse all writes.
    pub(crate) fn warn_if_nobody_writes(&self) {
        if self.anonymous_writes == AnonymousWrites::Off
            && !self.verifier().is_ok_and(|it| it.is_on())
        {
            tracing::warn!(
                "nobody can write: ANONYMOUS_WRITES is off, and without SUBGRAPH_SECRET nobody is known to be signed in"
            );
        }
    }

    fn name(&self) -> Option<&str> {
        let name = self.subgraph_name.as_deref().map(str::trim);
        name.filter(|name| !name.is_empty())
    }

    /// Takes this name if none is set.
    pub(crate) fn or_named(self, name: &str) -> Self {
        let subgraph_name = Some(self.name().unwrap_or(name).to_owned());
        Self {
            subgraph_name,
            ..self
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

/// A schema of any types, behind functions that do not depend on them. So this crate compiles the endpoint and
/// its transports, once for all subgraphs.
pub struct AnySchema(Box<dyn Execute>);

impl AnySchema {
    /// A schema whose resolvers fail with `E`.
    pub fn new<E: CodedError>(executor: impl Executor) -> Self {
        Self(Box::new(TypedSchema {
            executor,
            errors: PhantomData::<fn() -> E>,
        }))
    }
}

/// Responses have the codes of their errors.
trait Execute: Send + Sync {
    fn execute(&self, request: Request) -> BoxFuture<'_, Response>;

    /// The responses of a subscription. It may panic, and is not used after that.
    fn execute_stream(&self, request: Request) -> BoxStream<'static, Response>;
}

struct TypedSchema<E, X> {
    executor: X,
    errors: PhantomData<fn() -> E>,
}

impl<E: CodedError, X: Executor> Execute for TypedSchema<E, X> {
    fn execute(&self, request: Request) -> BoxFuture<'_, Response> {
        let execution = self.executor.execute(request);
        Box::pin(execution.map(finish_response::<E>))
    }

    fn execute_stream(&self, request: Request) -> BoxStream<'static, Response> {
        let responses = self.executor.execute_stream(request, None);
        Box::pin(responses.map(finish_response::<E>))
    }
}

/// `/graphql` of a schema. Streams end at the shutdown. While `gate` is full, nothing is executed: everything
/// is refused with `OVERLOADED`.
///
/// # Errors
/// When `SUBGRAPH_SECRET` is malformed, or there is one without `SUBGRAPH_NAME`.
pub fn endpoint(
    schema: AnySchema,
    gate: CallGate,
    limits: Limits,
    access: &AccessSettings,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
    service: &service::Settings,
) -> anyhow::Result<Arc<Endpoint>> {
    let counts = metrics.with_registry(|registry| TransportMetrics::register(registry, "subgraph"));
    let mut settings = settings(&limits.settings, service.shutdown_grace);
    settings.http.allowed_hosts = access.allowed_hosts.clone();
    settings.verifier = access.verifier()?;
    if let Some(tasks_max) = service.tasks_per_client_max {
        settings.tasks_per_client_max = tasks_max;
    }
    if service.development {
        settings.http = settings.http.at_loopback_names();
    }
    let serving = Serving::new(settings, Arc::new(counts), lifecycle.shutdown().clone());
    let sockets_end = serving.sockets_end();
    lifecycle.spawn_serving("WebSockets", async move {
        sockets_end.await;
        Ok(())
    });
    let documents = Documents::new(limits.clone(), DocumentMetrics::register(metrics));
    let mut endpoint = Endpoint::new(schema, Some(gate), &limits, documents, serving);
    endpoint.anonymous_writes = access.anonymous_writes;
    Ok(Arc::new(endpoint))
}

/// The route of an [`endpoint`] with other settings, and perhaps without a database that limits it. Guests write
/// nothing.
pub fn routes_within(
    schema: AnySchema,
    gate: Option<CallGate>,
    limits: Limits,
    serving: Serving,
) -> Router {
    let documents = Documents::new(limits.clone(), DocumentMetrics::default());
    let endpoint = Endpoint::new(schema, gate, &limits, documents, serving);
    graphql_transport::routes(&Arc::new(endpoint))
}

/// What answers the requests to an endpoint, and to the `operations` routes beside it.
pub fn responders(endpoint: &Arc<Endpoint>, operations: Router) -> MakeResponder {
    let router = graphql_transport::routes(endpoint).merge(operations);
    let front = Front::new(endpoint, router);
    Box::new(move |peer| {
        let front = front.for_peer(peer);
        Box::new(move |request| front.respond(request))
    })
}

/// What the transports of a subgraph are set to. A request may be larger than a gateway's clients may
/// send: a gateway adds representations to their variables.
pub fn settings(limits: &LimitSettings, grace: Duration) -> Settings {
    Settings {
        http: HttpSettings {
            request_bytes_max: limits.request_bytes_max,
            request_bodies_bytes_max: limits.bodies_bytes_max,
            // A gateway is one client, and sends what all of its own do. Half is kept for others: they must not
            // be able to end the sockets of its subscriptions.
            request_bodies_bytes_per_client_max: limits.bodies_bytes_max / 2,
            answers_bytes_max: limits.answers_bytes_max,
            answers_bytes_per_client_max: limits.answers_bytes_max / 2,
            request_timeout: REQUEST_TIME_LIMIT,
            ..HttpSettings::default()
        },
        websocket: WebSocketSettings {
            ws_message_bytes_max: limits.request_bytes_max,
            ws_operations_max: SOCKET_OPERATIONS_MAX,
            // A gateway sends a ping after each operation, on a socket that many clients share.
            ws_pings_max: SOCKET_OPERATIONS_MAX,
            ..WebSocketSettings::default()
        },
        grace,
        ..Settings::default()
    }
}

/// How an operation is run, whatever brought it.
pub struct Endpoint {
    schema: AnySchema,
    gate: Option<CallGate>,
    turns: Turns,
    documents: Documents,
    serving: Serving,
    anonymous_writes: AnonymousWrites,
}

impl Endpoint {
    fn new(
        schema: AnySchema,
        gate: Option<CallGate>,
        limits: &Limits,
        documents: Documents,
        serving: Serving,
    ) -> Self {
        Self {
            schema,
            gate,
            turns: Turns::new(limits),
            documents,
            serving,
            anonymous_writes: AnonymousWrites::default(),
        }
    }
}

impl Service for Endpoint {
    fn serving(&self) -> &Serving {
        &self.serving
    }

    async fn answer(self: &Arc<Self>, request: GraphqlRequest, client: ClientContext) -> Outcome {
        match self.begin(request, &client).await {
            Ok(outcome) => outcome,
            Err(refused) => Outcome::Single(refused.into()),
        }
    }
}

/// Why an operation is not run.
enum Refused {
    /// By a rule that transports have, too.
    Transport(Refusal),
    /// By a limit of this subgraph.
    Limit(LimitError),
    /// Because it is not known who asks.
    Claims(ClaimsError),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Transport(refusal)
    }
}

impl From<LimitError> for Refused {
    fn from(error: LimitError) -> Self {
        Self::Limit(error)
    }
}

impl From<ClaimsError> for Refused {
    fn from(error: ClaimsError) -> Self {
        Self::Claims(error)
    }
}

impl From<Refused> for GraphqlResponse {
    fn from(refused: Refused) -> Self {
        let error = match refused {
            Refused::Transport(refusal) => return refusal.into(),
            Refused::Limit(error) => error.into(),
            Refused::Claims(error) => error.into(),
        };
        answer::write(Response::from_errors(vec![error]), false)
    }
}

impl Endpoint {
    /// Checks an operation and runs it, or prepares it to run.
    async fn begin(
        self: &Arc<Self>,
        request: GraphqlRequest,
        client: &ClientContext,
    ) -> Result<Outcome, Refused> {
        self.admit()?;
        let viewer = self.viewer(&request, client)?;
        let extensions = request.extensions.clone();
        let mut request = read(request)?.data(viewer);
        let deadline = self.wait_deadline();
        let cost = self.admit_document(&mut request, deadline).await?;
        let operation = operation(&mut request);
        let refused = |code, message: &str| Err(Refusal::new(code, message).into());
        match operation.map(|operation| operation.ty) {
            Some(OperationType::Mutation) if !client.mutations_allowed => refused(
                TransportCode::MutationForbidden,
                "a mutation needs POST: GET must not change anything",
            ),
            Some(OperationType::Subscription) if !client.subscriptions_allowed => refused(
                TransportCode::SubscriptionForbidden,
                "a subscription needs a stream: connect by WebSocket (graphql-transport-ws) or \
                 send `Accept: text/event-stream`",
            ),
            Some(OperationType::Subscription) => {
                let asked = AskedDelivery::of(extensions.as_deref(), &client.headers)?;
                let delivery = Delivery::new(asked);
                let request = request.data(delivery.clone());
                let worker = timeout_at(deadline, self.documents.worker(&request.query)).await;
                let worker = worker.map_err(|_| waited_too_long())?;
                Ok(Outcome::Stream(self.events(request, worker, delivery)))
            }
            _ if client.answers_deferred => {
                let endpoint = Arc::clone(self);
                let work = async move {
                    let deadline = endpoint.wait_deadline();
                    endpoint
                        .run_to_the_end(request, operation, cost, deadline)
                        .await
                };
                Ok(Outcome::Deferred(work.boxed()))
            }
            _ => Ok(Outcome::Single(
                self.run_to_the_end(request, operation, cost, deadline)
                    .await,
            )),
        }
    }

    /// Who asks. Claims count only in signed requests: whoever reaches a subgraph without a secret can send any.
    fn viewer(
        &self,
        request: &GraphqlRequest,
        client: &ClientContext,
    ) -> Result<Viewer, ClaimsError> {
        let person = if !self.serving.settings.verifier.is_on() {
            None
        } else if client.socket.is_some() {
            // Many clients share a gateway's socket: each operation has its own claims.
            claims::of_extensions(request.extensions.as_deref())?
        } else {
            claims::of_headers(&client.headers)?
        };
        Ok(Viewer::new(person, self.anonymous_writes))
    }

    /// Refuses what would find no room in the queue to the database.
    fn admit(&self) -> Result<(), Refusal> {
        let refusal = self.gate.as_ref().and_then(CallGate::refusal);
        refusal.map_or(Ok(()), |reason| Err(overloaded(reason)))
    }

    /// Until when a request may wait for its turn: a tenth of its time is left, to say that it waited
    /// too long before the transport says that it ran too long.
    fn wait_deadline(&self) -> Instant {
        Instant::now() + self.serving.settings.http.request_timeout * 9 / 10
    }

    /// Parses the request's document and checks its limits; returns its cost, or what refuses it.
    async fn admit_document(
        &self,
        request: &mut Request,
        deadline: Instant,
    ) -> Result<u64, Refused> {
        let worker = timeout_at(deadline, self.documents.worker(&request.query)).await;
        let _worker = worker.map_err(|_| waited_too_long())?;
        Ok(self.documents.admit(request)?)
    }

    /// Waits for the request's turn and runs it. The turn lasts until the answer is written.
    async fn run_to_the_end(
        &self,
        request: Request,
        operation: Option<Operation>,
        cost: u64,
        deadline: Instant,
    ) -> GraphqlResponse {
        let waits = async {
            let turn: Turn = self.turns.take(cost).await;
            (turn, self.documents.worker(&request.query).await)
        };
        let Ok((_turn, worker)) = timeout_at(deadline, waits).await else {
            return waited_too_long().into();
        };
        let mut span = span_of(&request, operation.as_ref());
        let mut execution = self.schema.0.execute(request);
        if span.is_recorded() {
            execution = Box::pin(span.scope(execution));
        }
        let mut response = validate_with(worker, execution).await;
        if let Some(error) = response.errors.first() {
            span.fail(&code_of(error), "");
        }
        let is_overload = operation.is_some_and(|operation| operation.settle(&mut response));
        answer::write(response, is_overload)
    }

    /// The events of a subscription. The worker is held until its document is validated, which is when
    /// it is polled for the first time. The resolver runs within a poll, and says there that its subscription stands.
    fn events(&self, request: Request, worker: Worker, delivery: Delivery) -> EventStream {
        let responses = AssertUnwindSafe(self.schema.0.execute_stream(request));
        let mut is_first = true;
        let events = responses.catch_unwind().map({
            let delivery = delivery.clone();
            move |response| {
                let response = response.unwrap_or_else(|_| internal("a resolver panicked"));
                let event = answer::write_event(response, std::mem::take(&mut is_first));
                delivery.with_cursor(event)
            }
        });
        let (mut events, mut worker, mut held) = (events.fuse(), Some(worker), None);
        stream::poll_fn(move |context| {
            if held.is_some() {
                return Poll::Ready(held.take());
            }
            let polled = events.poll_next_unpin(context);
            worker.take();
            let Some(frame) = delivery.first_frame() else {
                let status = match &polled {
                    Poll::Pending => delivery.poll_status(context),
                    Poll::Ready(_) => None,
                };
                return status.map_or(polled, |status| Poll::Ready(Some(status)));
            };
            if let Poll::Ready(event) = polled {
                held = event;
            }
            Poll::Ready(Some(frame))
        })
        .boxed()
    }
}

/// The request as async-graphql has it.
fn read(request: GraphqlRequest) -> Result<Request, Refused> {
    let Some(query) = request.query else {
        let message = "the request has no `query`";
        return Err(Refusal::new(TransportCode::BadRequest, message).into());
    };
    let mut read = Request::new(query);
    read.operation_name = request.operation_name;
    if let Some(variables) = request.variables {
        read.variables = read_variables(&variables)?;
    }
    Ok(read)
}

fn read_variables(json: &[u8]) -> Result<Variables, Refused> {
    if has_too_many_values(json) {
        let reason = format!("they have more than {VALUES_MAX} values of JSON");
        return Err(LimitError::Variables { reason }.into());
    }
    serde_json::from_slice(json).map_err(|error| {
        let message = format!("`variables` cannot be read: {error}");
        Refusal::new(TransportCode::BadRequest, message).into()
    })
}

fn waited_too_long() -> Refusal {
    overloaded(Overloaded::WaitedTooLong)
}

fn overloaded(reason: Overloaded) -> Refusal {
    Refusal::new(TransportCode::Overloaded, reason.to_string())
}

/// Polls `execution` with a worker for the first time, which is when async-graphql validates the document.
async fn validate_with<T>(worker: Worker, mut execution: BoxFuture<'_, T>) -> T {
    let first = futures_util::poll!(execution.as_mut());
    drop(worker);
    match first {
        Poll::Ready(done) => done,
        Poll::Pending => execution.await,
    }
}

/// The span of an execution, within that of its request.
fn span_of(request: &Request, operation: Option<&Operation>) -> Span {
    let Some(parent) = traces::current_parent() else {
        return Span::none();
    };
    let mut span = parent.child("execute", Kind::Internal);
    if let Some(operation) = operation {
        span.set("graphql.operation.type", &operation.ty.to_string());
    }
    if let Some(name) = &request.operation_name {
        span.set("graphql.operation.name", name);
    }
    span
}

fn code_of(error: &ServerError) -> String {
    let code = error.extensions.as_ref().and_then(|it| it.get("code"));
    match code {
        Some(Value::String(code)) => code.clone(),
        _ => "GRAPHQL_VALIDATION_FAILED".to_owned(),
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
