//! Subscriptions: one at the subgraph for all clients with the same operation, variables and
//! headers.
//!
//! | module | gives |
//! |---|---|
//! | `hub` | the running feeds, by operation, variables and headers |
//! | `same` | the variables that make two subscriptions equal or different |
//! | `clients` | how many upstream subscriptions each client has started |
//! | `services` | the services and settings that all subscriptions use |
//! | `feed` | one upstream subscription: each event completed once, delivered to all clients |
//! | `event_ring` | the events of a feed that wait for its clients |
//! | `fan_out` | writes each event straight to the sockets of all clients that can take it |
//! | `retry` | the pause before the next attempt at a subgraph |
//! | `first_frame` | reports to a client that its subscription stands |
//! | `relocation` | moves an upstream subscription to the address where it belongs |
//! | `interruption` | reports to clients that the changes of a feed cannot reach them, and that they can again |
//! | `resume` | the upstream operation, from the start or after a cursor |
//! | `upstream` | subscriptions at subgraphs, over WebSockets or server-sent events |
//!
//! Clients can rely on one thing: no event is missing without an error. If the subscription field
//! has an `after` argument and its events a `cursor`, the gateway resumes after the last cursor
//! when the upstream was interrupted. Otherwise clients first receive an event with the error
//! `SUBSCRIPTION_INTERRUPTED`, which says that events may be missing.

mod clients;
mod event_ring;
mod fan_out;
mod feed;
mod first_frame;
mod hub;
mod interruption;
mod relocation;
mod resume;
mod retry;
mod same;
mod services;
mod upstream;

use std::sync::Arc;

pub use graphql_transport::{Event, EventStream};

use graphql_transport::{
    ClientTurns, Delivery,
    request::{ClientContext, GraphqlRequest},
};

use http::header;

use crate::{
    coerce::Variables,
    config::SubscriptionConfig,
    error::{Code, RequestError},
    graph::Settings,
    headers::HeaderRules,
    identity::{
        Identity,
        until_expiry::{ClientToken, Expiry, Withdraw},
    },
    metrics::GatewayMetrics,
    prepare::{self, Prepared, Serving},
    rate_limit::events::EventMeter,
};
use clients::ClientId;
use event_ring::Shows;
use feed::{FeedOperation, UpstreamFeed};
use hub::{Charge, ClientWay, FeedKey, SubscriptionHub};
pub use services::ServedGraph;
use services::SubscriptionServices;
use upstream::{UpstreamError, Upstreams};

/// All running subscriptions of the gateway's clients.
pub struct Subscriptions {
    services: Arc<SubscriptionServices>,
}

/// A subscription that has passed every check.
pub struct Accepted<'a> {
    /// The graph for which it was prepared.
    pub serving: Arc<Serving>,
    /// The prepared operation with its plan.
    pub prepared: Arc<Prepared>,
    /// Its variables, checked against the operation's declarations.
    pub variables: Variables,
    /// The document's text, to prepare it again when the graph changes.
    pub document: Arc<str>,
    /// The request, for the same purpose.
    pub request: &'a GraphqlRequest,
    /// The client that subscribes.
    pub client: &'a ClientContext,
    /// Who the client is; the subscription ends with its token. `None` if it has none.
    pub identity: Option<Arc<Identity>>,
    /// Whether the policy service has decided what the client sees, perhaps by claims that a new token has not.
    pub is_decided_by_service: bool,
    /// What the client asks for, if it knows the contract of resumable subscriptions.
    pub delivery: Option<Delivery>,
    /// Charges its events to the client; `None` if there is no limit.
    pub meter: Option<EventMeter>,
    /// The turns in which events are completed, if this client is the first with this subscription.
    pub turns: ClientTurns,
}

impl Subscriptions {
    /// Starts without subscriptions. Running ones will follow the graph that is `served`.
    pub fn new(
        config: &SubscriptionConfig,
        settings: &Settings,
        metrics: &GatewayMetrics,
        served: ServedGraph,
    ) -> Self {
        let services = SubscriptionServices {
            hub: Arc::new(SubscriptionHub::new(config, metrics)),
            upstreams: Upstreams::new(config, settings, metrics),
            config: config.clone(),
            settings: settings.clone(),
            metrics: metrics.clone(),
            served,
        };
        Self {
            services: Arc::new(services),
        }
    }

    /// Adds the client to the feed of its subscription, and starts the feed if there is none.
    ///
    /// # Errors
    /// `INTERNAL_SERVER_ERROR` if the plan has no subscription; `SUBSCRIPTION_TOO_LARGE`;
    /// `TOO_MANY_SUBSCRIPTIONS` and `SUBSCRIPTION_LIMIT_REACHED` if it would be one too many at
    /// subgraphs.
    pub fn subscribe(&self, accepted: Accepted<'_>) -> Result<EventStream, RequestError> {
        let services = &self.services;
        let Some(upstream) = accepted.prepared.subscription() else {
            return Err(RequestError::new(
                Code::InternalServerError,
                "the plan has no subscription",
            ));
        };
        let rules = &services.settings.header_rules;
        let headers = match upstream.depends_on_viewer {
            true => rules.relevant(&accepted.client.headers),
            false => rules.relevant_to_all(&accepted.client.headers),
        };
        let cursor = resume::first_cursor(
            &accepted.client.headers,
            accepted.delivery.as_ref(),
            upstream,
            &accepted.variables,
        );
        let is_resumable = upstream.resume.is_some();
        let subgraph = accepted.serving.graph.subgraph(upstream.subgraph).name;
        let claims = rules.claims_to(subgraph, &headers);
        let operation = resume::operation(upstream, &accepted.variables, cursor.as_deref());
        if let Err(UpstreamError::TooLarge(bytes_max)) =
            services.upstreams.request(&operation, claims)
        {
            return Err(prepare::subscription_too_large(bytes_max));
        }
        let key = FeedKey::new(
            &upstream.normal_form,
            same::variables(&accepted.prepared, upstream, &accepted.variables),
            &headers,
            cursor.clone(),
        );
        let may_renew = may_renew(rules, &accepted);
        let feed_operation = FeedOperation {
            serving: accepted.serving,
            variables: accepted.variables,
            prepared: Arc::clone(&accepted.prepared),
            document: accepted.document,
            operation_name: accepted.request.operation_name.clone(),
            client_variables: accepted.request.variables.clone(),
            client: ClientContext {
                headers: Arc::new(headers),
                mutations_allowed: false,
                subscriptions_allowed: true,
                answers_deferred: false,
                key: accepted.client.key,
                socket: None,
                operation: None,
                event_stream: None,
            },
        };
        let client = ClientId::of(accepted.client);
        let metrics = &services.metrics.transports;
        let socket = accepted.client.socket.clone().filter(|_| may_renew);
        let identity = accepted.identity;
        let token = identity.map(|identity| ClientToken { identity, socket });
        let meter = accepted.meter.map(Arc::new);
        let direct = accepted.client.direct_sender(&metrics.deliveries);
        let direct = direct.map(|sender| {
            let (hub, key) = (&services.hub, accepted.client.key);
            hub.direct_client(sender, token.clone(), meter.clone(), key, &accepted.turns)
        });
        let (is_resumed, asked) = (cursor.is_some(), cursor.clone());
        // Another field may begin elsewhere: the first frame says so.
        let start = cursor.clone().filter(|_| is_resumable);
        let is_paced = is_resumed && meter.as_ref().is_some_and(|meter| meter.is_enforced());
        let way = ClientWay {
            direct: direct.clone(),
            charge: meter.map(|meter| Charge {
                meter,
                start: start.clone(),
                metrics: Arc::clone(metrics),
            }),
            shows: shows(accepted.delivery.as_ref()),
        };
        let joined = services
            .hub
            .join(key, client, way, accepted.turns, |events, close| {
                let services = Arc::clone(services);
                UpstreamFeed::new(services, feed_operation, cursor, events, close)
                    .paced(is_paced)
                    .run()
            })?;
        if is_resumed {
            services.metrics.resumed.inc();
        }
        // A client that joins a running feed has missed nothing after the feed's last event.
        let (place, events) = (joined.place, joined.events);
        let frame_cursor = joined.cursor.clone().or(asked);
        let cursor = joined.cursor.or(start);
        // Not charged: it is no event.
        let events = match accepted.delivery {
            Some(delivery) => {
                first_frame::ahead(delivery, place, frame_cursor, direct.clone(), events)
            }
            None => events,
        };
        Ok(match token {
            Some(token) => Expiry {
                token,
                cursor,
                withdraw: direct.map(|direct| -> Withdraw { Box::new(move || direct.withdraw()) }),
                metrics: Arc::clone(metrics),
            }
            .end(events),
            None => events,
        })
    }
}

/// What a client gets in addition to the events.
fn shows(delivery: Option<&Delivery>) -> Shows {
    Shows {
        cursors: delivery.is_some(),
        status: delivery.is_some_and(|delivery| delivery.status),
    }
}

/// Whether the subscription can go on with a new token that the client's socket brings. A subgraph that gets the token
/// itself goes on with the one that it has got, and a new token's rights do not tell what the policy service would
/// decide.
fn may_renew(rules: &HeaderRules, accepted: &Accepted<'_>) -> bool {
    !rules.forwards(&header::AUTHORIZATION)
        && !rules.forwards(&header::COOKIE)
        && !accepted.is_decided_by_service
}
