//! The process's metrics in the OpenMetrics text format, which Prometheus reads.

use std::sync::{Arc, Mutex};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::process_metrics::ProcessMetrics;
use crate::telemetry;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One process's registry. Clones share it.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// A registry with the service's name and version in `service_info`, what became of log lines, and the process's own
    /// figures.
    pub fn new(service: &'static str) -> Self {
        let mut registry = Registry::default();
        let info = Family::<[(&'static str, &'static str); 2], Gauge>::default();
        info.get_or_create(&[("service", service), ("version", env!("CARGO_PKG_VERSION"))])
            .set(1);
        registry.register(
            "service_info",
            "Name and version of this service; always 1",
            info,
        );
        let log = telemetry::counters();
        registry.register(
            "log_lines_dropped",
            "Log lines that could not be written, or not in time: a reader that is gone or stalled, a full disk",
            log.dropped,
        );
        registry.register(
            "log_lines_suppressed",
            "Log lines that were left out of a flood of equal lines",
            log.suppressed,
        );
        registry.register(
            "output_lines_dropped",
            "Lines of the access log that could not be written to standard output, or not in time",
            log.output_dropped,
        );
        registry.register_collector(Box::new(ProcessMetrics::new()));
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds a metric with its help text and returns it. Counters get `_total` added to the name.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.with_registry(|registry| registry.register(name, help, metric.clone()));
        metric
    }

    /// Lets a library register metrics of its own.
    pub fn with_registry<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(
            &mut self
                .registry
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// The answer of `GET /metrics`.
    pub(crate) fn render(&self) -> Response {
        let mut text = String::new();
        let result = self.with_registry(|registry| encode(&mut text, registry));
        match result {
            Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "the metrics could not be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
