//! The operations of one connection that are running.
//!
//! All of them are polled by the connection's own task, and only while its client takes what it is
//! sent: a subscription of a client that does not read lags at its source, which then says
//! what was missed. A query or a mutation runs only once there is room for its answer, so that
//! nothing is computed for a client that does not read; slow ones keep no event waiting.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use futures_util::{
    Stream, StreamExt,
    future::{AbortHandle, BoxFuture, Either},
    stream::{self, BoxStream, SelectAll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    client_key::ClientKey,
    code::{Code, Refusal},
    event::{Event, EventStream},
    isolation,
    metrics::Transport,
    request::{ClientContext, GraphqlRequest},
    response::GraphqlResponse,
    service::{Outcome, Service},
    settings::WebSocketSettings,
    turns::ClientTurns,
};

/// Something to send the client of one of its operations.
pub(super) struct Output {
    /// The client's name for the operation.
    pub(super) id: Arc<str>,
    /// The event, if there is one.
    pub(super) event: Option<Event>,
    /// Whether the operation is complete with it. One that failed is over without a `complete`.
    pub(super) is_complete: bool,
    /// Held until the event is sent.
    _room: Option<HeldRoom>,
}

/// An [`Output`] without the operation's name.
struct Piece {
    event: Option<Event>,
    is_complete: bool,
    room: Option<HeldRoom>,
}

/// The running operations, as one stream of what to send the client.
pub(super) struct Operations {
    outputs: SelectAll<BoxStream<'static, Output>>,
    running: HashMap<Arc<str>, Running>,
    answers: Answers,
}

struct Running {
    stop: AbortHandle,
    /// Set when the operation turns out to be a subscription that runs.
    is_stream: Arc<AtomicBool>,
}

impl Operations {
    pub(super) fn new(settings: &WebSocketSettings, turns: ClientTurns) -> Self {
        Self {
            outputs: SelectAll::new(),
            running: HashMap::new(),
            answers: Answers::new(settings, turns),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether an operation of this name is running.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.running.contains_key(id)
    }

    /// Starts an operation. What it sends comes out of this stream.
    pub(super) fn start<S: Service>(
        &mut self,
        service: Arc<S>,
        id: Arc<str>,
        request: GraphqlRequest,
        client: ClientContext,
    ) {
        let name = Arc::clone(&id);
        let is_stream = Arc::new(AtomicBool::new(false));
        let streams = Arc::clone(&is_stream);
        let answers = self.answers.clone();
        // In a place of its own, which is given back: a subscription's stream lives on, and would keep the request.
        let begin = Box::pin(async move {
            let (began, key) = (Instant::now(), client.key);
            // So is this.
            let answer = isolation::answer(&service, Transport::WebSocket, request, client);
            match Box::pin(answer).await {
                Outcome::Single(response) => once(response, None),
                Outcome::Deferred(work) => {
                    let (response, room) = answers.run(service, key, began, work).await;
                    once(response, room)
                }
                Outcome::Stream(events) => {
                    streams.store(true, Ordering::Relaxed);
                    Either::Right(subscription(events))
                }
            }
        });
        let pieces = stream::once(begin).flatten();
        let outputs = pieces.map(move |piece: Piece| Output {
            id: Arc::clone(&name),
            event: piece.event,
            is_complete: piece.is_complete,
            _room: piece.room,
        });
        let (outputs, stop) = stream::abortable(outputs);
        self.outputs.push(outputs.boxed());
        self.running.insert(id, Running { stop, is_stream });
    }

    /// Ends an operation without another word.
    pub(super) fn stop(&mut self, id: &str) {
        if let Some(running) = self.running.remove(id) {
            running.stop.abort();
        }
    }

    /// Whether a query or a mutation waits for its answer. An operation counts as one until it turns
    /// out to be a subscription.
    pub(super) fn has_unanswered(&self) -> bool {
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
                if output.is_complete || matches!(output.event, Some(Event::Failed { .. })) {
                    self.running.remove(&output.id);
                }
                Poll::Ready(Some(output))
            }
            // Nothing runs now; another operation may begin at any time.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

type Pieces<S> = Either<stream::Iter<std::array::IntoIter<Piece, 1>>, S>;

/// A query or a mutation: its answer is the whole of it.
fn once<S>(response: GraphqlResponse, room: Option<HeldRoom>) -> Pieces<S> {
    let event = Event::from(response);
    let is_complete = matches!(event, Event::Next { .. });
    Either::Left(stream::iter([Piece {
        event: Some(event),
        is_complete,
        room,
    }]))
}

/// A subscription: its events, and that it is complete, unless it fails.
fn subscription(events: EventStream) -> impl Stream<Item = Piece> + Send {
    let piece = |event: Option<Event>| Piece {
        is_complete: event.is_none(),
        event,
        room: None,
    };
    let pieces = events.map(Some).chain(stream::iter([None])).map(piece);
    pieces.scan(false, |failed, piece| {
        if *failed {
            return std::future::ready(None);
        }
        *failed = matches!(piece.event, Some(Event::Failed { .. }));
        std::future::ready(Some(piece))
    })
}

/// The connection's queries and mutations: how many it may have, and how many of them may run.
#[derive(Clone)]
struct Answers {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    max: usize,
    turns: ClientTurns,
}

/// Held by a query or a mutation from before it runs until its answer is sent.
struct HeldRoom(
    #[expect(dead_code, reason = "their end is what matters")]
    (OwnedSemaphorePermit, OwnedSemaphorePermit),
);

impl Answers {
    fn new(settings: &WebSocketSettings, turns: ClientTurns) -> Self {
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            admitted: semaphore(settings.ws_answers_max),
            running: semaphore(settings.ws_answers_running_max),
            max: settings.ws_answers_max,
            turns,
        }
    }

    /// Waits for room and runs a query or a mutation, in a task of its own: a long computation
    /// keeps no event waiting, and the next one begins while an answer is sent.
    async fn run<S: Service>(
        self,
        service: Arc<S>,
        client: ClientKey,
        began: Instant,
        work: BoxFuture<'static, GraphqlResponse>,
    ) -> (GraphqlResponse, Option<HeldRoom>) {
        let Ok(admitted) = self.admitted.try_acquire_owned() else {
            // What waits for the client must be small.
            drop(work);
            let refusal = Refusal::new(
                Code::Overloaded,
                format!(
                    "one connection may have {} queries and mutations at a time",
                    self.max
                ),
            );
            let metrics = &service.serving().metrics;
            metrics.answered(
                Transport::WebSocket,
                Some(refusal.code.into()),
                began.elapsed(),
            );
            return (refusal.into(), None);
        };
        let running = self.running;
        let answer = async move {
            // It is never closed.
            let running = running.acquire_owned().await.ok()?;
            let transport = Transport::WebSocket;
            let work = isolation::deferred(service.serving(), transport, client, began, work);
            let response = work.await;
            Some((response, HeldRoom((admitted, running))))
        };
        let answer = tokio::spawn(self.turns.run(Box::pin(answer)));
        match AbortOnDropHandle::new(answer).await {
            Ok(Some((response, room))) => (response, Some(room)),
            Ok(None) | Err(_) => (defect(), None),
        }
    }
}

fn defect() -> GraphqlResponse {
    Refusal::new(Code::InternalServerError, "internal error").into()
}
