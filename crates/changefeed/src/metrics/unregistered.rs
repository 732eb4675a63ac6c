//! The same instruments without `prometheus-client`. Numbers that nothing reads are not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A number that goes up and down. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub fn inc(&self) {
        self.inc_by(1);
    }

    pub fn dec(&self) {
        self.dec_by(1);
    }

    pub fn inc_by(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn dec_by(&self, less: i64) {
        self.0.fetch_sub(less, Ordering::Relaxed);
    }

    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that only goes up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counter;

impl Counter {
    pub fn inc(&self) {}

    pub fn inc_by(&self, _more: u64) {}
}

/// A gauge of seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seconds;

impl Seconds {
    pub fn set(&self, _seconds: f64) {}
}

/// A distribution of values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Histogram;

impl Histogram {
    pub fn new<const N: usize>(_buckets: [f64; N]) -> Self {
        Self
    }

    pub fn observe(&self, _value: f64) {}
}

/// Gauges with the label `partition`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ByPartition;

impl ByPartition {
    pub fn clear(&self) {}
}

/// Sets the gauge of one partition.
pub(crate) fn set_by_partition(_gauges: &ByPartition, _number: u32, _value: f64) {}
