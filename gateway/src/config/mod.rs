//! Every setting of the gateway, as a flag and as an environment variable: plain values, from which
//! the other modules make what they need.
//!
//! Durations read `500ms`, `30s` or `5m`.

mod headers;
mod limits;
mod persisted;
mod subgraphs;
mod subscriptions;

use std::{path::PathBuf, time::Duration};

use graphql_transport::{HttpSettings, WebSocketSettings, settings::duration};

pub use headers::HeaderConfig;
pub use limits::{CostMode, Limits};
pub use persisted::PersistedConfig;
pub use subgraphs::{SubgraphSettings, address_key};
pub use subscriptions::SubscriptionConfig;

/// What Apollo Server and other GraphQL servers report as the client's own mistake.
const SHOWN_ERROR_CODES: &str = "BAD_USER_INPUT,UNAUTHENTICATED,FORBIDDEN";

/// A general Federation v2 gateway: one GraphQL endpoint from a supergraph.
///
/// `SUBGRAPH_URL_<NAME>` replaces a subgraph's address (`SUBGRAPH_URL_POSTS`). Durations read
/// `500ms`, `30s` or `5m`.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "gateway", version, about)]
pub struct Config {
    /// Address, port, logs, grace at a shutdown.
    #[command(flatten)]
    pub service: service::Settings,
    /// The supergraph: standard SDL with the join specification's parts. It is read again when the
    /// file changes, and waited for where it does not exist yet.
    #[arg(long, env = "SUPERGRAPH", default_value = "schema/supergraph.graphql")]
    pub supergraph: PathBuf,
    /// How often the supergraph file is looked at.
    #[arg(long, env = "SUPERGRAPH_POLL_INTERVAL", default_value = "1s", value_parser = duration)]
    pub supergraph_poll_interval: Duration,
    /// Replaces a subgraph's address, as `SUBGRAPH_URL_<NAME>` does: `posts=http://host/graphql`.
    #[arg(long = "subgraph-url", value_name = "NAME=URL")]
    pub subgraph_urls: Vec<String>,
    /// Subgraph errors with these codes are meant for clients: outside development, too, they keep
    /// their message, and `cursor`, `missed` and `reason` in their extensions. The default has the codes
    /// that GraphQL servers agree on: give your subgraphs' own with them.
    #[arg(
        long,
        env = "SHOWN_ERROR_CODES",
        value_delimiter = ',',
        value_name = "CODE",
        default_value = SHOWN_ERROR_CODES
    )]
    pub shown_error_codes: Vec<String>,
    /// A folder of built web pages to serve at `/`.
    #[arg(long, env = "WEB_DIR")]
    pub web_dir: Option<PathBuf>,
    /// Metrics pages of other services to serve at `/metrics/NAME`, for what sees the gateway alone:
    /// `posts=http://127.0.0.1:4001/metrics`. Each is read at most once a second.
    #[arg(
        long,
        env = "METRICS_PAGES",
        value_delimiter = ',',
        value_name = "NAME=URL"
    )]
    pub metrics_pages: Vec<String>,
    /// `/health/ready` names a subgraph that was sent requests for this long and answered none of them.
    #[arg(long, env = "SUBGRAPH_SILENCE_MAX", default_value = "5s", value_parser = duration)]
    pub subgraph_silence_max: Duration,
    /// How many distinct operations stay prepared. A quarter of them may have been asked for once only.
    #[arg(long, env = "PREPARED_OPERATIONS_MAX", default_value_t = 2_000)]
    pub prepared_operations_max: usize,
    /// Bytes that they may hold together. A document of 1 KB takes some 60 KB.
    #[arg(long, env = "PREPARED_OPERATIONS_BYTES_MAX", default_value_t = 64 * 1024 * 1024)]
    pub prepared_operations_bytes_max: usize,
    /// Bytes of that for operations that were asked for once. They never take the place of others, and
    /// the client with the most of them gives way.
    #[arg(long, env = "PREPARED_OPERATIONS_NEW_BYTES_MAX", default_value_t = 8 * 1024 * 1024)]
    pub prepared_operations_new_bytes_max: usize,
    /// How long an operation that was asked for once stays prepared, in whole seconds. One that comes back
    /// later is prepared once more, and then kept.
    #[arg(long, env = "PREPARED_OPERATIONS_NEW_TIME", default_value = "10s", value_parser = duration)]
    pub prepared_operations_new_time: Duration,
    /// How long one that nobody asks for any more stays prepared, in whole seconds.
    #[arg(long, env = "PREPARED_OPERATIONS_UNUSED_TIME", default_value = "10m", value_parser = duration)]
    pub prepared_operations_unused_time: Duration,
    /// Labels of progressive overrides that hold for all requests (`@override(label: "new-checkout")`).
    /// Labels of the form `percent(5)` need no setting.
    #[arg(
        long,
        env = "OVERRIDE_LABELS",
        value_delimiter = ',',
        value_name = "LABEL"
    )]
    pub override_labels: Vec<String>,
    /// Headers to forward.
    #[command(flatten)]
    pub headers: HeaderConfig,
    /// HTTP.
    #[command(flatten)]
    pub http: HttpSettings,
    /// WebSocket.
    #[command(flatten)]
    pub websocket: WebSocketSettings,
    /// Subscriptions.
    #[command(flatten)]
    pub subscriptions: SubscriptionConfig,
    /// Persisted operations.
    #[command(flatten)]
    pub persisted: PersistedConfig,
    /// What an operation may cost.
    #[command(flatten)]
    pub limits: Limits,
    /// How subgraphs are spoken to.
    #[command(flatten)]
    pub subgraphs: SubgraphSettings,
}
