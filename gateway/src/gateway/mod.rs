//! What all requests share, and how a new supergraph is loaded.

pub mod reload;
pub(crate) mod transport_settings;

use std::sync::Arc;

use graphql_transport::{ClientKey, Serving as Transport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use traces::Tracer;

use crate::{
    admission::{Admission, AdmissionMetrics},
    authorization::policies::PolicyService,
    config::Config,
    graph::{Graph, Settings},
    identity::{Identities, IdentityMetrics},
    metrics::{GatewayMetrics, PrepareMetrics, SubgraphMetrics},
    persisted::PersistedOperations,
    prepare::Serving,
    rate_limit::{RateLimitMetrics, RateLimits},
    subgraphs::Tls,
    subscriptions::Subscriptions,
    supergraph_source::{Source, SourceMetrics},
    watch::Watch,
};
use transport_settings::transport_settings;

/// One gateway. The graph can be replaced while requests run: each request keeps the one it started
/// with.
pub struct Gateway {
    config: Config,
    graph_settings: Settings,
    source: Source,
    source_metrics: SourceMetrics,
    metrics: GatewayMetrics,
    watch: Arc<Watch>,
    persisted: PersistedOperations,
    identities: Option<Identities>,
    policies: Option<PolicyService>,
    rate_limits: Option<Arc<RateLimits>>,
    admission: Option<Admission>,
    subscriptions: Subscriptions,
    transport: Transport,
    served: watch::Sender<Option<Arc<Serving>>>,
}

impl Gateway {
    /// A gateway without a graph, which refuses every operation until [`Gateway::set_graph`].
    ///
    /// # Errors
    /// If a setting is malformed, or the file of trusted documents cannot be read.
    pub fn new(
        config: Config,
        metrics: &service::Metrics,
        shutdown: CancellationToken,
        tracer: &Tracer,
    ) -> anyhow::Result<Self> {
        let mut graph_settings = Settings::of(&config)?;
        graph_settings.prepare_metrics = PrepareMetrics::register(metrics);
        graph_settings.subgraph_metrics = SubgraphMetrics::register(metrics);
        let tls = Tls::for_providers(&config.subgraphs)?;
        let source = Source::new(&config.supergraph, &tls);
        let source = source.map_err(|mistakes| anyhow::Error::msg(mistakes.join("; ")))?;
        let identities =
            Identities::new(&config.identity, &graph_settings.header_rules, &tls, || {
                IdentityMetrics::register(metrics)
            })?;
        let rate_limits = RateLimits::new(&config.rate_limit, identities.is_some(), || {
            RateLimitMetrics::register(metrics)
        })?;
        let rate = &config.subscriptions.live_clients_rate;
        let admission = Admission::new(rate, || AdmissionMetrics::register(metrics))?;
        let source_metrics = SourceMetrics::register(metrics);
        let watch = Watch::new(&config.watch, metrics, tracer);
        let metrics = GatewayMetrics::register(metrics);
        let settings = transport_settings(&config, &graph_settings.header_rules)?;
        let transport = Transport::new(settings, Arc::clone(&metrics.transports), shutdown);
        graph_settings.competition = transport.turns.competition().clone();
        let served = watch::Sender::new(None);
        Ok(Self {
            persisted: PersistedOperations::new(&config.persisted)?,
            identities,
            policies: PolicyService::new(
                &config.authorization,
                &graph_settings.subgraphs,
                &graph_settings.tls,
                &graph_settings.subgraph_metrics,
            )?,
            rate_limits: rate_limits.map(Arc::new),
            admission,
            subscriptions: Subscriptions::new(
                &config.subscriptions,
                &graph_settings,
                &metrics,
                served.subscribe(),
            ),
            graph_settings,
            source,
            source_metrics,
            transport,
            watch,
            served,
            config,
            metrics,
        })
    }

    /// The graph that is served now; `None` until one is loaded.
    pub fn served(&self) -> Option<Arc<Serving>> {
        self.served.borrow().clone()
    }

    /// Serves another graph from the next request on. Running requests keep theirs; running
    /// subscriptions move to the new one.
    pub fn set_graph(&self, graph: Graph) {
        self.serve(Arc::new(Serving::new(graph)));
    }

    /// [`Gateway::set_graph`] with a graph for which operations may be prepared already.
    pub(crate) fn serve(&self, serving: Arc<Serving>) {
        self.served.send_replace(Some(serving));
    }

    /// The settings with which it was started.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The settings with which each graph is loaded.
    pub fn graph_settings(&self) -> &Settings {
        &self.graph_settings
    }

    /// Where the supergraph comes from.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// What is counted of the source, and the ages of the served supergraph.
    pub(crate) fn source_metrics(&self) -> &SourceMetrics {
        &self.source_metrics
    }

    /// Its counters and gauges, except those of graphs.
    pub fn metrics(&self) -> &GatewayMetrics {
        &self.metrics
    }

    /// What operators see of each request.
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Automatic persisted queries and trusted documents.
    pub fn persisted(&self) -> &PersistedOperations {
        &self.persisted
    }

    /// Verifies clients' tokens; `None` if none is looked at.
    pub fn identities(&self) -> Option<&Identities> {
        self.identities.as_ref()
    }

    /// Decides policies; `None` if only tokens do.
    pub fn policies(&self) -> Option<&PolicyService> {
        self.policies.as_ref()
    }

    /// How much clients may ask for; `None` if there is no limit.
    pub fn rate_limits(&self) -> Option<&Arc<RateLimits>> {
        self.rate_limits.as_ref()
    }

    /// Admits one more client that waits for events.
    ///
    /// # Errors
    /// If it has to come again later: after how many seconds.
    pub fn admit_live_client(&self, client: ClientKey) -> Result<(), u64> {
        let admission = self.admission.as_ref();
        admission.map_or(Ok(()), |admission| admission.admit(client))
    }

    /// The running subscriptions of all clients.
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Cancelled when the process shuts down.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.transport.shutdown
    }

    /// The state that its transports share.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }
}
