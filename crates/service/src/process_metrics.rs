//! The process's own figures, read when somebody asks for the metrics: processor time, memory, open files.
//!
//! The names are those of Prometheus's client libraries
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>), so that dashboards for any process
//! show these, too. Memory, open files and threads come from `/proc`: where there is none, they are left out.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Reads the figures of this process for each scrape.
#[derive(Debug)]
pub(crate) struct ProcessMetrics {
    started_at: f64,
}

impl ProcessMetrics {
    /// Takes now as the time at which the process started.
    pub(crate) fn new() -> Self {
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started_at: started_at.map_or(0.0, |time| time.as_secs_f64()),
        }
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut gauge = |name, help, unit: Option<&Unit>, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
        };
        gauge(
            "process_start_time",
            "Time at which the process started, since the Unix epoch",
            Some(&Unit::Seconds),
            self.started_at,
        )?;
        if let Some(files) = getrlimit(Resource::Nofile).current {
            gauge(
                "process_max_fds",
                "Limit of open files",
                None,
                as_float(files),
            )?;
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // The folder itself is open while it is read.
            let open = files.count().saturating_sub(1);
            gauge(
                "process_open_fds",
                "Open files, connections among them",
                None,
                as_float(open as u64),
            )?;
        }
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            if let Some(kibibytes) = field(&status, "VmRSS:") {
                gauge(
                    "process_resident_memory",
                    "Memory of the process that is in RAM",
                    Some(&Unit::Bytes),
                    as_float(kibibytes.saturating_mul(1024)),
                )?;
            }
            if let Some(threads) = field(&status, "Threads:") {
                gauge(
                    "process_threads",
                    "Threads of the process",
                    None,
                    as_float(threads),
                )?;
            }
        }
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let metric = ConstCounter::new(
            as_float(cpu.tv_sec.unsigned_abs()) + as_float(cpu.tv_nsec.unsigned_abs()) / 1e9,
        );
        let unit = Some(&Unit::Seconds);
        let help = "Time that processors spent on the process, in user and system mode";
        metric.encode(encoder.encode_descriptor("process_cpu", help, unit, metric.metric_type())?)
    }
}

/// The number after the name, in a line of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric is a float; figures of processes are far below 2^53"
)]
fn as_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn the_figures_of_this_process_are_there() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics::new()));
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let value = |name: &str| -> f64 {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is not in {text}"))
                .parse()
                .expect("a number")
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_start_time_seconds") > 1_700_000_000.0);
        if cfg!(target_os = "linux") {
            assert!(value("process_resident_memory_bytes") > 1_000_000.0);
            assert!(value("process_threads") >= 1.0);
            assert!((3.0..=value("process_max_fds")).contains(&value("process_open_fds")));
        }
    }

    #[test]
    fn a_status_without_the_field_has_no_figure() {
        let status = "Name:\tgateway\nVmRSS:\t   2048 kB\nThreads:\tmany\n";
        assert_eq!(field(status, "VmRSS:"), Some(2048));
        assert_eq!(field(status, "Threads:"), None);
        assert_eq!(field(status, "VmSwap:"), None);
    }
}
