//! How subgraphs are spoken to.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use graphql_transport::settings::duration;

/// How subgraphs are spoken to.
#[derive(Clone, Debug, clap::Args)]
pub struct SubgraphSettings {
    /// Addresses that replace those of the supergraph. The key is the subgraph's name as
    /// [`address_key`] writes it.
    #[arg(skip)]
    pub addresses: HashMap<String, String>,
    /// A PEM file of authorities to trust for `https` subgraphs, beside the public ones.
    #[arg(
        id = "subgraph_ca_file",
        long = "subgraph-ca-file",
        env = "SUBGRAPH_CA_FILE"
    )]
    pub ca_file: Option<PathBuf>,
    /// From the first byte sent to the last byte received.
    #[arg(id = "subgraph_timeout", long = "subgraph-timeout", env = "SUBGRAPH_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// To open a connection, TLS included.
    #[arg(id = "subgraph_connect_timeout", long = "subgraph-connect-timeout", env = "SUBGRAPH_CONNECT_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// A kept connection that was quiet for longer is not used again; below the keep-alive time
    /// of common servers (5 s).
    #[arg(id = "subgraph_idle_timeout", long = "subgraph-idle-timeout", env = "SUBGRAPH_IDLE_TIMEOUT", default_value = "4s", value_parser = duration)]
    pub idle_timeout: Duration,
    /// The largest response body, in bytes.
    #[arg(id = "subgraph_body_bytes_max", long = "subgraph-body-bytes-max", env = "SUBGRAPH_BODY_BYTES_MAX", default_value_t = Self::default().body_bytes_max)]
    pub body_bytes_max: usize,
    /// Interim heads (1xx), the framing of chunks, and trailers of one answer, in bytes, beyond half of
    /// its body.
    #[arg(id = "subgraph_overhead_bytes_max", long = "subgraph-overhead-bytes-max", env = "SUBGRAPH_OVERHEAD_BYTES_MAX", default_value_t = 64 * 1024)]
    pub overhead_bytes_max: usize,
    /// Requests of all clients that wait for one subgraph. One more fails at once with
    /// `SUBGRAPH_OVERLOADED`, so that a subgraph that stands still does not hold all the gateway has.
    #[arg(
        id = "subgraph_requests_max",
        long = "subgraph-requests-max",
        env = "SUBGRAPH_REQUESTS_MAX",
        default_value_t = 2_048
    )]
    pub requests_max: usize,
    /// Whether identical queries in flight to one subgraph share one request. Mutations, and what
    /// they lead to, never do.
    #[arg(long, env = "DEDUPLICATE_IN_FLIGHT", value_parser = clap::builder::BoolishValueParser::new())]
    pub deduplicate_in_flight: bool,
}

impl Default for SubgraphSettings {
    fn default() -> Self {
        Self {
            addresses: HashMap::new(),
            ca_file: None,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            body_bytes_max: 64 * 1024 * 1024,
            overhead_bytes_max: 64 * 1024,
            requests_max: 2_048,
            deduplicate_in_flight: false,
        }
    }
}

/// The subgraph's name as environment variables can spell it: `my-posts` becomes `MY_POSTS`.
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
