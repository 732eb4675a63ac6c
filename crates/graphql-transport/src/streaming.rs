//! What event streams and multipart responses share: events, with keep-alives between them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use crate::{
    code::{Code, Refusal},
    event::{Event, EventStream},
    metrics::Transport,
    service::{Outcome, Service},
};

/// How one kind of stream is written.
pub(crate) trait Framing: Send + 'static {
    /// Whether it counts as SSE or multipart.
    const TRANSPORT: Transport;
    /// The response's media type.
    const CONTENT_TYPE: &'static str;
    /// The bytes before the first event.
    fn open() -> Bytes;
    /// The bytes of a keep-alive.
    fn keep_alive() -> Bytes;
    /// The bytes of one event.
    fn event(event: &Event) -> Bytes;
    /// The bytes after the last event.
    fn close() -> Bytes;
}

/// Answers with a stream that stays open until the subscription ends. A shutdown ends it between two events, without the
/// closing words, so that clients come back. `opening` are the bytes before the first event.
pub(crate) fn respond<F: Framing, S: Service>(
    service: &Arc<S>,
    outcome: Outcome,
    opening: Bytes,
) -> Response {
    let (events, headers): (EventStream, HeaderMap) = match outcome {
        Outcome::Deferred(work) => {
            let event = stream::once(work.map(Event::from));
            (event.boxed(), HeaderMap::new())
        }
        Outcome::Stream(events) => (events, HeaderMap::new()),
        Outcome::Single(mut response) => {
            let headers = std::mem::take(&mut response.headers);
            (stream::iter([Event::from(response)]).boxed(), headers)
        }
    };
    let frames = frames::<F, S>(service, events, opening).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(frames));
    response.headers_mut().extend(headers);
    for (name, value) in [
        (header::CONTENT_TYPE, F::CONTENT_TYPE),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (header::VARY, "accept"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    // Asks nginx and its kin not to hold events back.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Ends a subscription whose client takes nothing for too long.
///
/// Over HTTP/2 one stream can stand still while its connection goes on, so the limit on the
/// connection's writes, which is enough for HTTP/1.1, never passes. A client that reads again gets
/// `SUBSCRIPTION_LAGGED`; its place at the feed is free long before.
pub(crate) fn while_taken<S: Service>(service: &S, mut events: EventStream) -> EventStream {
    let limit = service.serving().settings.http.client_write_timeout;
    let lagged = service.serving().metrics.lagged.clone();
    let (sender, mut receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = sender.closed() => None,
            };
            let Some(event) = event else {
                return;
            };
            match tokio::time::timeout(limit, sender.reserve()).await {
                Ok(Ok(place)) => place.send(event),
                Ok(Err(_left)) => return,
                Err(_) => break,
            }
        }
        drop(events);
        lagged.inc();
        let error = Refusal::new(
            Code::SubscriptionLagged,
            format!("nothing was read for {limit:?}; subscribe again"),
        );
        // The client may leave instead.
        let _ = sender.send(Event::failed(error)).await;
    });
    stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()
}

fn frames<F: Framing, S: Service>(
    service: &Arc<S>,
    events: EventStream,
    opening: Bytes,
) -> impl Stream<Item = Bytes> + Send + use<F, S> {
    let serving = service.serving();
    let client = serving.live_client(F::TRANSPORT);
    let state = Frames {
        events: Some(events),
        keep_alive: keep_alive(serving.settings.keep_alive),
        deliveries: serving.metrics.deliveries.clone(),
    };
    stream::once(async { opening })
        .chain(stream::unfold(state, Frames::next::<F>))
        .take_until(Box::pin(async move { client.turn().await }))
}

struct Frames {
    /// None once the closing words are written.
    events: Option<EventStream>,
    keep_alive: Interval,
    deliveries: Counter,
}

impl Frames {
    async fn next<F: Framing>(mut self) -> Option<(Bytes, Self)> {
        let events = self.events.as_mut()?;
        let frame = tokio::select! {
            event = events.next() => match event {
                Some(event) => {
                    if event.is_delivery() {
                        self.deliveries.inc();
                    }
                    self.keep_alive.reset();
                    F::event(&event)
                }
                None => {
                    self.events = None;
                    F::close()
                }
            },
            _ = self.keep_alive.tick() => F::keep_alive(),
        };
        Some((frame, self))
    }
}

fn keep_alive(pause: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + pause, pause);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
