//! A graph that is served, with the operations prepared for it.

use super::{
    cache::PreparedCache,
    in_preparation::InPreparation,
    preparers::{self, Preparers, Share},
    rollout::Rollout,
};
use crate::graph::Graph;

/// What requests share until the next supergraph is loaded.
pub struct Serving {
    /// The graph of the loaded supergraph.
    pub graph: Graph,
    /// The groups of requests that its progressive overrides distinguish.
    pub(super) rollout: Rollout,
    pub(super) prepared: PreparedCache,
    /// Operations that are being prepared.
    pub(super) in_preparation: InPreparation,
    /// The threads that prepare operations.
    pub(super) preparers: Preparers,
}

impl Serving {
    /// A graph for which no operation is prepared yet.
    pub fn new(graph: Graph) -> Self {
        let settings = &graph.settings;
        Self {
            rollout: Rollout::new(&graph.supergraph, &settings.override_labels),
            prepared: PreparedCache::new(settings.prepared.clone(), &settings.prepare_metrics),
            in_preparation: InPreparation::default(),
            preparers: Preparers::new(
                preparers::threads_per_client(),
                settings.limits.prepare_niceness,
                settings.limits.prepare_queue_max,
                Share::of(
                    settings.limits.prepare_client_percent,
                    preparers::processors(),
                ),
                settings.competition.clone(),
                settings.prepare_metrics.clone(),
            ),
            graph,
        }
    }
}
