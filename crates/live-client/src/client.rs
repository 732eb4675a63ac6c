//! Where the server is and how it is spoken to; what a subscription asks for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Uri};
use serde_json::{Map, Value};

use crate::connect::Endpoint;
use crate::failure::Failure;
use crate::pause::Pauses;
use crate::resume::Asked;
use crate::store::{BoxError, CursorStore};
use crate::subscription::Subscription;

/// Carries a subscription. Each subscription has a connection of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// [graphql-transport-ws](https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md).
    #[default]
    WebSocket,
    /// [graphql-sse](https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md), distinct connections mode, by
    /// POST.
    ServerSentEvents,
    /// [Multipart subscriptions](https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol).
    Multipart,
}

/// What a subscription asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarantee {
    /// Events come in order and none is missing, or an item says so.
    #[default]
    AtLeastOnce,
    /// Events may be missing. Each time that the subscription stands there is a gap.
    BestEffort,
}

/// What happens where a cursor cannot be used, or the server's history does not reach back to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resync {
    /// The cursor is forgotten, and a gap says that the data has to be read again.
    #[default]
    Again,
    /// The subscription ends with the error.
    End,
}

/// A client that cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidClient {
    /// No absolute URL of `http`, `https`, `ws` or `wss`.
    #[error("{0:?} is not a URL of http, https, ws or wss with a host")]
    Url(String),
    /// `https` or `wss` without the feature `tls`.
    #[error("{0:?} needs the feature `tls` of rejoinder-client")]
    NoTls(String),
}

type Headers = Arc<dyn Fn() -> BoxFuture<'static, Result<HeaderMap, BoxError>> + Send + Sync>;
type Payload = Arc<dyn Fn() -> BoxFuture<'static, Result<Value, BoxError>> + Send + Sync>;

/// A server, and how it is spoken to. A clone shares nothing that is open.
#[derive(Clone)]
pub struct Client {
    settings: Arc<Settings>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub endpoint: Endpoint,
    pub transport: Transport,
    pub headers: HeaderMap,
    pub headers_for_each: Option<Headers>,
    pub init_payload: Option<Payload>,
    pub connect_within: Duration,
    pub keep_alive: Duration,
    pub pong_within: Duration,
    pub silence_max: Duration,
    pub stands_after: Duration,
    pub message_bytes_max: usize,
    pub queue_items: usize,
    pub queue_bytes: u32,
    pauses: Pauses,
    tries_max: Option<u32>,
}

impl Client {
    /// A client of the GraphQL endpoint at this URL. `ws` and `http` are the same here, and so are `wss` and `https`.
    ///
    /// # Errors
    /// When it is no such URL.
    pub fn new(url: &str) -> Result<Self, InvalidClient> {
        let uri: Uri = url
            .parse()
            .map_err(|_| InvalidClient::Url(url.to_owned()))?;
        Ok(Self {
            settings: Arc::new(Settings {
                endpoint: Endpoint::new(uri).ok_or_else(|| InvalidClient::Url(url.to_owned()))?,
                transport: Transport::default(),
                headers: HeaderMap::new(),
                headers_for_each: None,
                init_payload: None,
                connect_within: Duration::from_secs(20),
                keep_alive: Duration::from_secs(10),
                pong_within: Duration::from_secs(5),
                silence_max: Duration::from_secs(45),
                stands_after: Duration::from_millis(500),
                message_bytes_max: 16 * 1024 * 1024,
                queue_items: 64,
                queue_bytes: 1024 * 1024,
                pauses: Pauses {
                    first: Duration::from_millis(500),
                    longest: Duration::from_secs(10),
                    try_later: Duration::from_secs(5),
                },
                tries_max: None,
            }),
        })
        .and_then(
            |client: Self| match client.settings.endpoint.needs_feature() {
                true => Err(InvalidClient::NoTls(url.to_owned())),
                false => Ok(client),
            },
        )
    }

    /// WebSockets if nothing else is said.
    #[must_use]
    pub fn transport(self, transport: Transport) -> Self {
        self.with(|it| it.transport = transport)
    }

    /// A header of each request.
    #[must_use]
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.with(|it| drop(it.headers.insert(name, value)))
    }

    /// Asks for headers for each connection. Where that fails or takes too long, it is a failed try.
    #[must_use]
    pub fn headers<F, Fut>(self, headers: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderMap, BoxError>> + Send + 'static,
    {
        self.with(|it| it.headers_for_each = Some(Arc::new(move || headers().boxed())))
    }

    /// Asks for a token for each connection, and sends it as `authorization: Bearer …`. It takes the place of
    /// [`Client::headers`].
    #[must_use]
    pub fn token<F, Fut>(self, token: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        self.headers(move || {
            let token = token();
            async move {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.await?))?;
                value.set_sensitive(true);
                Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
            }
        })
    }

    /// Asks for the payload of `connection_init` for each WebSocket, for servers that look for tokens there.
    #[must_use]
    pub fn init_payload<F, Fut>(self, payload: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, BoxError>> + Send + 'static,
    {
        self.with(|it| it.init_payload = Some(Arc::new(move || payload().boxed())))
    }

    /// The pause after the first failed try, and the longest one: 500 ms and 10 s if nothing else is said. They double
    /// between these, with jitter of a quarter. A subscription that stood for five seconds begins with the first one
    /// again. What the server asks for is waited for in any case.
    #[must_use]
    pub fn pauses(self, first: Duration, longest: Duration) -> Self {
        self.with(|it| {
            (it.pauses.first, it.pauses.longest) = (first, longest);
        })
    }

    /// The least pause after a WebSocket was closed with 1013, "try again later"; 5 s if nothing else is said.
    #[must_use]
    pub fn try_later_after(self, pause: Duration) -> Self {
        self.with(|it| it.pauses.try_later = pause)
    }

    /// Ends a subscription after so many failed tries, with none between them that stood for five seconds. For ever if
    /// nothing else is said.
    #[must_use]
    pub fn tries_max(self, tries: u32) -> Self {
        self.with(|it| it.tries_max = Some(tries))
    }

    /// A try to connect that takes longer has failed; 20 s if nothing else is said.
    #[must_use]
    pub fn connect_within(self, limit: Duration) -> Self {
        self.with(|it| it.connect_within = limit)
    }

    /// A WebSocket that is silent for `every` is sent a ping, and is dead if nothing comes `within`; 10 s and 5 s if
    /// nothing else is said.
    #[must_use]
    pub fn keep_alive(self, every: Duration, within: Duration) -> Self {
        self.with(|it| (it.keep_alive, it.pong_within) = (every, within))
    }

    /// An event stream or a multipart answer on which nothing comes for so long is dead; 45 s if nothing else is said.
    /// The server has to send its keep-alives more often.
    #[must_use]
    pub fn silence_max(self, limit: Duration) -> Self {
        self.with(|it| it.silence_max = limit)
    }

    /// A subscription that was not refused for so long is guessed to stand; 500 ms if nothing else is said.
    #[must_use]
    pub fn stands_after(self, time: Duration) -> Self {
        self.with(|it| it.stands_after = time)
    }

    /// Bytes of one message of the server; 16 MiB if nothing else is said. A larger one is tried again twice, then the
    /// subscription ends with `CLIENT_MESSAGE_TOO_LARGE`.
    #[must_use]
    pub fn message_bytes_max(self, bytes: usize) -> Self {
        self.with(|it| it.message_bytes_max = bytes)
    }

    /// What is read ahead of the application: so many items, with so many bytes; 64 and 1 MiB if nothing else is said.
    #[must_use]
    pub fn queue(self, items: usize, bytes: u32) -> Self {
        self.with(|it| (it.queue_items, it.queue_bytes) = (items, bytes))
    }

    /// Another configuration of TLS: other authorities, or a certificate of the client. It needs `http/1.1` alone.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, config: Arc<rustls::ClientConfig>) -> Self {
        self.with(|it| it.endpoint.tls = Some(config.into()))
    }

    /// A subscription with this document.
    pub fn subscribe(&self, query: impl Into<String>) -> Request {
        Request {
            settings: Arc::clone(&self.settings),
            asked: Asked {
                query: query.into(),
                operation_name: None,
                variables: Map::new(),
                extensions: Map::new(),
                guarantee: Guarantee::default(),
                after_variable: "after".to_owned(),
                resync: Resync::default(),
                is_final: None,
                pauses: self.settings.pauses,
                tries_max: self.settings.tries_max,
            },
            after: None,
            store: None,
            key: None,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("Client");
        debug.field("endpoint", &self.settings.endpoint.uri);
        debug.field("transport", &self.settings.transport);
        debug.finish_non_exhaustive()
    }
}

/// A subscription before it begins.
#[must_use = "nothing is sent before `start`"]
pub struct Request {
    settings: Arc<Settings>,
    asked: Asked,
    after: Option<String>,
    store: Option<Arc<dyn CursorStore>>,
    key: Option<String>,
}

impl Request {
    /// Variables: a JSON object, or anything that becomes one.
    ///
    /// # Panics
    /// When it becomes something else.
    pub fn variables(mut self, variables: impl serde::Serialize) -> Self {
        match serde_json::to_value(variables) {
            Ok(Value::Object(variables)) => self.asked.variables = variables,
            other => panic!("variables are an object, not {other:?}"),
        }
        self
    }

    /// Which operation of the document.
    pub fn operation_name(mut self, name: impl Into<String>) -> Self {
        self.asked.operation_name = Some(name.into());
        self
    }

    /// An extension of the request beside `delivery`, which is this crate's.
    pub fn extension(mut self, name: impl Into<String>, value: Value) -> Self {
        self.asked.extensions.insert(name.into(), value);
        self
    }

    /// Begins after this cursor. It comes before one in the variables, and that one before a stored one.
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.after = Some(cursor.into());
        self
    }

    /// [`Guarantee::AtLeastOnce`] if nothing else is said.
    pub fn guarantee(mut self, guarantee: Guarantee) -> Self {
        self.asked.guarantee = guarantee;
        self
    }

    /// The variable by which servers that do not know the contract take a cursor; `after` if nothing else is said. It
    /// counts only if the document has it.
    pub fn after_variable(mut self, name: impl Into<String>) -> Self {
        self.asked.after_variable = name.into();
        self
    }

    /// Keeps the cursor in a store. A cursor is stored when the application asks for the next item: until then, the
    /// last one may not be applied.
    pub fn store(mut self, store: Arc<dyn CursorStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// The cursor's name in the store; the request if nothing else is said.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// [`Resync::Again`] if nothing else is said.
    pub fn resync(mut self, resync: Resync) -> Self {
        self.asked.resync = resync;
        self
    }

    /// After which failures no other try would help; those with codes such as `FORBIDDEN` if nothing else is said (see
    /// [`is_final_code`](crate::is_final_code)).
    pub fn is_final(mut self, is_final: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        self.asked.is_final = Some(Arc::new(is_final));
        self
    }

    /// Subscribes. A task of its own reads the connection.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Subscription {
        let given = self.asked.variables.get(&self.asked.after_variable);
        let given = given.and_then(crate::contract::cursor_in);
        let after = self.after.or_else(|| given.map(str::to_owned));
        let key = self.key.unwrap_or_else(|| self.asked.key());
        let store = self.store.map(|store| (store, key));
        Subscription::start(self.settings, self.asked, after, store)
    }
}
