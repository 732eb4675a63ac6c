//! What all requests share.

use std::sync::Arc;

use graphql_transport::Serving;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    graph::Graph,
    metrics::{GatewayMetrics, PrepareMetrics, SubgraphMetrics},
    persisted::PersistedOperations,
    settings::Settings,
    subscriptions::Subscriptions,
    transports,
};

/// One gateway. The graph can be exchanged while requests run: each keeps the one it began with.
pub struct Gateway {
    config: Config,
    graph_settings: Settings,
    metrics: GatewayMetrics,
    persisted: PersistedOperations,
    subscriptions: Subscriptions,
    serving: Serving,
    graph: watch::Sender<Option<Arc<Graph>>>,
}

impl Gateway {
    /// A gateway without a graph: it refuses every operation until [`Gateway::set_graph`].
    ///
    /// # Errors
    /// When a setting is not well-formed, or the file of trusted documents cannot be read.
    pub fn new(
        config: Config,
        metrics: &service::Metrics,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let mut graph_settings = config.graph_settings()?;
        graph_settings.prepare_metrics = PrepareMetrics::register(metrics);
        graph_settings.subgraphs.metrics = SubgraphMetrics::register(metrics);
        let metrics = GatewayMetrics::register(metrics);
        let settings = transports::settings(&config, &graph_settings.header_rules)?;
        Ok(Self {
            persisted: PersistedOperations::new(&config.persisted)?,
            subscriptions: Subscriptions::new(&config, &graph_settings.subgraphs, &metrics),
            graph_settings,
            serving: Serving::new(settings, Arc::clone(&metrics.transports), shutdown),
            graph: watch::Sender::new(None),
            config,
            metrics,
        })
    }

    /// The graph of now, if there is one.
    pub fn graph(&self) -> Option<Arc<Graph>> {
        self.graph.borrow().clone()
    }

    /// Serves another graph from the next request on. Running requests end on theirs; running
    /// subscriptions move over.
    pub fn set_graph(&self, graph: Graph) {
        self.graph.send_replace(Some(Arc::new(graph)));
    }

    /// Tells of every [`Gateway::set_graph`] from now on.
    pub fn graph_changes(&self) -> watch::Receiver<Option<Arc<Graph>>> {
        self.graph.subscribe()
    }

    /// The settings it was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What a graph is loaded with.
    pub fn graph_settings(&self) -> &Settings {
        &self.graph_settings
    }

    /// Its counters.
    pub fn metrics(&self) -> &GatewayMetrics {
        &self.metrics
    }

    /// Documents that clients may name by their hash.
    pub fn persisted(&self) -> &PersistedOperations {
        &self.persisted
    }

    /// What running subscriptions share.
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Cancelled when the process winds up.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.serving.shutdown
    }

    /// What its transports share.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }
}
