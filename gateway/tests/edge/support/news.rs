//! A subgraph with events: a log of messages, delivered live and after a cursor.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_graphql::{Context, ID, Object, Schema, SimpleObject, Subscription};
use async_graphql_axum::{GraphQLRequest, GraphQLResponse, GraphQLSubscription};
use axum::{
    Extension, Router,
    body::to_bytes,
    extract::Request,
    http::{HeaderMap, Method, StatusCode},
    middleware::Next,
    response::{AppendHeaders, IntoResponse, Response},
    routing::post,
};
use futures_util::{Stream, StreamExt, stream};
use graphql_transport::Verifier;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{eventually, server::Server};

/// Lives longer than the server, as a database does.
pub struct Log {
    texts: watch::Sender<Vec<String>>,
    pub subscriptions_started: AtomicUsize,
    pub subscriptions_open: AtomicI64,
    pub slow_started: AtomicUsize,
    slow_ended: Notify,
    pub last_after: Mutex<Option<String>>,
    /// The headers of the WebSockets that were opened.
    pub socket_headers: Mutex<Vec<HeaderMap>>,
    /// Whose requests alone are answered.
    pub verifier: Mutex<Verifier>,
}

impl Log {
    pub fn publish(&self, text: &str) {
        self.texts.send_modify(|texts| texts.push(text.to_owned()));
    }

    pub fn open(&self) -> i64 {
        self.subscriptions_open.load(Ordering::SeqCst)
    }

    /// Waits until this many subscriptions are open.
    pub async fn until_open(&self, count: i64) {
        let are_open = || async { self.open() == count };
        eventually("so many subscriptions are open", are_open).await;
    }

    pub fn started(&self) -> usize {
        self.subscriptions_started.load(Ordering::SeqCst)
    }

    /// Waits until so many slow fields have begun in all.
    pub async fn until_slow(&self, started: usize) {
        let are_running = || async { self.slow_started.load(Ordering::SeqCst) == started };
        eventually("so many slow ones have begun", are_running).await;
    }

    /// Ends the slow fields that run.
    pub fn end_slow(&self) {
        self.slow_ended.notify_waiters();
    }

    /// Takes so long, or until [`Log::end_slow`].
    async fn take(&self, milliseconds: u64) {
        let ended = self.slow_ended.notified();
        self.slow_started.fetch_add(1, Ordering::SeqCst);
        let _ = timeout(Duration::from_millis(milliseconds), ended).await;
    }

    /// Messages from position `from` on, and those that come.
    fn follow(self: &Arc<Self>, from: usize) -> impl Stream<Item = (usize, String)> + use<> {
        self.subscriptions_started.fetch_add(1, Ordering::SeqCst);
        self.subscriptions_open.fetch_add(1, Ordering::SeqCst);
        let state = (self.texts.subscribe(), from, Open(Arc::clone(self)));
        stream::unfold(state, |(mut texts, at, open)| async move {
            let text = texts.wait_for(|texts| texts.len() > at).await.ok()?[at].clone();
            Some(((at, text), (texts, at + 1, open)))
        })
    }
}

struct Open(Arc<Log>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.subscriptions_open.fetch_sub(1, Ordering::SeqCst);
    }
}

pub struct News {
    pub log: Arc<Log>,
    pub server: Server,
    asked: Arc<AtomicUsize>,
}

#[derive(SimpleObject)]
struct Message {
    id: ID,
    text: String,
}

#[derive(SimpleObject)]
struct Change {
    cursor: String,
    message: Message,
}

struct Query;

#[Object]
impl Query {
    async fn greeting(&self, name: Option<String>) -> String {
        format!("hello {}", name.as_deref().unwrap_or("you"))
    }

    /// A header of the request that the subgraph got.
    async fn header(&self, context: &Context<'_>, name: String) -> Option<String> {
        let headers = context.data_unchecked::<HeaderMap>();
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned)
    }

    async fn slow(&self, context: &Context<'_>, milliseconds: u64) -> &str {
        let log = context.data_unchecked::<Arc<Log>>();
        log.take(milliseconds).await;
        "at last"
    }

    #[graphql(entity)]
    async fn message(&self, context: &Context<'_>, id: ID) -> Option<Message> {
        let texts = context.data_unchecked::<Arc<Log>>().texts.borrow();
        let text = texts.get(id.parse::<usize>().ok()?)?.clone();
        Some(Message { id, text })
    }
}

struct Mutation;

#[Object]
impl Mutation {
    async fn publish(&self, context: &Context<'_>, text: String) -> Message {
        let log = context.data_unchecked::<Arc<Log>>();
        let id = log.texts.borrow().len();
        log.publish(&text);
        message(id, text)
    }

    async fn publish_slowly(
        &self,
        context: &Context<'_>,
        milliseconds: u64,
        text: String,
    ) -> Message {
        let log = context.data_unchecked::<Arc<Log>>();
        log.take(milliseconds).await;
        message(0, text)
    }
}

struct Subscriptions;

#[Subscription]
impl Subscriptions {
    /// Streams the messages sent from now on.
    async fn messages(
        &self,
        context: &Context<'_>,
        topic: Option<String>,
    ) -> impl Stream<Item = Message> {
        let _ = topic;
        let log = context.data_unchecked::<Arc<Log>>();
        let from = log.texts.borrow().len();
        log.follow(from).map(|(at, text)| message(at, text))
    }

    /// From a cursor on.
    async fn changes(
        &self,
        context: &Context<'_>,
        topic: Option<String>,
        after: Option<String>,
    ) -> impl Stream<Item = Change> {
        let _ = topic;
        let log = context.data_unchecked::<Arc<Log>>();
        let position = after
            .as_deref()
            .and_then(|after| after.strip_prefix('c')?.parse::<usize>().ok());
        let from = position.map_or_else(|| log.texts.borrow().len(), |position| position + 1);
        *log.last_after.lock().expect("not poisoned") = after;
        log.follow(from).map(|(at, text)| Change {
            cursor: format!("c{at}"),
            message: message(at, text),
        })
    }
}

fn message(at: usize, text: String) -> Message {
    Message {
        id: ID(at.to_string()),
        text,
    }
}

type NewsSchema = Schema<Query, Mutation, Subscriptions>;

impl News {
    pub fn start() -> Self {
        Self::with(Arc::new(Log {
            texts: watch::Sender::new(Vec::new()),
            subscriptions_started: AtomicUsize::new(0),
            subscriptions_open: AtomicI64::new(0),
            slow_started: AtomicUsize::new(0),
            slow_ended: Notify::new(),
            last_after: Mutex::default(),
            socket_headers: Mutex::default(),
            verifier: Mutex::default(),
        }))
    }

    /// One more instance with the same log.
    pub fn another(&self) -> Self {
        Self::with(Arc::clone(&self.log))
    }

    fn with(log: Arc<Log>) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let schema = Schema::build(Query, Mutation, Subscriptions)
            .data(Arc::clone(&log))
            .enable_federation()
            .finish();
        let (sockets, requests) = (Arc::clone(&log), Arc::clone(&asked));
        let app = Router::new()
            .route(
                "/graphql",
                post(answer).get_service(GraphQLSubscription::new(schema.clone())),
            )
            .layer(Extension(schema))
            .layer(axum::middleware::from_fn(
                move |request: Request, next: Next| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    if request.headers().contains_key("upgrade") {
                        sockets
                            .socket_headers
                            .lock()
                            .expect("not poisoned")
                            .push(request.headers().clone());
                    }
                    let verifier = sockets.verifier.lock().expect("not poisoned").clone();
                    verified(verifier, request, next)
                },
            ));
        Self {
            log,
            server: Server::start(app),
            asked,
        }
    }

    /// How many requests have come, WebSockets included.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn verified(verifier: Verifier, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a whole body");
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let whole = match parts.method == Method::POST {
        true => verifier
            .verify_head(method, uri, headers)
            .and_then(|head| head.verify_body(&body)),
        false => verifier.verify(method, uri, headers),
    };
    match whole {
        Ok(()) => next.run(Request::from_parts(parts, body.into())).await,
        Err(refusal) => (StatusCode::UNAUTHORIZED, refusal.message).into_response(),
    }
}

async fn answer(
    headers: HeaderMap,
    Extension(schema): Extension<NewsSchema>,
    request: GraphQLRequest,
) -> (
    AppendHeaders<[(&'static str, &'static str); 1]>,
    GraphQLResponse,
) {
    let response = schema.execute(request.into_inner().data(headers)).await;
    (AppendHeaders([("x-served-by", "news")]), response.into())
}
