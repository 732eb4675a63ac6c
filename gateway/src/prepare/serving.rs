//! A graph being served, with the operations that are prepared for it.

use super::{
    cache::PreparedCache,
    in_preparation::InPreparation,
    preparers::{self, Preparers},
    rollout::Rollout,
};
use crate::graph::Graph;

/// What requests share from one supergraph to the next.
pub struct Serving {
    /// The supergraph.
    pub graph: Graph,
    /// The groups of requests that its progressive overrides tell apart.
    pub(super) rollout: Rollout,
    pub(super) prepared: PreparedCache,
    /// Operations that are being prepared.
    pub(super) in_preparation: InPreparation,
    /// The threads on which that happens.
    pub(super) preparers: Preparers,
}

impl Serving {
    /// Nothing is prepared yet.
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
                settings.prepare_metrics.waiting.clone(),
            ),
            graph,
        }
    }
}
