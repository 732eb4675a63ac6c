//! What running subscriptions share.

use std::sync::Arc;

use tokio::sync::watch;

use super::{hub::SubscriptionHub, upstream::Upstreams};
use crate::{
    config::SubscriptionConfig, graph::Settings, metrics::GatewayMetrics, prepare::Serving,
};

/// The served graph, as it changes; `None` until the first one is loaded.
pub type ServedGraph = watch::Receiver<Option<Arc<Serving>>>;

/// The services, settings and metrics that all running subscriptions use.
pub(super) struct SubscriptionServices {
    pub hub: Arc<SubscriptionHub>,
    pub upstreams: Upstreams,
    pub config: SubscriptionConfig,
    pub settings: Settings,
    pub metrics: GatewayMetrics,
    pub served: ServedGraph,
}
