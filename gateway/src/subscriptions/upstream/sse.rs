//! Subscriptions at subgraphs over server-sent events (graphql-sse, distinct connections mode).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use graphql_transport::{
    ClientKey, Signer,
    client::{EventReader, StreamEvent},
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::{
    Ends, Messages, UpstreamError, UpstreamMessage,
    bounded_head::{BoundedHead, BytesLeft},
    is_final,
    placement::Place,
    silence::KeepAlives,
    uncompleted_events::{MessageSender, UncompletedEvents},
};
use crate::{
    config::{SubgraphSettings, SubscriptionConfig},
    subgraphs::{Endpoint, Tls},
};

/// Time limit until the response's headers have arrived.
const OPEN_TIME_LIMIT: Duration = Duration::from_secs(10);
/// The largest response head, in bytes; interim heads have a bound of their own.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A refusal that does not arrive within this time is none.
const REFUSAL_TIME_LIMIT: Duration = Duration::from_secs(60);

/// Opens subscriptions over server-sent events, each on a connection of its own.
pub(super) struct Streams {
    tls: Tls,
    /// Bounds the bytes of everything before the response's body.
    head_bytes_max: usize,
    event_bytes_max: usize,
    silence_min: Duration,
    waiting: Arc<UncompletedEvents>,
}

impl Streams {
    pub(super) fn new(
        subgraphs: &SubgraphSettings,
        tls: &Tls,
        config: &SubscriptionConfig,
        waiting: Arc<UncompletedEvents>,
    ) -> Self {
        let head_bytes_max = subgraphs.overhead_bytes_max.saturating_add(HEAD_BYTES_MAX);
        Self {
            tls: tls.clone(),
            head_bytes_max,
            event_bytes_max: config.subscription_event_bytes_max,
            silence_min: config.subscription_upstream_silence_max,
            waiting,
        }
    }

    pub(super) async fn open(
        &self,
        place: &Place,
        signer: &Signer,
        request: Vec<u8>,
        headers: HeaderMap,
        client: ClientKey,
    ) -> Result<Messages, UpstreamError> {
        let response = self.ask(place, signer, request.into(), headers);
        let response = tokio::time::timeout(OPEN_TIME_LIMIT, response).await;
        let opened = match response {
            Ok(Ok(response)) => self.messages_of(response, client),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(UpstreamError::Timeout),
        };
        if let Some(witness) = &place.witness {
            witness.report(opened.as_ref().map(drop));
        }
        opened
    }

    /// Sends the request on a new connection, which closes at the end of the response's body.
    async fn ask(
        &self,
        place: &Place,
        signer: &Signer,
        body: Bytes,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let failed =
            |error: &dyn std::fmt::Display| UpstreamError::Connect(error.to_string().into());
        let endpoint = &place.endpoint;
        let request = request(endpoint, body, headers, signer).map_err(|error| failed(&error))?;
        let stream = endpoint
            .connect_to(place.address, &self.tls, OPEN_TIME_LIMIT)
            .await
            .map_err(UpstreamError::Unreachable)?;
        let left = BytesLeft::new(self.head_bytes_max);
        let stream = BoundedHead::new(stream, left.clone());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(failed_http)?;
        // An early end of the connection shows as an error of the response.
        tokio::spawn(connection);
        let response = sender.send_request(request).await;
        left.lift();
        response.map_err(failed_http)
    }

    fn messages_of(
        &self,
        response: Response<Incoming>,
        client: ClientKey,
    ) -> Result<Messages, UpstreamError> {
        let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
        let is = |media_type: &[u8]| {
            content_type
                .as_ref()
                .is_some_and(|value| value.as_bytes().starts_with(media_type))
        };
        // A refusal may arrive as a single GraphQL response.
        let is_refusal = is(b"application/json") || is(b"application/graphql-response+json");
        let is_stream = response.status().is_success() && is(b"text/event-stream");
        if !is_refusal && !is_stream {
            return Err(match response.status() {
                status if is_final(status) => UpstreamError::NoEventStream(status),
                status if !status.is_success() => UpstreamError::Unavailable(status),
                _ => UpstreamError::Protocol("its response is not a stream of server-sent events"),
            });
        }
        let (messages, receiver) = self.waiting.channel(client);
        if is_stream {
            // A new channel cannot be full.
            let _ = messages.try_send(UpstreamMessage::Accepted);
        }
        let stop = CancellationToken::new();
        let ends = Ends::OnStream(stop.clone().drop_guard());
        let (body, event_bytes_max) = (response.into_body(), self.event_bytes_max);
        let keep_alives = KeepAlives::new(self.silence_min);
        tokio::spawn(async move {
            if is_refusal {
                stop.run_until_cancelled(refuse(body, event_bytes_max, messages))
                    .await
            } else {
                stop.run_until_cancelled(read(body, event_bytes_max, keep_alives, messages))
                    .await
            }
        });
        Ok(Messages::new(receiver, ends))
    }
}

/// Hyper's errors do not name their causes in their own texts.
fn failed_http(error: hyper::Error) -> UpstreamError {
    UpstreamError::Connect(format!("{:#}", anyhow::Error::new(error)).into())
}

fn request(
    endpoint: &Endpoint,
    body: Bytes,
    mut headers: HeaderMap,
    signer: &Signer,
) -> Result<Request<Full<Bytes>>, http::Error> {
    if let Some(authorization) = endpoint.authorization() {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    let signature = signer.sign(&Method::POST, endpoint.path(), Some(&body), &headers);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.path().parse()?;
    *request.headers_mut() = headers;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(endpoint.authority())?);
    if let Some(signature) = signature {
        signature.add_to(headers);
    }
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::ACCEPT, "text/event-stream"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(request)
}

/// Passes a single response on as the subscription's errors.
async fn refuse(body: Incoming, bytes_max: usize, messages: MessageSender) {
    let body =
        tokio::time::timeout(REFUSAL_TIME_LIMIT, Limited::new(body, bytes_max).collect()).await;
    if let Ok(Ok(collected)) = body {
        // An error means that the feed is gone.
        let _ = messages
            .send(UpstreamMessage::Errors(collected.to_bytes()))
            .await;
    }
}

/// Reads events until the stream ends. Dropping `messages` reports the end to the feed.
async fn read(
    mut body: Incoming,
    bytes_max: usize,
    mut keep_alives: KeepAlives,
    messages: MessageSender,
) {
    let mut reader = EventReader::default();
    while let Ok(Some(Ok(frame))) =
        tokio::time::timeout(keep_alives.silence_max(), body.frame()).await
    {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        keep_alives.note(&data, Instant::now());
        reader.extend(&data);
        while let Some(event) = reader.event() {
            let message = match event {
                StreamEvent::Next(response) => UpstreamMessage::Next(response),
                StreamEvent::Complete => UpstreamMessage::Complete,
            };
            // The stream waits while its feed is busy. That delays no other subscription.
            if messages.send(message).await.is_err() {
                return;
            }
        }
        if reader.unfinished_bytes() > bytes_max {
            return;
        }
    }
}
