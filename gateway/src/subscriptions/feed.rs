//! Keeps one upstream subscription running. Each event is completed once and delivered to every
//! client.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesOrdered};
use graphql_transport::{
    ClientKey, Event, GaugeGuard, Guarantee, Stands, Status, delivery, request::ClientContext,
};
use http::HeaderMap;

use super::{
    event_ring::EventRing,
    hub::CloseFeed,
    interruption::{self, UpstreamStatus},
    relocation::{Avoidance, Relocation, Resumption},
    resume::{self, UpstreamOperation},
    retry::Retry,
    services::{ServedGraph, SubscriptionServices},
    upstream::{ReceivedMessage, ReservedBytes, UpstreamError, UpstreamMessage},
};
use crate::{
    coerce::Variables,
    error::{Code, RequestError},
    execute,
    graph::SubgraphAddress,
    prepare::{self, Asker, OperationRequest, Prepared, Serving, UpstreamSubscription},
};

/// How long to wait, after sending a subscription, before assuming that the subgraph has started
/// it, if the subgraph does not say so (`docs/resumable-subscriptions.md`).
pub(super) const SETTLING_TIME: Duration = Duration::from_millis(250);

/// Clients are not told: they have not asked to begin after that cursor.
const REFUSED_ELSEWHERE: UpstreamError =
    UpstreamError::Protocol("it refuses a cursor that another of its addresses accepts");

/// The operation that a feed runs, prepared for the served graph.
pub(super) struct FeedOperation {
    pub serving: Arc<Serving>,
    pub prepared: Arc<Prepared>,
    pub variables: Variables,
    pub document: Arc<str>,
    pub operation_name: Option<String>,
    pub client_variables: Option<Bytes>,
    /// Has only the headers that all its clients have in common.
    pub client: ClientContext,
}

impl FeedOperation {
    /// The subgraph, the operation after this cursor, and the headers of the request.
    pub(super) fn request<'o>(
        &'o self,
        cursor: Option<&'o str>,
    ) -> Result<(SubgraphAddress<'o>, UpstreamOperation<'o>, HeaderMap), UpstreamError> {
        let upstream = subscription_of(&self.prepared)?;
        let operation = resume::operation(upstream, &self.variables, cursor);
        let graph = &self.serving.graph;
        let address = graph.subscriptions_of(upstream.subgraph);
        let rules = &graph.settings().header_rules;
        let headers = rules.request(address.name, &self.client.headers);
        Ok((address, operation, headers))
    }
}

/// Why a session with the subgraph ended.
enum SessionEnd {
    /// The subgraph completed the subscription.
    Complete,
    /// It ends with this event, which reports an error.
    Failed(Event),
    /// The new supergraph gets it from another place, or the subgraph has refused a cursor that clients do not know of:
    /// subscribe at once.
    Moved,
    /// The subgraph is gone, or could not be reached.
    Lost(UpstreamError),
}

/// One upstream subscription, kept running for all clients with the same operation.
pub(super) struct UpstreamFeed {
    services: Arc<SubscriptionServices>,
    operation: Arc<FeedOperation>,
    events: Arc<EventRing>,
    upstream: UpstreamStatus,
    graph_changes: ServedGraph,
    retry: Retry,
    avoidance: Avoidance,
    /// The cursor of the last event, or the one to start after.
    cursor: Option<Arc<str>>,
    /// Whether it completes no more events ahead than its fastest client has taken, for a client that pays for each.
    is_paced: bool,
    /// Whether events may have been missed while no subscription ran.
    has_gap: bool,
    /// Whether the subgraph has accepted the operation before.
    is_proven: bool,
    /// Whether the subgraph has said, in this session, that it sends each event's cursor in `extensions`.
    has_cursors: bool,
    /// Whether the subgraph has ever said that the subscription stands.
    says_when_it_stands: bool,
    /// Whether it has passed the cursor where it started. Clients that resume after that cursor would miss what it has
    /// delivered since.
    is_past_start: bool,
    close: CloseFeed,
}

impl UpstreamFeed {
    pub(super) fn new(
        services: Arc<SubscriptionServices>,
        operation: FeedOperation,
        cursor: Option<Arc<str>>,
        events: Arc<EventRing>,
        close: CloseFeed,
    ) -> Self {
        let mut graph_changes = services.served.clone();
        let current = graph_changes.borrow_and_update().clone();
        if !current.is_some_and(|current| Arc::ptr_eq(&current, &operation.serving)) {
            graph_changes.mark_changed();
        }
        let settings = &services.config;
        let retry = Retry::new(
            settings.subscription_retry_time,
            settings.subscription_retry_pause_max,
        );
        Self {
            operation: Arc::new(operation),
            events,
            upstream: UpstreamStatus::new(),
            graph_changes,
            retry,
            avoidance: Avoidance::default(),
            is_past_start: cursor.is_none(),
            cursor,
            is_paced: false,
            has_gap: false,
            is_proven: false,
            has_cursors: false,
            says_when_it_stands: false,
            close,
            services,
        }
    }

    /// Completes no more events ahead than its fastest client has taken: those after a cursor all come at once.
    pub(super) fn paced(self, is_paced: bool) -> Self {
        Self { is_paced, ..self }
    }

    /// Runs until the subscription ends. Returns a last event if it ends with an error.
    pub(super) async fn run(self) -> Option<Event> {
        let (upstream, ring) = (self.upstream.clone(), Arc::clone(&self.events));
        let reports = interruption::report(upstream, ring, interruption::DISTANCES);
        tokio::select! {
            last = self.run_sessions() => last,
            never = reports => match never {},
        }
    }

    async fn run_sessions(mut self) -> Option<Event> {
        let _counted = GaugeGuard::new(&self.services.metrics.upstream_subscriptions);
        loop {
            // A lost subgraph may have another address in the new graph.
            if self.graph_changes.has_changed().unwrap_or_default() {
                match self.move_over().await {
                    Ok(true) => {}
                    // The new subgraph gets the whole retry time.
                    Ok(false) => self.retry.succeeded(),
                    Err(error) => return Some(self.unfit(error)),
                }
            }
            let end = self.session().await;
            self.upstream.note(Status::Interrupted);
            match end {
                SessionEnd::Complete => return None,
                SessionEnd::Failed(event) => return Some(event),
                SessionEnd::Moved => self.has_gap |= self.cursor.is_none(),
                SessionEnd::Lost(reason) => {
                    self.avoidance.lost();
                    self.has_gap |= self.cursor.is_none();
                    let Some(pause) = self.retry.pause() else {
                        return Some(self.lost(&reason));
                    };
                    tracing::info!(
                        subgraph = self.subgraph_name(),
                        reason = format!("{reason:#}"),
                        retry_in_ms = pause.as_millis() as u64,
                        "a subscription lost its subgraph, will subscribe again"
                    );
                    self.services.metrics.upstream_reconnects.inc();
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        Ok(()) = self.graph_changes.changed() => self.graph_changes.mark_changed(),
                    }
                }
            }
        }
    }

    /// Subscribes at the subgraph and delivers events until that subscription ends.
    async fn session(&mut self) -> SessionEnd {
        let mut messages = match self.open().await {
            Ok(messages) => messages,
            Err(error) => {
                return match self.refusal(&error) {
                    Some(refusal) => SessionEnd::Failed(self.unfit(refusal)),
                    None => SessionEnd::Lost(error),
                };
            }
        };
        self.has_cursors = false;
        self.events.hide_cursors(!self.is_resumable());
        // Not every subgraph says that it has started the subscription. A client that reads missed data
        // again should not do so before it has.
        let (mut has_begun, mut is_settled) = (false, false);
        // By a cursor that is not in the schema: clients do not know that it may be refused.
        let mut is_resuming =
            self.cursor.is_some() && !self.is_resumable() && self.events.has_stood();
        let mut settled = std::pin::pin!(tokio::time::sleep(SETTLING_TIME));
        let concurrent_max = self.services.config.subscription_concurrent_events.max(1);
        let mut completing = FuturesOrdered::new();
        let mut accepted_at = None;
        let interval = self.services.config.subscription_rebalance_interval;
        let mut relocation = Relocation::of(&messages, interval);
        self.avoidance.runs_at(messages.address());
        // It has come to another address, which has not sent an event yet.
        let mut has_moved = false;
        let end = loop {
            let is_resumable = self.is_resumable();
            let resumption = || {
                Some(Resumption {
                    services: Arc::clone(&self.services),
                    operation: Arc::clone(&self.operation),
                    after: self
                        .cursor
                        .clone()
                        .filter(|_| is_resumable || self.has_cursors)?,
                    is_by_extensions: !is_resumable,
                })
            };
            let has_pace = !self.is_paced || self.events.has_pace_for(completing.len());
            tokio::select! {
                received = messages.next(), if has_pace && completing.len() < concurrent_max => {
                    let Some(ReceivedMessage { message, reserved }) = received else {
                        break SessionEnd::Lost(UpstreamError::Lost);
                    };
                    if has_moved && message.refuses_cursor() {
                        self.avoidance.refused();
                        break SessionEnd::Lost(REFUSED_ELSEWHERE);
                    }
                    match message {
                        UpstreamMessage::Accepted => {
                            self.is_proven = true;
                            accepted_at = Some(Instant::now());
                            if !self.says_when_it_stands {
                                self.upstream.note(Status::Live);
                            }
                        }
                        UpstreamMessage::Next(payload) => {
                            self.is_proven = true;
                            let has_data = resume::has_data(&payload);
                            if !has_data && let Some(stands) = Stands::of_first_frame(&payload) {
                                accepted_at.get_or_insert_with(Instant::now);
                                if !std::mem::replace(&mut has_begun, true) {
                                    self.begin(Some(stands)).await;
                                }
                                continue;
                            }
                            if !has_data && let Some(status) = Status::of_message(&payload) {
                                status.into_iter().for_each(|status| self.upstream.note(status));
                                continue;
                            }
                            let may_refuse = std::mem::take(&mut is_resuming) && !has_data;
                            if may_refuse && resume::refuses_cursor(&payload) {
                                self.forget_cursor();
                                break SessionEnd::Moved;
                            }
                            if has_data && !std::mem::replace(&mut has_begun, true) {
                                self.begin(None).await;
                            }
                            self.publish_gap().await;
                            self.retry.succeeded();
                            self.avoidance.works();
                            has_moved = false;
                            self.services.metrics.events.inc();
                            completing.push_back(self.complete(payload, reserved));
                        }
                        UpstreamMessage::Errors(errors)
                            if is_resuming && resume::refuses_cursor(&errors) =>
                        {
                            self.forget_cursor();
                            break SessionEnd::Moved;
                        }
                        UpstreamMessage::Errors(errors) => {
                            completing.push_back(self.complete(errors, reserved));
                            break SessionEnd::Complete;
                        }
                        UpstreamMessage::Complete => {
                            (self.close)();
                            break SessionEnd::Complete;
                        }
                    }
                },
                Some((event, _reserved)) = completing.next() => self.publish(event).await,
                () = self.events.until_taken(), if !has_pace => {}
                // The old one is not read meanwhile: what it still has comes again from the new one.
                successor = relocation.successor(&resumption) => {
                    if let Some(now) = resumption()
                        && let Some(moved) = relocation.take_over(successor, now).await
                    {
                        messages = moved.messages;
                        self.has_cursors = moved.has_cursors;
                        self.upstream.note(moved.status);
                        self.avoidance.runs_at(messages.address());
                        has_moved = true;
                        accepted_at = Some(Instant::now());
                    }
                }
                () = &mut settled, if !is_settled => {
                    is_settled = true;
                    if !self.says_when_it_stands {
                        self.publish_gap().await;
                    }
                    // Whenever the subgraph has started it: what comes after a cursor, comes.
                    if self.cursor.is_some() && self.is_resumable() {
                        self.events.stand(Stands {
                            kept: Guarantee::AtLeastOnce,
                            cursor: None,
                            status: Some(self.upstream.noted()),
                        });
                    }
                }
                Ok(()) = self.graph_changes.changed() => match self.move_over().await {
                    Ok(true) => {}
                    Ok(false) => break SessionEnd::Moved,
                    Err(error) => break SessionEnd::Failed(self.unfit(error)),
                },
            }
        };
        drop(messages);
        if let Some(at) = accepted_at {
            self.retry.lasted(at.elapsed());
        }
        while let Some((event, _reserved)) = completing.next().await {
            self.publish(event).await;
        }
        end
    }

    /// The subgraph has started the subscription: it said so in its first frame, or by an event.
    async fn begin(&mut self, frame: Option<Stands>) {
        let kept = match &frame {
            Some(frame) => frame.kept,
            None if self.is_resumable() => Guarantee::AtLeastOnce,
            None => Guarantee::BestEffort,
        };
        let is_kept = kept == Guarantee::AtLeastOnce;
        self.has_cursors = is_kept && frame.is_some();
        self.says_when_it_stands |= frame.is_some();
        let may_miss = !is_kept && (frame.is_some() || !self.is_resumable());
        if may_miss && self.cursor.is_some() {
            // It was asked to begin after a cursor, and did not. Clients that have no first frame yet will see it there.
            match self.events.has_stood() {
                true => {
                    self.has_gap = true;
                    self.forget_cursor();
                }
                false => self.cursor = None,
            }
        }
        let status = frame.as_ref().and_then(|frame| frame.status);
        let status = status.unwrap_or_default();
        let cursor = frame.and_then(|frame| frame.cursor).filter(|_| is_kept);
        if self.cursor.is_none() {
            self.cursor.clone_from(&cursor);
        }
        self.upstream.note(status);
        self.events.stand(Stands {
            kept,
            cursor,
            status: Some(status),
        });
        self.publish_gap().await;
    }

    /// Goes on without the last cursor: events after it may be missing. Clients that came now would be told that cursor, or
    /// would ask to begin after it: they start a feed of their own.
    fn forget_cursor(&mut self) {
        self.cursor = None;
        self.is_past_start = true;
        (self.close)();
    }

    /// Whether the field takes a cursor, and its events have one, by the schema.
    fn is_resumable(&self) -> bool {
        let upstream = self.operation.prepared.subscription();
        upstream.is_some_and(|upstream| upstream.resume.is_some())
    }

    async fn open(&self) -> Result<super::upstream::Messages, UpstreamError> {
        let (address, operation, headers) = self.operation.request(self.cursor.as_deref())?;
        let (upstreams, client) = (&self.services.upstreams, self.operation.client.key);
        upstreams
            .open(
                address,
                operation,
                headers,
                client,
                self.is_proven,
                self.avoidance.avoided(),
            )
            .await
    }

    /// The error for clients, if another attempt would fail in the same way.
    fn refusal(&self, error: &UpstreamError) -> Option<RequestError> {
        match error {
            UpstreamError::TooLarge(bytes_max) => {
                return Some(prepare::subscription_too_large(*bytes_max));
            }
            UpstreamError::Refused(_) => {}
            // A subgraph that supported a protocol once may do so again.
            UpstreamError::NoEventStream(_) if !self.is_proven => {}
            _ => return None,
        }
        let subgraph = self.subgraph_name();
        let reason = error.to_string();
        tracing::warn!(subgraph, reason, "a subgraph refused a subscription");
        let mut message = format!("the subgraph {subgraph} does not accept this subscription");
        if !self.services.settings.mask_subgraph_errors {
            message.push_str(": ");
            message.push_str(&reason);
        }
        Some(RequestError::new(Code::SubscriptionRefused, message))
    }

    /// Completes one event. The future owns what it needs, because the graph may change meanwhile.
    /// It returns the event with the bytes reserved for it, which are held until it is published.
    fn complete(
        &mut self,
        payload: Bytes,
        reserved: ReservedBytes,
    ) -> impl Future<Output = (Event, ReservedBytes)> + Send + use<> {
        // An event without data may be the last one: a client that came after it would see nothing but the end.
        let is_past_start = std::mem::replace(&mut self.is_past_start, true);
        if !is_past_start || !resume::has_data(&payload) {
            (self.close)();
        }
        let operation = Arc::clone(&self.operation);
        let upstream = operation.prepared.subscription();
        let cursor = upstream
            .and_then(|upstream| resume::cursor_of(upstream, &payload))
            .or_else(|| {
                self.has_cursors
                    .then(|| delivery::cursor_of_event(&payload))?
            });
        // Without it, the event can be forwarded as it is.
        let payload = match self.has_cursors {
            true => resume::without_cursor(&payload).unwrap_or(payload),
            false => payload,
        };
        if cursor.is_some() {
            self.cursor.clone_from(&cursor);
        }
        let services = Arc::clone(&self.services);
        async move {
            let FeedOperation {
                serving,
                prepared,
                variables,
                client,
                ..
            } = &*operation;
            let work = execute::event(&serving.graph, prepared, variables, payload, client);
            let event = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(response) => Event::Next {
                    body: response.body,
                    cursor,
                },
                Err(_panic) => {
                    services.metrics.transports.panics.inc();
                    tracing::error!("completing an event panicked, clients get an internal error");
                    without_data(RequestError::new(
                        Code::InternalServerError,
                        "internal error",
                    ))
                }
            };
            (event, reserved)
        }
    }

    /// Continues with the new graph. Returns false if its events now come from another place.
    async fn move_over(&mut self) -> Result<bool, RequestError> {
        let Some(serving) = self.graph_changes.borrow_and_update().clone() else {
            return Ok(true);
        };
        let old = &self.operation;
        let changed = |error: RequestError| {
            RequestError::new(
                Code::SubscriptionSchemaChanged,
                format!("the subscription is not valid for the new supergraph: {error}"),
            )
        };
        let name = old.operation_name.as_deref();
        let given = old.client_variables.as_ref();
        // All feeds take turns as one client.
        let (key, headers) = (ClientKey::default(), &old.client.headers);
        // Its clients agree on what they may see as long as nothing else is required.
        let asker = Asker::SameAs(&old.serving.graph, &old.prepared);
        let request = OperationRequest::new(&serving, &old.document, name, key, headers);
        let request = request.from_asker(asker);
        let ready = prepare::ready(&serving, &request, given).await;
        let (prepared, variables) = ready.map_err(changed)?;
        if depends_on_viewer(&prepared) && !depends_on_viewer(&old.prepared) {
            return Err(RequestError::new(
                Code::SubscriptionSchemaChanged,
                "in the new supergraph, the subscription depends on who asks: subscribe again",
            ));
        }
        let same = match (old.prepared.subscription(), prepared.subscription()) {
            (Some(before), Some(now)) => {
                before.operation == now.operation
                    && before.variables(&old.variables) == now.variables(&variables)
                    && old.serving.graph.subscriptions_of(before.subgraph)
                        == serving.graph.subscriptions_of(now.subgraph)
            }
            _ => false,
        };
        self.operation = Arc::new(FeedOperation {
            serving,
            prepared,
            variables,
            document: Arc::clone(&old.document),
            operation_name: old.operation_name.clone(),
            client_variables: old.client_variables.clone(),
            client: old.client.clone(),
        });
        Ok(same)
    }

    /// Reports to clients that events may be missing before the next one.
    async fn publish_gap(&mut self) {
        if std::mem::take(&mut self.has_gap) {
            self.publish(interrupted()).await;
        }
    }

    /// Delivers an event to all clients. Waits while even the fastest client lags far; meanwhile
    /// the subgraph's events wait too, and if they become too many, the gateway subscribes again
    /// after the last cursor.
    async fn publish(&self, event: Event) {
        self.events.push(event).await;
        self.services.hub.keep_bytes_within_bounds(&self.events);
    }

    fn subgraph_name(&self) -> &str {
        let upstream = self.operation.prepared.subscription();
        upstream.map_or("", |upstream| {
            let graph = &self.operation.serving.graph;
            graph.subgraph(upstream.subgraph).name
        })
    }

    fn unfit(&self, error: RequestError) -> Event {
        self.services.metrics.refusal(error.code);
        Event::failed(error)
    }

    fn lost(&self, reason: &UpstreamError) -> Event {
        let subgraph = self.subgraph_name();
        tracing::warn!(
            subgraph,
            reason = format!("{reason:#}"),
            "a subscription ended because its subgraph did not come back"
        );
        self.services
            .metrics
            .refusal(Code::SubscriptionUpstreamLost);
        Event::failed(RequestError::new(
            Code::SubscriptionUpstreamLost,
            format!(
                "the subgraph {subgraph} could not be reached again in time: subscribe again later"
            ),
        ))
    }
}

/// The error of a subscription whose request would be too large for its subgraph.
fn subscription_of(prepared: &Prepared) -> Result<&UpstreamSubscription, UpstreamError> {
    prepared
        .subscription()
        .ok_or(UpstreamError::Protocol("the plan has no subscription"))
}

/// Whether its clients share the subscription only if their claims are equal.
fn depends_on_viewer(prepared: &Prepared) -> bool {
    let upstream = prepared.subscription();
    upstream.is_some_and(|upstream| upstream.depends_on_viewer)
}

fn interrupted() -> Event {
    without_data(RequestError::new(
        Code::SubscriptionInterrupted,
        "the subgraph was unavailable: events from that time may be missing, later ones follow",
    ))
}

/// An error in place of an event; the stream continues.
fn without_data(error: RequestError) -> Event {
    let body = error.into_response().body;
    let members = body.strip_prefix(b"{").unwrap_or(&body);
    Event::Next {
        body: [b"{\"data\":null,", members].concat().into(),
        cursor: None,
    }
}
