//! Subscriptions at subgraphs: many on one WebSocket to each address, or each on its own stream of
//! server-sent events.

mod bounded_head;
mod placement;
mod quarantine;
mod silence;
mod socket;
mod socket_pool;
mod sse;
mod uncompleted_events;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use graphql_transport::{ClientKey, delivery};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::DropGuard;

use super::resume::{self, UpstreamOperation};
use crate::{
    config::SubscriptionConfig,
    graph::{Settings, SubgraphAddress},
    headers::claims::{self, CLAIMS},
    metrics::GatewayMetrics,
    subgraphs::{FetchError, Outcome},
};
pub(super) use placement::Place;
use placement::{ADDRESSES_TRIED_MAX, Placements, Witness};
use quarantine::Quarantine;
use socket_pool::{Opening, SocketPool, Unsubscribe};
use uncompleted_events::UncompletedEvents;
pub(super) use uncompleted_events::{ReceivedMessage, ReservedBytes};

/// How long the gateway remembers that a subgraph accepts no WebSocket, before it tries again.
const NO_WEBSOCKET_TIME: Duration = Duration::from_secs(60);

/// For so long, an address may take to accept a subscription before another one is tried.
const PATIENCE: Duration = Duration::from_secs(3);

/// A message of a subgraph about one subscription.
#[derive(Debug)]
pub(super) enum UpstreamMessage {
    /// The subgraph has accepted the operation.
    Accepted,
    /// An event: the JSON of a GraphQL response.
    Next(Bytes),
    /// The subscription has ended with errors: a GraphQL response without data.
    Errors(Bytes),
    /// The subscription has ended without an error.
    Complete,
}

impl UpstreamMessage {
    /// Whether it says that the subgraph does not begin after the cursor.
    pub(super) fn refuses_cursor(&self) -> bool {
        match self {
            Self::Next(payload) => !resume::has_data(payload) && resume::refuses_cursor(payload),
            Self::Errors(errors) => resume::refuses_cursor(errors),
            Self::Accepted | Self::Complete => false,
        }
    }

    fn text_bytes(&self) -> usize {
        match self {
            Self::Next(text) | Self::Errors(text) => text.len(),
            Self::Accepted | Self::Complete => 0,
        }
    }
}

/// Why a subscription at a subgraph failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// There is no connection.
    #[error(transparent)]
    Unreachable(FetchError),
    #[error("the connection failed: {0}")]
    Connect(Arc<str>),
    /// The subgraph closed the connection instead of acknowledging it.
    #[error("the connection was closed before it was acknowledged: {code} {reason:?}")]
    Closed { code: u16, reason: Arc<str> },
    /// An HTTP status that says that the subgraph cannot serve now.
    #[error("the subgraph cannot accept it now (HTTP status {0})")]
    Unavailable(StatusCode),
    #[error("the subgraph violated the protocol: {0}")]
    Protocol(&'static str),
    #[error("the connection was lost")]
    Lost,
    #[error("no response in time")]
    Timeout,
    #[error("too many operations wait for a connection of their own")]
    Busy,
    #[error("it closes each connection that carries the operation: {0}")]
    Refused(Arc<str>),
    #[error("it accepts no WebSocket (HTTP status {0})")]
    NoWebSocket(StatusCode),
    #[error("its response is not a stream of server-sent events (HTTP status {0})")]
    NoEventStream(StatusCode),
    #[error("the operation and its variables are larger than {0} bytes")]
    TooLarge(usize),
}

impl UpstreamError {
    /// What it says about the address where a subscription was to begin.
    fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable(error) => Outcome::of_connecting(error),
            _ if self.is_of_address() => Outcome::Failed,
            // Others would answer the same.
            _ => Outcome::Accepted,
        }
    }

    /// Whether another address may accept what this one did not.
    fn is_of_address(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Connect(_)
            | Self::Unavailable(_)
            | Self::Protocol(_)
            | Self::Lost
            | Self::Timeout => true,
            // The subgraph refuses the credentials, or something else about the request.
            Self::Closed { code, .. } => !(4400..=4499).contains(code),
            Self::Busy
            | Self::Refused(_)
            | Self::NoWebSocket(_)
            | Self::NoEventStream(_)
            | Self::TooLarge(_) => false,
        }
    }
}

/// The messages of one subscription. Dropping this ends the subscription at the subgraph.
pub(super) struct Messages {
    receiver: mpsc::Receiver<ReceivedMessage>,
    _ends_when_dropped: Ends,
    /// One that was received before it was time to process it.
    first: Option<ReceivedMessage>,
    place: Option<Place>,
}

/// Ends the subscription at its subgraph when it is dropped.
#[expect(dead_code, reason = "both act when they are dropped")]
enum Ends {
    OnSocket(Unsubscribe),
    OnStream(DropGuard),
}

impl Messages {
    fn new(receiver: mpsc::Receiver<ReceivedMessage>, ends: Ends) -> Self {
        Self {
            receiver,
            _ends_when_dropped: ends,
            first: None,
            place: None,
        }
    }

    /// The next message; `None` when the connection is lost.
    pub(super) async fn next(&mut self) -> Option<ReceivedMessage> {
        match self.first.take() {
            Some(message) => Some(message),
            None => self.receiver.recv().await,
        }
    }

    /// Gives a message back, so that it is the next one.
    pub(super) fn put_back(&mut self, message: ReceivedMessage) {
        self.first = Some(message);
    }

    /// Ends the subscription, and gives its place to another one.
    pub(super) fn into_place(self) -> Option<Place> {
        self.place
    }

    /// The address where it runs, if the subgraph has several.
    pub(super) fn address(&self) -> Option<&Arc<str>> {
        let place = self.place.as_ref().filter(|it| it.is_chosen());
        place.map(|place| &place.label)
    }
}

/// All connections for subscriptions, by protocol.
pub(super) struct Upstreams {
    sockets: SocketPool,
    placements: Arc<Placements>,
    quarantine: Arc<Quarantine>,
    request_bytes_max: usize,
    sse_subgraphs: Vec<String>,
    /// Addresses that accept no WebSocket, with the time when that was found out.
    without_websocket: Mutex<HashMap<String, Instant>>,
    streams: sse::Streams,
}

impl Upstreams {
    pub(super) fn new(
        config: &SubscriptionConfig,
        settings: &Settings,
        metrics: &GatewayMetrics,
    ) -> Self {
        let quarantine = Arc::new(Quarantine::new(
            config.subscription_quarantine_max,
            &metrics.upstream_quarantined,
        ));
        let waiting = UncompletedEvents::new(config, &metrics.uncompleted_event_bytes);
        let streams = sse::Streams::new(
            &settings.subgraphs,
            &settings.tls,
            config,
            Arc::clone(&waiting),
        );
        Self {
            sockets: SocketPool::new(config, settings, Arc::clone(&quarantine), waiting, metrics),
            placements: Arc::default(),
            quarantine,
            request_bytes_max: config.subscription_request_bytes_max,
            streams,
            sse_subgraphs: config.subscription_sse_subgraphs.clone(),
            without_websocket: Mutex::default(),
        }
    }

    /// Starts a subscription at the address where it belongs, or at the next one if that does not accept it soon. Returns
    /// when the operation has been sent to the subgraph. `is_proven` says that the subgraph has accepted it before.
    /// `avoided` is an address that has lost it.
    ///
    /// # Errors
    /// After [`UpstreamError::TooLarge`] and [`UpstreamError::Refused`], another attempt would fail
    /// too.
    pub(super) async fn open(
        &self,
        address: SubgraphAddress<'_>,
        operation: UpstreamOperation<'_>,
        headers: HeaderMap,
        client: ClientKey,
        is_proven: bool,
        avoided: Option<&Arc<str>>,
    ) -> Result<Messages, UpstreamError> {
        let key = key_of(&operation);
        let mut tried = Vec::new();
        loop {
            let place = self
                .placements
                .choose(address, key, &tried, avoided)
                .await?;
            let witness = place.witness.clone();
            let instance = witness.as_ref().and_then(Witness::instance);
            let headers = headers.clone();
            let opening = self.open_at(address, place, &operation, headers, client, is_proven);
            let has_others = |instance| {
                tried.len() + 1 < ADDRESSES_TRIED_MAX
                    && address.subgraph.has_others_up(&tried, instance)
            };
            let opened = match instance.as_ref().is_some_and(has_others) {
                true => timeout(PATIENCE, opening).await.unwrap_or_else(|_| {
                    if let Some(witness) = witness {
                        witness.suspect();
                    }
                    Err(UpstreamError::Timeout)
                }),
                false => opening.await,
            };
            match (opened, instance) {
                (Err(error), Some(instance)) if error.is_of_address() => {
                    tried.push(instance);
                    if tried.len() >= ADDRESSES_TRIED_MAX
                        || !address.subgraph.finds_others(&tried).await
                    {
                        return Err(error);
                    }
                }
                (opened, _) => return opened,
            }
        }
    }

    /// The address where a subscription belongs, if it runs at another one.
    pub(super) fn better_place(
        &self,
        address: SubgraphAddress<'_>,
        operation: &UpstreamOperation<'_>,
        current: &Arc<str>,
    ) -> Option<Place> {
        let key = key_of(operation);
        self.placements.better(address, key, current)
    }

    /// [`Upstreams::open`] at this address.
    pub(super) async fn open_at(
        &self,
        address: SubgraphAddress<'_>,
        place: Place,
        operation: &UpstreamOperation<'_>,
        headers: HeaderMap,
        client: ClientKey,
        is_proven: bool,
    ) -> Result<Messages, UpstreamError> {
        let opened = self
            .open_with(address, &place, operation, headers, client, is_proven)
            .await;
        let mut messages = opened?;
        messages.place = Some(place);
        Ok(messages)
    }

    async fn open_with(
        &self,
        address: SubgraphAddress<'_>,
        place: &Place,
        operation: &UpstreamOperation<'_>,
        headers: HeaderMap,
        client: ClientKey,
        is_proven: bool,
    ) -> Result<Messages, UpstreamError> {
        let claims = headers.get(&CLAIMS).cloned();
        let request = self.request(operation, claims.as_ref())?;
        let signer = address.signer;
        if self.speaks_event_streams(address) {
            return self
                .streams
                .open(place, signer, request, headers, client)
                .await;
        }
        // On a WebSocket that clients share, they are a part of the operation alone.
        let mut socket_headers = headers.clone();
        socket_headers.remove(&CLAIMS);
        let opening = Opening {
            key: self.quarantine.key(
                address.full_url,
                operation.operation,
                &operation.variables_without_cursor,
                claims.as_ref().map(HeaderValue::as_bytes),
            ),
            request: request.clone(),
            headers: socket_headers,
            client,
            is_proven,
        };
        match self.sockets.open(address, place, opening).await {
            Err(UpstreamError::NoWebSocket(status)) => {
                tracing::info!(
                    subgraph = address.name,
                    status = status.as_u16(),
                    "a subgraph accepts no WebSocket, subscribing by server-sent events instead"
                );
                let streaming = self.streams.open(place, signer, request, headers, client);
                let streaming = streaming.await;
                if streaming.is_ok() {
                    self.lock()
                        .insert(address.full_url.to_owned(), Instant::now());
                }
                streaming
            }
            opened => opened,
        }
    }

    fn speaks_event_streams(&self, address: SubgraphAddress<'_>) -> bool {
        let mut without = self.lock();
        without.retain(|_, since| since.elapsed() < NO_WEBSOCKET_TIME);
        without.contains_key(address.full_url)
            || self.sse_subgraphs.iter().any(|name| name == address.name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.without_websocket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The JSON of a GraphQL request: `{"query": ..., "variables": ..., "extensions": ...}`, with
    /// `extensions.delivery`, and the client's claims as `extensions.claims` if there are any.
    ///
    /// # Errors
    /// [`UpstreamError::TooLarge`]: a subgraph would close the whole connection for such a message.
    pub(super) fn request(
        &self,
        operation: &UpstreamOperation<'_>,
        claims: Option<&HeaderValue>,
    ) -> Result<Vec<u8>, UpstreamError> {
        let request = request_json(operation, claims);
        match request.len() > self.request_bytes_max {
            true => Err(UpstreamError::TooLarge(self.request_bytes_max)),
            false => Ok(request),
        }
    }
}

/// The key by which a subscription's address is chosen, whatever its cursor and whoever asks.
fn key_of(operation: &UpstreamOperation<'_>) -> u64 {
    placement::key(
        operation.without_cursor,
        &operation.variables_without_cursor,
    )
}

/// Whether another attempt would get the same HTTP status. The statuses of servers and proxies that
/// are overloaded or stopping are not final.
fn is_final(status: StatusCode) -> bool {
    !status.is_informational()
        && !status.is_server_error()
        && !matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

fn request_json(operation: &UpstreamOperation<'_>, claims: Option<&HeaderValue>) -> Vec<u8> {
    let mut query = String::with_capacity(operation.operation.len() + 32);
    query.push_str("{\"query\":");
    crate::json::write::string(&mut query, operation.operation);
    query.push_str(",\"variables\":");
    let mut request = query.into_bytes();
    request.extend_from_slice(&operation.variables);
    request.extend_from_slice(b",\"extensions\":{");
    if let Some(claims) = claims.and_then(claims::json_of) {
        request.extend_from_slice(b"\"claims\":");
        request.extend_from_slice(&claims);
        request.push(b',');
    }
    request.extend_from_slice(delivery_json(operation.after).as_bytes());
    request.extend_from_slice(b"}}");
    request
}

/// The gateway asks its subgraphs for what its clients ask of it (`docs/resumable-subscriptions.md`).
fn delivery_json(after: Option<&str>) -> String {
    let version = delivery::VERSION;
    let mut json = format!("\"delivery\":{{\"version\":{version},\"status\":true");
    if let Some(after) = after {
        json.push_str(",\"after\":");
        crate::json::write::string(&mut json, after);
    }
    json.push('}');
    json
}

/// Replaces errors that are not a list, or an empty one, which would make the subscription seem to
/// end without an error.
const NO_LIST: &[u8] =
    br#"[{"message":"the subgraph ended the subscription without a list of errors"}]"#;

/// Wraps a list of errors in a GraphQL response.
fn errors_response(errors: &[u8]) -> Bytes {
    let rest = errors.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
    let has_errors = rest.is_some_and(|rest| !rest.starts_with(b"]"));
    let errors = if has_errors { errors } else { NO_LIST };
    [b"{\"data\":null,\"errors\":", errors, b"}"]
        .concat()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        coerce::Variables,
        prepare::{UpstreamSubscription, resume::Resume},
        subscriptions::resume,
    };

    #[test]
    fn the_place_of_a_subscription_is_the_same_after_any_cursor() {
        let resume = Resume {
            first: "subscription { a { cursor } }".to_owned(),
            resumed: "subscription($after: String) { a(after: $after) { cursor } }".to_owned(),
            cursor_variable: "after".to_owned(),
            field_key: "a".to_owned(),
            cursor_keys: Vec::new(),
            begin: None,
        };
        let upstream = UpstreamSubscription::for_tests(&resume.first.clone(), Some(resume));
        let variables = Variables::default();
        let key = |cursor| key_of(&resume::operation(&upstream, &variables, cursor));
        assert_eq!(key(None), key(Some("c1")));
        assert_eq!(key(Some("c1")), key(Some("c2")));
    }
}
