//! What operators see: every metric with its help text.
//!
//! Without the feature `metrics` the same numbers are kept, since some of them bound what a hub holds, but
//! nothing can read them.

#[cfg_attr(feature = "metrics", path = "metrics/registered.rs")]
#[cfg_attr(not(feature = "metrics"), path = "metrics/unregistered.rs")]
mod instruments;

use crate::Unreadables;

pub(crate) use instruments::{ByPartition, Counter, Gauge, Histogram, Seconds, set_by_partition};

/// Makes a struct of metrics, and its registration under the fields' names with these help texts.
macro_rules! metrics {
    ($(#[$doc:meta])* pub struct $name:ident {
        $($field:ident: $type:ident $(($buckets:expr))? = $help:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $(pub(crate) $field: $type,)*
            pub(crate) unreadables: Unreadables,
        }

        /// Metrics that no registry knows.
        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: new!($type $(, $buckets)?),)*
                    unreadables: Unreadables::default(),
                }
            }
        }

        impl $name {
            #[cfg(feature = "metrics")]
            fn register_all(registry: &mut prometheus_client::registry::Registry) -> Self {
                let metrics = Self {
                    unreadables: Unreadables::register(registry),
                    ..Self::default()
                };
                $(registry.register(stringify!($field), $help, metrics.$field.clone());)*
                metrics
            }

            /// The log and counter of documents that cannot be read. Share it with code that reads the source
            /// collection beside the change stream, so that each document is logged once.
            pub fn unreadables(&self) -> &Unreadables {
                &self.unreadables
            }
        }
    };
}

macro_rules! new {
    ($type:ident, $buckets:expr) => {
        $type::new($buckets)
    };
    ($type:ident) => {
        $type::default()
    };
}

metrics! {
    /// The metrics of one projection: lag, position in the oplog, batches, rebuilds, repairs, divergence.
    ///
    /// With the feature `metrics`, `register` adds them to a registry of `prometheus-client`.
    pub struct ProjectionMetrics {
        lag_seconds: Seconds = "Seconds since the projection was level with its source",
        oplog_seconds_left: Seconds =
            "Seconds of history between the oldest oplog entry and the projection's position: at 0 it has to be rebuilt",
        partitions: Gauge = "Partitions of the projection that serves",
        partition_lag_seconds: ByPartition = "Seconds since each partition was level with the source",
        partition_leading: ByPartition = "1 for each partition that this process writes, 0 for those of others",
        leading: Gauge = "Partitions that this process writes; of a projection that is not divided, 1 or 0",
        epoch: Gauge = "The epoch of the leader as this process knows it; each takeover has a higher one",
        takeovers: Counter = "Times this process became the leader",
        changes: Counter = "Changes of the source that this process has passed",
        batch_changes: Histogram([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0]) = "Changes in a batch",
        batch_seconds: Histogram([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0]) =
            "Seconds from a batch's first change in hand to its commit",
        batch_changes_max: Gauge =
            "Changes that the next batch takes at most: follows how long the commits take",
        batch_targets_max: Gauge =
            "Targets that the next batch takes at most: follows how long the commits take",
        commit_seconds: Histogram([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 5.0, 30.0]) =
            "Seconds that a transaction took, from its start to its commit",
        transactions_failed: Counter = "Transactions that failed and were tried again with less",
        stream_restarts: Counter = "Times the change stream was opened again after a fault",
        rebuilds: Counter = "Builds of the whole projection that this process began",
        rebuilding: Gauge = "1 while a build is under way",
        dead_letters: Counter = "Changes that could not be applied and were set aside",
        repairs: Counter = "Targets whose state was computed again",
        audited: Counter = "Targets whose state was compared with one computed from the source",
        divergent: Gauge =
            "Targets of the last samples of this process's partitions whose state differed from the source: should be 0",
        divergences: Counter = "Targets found to differ from the source, ever: should stay 0",
    }
}

metrics! {
    /// The metrics of one hub: lag, rings, subscribers, those that lagged or have to query again, catch-ups.
    ///
    /// With the feature `metrics`, `register` adds them to a registry of `prometheus-client`.
    pub struct HubMetrics {
        lag_seconds: Seconds = "Seconds since the hub was level with its source",
        changes: Counter = "Changes that went into the rings",
        stream_restarts: Counter = "Times the change stream was opened again after a fault",
        topics: Gauge = "Topics that have a ring",
        ring_bytes: Gauge = "Bytes of memory that the rings hold",
        ring_changes: Gauge = "Changes that the rings keep",
        subscribers: Gauge = "Open subscriptions",
        lagged: Counter = "Subscriptions that ended because the subscriber was too slow",
        resyncs: Counter =
            "Subscriptions that ended or were refused because the history does not reach from their cursor to now",
        catch_ups: Counter =
            "Subscriptions that began before their topic's ring and were read from the oplog",
        resumed_in_memory: Counter =
            "Subscriptions that resumed after a cursor without a reading of the history",
        remembered_topics: Gauge = "Topics without a ring whose last change the hub remembers",
        remembered_seconds: Gauge =
            "Seconds of the past in which the hub knows the last change of each topic",
        catch_ups_waiting: Gauge = "Subscriptions that wait for the next reading of the history",
        catch_up_readings: Counter =
            "Readings of the history, each for all subscriptions that waited for it",
        catch_up_interruptions: Counter =
            "Times that a subscription was too slow for a reading and had to wait for another one",
        catch_up_bytes: Gauge = "Bytes of changes that wait for subscriptions that catch up",
        catching_up: Gauge = "Readers of the history that run now",
    }
}

#[cfg(feature = "metrics")]
impl ProjectionMetrics {
    /// Registers the metrics under `changefeed_projection`, each with the label `projection`.
    pub fn register(
        registry: &mut prometheus_client::registry::Registry,
        projection: &str,
    ) -> Self {
        let registry = registry.sub_registry_with_prefix("changefeed_projection");
        let label = ("projection".into(), projection.to_owned().into());
        Self::register_all(registry.sub_registry_with_label(label))
    }
}

#[cfg(feature = "metrics")]
impl HubMetrics {
    /// Registers the metrics under `changefeed_hub`. Give each hub a registry or a sub-registry of its own.
    pub fn register(registry: &mut prometheus_client::registry::Registry) -> Self {
        Self::register_all(registry.sub_registry_with_prefix("changefeed_hub"))
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    /// What dashboards and alerts are built on: a change here is a change for their owners.
    #[test]
    fn the_metrics_keep_their_names_and_say_what_they_mean() {
        let mut registry = Registry::default();
        let metrics = ProjectionMetrics::register(&mut registry, "any");
        // Without a partition they have nothing to tell.
        set_by_partition(&metrics.partition_lag_seconds, 0, 0.0);
        set_by_partition(&metrics.partition_leading, 0, 0.0);
        let _ = HubMetrics::register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
        let help: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP changefeed_"))
            .collect();
        assert_eq!(help, HELP);
    }

    const HELP: [&str; 43] = [
        "projection_unreadable_documents Documents that cannot be read and are treated as if they were not there, each counted once.",
        "projection_lag_seconds Seconds since the projection was level with its source.",
        "projection_oplog_seconds_left Seconds of history between the oldest oplog entry and the projection's position: at 0 it has to be rebuilt.",
        "projection_partitions Partitions of the projection that serves.",
        "projection_partition_lag_seconds Seconds since each partition was level with the source.",
        "projection_partition_leading 1 for each partition that this process writes, 0 for those of others.",
        "projection_leading Partitions that this process writes; of a projection that is not divided, 1 or 0.",
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
        "projection_repairs Targets whose state was computed again.",
        "projection_audited Targets whose state was compared with one computed from the source.",
        "projection_divergent Targets of the last samples of this process's partitions whose state differed from the source: should be 0.",
        "projection_divergences Targets found to differ from the source, ever: should stay 0.",
        "hub_unreadable_documents Documents that cannot be read and are treated as if they were not there, each counted once.",
        "hub_lag_seconds Seconds since the hub was level with its source.",
        "hub_changes Changes that went into the rings.",
        "hub_stream_restarts Times the change stream was opened again after a fault.",
        "hub_topics Topics that have a ring.",
        "hub_ring_bytes Bytes of memory that the rings hold.",
        "hub_ring_changes Changes that the rings keep.",
        "hub_subscribers Open subscriptions.",
        "hub_lagged Subscriptions that ended because the subscriber was too slow.",
        "hub_resyncs Subscriptions that ended or were refused because the history does not reach from their cursor to now.",
        "hub_catch_ups Subscriptions that began before their topic's ring and were read from the oplog.",
        "hub_resumed_in_memory Subscriptions that resumed after a cursor without a reading of the history.",
        "hub_remembered_topics Topics without a ring whose last change the hub remembers.",
        "hub_remembered_seconds Seconds of the past in which the hub knows the last change of each topic.",
        "hub_catch_ups_waiting Subscriptions that wait for the next reading of the history.",
        "hub_catch_up_readings Readings of the history, each for all subscriptions that waited for it.",
        "hub_catch_up_interruptions Times that a subscription was too slow for a reading and had to wait for another one.",
        "hub_catch_up_bytes Bytes of changes that wait for subscriptions that catch up.",
        "hub_catching_up Readers of the history that run now.",
    ];
}
