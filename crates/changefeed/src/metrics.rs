//! What operators see: every metric with its help text.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::Unreadables;

pub(crate) type Seconds = Gauge<f64, AtomicU64>;

/// The metrics of one projection.
#[derive(Clone, Debug)]
pub struct ProjectionMetrics {
    pub(crate) lag_seconds: Seconds,
    pub(crate) oplog_seconds_left: Seconds,
    pub(crate) leading: Gauge,
    pub(crate) epoch: Gauge,
    pub(crate) takeovers: Counter,
    pub(crate) changes: Counter,
    pub(crate) batch_changes: Histogram,
    pub(crate) batch_seconds: Histogram,
    pub(crate) batch_changes_max: Gauge,
    pub(crate) batch_targets_max: Gauge,
    pub(crate) commit_seconds: Histogram,
    pub(crate) transactions_failed: Counter,
    pub(crate) stream_restarts: Counter,
    pub(crate) rebuilds: Counter,
    pub(crate) rebuilding: Gauge,
    pub(crate) dead_letters: Counter,
    pub(crate) repairs: Counter,
    pub(crate) audited: Counter,
    pub(crate) divergent: Gauge,
    pub(crate) divergences: Counter,
    pub(crate) unreadables: Unreadables,
}

impl ProjectionMetrics {
    /// Registers the metrics, each with the label `projection`.
    pub fn register(registry: &mut Registry, projection: &str) -> Self {
        let registry = registry.sub_registry_with_prefix("changefeed_projection");
        let registry =
            registry.sub_registry_with_label(("projection".into(), projection.to_owned().into()));
        Self {
            lag_seconds: add(
                registry,
                "lag_seconds",
                "Seconds since the projection was level with its source",
                Seconds::default(),
            ),
            oplog_seconds_left: add(
                registry,
                "oplog_seconds_left",
                "Seconds of history between the oldest oplog entry and the projection's position: at 0 it has to be built anew",
                Seconds::default(),
            ),
            leading: add(
                registry,
                "leading",
                "1 while this process writes the projection, 0 while it stands by",
                Gauge::default(),
            ),
            epoch: add(
                registry,
                "epoch",
                "The epoch of the leader as this process knows it; each takeover has a higher one",
                Gauge::default(),
            ),
            takeovers: add(
                registry,
                "takeovers",
                "Times this process became the leader",
                Counter::default(),
            ),
            changes: add(
                registry,
                "changes",
                "Changes of the source that this process has passed",
                Counter::default(),
            ),
            batch_changes: add(
                registry,
                "batch_changes",
                "Changes in a batch",
                Histogram::new([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0]),
            ),
            batch_seconds: add(
                registry,
                "batch_seconds",
                "Seconds from a batch's first change in hand to its commit",
                Histogram::new([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0]),
            ),
            batch_changes_max: add(
                registry,
                "batch_changes_max",
                "Changes that the next batch takes at most: follows how long the commits take",
                Gauge::default(),
            ),
            batch_targets_max: add(
                registry,
                "batch_targets_max",
                "Targets that the next batch takes at most: follows how long the commits take",
                Gauge::default(),
            ),
            commit_seconds: add(
                registry,
                "commit_seconds",
                "Seconds that a transaction took, from its start to its commit",
                Histogram::new([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 5.0, 30.0]),
            ),
            transactions_failed: add(
                registry,
                "transactions_failed",
                "Transactions that failed and were tried again with less",
                Counter::default(),
            ),
            stream_restarts: add(
                registry,
                "stream_restarts",
                "Times the change stream was opened again after a fault",
                Counter::default(),
            ),
            rebuilds: add(
                registry,
                "rebuilds",
                "Builds of the whole projection that this process began",
                Counter::default(),
            ),
            rebuilding: add(
                registry,
                "rebuilding",
                "1 while a build is under way",
                Gauge::default(),
            ),
            dead_letters: add(
                registry,
                "dead_letters",
                "Changes that could not be applied and were set aside",
                Counter::default(),
            ),
            repairs: add(
                registry,
                "repairs",
                "Targets whose state was computed anew",
                Counter::default(),
            ),
            audited: add(
                registry,
                "audited",
                "Targets whose state was compared with one computed from the source",
                Counter::default(),
            ),
            divergent: add(
                registry,
                "divergent",
                "Targets of the last sample whose state differed from the source: should be 0",
                Gauge::default(),
            ),
            divergences: add(
                registry,
                "divergences",
                "Targets found to differ from the source, ever: should stay 0",
                Counter::default(),
            ),
            unreadables: Unreadables::register(registry),
        }
    }

    /// What logs and counts the documents that cannot be read, for those that a
    /// [`crate::Projection::compute`] meets.
    pub fn unreadables(&self) -> &Unreadables {
        &self.unreadables
    }
}

/// The metrics of one hub.
#[derive(Clone, Debug)]
pub struct HubMetrics {
    pub(crate) lag_seconds: Seconds,
    pub(crate) changes: Counter,
    pub(crate) stream_restarts: Counter,
    pub(crate) topics: Gauge,
    pub(crate) ring_bytes: Gauge,
    pub(crate) ring_changes: Gauge,
    pub(crate) subscribers: Gauge,
    pub(crate) lagged: Counter,
    pub(crate) resyncs: Counter,
    pub(crate) catch_ups: Counter,
    pub(crate) catch_ups_waiting: Gauge,
    pub(crate) catch_up_readings: Counter,
    pub(crate) catch_up_interruptions: Counter,
    pub(crate) catch_up_bytes: Gauge,
    pub(crate) catching_up: Gauge,
    pub(crate) unreadables: Unreadables,
}

impl HubMetrics {
    /// Registers the metrics. One hub a registry; give a second one a sub-registry.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("changefeed_hub");
        Self {
            lag_seconds: add(
                registry,
                "lag_seconds",
                "Seconds since the hub was level with its source",
                Seconds::default(),
            ),
            changes: add(
                registry,
                "changes",
                "Changes that went into the rings",
                Counter::default(),
            ),
            stream_restarts: add(
                registry,
                "stream_restarts",
                "Times the change stream was opened again after a fault",
                Counter::default(),
            ),
            topics: add(
                registry,
                "topics",
                "Topics that have a ring",
                Gauge::default(),
            ),
            ring_bytes: add(
                registry,
                "ring_bytes",
                "Bytes of changes that the rings keep",
                Gauge::default(),
            ),
            ring_changes: add(
                registry,
                "ring_changes",
                "Changes that the rings keep",
                Gauge::default(),
            ),
            subscribers: add(
                registry,
                "subscribers",
                "Open subscriptions",
                Gauge::default(),
            ),
            lagged: add(
                registry,
                "lagged",
                "Subscriptions that ended because the subscriber was too slow",
                Counter::default(),
            ),
            resyncs: add(
                registry,
                "resyncs",
                "Subscriptions that ended or were refused because the history is not kept any more",
                Counter::default(),
            ),
            catch_ups: add(
                registry,
                "catch_ups",
                "Subscriptions that began before their topic's ring and were read from the oplog",
                Counter::default(),
            ),
            catch_ups_waiting: add(
                registry,
                "catch_ups_waiting",
                "Subscriptions that wait for the next reading of the history",
                Gauge::default(),
            ),
            catch_up_readings: add(
                registry,
                "catch_up_readings",
                "Readings of the history, each for all subscriptions that waited for it",
                Counter::default(),
            ),
            catch_up_interruptions: add(
                registry,
                "catch_up_interruptions",
                "Times that a subscription was too slow for a reading and had to wait for another one",
                Counter::default(),
            ),
            catch_up_bytes: add(
                registry,
                "catch_up_bytes",
                "Bytes of changes that wait for subscriptions that catch up",
                Gauge::default(),
            ),
            catching_up: add(
                registry,
                "catching_up",
                "Readers of the history that run now",
                Gauge::default(),
            ),
            unreadables: Unreadables::register(registry),
        }
    }

    /// What logs and counts the documents that cannot be read, for those that are read beside the hub.
    pub fn unreadables(&self) -> &Unreadables {
        &self.unreadables
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What dashboards and alerts are built on: a change here is a change for their owners.
    #[test]
    fn the_metrics_keep_their_names_and_say_what_they_mean() {
        let mut registry = Registry::default();
        let _ = ProjectionMetrics::register(&mut registry, "any");
        let _ = HubMetrics::register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
        let help: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP changefeed_"))
            .collect();
        assert_eq!(help, HELP);
    }

    const HELP: [&str; 37] = [
        "projection_lag_seconds Seconds since the projection was level with its source.",
        "projection_oplog_seconds_left Seconds of history between the oldest oplog entry and the projection's position: at 0 it has to be built anew.",
        "projection_leading 1 while this process writes the projection, 0 while it stands by.",
        "projection_epoch The epoch of the leader as this process knows it; each takeover has a higher one.",
        "projection_takeovers Times this process became the leader.",
        "projection_changes Changes of the source that this process has passed.",
        "projection_batch_changes Changes in a batch.",
        "projection_batch_seconds Seconds from a batch's first change in hand to its commit.",
        "projection_batch_changes_max Changes that the next batch takes at most: follows how long the commits take.",
        "projection_batch_targets_max Targets that the next batch takes at most: follows how long the commits take.",
        "projection_commit_seconds Seconds that a transaction took, from its start to its commit.",
        "projection_transactions_failed Transactions that failed and were tried again with less.",
        "projection_stream_restarts Times the change stream was opened again after a fault.",
        "projection_rebuilds Builds of the whole projection that this process began.",
        "projection_rebuilding 1 while a build is under way.",
        "projection_dead_letters Changes that could not be applied and were set aside.",
        "projection_repairs Targets whose state was computed anew.",
        "projection_audited Targets whose state was compared with one computed from the source.",
        "projection_divergent Targets of the last sample whose state differed from the source: should be 0.",
        "projection_divergences Targets found to differ from the source, ever: should stay 0.",
        "projection_unreadable_documents Documents that cannot be read and are treated as if they were not there, each counted once.",
        "hub_lag_seconds Seconds since the hub was level with its source.",
        "hub_changes Changes that went into the rings.",
        "hub_stream_restarts Times the change stream was opened again after a fault.",
        "hub_topics Topics that have a ring.",
        "hub_ring_bytes Bytes of changes that the rings keep.",
        "hub_ring_changes Changes that the rings keep.",
        "hub_subscribers Open subscriptions.",
        "hub_lagged Subscriptions that ended because the subscriber was too slow.",
        "hub_resyncs Subscriptions that ended or were refused because the history is not kept any more.",
        "hub_catch_ups Subscriptions that began before their topic's ring and were read from the oplog.",
        "hub_catch_ups_waiting Subscriptions that wait for the next reading of the history.",
        "hub_catch_up_readings Readings of the history, each for all subscriptions that waited for it.",
        "hub_catch_up_interruptions Times that a subscription was too slow for a reading and had to wait for another one.",
        "hub_catch_up_bytes Bytes of changes that wait for subscriptions that catch up.",
        "hub_catching_up Readers of the history that run now.",
        "hub_unreadable_documents Documents that cannot be read and are treated as if they were not there, each counted once.",
    ];
}
