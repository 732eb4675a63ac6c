//! Subscriptions: one at the subgraph for all clients that want the same.
//!
//! | module | gives |
//! |---|---|
//! | `hub` | who shares what: from (operation, variables, headers) to a running feed |
//! | `same` | what two subscriptions have in common that get equal events |
//! | `clients` | how many upstream subscriptions each client began |
//! | `services` | what all of them share |
//! | `feed` | one upstream subscription kept up: each event completed once, told to all |
//! | `event_ring` | the events of a feed that wait for its clients |
//! | `retry` | how long to wait before the next attempt at a subgraph |
//! | `resume` | the upstream operation, from the beginning or from a cursor |
//! | `upstream` | subscriptions at subgraphs, over WebSockets or server-sent events |
//!
//! What clients can rely on: no event is missing without a word. Where the subscription field has an
//! `after` argument and its events a `cursor`, an interruption upstream is bridged from the last
//! cursor. Where it has not, the stream goes on after one event with the error
//! `SUBSCRIPTION_INTERRUPTED`, which says that events may be missing.

mod clients;
mod event_ring;
mod feed;
mod hub;
mod resume;
mod retry;
mod same;
mod services;
mod upstream;

use std::sync::Arc;

pub use graphql_transport::{Event, EventStream};

use graphql_transport::{
    ClientTurns,
    request::{ClientContext, GraphqlRequest},
};

use crate::{
    coerce::Variables,
    config::SubscriptionConfig,
    error::{Code, RequestError},
    graph::Settings,
    metrics::GatewayMetrics,
    prepare::{Prepared, Serving},
};
use clients::ClientId;
use feed::{FeedOperation, UpstreamFeed};
use hub::{FeedKey, SubscriptionHub};
pub use services::ServedGraph;
use services::SubscriptionServices;
use upstream::{UpstreamError, Upstreams};

/// The running subscriptions.
pub struct Subscriptions {
    services: Arc<SubscriptionServices>,
}

/// A subscription that has passed every check.
pub struct Accepted<'a> {
    /// The graph that it was prepared on.
    pub serving: Arc<Serving>,
    /// The operation.
    pub prepared: Arc<Prepared>,
    /// Its variables.
    pub variables: Variables,
    /// The document's text, for the day when the graph changes.
    pub document: Arc<str>,
    /// The request itself, for the same.
    pub request: &'a GraphqlRequest,
    /// Whose it is.
    pub client: &'a ClientContext,
    /// The turns in which its events are completed, if it is the first of its kind.
    pub turns: ClientTurns,
}

impl Subscriptions {
    /// Nothing runs yet. Running subscriptions follow the graph that is `served`.
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

    /// Joins the client to the feed of its subscription, which begins if nobody had it yet.
    ///
    /// # Errors
    /// `INTERNAL_SERVER_ERROR` where the plan has no subscription in it; `SUBSCRIPTION_TOO_LARGE`;
    /// `TOO_MANY_SUBSCRIPTIONS` and `SUBSCRIPTION_LIMIT_REACHED` where it would be one more at a
    /// subgraph.
    pub fn subscribe(&self, accepted: Accepted<'_>) -> Result<EventStream, RequestError> {
        let services = &self.services;
        let Some(upstream) = accepted.prepared.subscription() else {
            return Err(RequestError::new(
                Code::InternalServerError,
                "the plan has no subscription",
            ));
        };
        let rules = &services.settings.header_rules;
        let headers = rules.relevant(&accepted.client.headers);
        let cursor = resume::first_cursor(&accepted.client.headers, upstream, &accepted.variables);
        let operation = resume::operation(upstream, &accepted.variables, cursor.as_deref());
        if let Err(UpstreamError::TooLarge(bytes_max)) = services.upstreams.request(&operation) {
            return Err(feed::too_large(bytes_max));
        }
        let key = FeedKey::new(
            &upstream.normal_form,
            same::variables(&accepted.prepared, upstream, &accepted.variables),
            &headers,
            cursor.clone(),
        );
        let client = ClientContext {
            headers: Arc::new(headers),
            mutations_allowed: false,
            subscriptions_allowed: true,
            answers_deferred: false,
            key: accepted.client.key,
        };
        let feed_operation = FeedOperation {
            serving: accepted.serving,
            variables: accepted.variables,
            prepared: Arc::clone(&accepted.prepared),
            document: accepted.document,
            operation_name: accepted.request.operation_name.clone(),
            client_variables: accepted.request.variables.clone(),
            client,
        };
        let client = ClientId::of(accepted.client);
        let is_resumed = cursor.is_some();
        services.hub.join(
            key,
            is_resumed,
            client,
            accepted.turns,
            |events, leave_cursor| {
                let services = Arc::clone(services);
                UpstreamFeed::new(services, feed_operation, cursor, events, leave_cursor).run()
            },
        )
    }
}
