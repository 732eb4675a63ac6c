//! How subgraphs are spoken to.

use std::{borrow::Cow, collections::HashMap, path::PathBuf, time::Duration};

use graphql_transport::{SecretSetting, Secrets};
use service::{duration, duration_from};

use super::{
    accept_encoding::AcceptEncoding,
    subgraph_timeouts::SubgraphTimeouts,
    traffic::{BreakerSettings, RetrySettings},
};

/// Names are not resolved more often.
const RESOLVE_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Settings of the requests to subgraphs.
#[derive(Clone, Debug, clap::Args)]
pub struct SubgraphSettings {
    /// Addresses that replace those in the supergraph, by the subgraph's name as [`address_key`]
    /// writes it; several are separated by commas.
    #[arg(skip)]
    pub addresses: HashMap<String, String>,
    /// The same for subscriptions alone, where these run at other addresses than queries and mutations.
    #[arg(skip)]
    pub subscription_addresses: HashMap<String, String>,
    /// Trust the certificate authorities in this PEM file for `https` subgraphs, in addition to the
    /// public ones.
    #[arg(
        id = "subgraph_ca_file",
        long = "subgraph-ca-file",
        env = "SUBGRAPH_CA_FILE"
    )]
    pub ca_file: Option<PathBuf>,
    /// Show the certificate in this PEM file to `https` subgraphs that ask for one; certificates that lead to its
    /// authority may follow it. Needs `SUBGRAPH_KEY`. By default none is shown.
    #[arg(id = "subgraph_cert", long = "subgraph-cert", env = "SUBGRAPH_CERT")]
    pub certificate: Option<PathBuf>,
    /// Read the private key of `SUBGRAPH_CERT` from this PEM file.
    #[arg(id = "subgraph_key", long = "subgraph-key", env = "SUBGRAPH_KEY")]
    pub key: Option<PathBuf>,
    /// Sign all requests to subgraphs with keys that are derived from this secret of at least 32 characters, one for
    /// each subgraph, so that subgraphs with the same secret or with their key (`--print-signing-key`) can refuse all
    /// others. Of several, separated by commas, the first one signs. By default nothing is signed.
    #[arg(
        id = "subgraph_secret",
        long = "subgraph-secret",
        env = "SUBGRAPH_SECRET",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub secret: SecretSetting,
    /// The secrets in `secret`.
    #[arg(skip)]
    pub secrets: Secrets,
    /// Fail a subgraph request that takes longer than this, from the first byte sent to the last
    /// byte received.
    #[arg(id = "subgraph_timeout", long = "subgraph-timeout", env = "SUBGRAPH_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// Give these subgraphs another time limit than `SUBGRAPH_TIMEOUT`: `posts=2s, reports=2m`. By default all have the
    /// same.
    #[arg(
        id = "subgraph_timeouts",
        long = "subgraph-timeouts",
        env = "SUBGRAPH_TIMEOUTS",
        default_value = "",
        hide_default_value = true,
        value_name = "NAME=TIME"
    )]
    pub timeouts: SubgraphTimeouts,
    /// Fail a connection to a subgraph that takes longer than this to open, TLS included.
    #[arg(id = "subgraph_connect_timeout", long = "subgraph-connect-timeout", env = "SUBGRAPH_CONNECT_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// Stop reusing a connection that was idle for longer than this. The default is below the
    /// keep-alive time of common servers (5 s).
    #[arg(id = "subgraph_idle_timeout", long = "subgraph-idle-timeout", env = "SUBGRAPH_IDLE_TIMEOUT", default_value = "4s", value_parser = duration)]
    pub idle_timeout: Duration,
    /// Resolve the names in subgraphs' addresses again this often, to find instances that come and go. They are also
    /// resolved before a new connection is opened.
    #[arg(id = "subgraph_resolve_interval", long = "subgraph-resolve-interval", env = "SUBGRAPH_RESOLVE_INTERVAL", default_value = "10s", value_parser = duration_from(RESOLVE_INTERVAL_MIN))]
    pub resolve_interval: Duration,
    /// Ask subgraphs for responses in these content encodings, the best first: `gzip`, `br`, `zstd`. A network that is
    /// paid by the byte may be worth the time of both sides. By default they are asked for none (`identity`).
    #[arg(
        id = "subgraph_accept_encoding",
        long = "subgraph-accept-encoding",
        env = "SUBGRAPH_ACCEPT_ENCODING",
        default_value = "identity",
        value_name = "ENCODINGS"
    )]
    pub accept_encoding: AcceptEncoding,
    /// Limit the bytes of one subgraph response's body, decompressed if it is compressed.
    #[arg(id = "subgraph_body_bytes_max", long = "subgraph-body-bytes-max", env = "SUBGRAPH_BODY_BYTES_MAX", default_value_t = Self::default().body_bytes_max)]
    pub body_bytes_max: usize,
    /// Limit the bytes of interim heads (1xx), chunk framing and trailers of one subgraph response,
    /// in addition to half of its body.
    #[arg(id = "subgraph_overhead_bytes_max", long = "subgraph-overhead-bytes-max", env = "SUBGRAPH_OVERHEAD_BYTES_MAX", default_value_t = 64 * 1024)]
    pub overhead_bytes_max: usize,
    /// Send at most this many requests to one subgraph at the same time; further ones wait in the
    /// gateway. A client address may have as many of them as there are free ones.
    #[arg(
        id = "subgraph_requests_running_max",
        long = "subgraph-requests-running-max",
        env = "SUBGRAPH_REQUESTS_RUNNING_MAX",
        default_value_t = Self::default().requests_running_max,
        value_parser = at_least_one
    )]
    pub requests_running_max: usize,
    /// Send at most this many requests of one client address to one subgraph at the same time; its
    /// further ones wait in the gateway, so that a subgraph never has so many of one client that
    /// others wait for them. A request of an operation with a large answer counts once more for each
    /// 64 KiB of the operation's last answer. An address that is alone at a subgraph for two
    /// seconds, such as a proxy's, may have half of `SUBGRAPH_REQUESTS_RUNNING_MAX`.
    #[arg(
        id = "subgraph_requests_running_per_client_max",
        long = "subgraph-requests-running-per-client-max",
        env = "SUBGRAPH_REQUESTS_RUNNING_PER_CLIENT_MAX",
        default_value_t = Self::default().requests_running_per_client_max,
        value_parser = at_least_one
    )]
    pub requests_running_per_client_max: usize,
    /// Limit the requests of all clients that run at one subgraph or wait for it. Beyond it, the
    /// client address with the most that wait gets `SUBGRAPH_OVERLOADED`, so that a subgraph that
    /// hangs does not use up the gateway's memory and connections.
    #[arg(
        id = "subgraph_requests_max",
        long = "subgraph-requests-max",
        env = "SUBGRAPH_REQUESTS_MAX",
        default_value_t = Self::default().requests_max,
        value_parser = at_least_one
    )]
    pub requests_max: usize,
    /// Share one request among identical queries that are in flight to one subgraph. Mutations, and
    /// the queries that follow from them, never share. Off by default.
    #[arg(long, env = "DEDUPLICATE_IN_FLIGHT", value_parser = clap::builder::BoolishValueParser::new())]
    pub deduplicate_in_flight: bool,
    /// How queries that failed are sent again.
    #[command(flatten)]
    pub retries: RetrySettings,
    /// When a subgraph counts as unavailable.
    #[command(flatten)]
    pub breaker: BreakerSettings,
}

impl Default for SubgraphSettings {
    fn default() -> Self {
        Self {
            addresses: HashMap::new(),
            subscription_addresses: HashMap::new(),
            ca_file: None,
            certificate: None,
            key: None,
            secret: SecretSetting::default(),
            secrets: Secrets::default(),
            timeout: Duration::from_secs(30),
            timeouts: SubgraphTimeouts::default(),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            resolve_interval: Duration::from_secs(10),
            accept_encoding: AcceptEncoding::default(),
            body_bytes_max: 64 * 1024 * 1024,
            overhead_bytes_max: 64 * 1024,
            requests_running_max: 512,
            requests_running_per_client_max: 16,
            requests_max: 2_048,
            deduplicate_in_flight: false,
            retries: RetrySettings::default(),
            breaker: BreakerSettings::default(),
        }
    }
}

impl SubgraphSettings {
    /// Those of one subgraph, where it has its own.
    pub(crate) fn of(&self, subgraph: &str) -> Cow<'_, Self> {
        match self.timeouts.of(subgraph) {
            None => Cow::Borrowed(self),
            Some(timeout) => Cow::Owned(Self {
                timeout,
                ..self.clone()
            }),
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number of at least 1 is expected".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// A subgraph's name as a part of an environment variable's name: `my-posts` becomes `MY_POSTS`.
pub fn address_key(subgraph: &str) -> String {
    subgraph
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::config::Config;

    #[test]
    fn names_are_not_resolved_all_the_time() {
        let interval = |value: &str| {
            let flag = format!("--subgraph-resolve-interval={value}");
            let config = Config::try_parse_from(["gateway", &flag]).ok()?;
            Some(config.subgraphs.resolve_interval.as_millis())
        };
        assert_eq!(interval("100ms"), Some(100));
        assert_eq!(interval("0s"), None);
    }
}
