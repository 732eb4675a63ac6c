//! The instruments of `prometheus-client`.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;

pub(crate) use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

/// A gauge of seconds.
pub(crate) type Seconds = Gauge<f64, AtomicU64>;

/// Gauges with the label `partition`.
pub(crate) type ByPartition = Family<[(&'static str, String); 1], Seconds>;

/// Sets the gauge of one partition.
pub(crate) fn set_by_partition(gauges: &ByPartition, number: u32, value: f64) {
    gauges
        .get_or_create(&[("partition", number.to_string())])
        .set(value);
}
