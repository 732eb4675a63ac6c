//! What operators see: every metric with its help text.

use prometheus_client::registry::Registry;

/// The metrics of one projection.
#[derive(Clone, Debug)]
pub struct ProjectionMetrics {}

impl ProjectionMetrics {
    /// Registers the metrics, each with the label `projection`.
    pub fn register(registry: &mut Registry, projection: &str) -> Self {
        let _ =
            registry.sub_registry_with_label(("projection".into(), projection.to_owned().into()));
        Self {}
    }
}

/// The metrics of one hub.
#[derive(Clone, Debug)]
pub struct HubMetrics {}

impl HubMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let _ = registry;
        Self {}
    }
}
