//! Settings of the supergraph: where it is read, how often, and what happens before it serves.

use std::{convert::Infallible, fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::builder::BoolishValueParser;
use service::{duration, duration_from, duration_up_to};

/// Apollo's Uplink, at two providers.
const UPLINK_ENDPOINTS: &str =
    "https://uplink.api.apollographql.com/,https://aws.uplink.api.apollographql.com/";

/// How often a file is looked at if nothing else is set.
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often another source is asked if nothing else is set. Both registries recommend it.
const SOURCE_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Longer, and an urgent change of the supergraph would wait for too long.
const WARM_UP_TIME_MAX: Duration = Duration::from_secs(10 * 60);

const MILLISECOND: Duration = Duration::from_millis(1);

/// Where the supergraph comes from.
#[derive(Clone, Debug, clap::Args)]
pub struct SupergraphConfig {
    /// Read the supergraph from here: standard SDL with the join specification's directives. A file; or `https://`
    /// addresses, of which the next one is asked when one fails, separated by commas; or `hive` for Hive's CDN
    /// (`HIVE_CDN_ENDPOINT`), or `uplink` for Apollo's Uplink (`APOLLO_GRAPH_REF`). The gateway reads it again when it
    /// changes, and waits for it if it does not exist yet.
    #[arg(
        id = "supergraph",
        long = "supergraph",
        env = "SUPERGRAPH",
        default_value = "schema/supergraph.graphql"
    )]
    pub source: String,
    /// Look this often whether the supergraph has changed. From elsewhere than a file, the pauses differ by up to a
    /// tenth, so that many gateways do not ask at once, and they are longer where the source asks for that. By default
    /// `1s` for a file, and `10s` otherwise.
    #[arg(id = "supergraph_poll_interval", long = "supergraph-poll-interval", env = "SUPERGRAPH_POLL_INTERVAL", value_parser = duration_from(MILLISECOND))]
    pub poll_interval: Option<Duration>,
    /// After failures, double the pause until the source is asked again, up to this. At the start, pauses begin at 1 s.
    #[arg(id = "supergraph_poll_pause_max", long = "supergraph-poll-pause-max", env = "SUPERGRAPH_POLL_PAUSE_MAX", default_value = "1m", value_parser = duration_from(MILLISECOND))]
    pub poll_pause_max: Duration,
    /// Fail a request for the supergraph that takes longer than this, to each address.
    #[arg(id = "supergraph_timeout", long = "supergraph-timeout", env = "SUPERGRAPH_TIMEOUT", default_value = "10s", value_parser = duration_from(MILLISECOND))]
    pub timeout: Duration,
    /// Limit the bytes of the supergraph. A larger one is refused.
    #[arg(id = "supergraph_bytes_max", long = "supergraph-bytes-max", env = "SUPERGRAPH_BYTES_MAX", default_value_t = 16 * 1024 * 1024)]
    pub bytes_max: usize,
    /// Send this header, `NAME: VALUE`, to the addresses in `SUPERGRAPH`, such as a key. By default none is sent.
    #[arg(
        id = "supergraph_header",
        long = "supergraph-header",
        env = "SUPERGRAPH_HEADER",
        value_name = "HEADER",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub header: Secret,
    /// Read the supergraph from `http://` addresses outside this machine, too. Whoever can change the response on its
    /// way can then send all requests elsewhere.
    #[arg(id = "supergraph_http", long = "supergraph-http", env = "SUPERGRAPH_HTTP", value_parser = BoolishValueParser::new())]
    pub http: bool,
    /// Keep the last supergraph that was served in this file, and start with it when the source cannot be read. By
    /// default it is not kept.
    #[arg(
        id = "supergraph_copy",
        long = "supergraph-copy",
        env = "SUPERGRAPH_COPY",
        value_name = "FILE"
    )]
    pub copy: Option<PathBuf>,
    /// Before a new supergraph serves, prepare the operations for it that clients have requested lately, and the trusted
    /// documents, for at most this time. Until then the old one serves. `0s` turns this off.
    #[arg(id = "supergraph_warm_up_time", long = "supergraph-warm-up-time", env = "SUPERGRAPH_WARM_UP_TIME", default_value = "10s", value_parser = duration_up_to(WARM_UP_TIME_MAX))]
    pub warm_up_time: Duration,
    /// Prepare the operations that were requested within this time, in whole seconds.
    #[arg(id = "supergraph_warm_up_recent", long = "supergraph-warm-up-recent", env = "SUPERGRAPH_WARM_UP_RECENT", default_value = "5m", value_parser = duration)]
    pub warm_up_recent: Duration,
    /// Limit the number of operations that are prepared before a new supergraph serves. Those that were requested more
    /// than once come first, and of these the latest.
    #[arg(
        id = "supergraph_warm_up_operations_max",
        long = "supergraph-warm-up-operations-max",
        env = "SUPERGRAPH_WARM_UP_OPERATIONS_MAX",
        default_value_t = 1_000
    )]
    pub warm_up_operations_max: usize,
    /// Limit the bytes of memory that they take together, out of `PREPARED_OPERATIONS_BYTES_MAX`. For a moment there are
    /// those of the old supergraph, too.
    #[arg(id = "supergraph_warm_up_bytes_max", long = "supergraph-warm-up-bytes-max", env = "SUPERGRAPH_WARM_UP_BYTES_MAX", default_value_t = 48 * 1024 * 1024)]
    pub warm_up_bytes_max: usize,
    /// Ask for the supergraph at these endpoints of Hive's CDN, `https://cdn.graphql-hive.com/artifacts/v1/TARGET`; the
    /// next one is asked when one fails. Needs `HIVE_CDN_KEY`, and `SUPERGRAPH=hive`.
    #[arg(
        id = "hive_cdn_endpoint",
        long = "hive-cdn-endpoint",
        env = "HIVE_CDN_ENDPOINT",
        value_name = "URL"
    )]
    pub hive_endpoint: Option<String>,
    /// The access token for `HIVE_CDN_ENDPOINT`.
    #[arg(
        id = "hive_cdn_key",
        long = "hive-cdn-key",
        env = "HIVE_CDN_KEY",
        value_name = "KEY",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub hive_key: Secret,
    /// Ask Apollo's Uplink for the supergraph of this graph: `my-graph@current`. Needs `APOLLO_KEY`, and
    /// `SUPERGRAPH=uplink`.
    #[arg(
        id = "apollo_graph_ref",
        long = "apollo-graph-ref",
        env = "APOLLO_GRAPH_REF",
        value_name = "GRAPH@VARIANT"
    )]
    pub apollo_graph_ref: Option<String>,
    /// The API key for `APOLLO_GRAPH_REF`.
    #[arg(
        id = "apollo_key",
        long = "apollo-key",
        env = "APOLLO_KEY",
        value_name = "KEY",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub apollo_key: Secret,
    /// Ask Uplink at these addresses; the next one is asked when one fails.
    #[arg(
        id = "apollo_uplink_endpoints",
        long = "apollo-uplink-endpoints",
        env = "APOLLO_UPLINK_ENDPOINTS",
        value_name = "URL",
        default_value = UPLINK_ENDPOINTS
    )]
    pub apollo_endpoints: String,
}

impl SupergraphConfig {
    /// How often the source is asked. `is_file` says whether it is a file.
    pub fn interval(&self, is_file: bool) -> Duration {
        self.poll_interval.unwrap_or(match is_file {
            true => FILE_POLL_INTERVAL,
            false => SOURCE_POLL_INTERVAL,
        })
    }
}

/// A setting that is not shown.
#[derive(Clone, Default)]
pub struct Secret(Box<str>);

impl Secret {
    /// The secret without blanks around it; `None` if it is empty.
    pub fn value(&self) -> Option<&str> {
        let text = self.0.trim();
        (!text.is_empty()).then_some(text)
    }
}

/// Shows nothing of it.
impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}
