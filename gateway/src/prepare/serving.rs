//! A graph being served, with the operations that are prepared for it.

use std::sync::Arc;

use super::{cache::PreparedCache, in_preparation::InPreparation, rollout::Rollout, turns::Turns};
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
}

impl Serving {
    /// Nothing is prepared yet.
    pub fn new(graph: Graph) -> Self {
        let settings = &graph.settings;
        Self {
            rollout: Rollout::new(&graph.supergraph, &settings.override_labels),
            prepared: PreparedCache::new(
                settings.prepared_operations_max,
                settings.prepared_bytes_max,
                &settings.prepare_metrics,
            ),
            in_preparation: InPreparation::default(),
            preparing: Turns::new(
                // More at once would only be slower each.
                std::thread::available_parallelism().map_or(1, usize::from),
                settings.limits.prepare_queue_max,
                settings.prepare_metrics.waiting.clone(),
            ),
            graph,
        }
    }
}
