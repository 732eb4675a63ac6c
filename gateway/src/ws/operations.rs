//! The operations of one connection that are running.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{
    Stream, StreamExt,
    future::AbortHandle,
    stream::{self, BoxStream, SelectAll},
};

use crate::{
    gateway::Gateway,
    guard,
    metrics::Transport,
    pipeline::Outcome,
    request::{ClientContext, GraphqlRequest},
    subscriptions::Event,
};

/// Something to tell the client of one of its operations.
pub struct Output {
    /// The client's name for the operation.
    pub id: Arc<str>,
    /// None when it is complete.
    pub event: Option<Event>,
}

/// The running operations, as one stream of what to tell the client.
#[derive(Default)]
pub struct Operations {
    outputs: SelectAll<BoxStream<'static, Output>>,
    running: HashMap<Arc<str>, Running>,
}

struct Running {
    stop: AbortHandle,
    /// Set when the operation turns out to be a subscription that runs.
    is_stream: Arc<AtomicBool>,
}

impl Operations {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether an operation of this name is running.
    pub fn contains(&self, id: &str) -> bool {
        self.running.contains_key(id)
    }

    /// Begins an operation.
    pub fn start(
        &mut self,
        gateway: Arc<Gateway>,
        id: String,
        request: GraphqlRequest,
        client: ClientContext,
    ) {
        let id: Arc<str> = id.into();
        let name = Arc::clone(&id);
        let is_stream = Arc::new(AtomicBool::new(false));
        let streams = Arc::clone(&is_stream);
        let events = stream::once(async move {
            match guard::answer(&gateway, Transport::WebSocket, request, client).await {
                Outcome::Single(response) => stream::iter([Event::from(response)]).boxed(),
                Outcome::Stream(events) => {
                    streams.store(true, Ordering::Relaxed);
                    events
                }
            }
        })
        .flatten();
        // After an error the operation is over without a `complete`.
        let outputs = events
            .map(Some)
            .chain(stream::iter([None]))
            .scan(false, |failed, event| {
                let output = if *failed { None } else { Some(event) };
                *failed = matches!(output, Some(Some(Event::Failed { .. })));
                std::future::ready(output)
            })
            .map(move |event| Output {
                id: Arc::clone(&name),
                event,
            });
        let (outputs, stop) = stream::abortable(outputs);
        self.outputs.push(outputs.boxed());
        self.running.insert(id, Running { stop, is_stream });
    }

    /// Ends an operation without another word.
    pub fn stop(&mut self, id: &str) {
        if let Some(running) = self.running.remove(id) {
            running.stop.abort();
        }
    }

    /// Whether a query or mutation (or what is not yet known to be none) waits for its answer.
    pub fn has_unanswered(&self) -> bool {
        self.running
            .values()
            .any(|running| !running.is_stream.load(Ordering::Relaxed))
    }
}

impl Stream for Operations {
    type Item = Output;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Output>> {
        match self.outputs.poll_next_unpin(context) {
            Poll::Ready(Some(output)) => {
                if matches!(output.event, None | Some(Event::Failed { .. })) {
                    self.running.remove(&output.id);
                }
                Poll::Ready(Some(output))
            }
            // Nothing runs now; another operation may begin at any time.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
