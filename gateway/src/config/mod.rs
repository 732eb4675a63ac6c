//! Every setting of the gateway, as a flag and as an environment variable. Settings are plain
//! values; the modules that use them convert them.
//!
//! Durations carry their unit: `500ms`, `30s`, `5m`.

mod accept_encoding;
mod authorization;
mod headers;
mod identity;
mod limits;
mod pages;
mod persisted;
mod rate_limit;
mod subgraph_timeouts;
mod subgraphs;
mod subscriptions;
mod supergraph;
mod traffic;
mod watch;

use std::{path::PathBuf, time::Duration};

use graphql_transport::{HttpSettings, WebSocketSettings};
use service::duration;

pub use accept_encoding::AcceptEncoding;
pub use authorization::{AuthorizationConfig, AuthorizationMode};
pub use headers::HeaderConfig;
pub use identity::IdentityConfig;
pub(crate) use identity::listed;
pub use limits::{CostMode, Limits};
pub use pages::PagesConfig;
pub use persisted::PersistedConfig;
pub use rate_limit::{RateLimitConfig, RateLimitMode};
pub use subgraph_timeouts::SubgraphTimeouts;
pub use subgraphs::{SubgraphSettings, address_key};
pub use subscriptions::SubscriptionConfig;
pub use supergraph::{Secret, SupergraphConfig};
pub use traffic::{BreakerSettings, RetrySettings};
pub use watch::{AccessLog, WatchConfig};

/// The codes that Apollo Server and other GraphQL servers use for mistakes of clients.
const SHOWN_ERROR_CODES: &str = "BAD_USER_INPUT,UNAUTHENTICATED,FORBIDDEN";

/// A general Federation v2 gateway: serves a supergraph as one GraphQL endpoint.
///
/// `SUBGRAPH_URL_<NAME>` replaces a subgraph's address (`SUBGRAPH_URL_POSTS`); `SUBSCRIPTION_URL_<NAME>` does so for
/// subscriptions alone. Durations are written as `500ms`, `30s` or `5m`.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "gateway", version, about)]
pub struct Config {
    /// Settings that all services have: address, port, logs, shutdown.
    #[command(flatten)]
    pub service: service::Settings,
    /// What operators see of each request.
    #[command(flatten)]
    pub watch: WatchConfig,
    /// Where the supergraph comes from.
    #[command(flatten)]
    pub supergraph: SupergraphConfig,
    /// Replace a subgraph's address, as `SUBGRAPH_URL_<NAME>` does: `posts=http://host/graphql`. Several addresses,
    /// separated by commas, are instances of the subgraph, and so are those that a host name stands for.
    #[arg(long = "subgraph-url", value_name = "NAME=URL")]
    pub subgraph_urls: Vec<String>,
    /// Show subgraph errors with these codes to clients outside development, too: they keep their
    /// message, and `cursor`, `missed`, `reason` and `retryAfter` in their extensions. The message of any other
    /// subgraph error is hidden. The default has the codes that GraphQL servers agree on; repeat
    /// them when you add codes of your own subgraphs.
    #[arg(
        long,
        env = "SHOWN_ERROR_CODES",
        value_delimiter = ',',
        value_name = "CODE",
        default_value = SHOWN_ERROR_CODES
    )]
    pub shown_error_codes: Vec<String>,
    /// Check the settings and the supergraph, report every mistake with its place, and exit: with 0 if there is none, or
    /// else with 1. Nothing is served.
    #[arg(long)]
    pub check: bool,
    /// Print the key with which the subgraph of this name verifies signatures, derived from `SUBGRAPH_SECRET`, and
    /// exit. Set there as `SUBGRAPH_SECRET`, it is worth nothing at other subgraphs.
    #[arg(long, value_name = "NAME")]
    pub print_signing_key: Option<String>,
    /// Serve the built web pages in this folder at `/`.
    #[arg(long, env = "WEB_DIR")]
    pub web_dir: Option<PathBuf>,
    /// The service that renders views of the web pages.
    #[command(flatten)]
    pub pages: PagesConfig,
    /// Let people sign in at the web pages with tokens from this service: `https://id.example/token`, or a path of the
    /// gateway's own origin. The pages send it a name and get a token (docs/gateway.md, "Signing in at the pages"). By
    /// default the pages offer no sign-in.
    #[arg(long, env = "WEB_SIGN_IN_URL", value_name = "URL")]
    pub web_sign_in_url: Option<String>,
    /// Serve the metrics pages of other services at `/metrics/NAME`, for a collector that reaches
    /// only the gateway: `posts=http://127.0.0.1:4001/metrics`. Each page is read at most once a
    /// second.
    #[arg(
        long,
        env = "METRICS_PAGES",
        value_delimiter = ',',
        value_name = "NAME=URL"
    )]
    pub metrics_pages: Vec<String>,
    /// Name a subgraph in `/health/ready` when it has been sent requests for this long and has
    /// answered none of them.
    #[arg(long, env = "SUBGRAPH_SILENCE_MAX", default_value = "5s", value_parser = duration)]
    pub subgraph_silence_max: Duration,
    /// Limit the number of distinct operations that stay prepared (parsed, validated and planned).
    /// A quarter of them may be operations that were requested only once.
    #[arg(long, env = "PREPARED_OPERATIONS_MAX", default_value_t = 2_000)]
    pub prepared_operations_max: usize,
    /// Limit the bytes of memory that prepared operations hold together. A document of 1 KB takes
    /// about 60 KB.
    #[arg(long, env = "PREPARED_OPERATIONS_BYTES_MAX", default_value_t = 64 * 1024 * 1024)]
    pub prepared_operations_bytes_max: usize,
    /// Limit the bytes, out of `PREPARED_OPERATIONS_BYTES_MAX`, for operations that were requested
    /// only once. They never displace others; when they exceed this limit, the client with the most
    /// of them loses some.
    #[arg(long, env = "PREPARED_OPERATIONS_NEW_BYTES_MAX", default_value_t = 8 * 1024 * 1024)]
    pub prepared_operations_new_bytes_max: usize,
    /// Forget a prepared operation this long after its only request, in whole seconds. An operation
    /// that comes back later is prepared once more, and then kept.
    #[arg(long, env = "PREPARED_OPERATIONS_NEW_TIME", default_value = "10s", value_parser = duration)]
    pub prepared_operations_new_time: Duration,
    /// Forget a prepared operation that has not been requested for this long, in whole seconds.
    #[arg(long, env = "PREPARED_OPERATIONS_UNUSED_TIME", default_value = "10m", value_parser = duration)]
    pub prepared_operations_unused_time: Duration,
    /// Limit the number of introspection answers that are kept; those that are used least are
    /// dropped. Introspection is answered in development only.
    #[arg(long, env = "INTROSPECTION_ANSWERS_MAX", default_value_t = 64)]
    pub introspection_answers_max: usize,
    /// Limit the bytes that the kept introspection answers have together. A larger one is not kept.
    #[arg(long, env = "INTROSPECTION_ANSWERS_BYTES_MAX", default_value_t = 8 * 1024 * 1024)]
    pub introspection_answers_bytes_max: usize,
    /// Enable these labels of progressive overrides (`@override(label: "new-checkout")`) for all
    /// requests. Labels of the form `percent(5)` need no setting.
    #[arg(
        long,
        env = "OVERRIDE_LABELS",
        value_delimiter = ',',
        value_name = "LABEL"
    )]
    pub override_labels: Vec<String>,
    /// Who may see what.
    #[command(flatten)]
    pub authorization: AuthorizationConfig,
    /// Headers that pass between clients and subgraphs.
    #[command(flatten)]
    pub headers: HeaderConfig,
    /// How clients' tokens are verified, and which of their claims count.
    #[command(flatten)]
    pub identity: IdentityConfig,
    /// Believe these proxies, addresses or networks (`10.0.0.0/8, fd00::/8`), when `X-Forwarded-For` tells their
    /// clients' addresses. Each of them has to append the address that it was reached from. Whoever connects from there
    /// can take any address, so list nothing else. By default, no proxy is believed.
    #[arg(
        long,
        env = "TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "NETWORK"
    )]
    pub trusted_proxies: Vec<String>,
    /// TLS towards clients.
    #[command(flatten)]
    pub tls: service::TlsSettings,
    /// Limits and access rules of HTTP requests.
    #[command(flatten)]
    pub http: HttpSettings,
    /// Limits of clients' WebSockets.
    #[command(flatten)]
    pub websocket: WebSocketSettings,
    /// Subscriptions and their upstreams.
    #[command(flatten)]
    pub subscriptions: SubscriptionConfig,
    /// Automatic persisted queries and trusted documents.
    #[command(flatten)]
    pub persisted: PersistedConfig,
    /// Limits on operations and variables.
    #[command(flatten)]
    pub limits: Limits,
    /// How much each client may ask for in a time.
    #[command(flatten)]
    pub rate_limit: RateLimitConfig,
    /// Addresses, connections and time limits of requests to subgraphs.
    #[command(flatten)]
    pub subgraphs: SubgraphSettings,
}
