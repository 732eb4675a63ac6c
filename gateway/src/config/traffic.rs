//! How requests to subgraphs are retried, and when a subgraph gets none.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use service::{duration, duration_from};

/// Retries and probes follow each other no faster.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// More retries of one query would only repeat what the others have shown.
const RETRIES_MAX: u64 = 10;

/// How queries that failed are sent again.
#[derive(Clone, Debug, clap::Args)]
pub struct RetrySettings {
    /// Send a query again at most this many times if the subgraph could not be reached, closed the connection before its
    /// response, or answered with 502, 503 or 504; always within `SUBGRAPH_TIMEOUT`. Mutations are never sent again for
    /// these reasons. `0` turns retries off.
    #[arg(id = "subgraph_retries_max", long = "subgraph-retries-max", env = "SUBGRAPH_RETRIES_MAX", default_value_t = Self::default().retries_max, value_parser = RangedU64ValueParser::<u32>::new().range(..=RETRIES_MAX))]
    pub retries_max: u32,
    /// Allow retries of at most this percentage of the requests to a subgraph, after the first ten, so that a subgraph
    /// with too much to do does not get even more.
    #[arg(id = "subgraph_retry_percent", long = "subgraph-retry-percent", env = "SUBGRAPH_RETRY_PERCENT", default_value_t = Self::default().percent, value_parser = RangedU64ValueParser::<u32>::new().range(1..=100))]
    pub percent: u32,
    /// Wait about this long before a query is sent again, half more or less, and twice as long before each further time.
    #[arg(id = "subgraph_retry_pause", long = "subgraph-retry-pause", env = "SUBGRAPH_RETRY_PAUSE", default_value = "50ms", value_parser = duration_from(PAUSE_MIN))]
    pub pause: Duration,
    /// Wait at least as long as `Retry-After` of a 502, 503 or 504 says, up to this. A query whose subgraph asks for more
    /// is not sent again. The default passes on at once what a subgraph answers that asks for a second or more.
    #[arg(id = "subgraph_retry_after_max", long = "subgraph-retry-after-max", env = "SUBGRAPH_RETRY_AFTER_MAX", default_value = "500ms", value_parser = duration)]
    pub retry_after_max: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            retries_max: 2,
            percent: 20,
            pause: Duration::from_millis(50),
            retry_after_max: Duration::from_millis(500),
        }
    }
}

/// When a subgraph counts as unavailable.
#[derive(Clone, Debug, clap::Args)]
pub struct BreakerSettings {
    /// Consider a subgraph unavailable after this many failures within `SUBGRAPH_BREAKER_WINDOW` (no connection, no
    /// whole response in time, 502, 503, 504), if a probe of the gateway fails, too. Requests to it then fail at once with
    /// `SUBGRAPH_UNAVAILABLE`, until it answers a probe. `0` turns this off.
    #[arg(id = "subgraph_breaker_failures", long = "subgraph-breaker-failures", env = "SUBGRAPH_BREAKER_FAILURES", default_value_t = Self::default().failures_min)]
    pub failures_min: u32,
    /// Consider a subgraph unavailable only if at least this percentage of the attempts in the window failed.
    #[arg(id = "subgraph_breaker_percent", long = "subgraph-breaker-percent", env = "SUBGRAPH_BREAKER_PERCENT", default_value_t = Self::default().percent, value_parser = RangedU64ValueParser::<u32>::new().range(1..=100))]
    pub percent: u32,
    /// Count failures for this long from the first one.
    #[arg(id = "subgraph_breaker_window", long = "subgraph-breaker-window", env = "SUBGRAPH_BREAKER_WINDOW", default_value = "10s", value_parser = duration_from(PAUSE_MIN))]
    pub window: Duration,
    /// Probe an unavailable subgraph after about this time, half more or less, and after pauses that double up to 16
    /// times as long. One that is unavailable again within a minute is probed later than the time before.
    #[arg(id = "subgraph_breaker_pause", long = "subgraph-breaker-pause", env = "SUBGRAPH_BREAKER_PAUSE", default_value = "500ms", value_parser = duration_from(PAUSE_MIN))]
    pub pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failures_min: 20,
            percent: 50,
            window: Duration::from_secs(10),
            pause: Duration::from_millis(500),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    fn config(argument: &str) -> Result<Config, clap::Error> {
        Config::try_parse_from(["gateway", argument])
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [
            "--subgraph-retries-max=11",
            "--subgraph-retry-percent=0",
            "--subgraph-retry-percent=101",
            "--subgraph-retry-pause=0s",
            "--subgraph-retry-after-max=1",
            "--subgraph-breaker-failures=-1",
            "--subgraph-breaker-percent=0",
            "--subgraph-breaker-window=0s",
            "--subgraph-breaker-pause=0s",
        ] {
            assert!(config(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_have_the_defaults_of_the_structs() {
        let config = config("--subgraph-breaker-percent=50").expect("well-formed");
        let (retries, breaker) = (config.subgraphs.retries, config.subgraphs.breaker);
        let defaults = (RetrySettings::default(), BreakerSettings::default());
        assert_eq!(format!("{:?}", (retries, breaker)), format!("{defaults:?}"));
    }
}
