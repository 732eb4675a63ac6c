//! What operators see of each request: the access log, slow operations, metrics by operation and client.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use service::duration;

/// How the lines of the access log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AccessLog {
    /// No line is written.
    #[default]
    Off,
    /// `name=value` pairs.
    Text,
    /// One JSON object per line.
    Json,
}

/// The access log, slow operations, and metrics by operation and client.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchConfig {
    /// Write a line for each request to standard output: `text` as `name=value` pairs, `json` as one object. It has
    /// neither variables nor documents. Requests do not wait for it: lines that nobody reads in time are dropped, and
    /// counted.
    #[arg(long, env = "ACCESS_LOG", value_enum, default_value_t)]
    pub access_log: AccessLog,
    /// Write the lines of this share of requests, from 0 to 1, which are chosen at random. Requests that met an error are
    /// always written.
    #[arg(long, env = "ACCESS_LOG_SAMPLE", default_value_t = 1.0, value_parser = share)]
    pub access_log_sample: f64,
    /// Log a query or a mutation that takes this long, with the time of each of its subgraph requests, and without its
    /// variables. 0s turns this off.
    #[arg(long, env = "SLOW_OPERATION_TIME", default_value = "1s", value_parser = duration)]
    pub slow_operation_time: Duration,
    /// Count at most this many names of operations, and as many clients, each on its own. All others are counted together
    /// as `(other)`, until a name has not come for 10 minutes. 0 turns these metrics off.
    #[arg(long, env = "OPERATION_METRICS_MAX", default_value_t = 200, value_parser = RangedU64ValueParser::<usize>::new().range(0..=10_000))]
    pub operation_metrics_max: usize,
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let share = number.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 1 is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::config::Config;

    #[test]
    fn nonsense_is_refused() {
        for flag in [
            "--access-log=xml",
            "--access-log-sample=2",
            "--access-log-sample=-0.1",
            "--access-log-sample=NaN",
            "--access-log-sample=half",
            "--slow-operation-time=1",
            "--operation-metrics-max=10001",
            "--operation-metrics-max=-1",
        ] {
            assert!(Config::try_parse_from(["gateway", flag]).is_err(), "{flag}");
        }
        assert!(Config::try_parse_from(["gateway", "--access-log-sample=0.01"]).is_ok());
    }
}
