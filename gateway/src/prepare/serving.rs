//! A graph being served, with the operations that are prepared for it.

use std::sync::Arc;

use super::{
    cache::PreparedCache,
    in_preparation::InPreparation,
    rollout::Rollout,
    turns::{self, Turns},
    workers::Workers,
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
    /// A turn for each of them.
    pub(super) preparing: Arc<Turns>,
    /// The threads on which that happens.
    pub(super) preparers: Arc<Workers>,
}

impl Serving {
    /// Nothing is prepared yet.
    pub fn new(graph: Graph) -> Self {
        let settings = &graph.settings;
        let preparing_per_client = turns::places_per_client();
        Self {
            rollout: Rollout::new(&graph.supergraph, &settings.override_labels),
            prepared: PreparedCache::new(settings.prepared.clone(), &settings.prepare_metrics),
            in_preparation: InPreparation::default(),
            preparing: Turns::new(
                preparing_per_client,
                settings.limits.prepare_queue_max,
                settings.prepare_metrics.waiting.clone(),
            ),
            preparers: Arc::new(Workers::new(
                preparing_per_client + 1,
                settings.limits.prepare_niceness,
            )),
            graph,
        }
    }
}
