//! What running subscriptions share.

use std::sync::Arc;

use tokio::sync::watch;

use super::{hub::SubscriptionHub, upstream::Upstreams};
use crate::{
    config::SubscriptionConfig, graph::Settings, metrics::GatewayMetrics, prepare::Serving,
};

/// The graph that is served, as it changes.
pub type ServedGraph = watch::Receiver<Option<Arc<Serving>>>;

/// What running subscriptions share.
pub(super) struct SubscriptionServices {
    pub hub: Arc<SubscriptionHub>,
    pub upstreams: Upstreams,
    pub config: SubscriptionConfig,
    pub settings: Settings,
    pub metrics: GatewayMetrics,
    pub served: ServedGraph,
}
