//! What is counted of the source, and the ages of the served supergraph.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge},
    registry::Unit,
};
use service::Metrics;

use super::Reason;

/// Metrics of the source. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct SourceMetrics {
    failures: Family<Labels, Counter>,
    ages: Arc<Ages>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    reason: &'static str,
}

/// The ages of the served supergraph, computed for each scrape.
#[derive(Debug, Default)]
struct Ages(Mutex<Times>);

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// When it began to serve.
    served: Option<Instant>,
    /// When the source was last known to have it; for a copy, when it began to serve.
    confirmed: Option<Instant>,
    /// Whether it is the copy on disk.
    is_copy: bool,
}

impl SourceMetrics {
    /// Adds them to the process's metrics.
    pub fn register(metrics: &Metrics) -> Self {
        let it = Self {
            failures: metrics.register(
                "gateway_supergraph_source_failures",
                "Readings of the supergraph that failed, by reason; and copies of it that could not be read or written",
                Family::default(),
            ),
            ages: Arc::default(),
        };
        let ages = Box::new(AgesCollector(Arc::clone(&it.ages)));
        metrics.with_registry(|registry| registry.register_collector(ages));
        it
    }

    pub(crate) fn failed(&self, reason: Reason) {
        let reason = reason.label();
        self.failures.get_or_create(&Labels { reason }).inc();
    }

    /// Another supergraph serves from now on.
    pub(crate) fn serves(&self, is_copy: bool) {
        let now = Instant::now();
        let mut times = self.ages.lock();
        times.served = Some(now);
        times.is_copy = is_copy;
        // Of a copy, nothing is known of the time before the process.
        times.confirmed = Some(now);
    }

    /// The source has the supergraph that serves.
    pub(crate) fn confirmed(&self) {
        let mut times = self.ages.lock();
        times.confirmed = Some(Instant::now());
        times.is_copy = false;
    }
}

impl Ages {
    fn lock(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct AgesCollector(Arc<Ages>);

impl Collector for AgesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let times = *self.0.lock();
        let mut gauge = |name, help, unit: Option<&Unit>, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
        };
        let (Some(served), Some(confirmed)) = (times.served, times.confirmed) else {
            return Ok(());
        };
        gauge(
            "gateway_supergraph_age",
            "Time since the supergraph that serves was loaded",
            Some(&Unit::Seconds),
            served.elapsed().as_secs_f64(),
        )?;
        gauge(
            "gateway_supergraph_unconfirmed",
            "Time since the source was last known to have the supergraph that serves",
            Some(&Unit::Seconds),
            confirmed.elapsed().as_secs_f64(),
        )?;
        gauge(
            "gateway_supergraph_is_copy",
            "1 while the copy on disk serves that the source has not confirmed",
            None,
            f64::from(u8::from(times.is_copy)),
        )
    }
}
