//! What transports serve: a [`Service`], and what all transports of one process share.

use std::{future::Future, sync::Arc, time::Duration};

use axum::response::Response;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    client_key::ClientKey,
    code::{Code, Refusal},
    drain::{Drain, LiveClient},
    event::EventStream,
    in_flight::{InFlight, Share},
    isolation,
    metrics::{Transport, TransportMetrics},
    request::{Admitted, ClientContext, GraphqlRequest, NotAdmitted},
    response::GraphqlResponse,
    settings::Settings,
    turns::Turns,
};

/// Time after the grace period, in which operations end, for WebSockets to write their close frames. A
/// client that does not take it is no fault of the service's.
const SOCKETS_TIME_MORE: Duration = Duration::from_millis(250);

/// The outcome of a request.
pub enum Outcome {
    /// One answer: a query, a mutation, or an error.
    Single(GraphqlResponse),
    /// A query or a mutation of which nothing has run yet. The transport runs it when there is room
    /// for its answer. Allowed where [`ClientContext::answers_deferred`] is set.
    Deferred(BoxFuture<'static, GraphqlResponse>),
    /// A subscription's events. Allowed where [`ClientContext::subscriptions_allowed`] is set.
    Stream(EventStream),
}

/// What answers GraphQL requests.
///
/// Transports run it with a deadline and panic isolation, and drop its futures when the client
/// leaves.
pub trait Service: Send + Sync + 'static {
    /// What its transports share.
    fn serving(&self) -> &Serving;

    /// Executes one request, or says why not. The future is dropped when the client leaves or the deadline
    /// passes.
    fn answer(
        self: &Arc<Self>,
        request: GraphqlRequest,
        client: ClientContext,
    ) -> impl Future<Output = Outcome> + Send;

    /// Takes note of a request that a transport refuses with this code, so that [`Self::answer`] does not see it. A
    /// response that it returns is sent instead of the refusal.
    fn refused(
        &self,
        _code: Code,
        _headers: &HeaderMap,
        _client: ClientKey,
    ) -> Option<GraphqlResponse> {
        None
    }

    /// Admits the client of a WebSocket that was opened.
    ///
    /// # Errors
    /// If too many come at once: after how many seconds it may come again (close code 1013).
    fn admit_live_client(&self, _client: ClientKey) -> Result<(), u64> {
        Ok(())
    }

    /// Marks a request on its arrival, by its headers; returns a header for its answer. The gateway
    /// gives each request an id this way.
    fn mark(&self, _headers: &mut HeaderMap) -> Option<(HeaderName, HeaderValue)> {
        None
    }

    /// A page for a GET that carries no operation, such as GraphiQL for a browser.
    fn page(self: &Arc<Self>, _request: &Parts) -> Option<BoxFuture<'static, Response>> {
        None
    }

    /// Whether a member of `connection_init`'s payload stands for the header of this name: browsers
    /// cannot set headers on a WebSocket.
    fn takes_from_init(&self, _name: &HeaderName) -> bool {
        false
    }

    /// Whether a member of a ping's payload stands for the header of this name: with it a client renews
    /// its token on an open WebSocket.
    fn takes_from_ping(&self, _name: &HeaderName) -> bool {
        false
    }

    /// Decides whether the client of a WebSocket is served, by the headers of its upgrade request with
    /// those that `connection_init` or a ping has brought.
    fn admit_socket(
        self: &Arc<Self>,
        _headers: &HeaderMap,
        _client: ClientKey,
    ) -> impl Future<Output = Result<Admitted, NotAdmitted>> + Send {
        std::future::ready(Ok(Admitted::default()))
    }
}

/// Room for one answer, until dropped.
#[expect(dead_code, reason = "it is given back when it is dropped")]
pub struct AnswerRoom(Share);

/// Settings, counters and open sockets: what all transports of one process share.
#[derive(Debug)]
pub struct Serving {
    /// Limits of size and time, and which hosts and origins are answered.
    pub settings: Settings,
    /// What the transports count; the service may add to it.
    pub metrics: Arc<TransportMetrics>,
    /// Cancelled at shutdown: running operations then have [`Settings::grace`] to end, and live clients are told to come
    /// back one after the other.
    pub shutdown: CancellationToken,
    /// Turns of clients at the processors. A service polls what it spawns for a client in them, too.
    pub turns: Turns,
    /// When live clients are told of the shutdown.
    pub(crate) drain: Drain,
    /// The tasks of open WebSockets.
    pub(crate) sockets: TaskTracker,
    /// Request bodies on the way.
    pub(crate) bodies: Arc<InFlight>,
    /// Answers that have not been taken.
    pub(crate) answers: Arc<InFlight>,
}

impl Serving {
    /// Nothing is open yet.
    pub fn new(
        settings: Settings,
        metrics: Arc<TransportMetrics>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            bodies: InFlight::bodies(&settings.http, metrics.unfinished_body_bytes.clone()),
            answers: InFlight::answers(&settings.http, metrics.untaken_answer_bytes.clone()),
            drain: Drain::new(shutdown.clone(), settings.grace),
            turns: Turns::new(settings.tasks_per_client_max, metrics.waiting_tasks.clone()),
            settings,
            metrics,
            shutdown,
            sockets: TaskTracker::new(),
        }
    }

    /// Room for an answer that is likely to have so many bytes, while it is being made: what would find none
    /// is not worth its work. None is needed for a small one.
    ///
    /// # Errors
    /// `TOO_MANY_ANSWER_BYTES`.
    pub fn room_for_answer(
        &self,
        client: ClientKey,
        bytes: usize,
    ) -> Result<Option<AnswerRoom>, Refusal> {
        if bytes < isolation::COUNTED_BYTES_MIN {
            return Ok(None);
        }
        let mut share = self.answers.share(client);
        share.grow_to(bytes).map_err(|_full| {
            Refusal::new(
                Code::TooManyAnswerBytes,
                "nothing was executed: too many answers have not been taken, of this client or of all",
            )
        })?;
        Ok(Some(AnswerRoom(share)))
    }

    /// Counts a client that waits for events until what is returned is dropped, and says when it is told of a shutdown.
    pub(crate) fn live_client(&self, transport: Transport) -> LiveClient {
        let (counted, drained) = self.metrics.live_client(transport);
        self.drain.client(counted, drained)
    }

    /// Waits for the shutdown and then until all WebSockets have closed, for a little more than the
    /// grace period. A server does not wait for upgraded connections itself.
    pub fn sockets_end(&self) -> impl Future<Output = ()> + Send + use<> {
        let (sockets, shutdown) = (self.sockets.clone(), self.shutdown.clone());
        let grace = self.settings.grace;
        async move {
            shutdown.cancelled().await;
            sockets.close();
            let limit = grace + SOCKETS_TIME_MORE;
            if tokio::time::timeout(limit, sockets.wait()).await.is_err() {
                tracing::warn!(
                    grace_s = grace.as_secs(),
                    "some WebSockets did not close within the grace period and were dropped"
                );
            }
        }
    }
}
