//! What operators see of each request: metrics by operation and client, slow operations, the access
//! log, spans.
//!
//! A request is noted as it is answered (`request`), and so is its operation (`operation`, with its `spans`); both tell what they
//! know when they end, also if the client leaves. Nothing here waits. Texts of clients are made harmless by `plain`, and nothing
//! has variables.

mod access_log;
mod operation;
mod plain;
pub(crate) mod request;
mod spans;

use std::{sync::Arc, time::Duration};

use graphql_transport::ClientContext;
use service::Metrics;
use traces::Tracer;

use crate::{config::WatchConfig, metrics::OperationMetrics};
use access_log::AccessLogRules;
pub(crate) use operation::is_of_client;
pub use operation::{FetchNote, OperationNote};
pub(crate) use plain::code;

/// What operators see of requests.
pub struct Watch {
    access_log: Option<AccessLogRules>,
    /// How long an operation takes that is slow.
    slow: Option<Duration>,
    metrics: Option<OperationMetrics>,
    tracer: Tracer,
}

impl Watch {
    /// As the settings say.
    pub fn new(config: &WatchConfig, metrics: &Metrics, tracer: &Tracer) -> Arc<Self> {
        let slow = config.slow_operation_time;
        Arc::new(Self {
            access_log: AccessLogRules::new(config),
            slow: (!slow.is_zero()).then_some(slow),
            metrics: OperationMetrics::register(metrics, config.operation_metrics_max),
            tracer: tracer.clone(),
        })
    }

    /// Begins the note of an operation, if operators see anything of it.
    pub fn operation(self: &Arc<Self>, client: &ClientContext) -> Option<Arc<OperationNote>> {
        let is_on = self.metrics.is_some()
            || self.slow.is_some()
            || self.notes_requests()
            || self.tracer.is_on();
        is_on.then(|| OperationNote::new(self, client))
    }

    fn notes_requests(&self) -> bool {
        self.access_log.is_some()
    }

    fn tells_hashes(&self) -> bool {
        self.access_log.is_some() || self.slow.is_some() || self.tracer.is_on()
    }
}
