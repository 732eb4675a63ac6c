//! A subscription at a subgraph over server-sent events (graphql-sse, distinct connections mode).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use graphql_transport::{
    ClientKey,
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
    uncompleted_events::{MessageSender, UncompletedEvents},
};
use crate::{
    config::{SubgraphSettings, SubscriptionConfig},
    subgraphs::{Endpoint, Tls},
};

/// Until the response's headers.
const OPEN_TIME_LIMIT: Duration = Duration::from_secs(10);
/// The largest response head, in bytes; interim heads have a bound of their own.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Without any byte for this long, comments included, the stream is lost.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The way to subgraphs that speak server-sent events.
pub(super) struct Streams {
    tls: Tls,
    /// Of all that comes before the answer's body.
    head_bytes_max: usize,
    event_bytes_max: usize,
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
            waiting,
        }
    }

    pub(super) async fn open(
        &self,
        url: &str,
        request: Vec<u8>,
        headers: HeaderMap,
        client: ClientKey,
    ) -> Result<Messages, UpstreamError> {
        let response = self.ask(url, request.into(), headers);
        let response = tokio::time::timeout(OPEN_TIME_LIMIT, response);
        let response = response.await.map_err(|_| UpstreamError::Timeout)??;
        self.messages_of(response, client)
    }

    /// Sends the request on a connection of its own, which ends with the response's body.
    async fn ask(
        &self,
        url: &str,
        body: Bytes,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let failed =
            |error: &dyn std::fmt::Display| UpstreamError::Connect(error.to_string().into());
        let endpoint = Endpoint::parse(url).map_err(|error| failed(&error))?;
        let request = request(&endpoint, body, headers).map_err(|error| failed(&error))?;
        let stream = endpoint
            .connect(&self.tls, OPEN_TIME_LIMIT)
            .await
            .map_err(|error| failed(&error))?;
        let left = BytesLeft::new(self.head_bytes_max);
        let stream = BoundedHead::new(stream, left.clone());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // What ends it early is seen at the response.
        tokio::spawn(connection);
        let response = sender.send_request(request).await;
        left.lift();
        response.map_err(|error| failed(&error))
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
        // A refusal may come as one plain answer.
        let is_refusal = is(b"application/json") || is(b"application/graphql-response+json");
        let is_stream = response.status().is_success() && is(b"text/event-stream");
        if !is_refusal && !is_stream {
            return Err(match response.status() {
                status if is_final(status) => UpstreamError::NoEventStream(status),
                _ => UpstreamError::Protocol("the answer is no stream of server-sent events"),
            });
        }
        let (messages, receiver) = self.waiting.channel(client);
        if is_stream {
            // It cannot be full.
            let _ = messages.try_send(UpstreamMessage::Accepted);
        }
        let stop = CancellationToken::new();
        let ends = Ends::OnStream(stop.clone().drop_guard());
        let (body, event_bytes_max) = (response.into_body(), self.event_bytes_max);
        tokio::spawn(async move {
            if is_refusal {
                stop.run_until_cancelled(refuse(body, event_bytes_max, messages))
                    .await
            } else {
                stop.run_until_cancelled(read(body, event_bytes_max, messages))
                    .await
            }
        });
        Ok(Messages {
            receiver,
            _ends_when_dropped: ends,
        })
    }
}

fn request(
    endpoint: &Endpoint,
    body: Bytes,
    headers: HeaderMap,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.path().parse()?;
    *request.headers_mut() = headers;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(endpoint.authority())?);
    if let Some(authorization) = endpoint.authorization() {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    for (name, value) in [
        (header::CONTENT_TYPE, "application/json"),
        (header::ACCEPT, "text/event-stream"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(request)
}

/// Hands on the one answer that there is.
async fn refuse(body: Incoming, bytes_max: usize, messages: MessageSender) {
    let body = tokio::time::timeout(SILENCE_MAX, Limited::new(body, bytes_max).collect()).await;
    if let Ok(Ok(collected)) = body {
        // Its feed is gone if nobody takes it.
        let _ = messages
            .send(UpstreamMessage::Errors(collected.to_bytes()))
            .await;
    }
}

/// Until the stream ends; dropping `messages` tells so.
async fn read(mut body: Incoming, bytes_max: usize, messages: MessageSender) {
    let mut reader = EventReader::default();
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE_MAX, body.frame()).await {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        reader.extend(&data);
        while let Some(event) = reader.event() {
            let message = match event {
                StreamEvent::Next(response) => UpstreamMessage::Next(response),
                StreamEvent::Complete => UpstreamMessage::Complete,
            };
            // The body waits while its feed is busy: a stream of its own holds up nobody.
            if messages.send(message).await.is_err() {
                return;
            }
        }
        if reader.unfinished_bytes() > bytes_max {
            return;
        }
    }
}
