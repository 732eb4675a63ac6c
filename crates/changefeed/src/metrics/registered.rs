//! The instruments of `prometheus-client`.

use std::sync::atomic::AtomicU64;

pub(crate) use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

/// A gauge of seconds.
pub(crate) type Seconds = Gauge<f64, AtomicU64>;
