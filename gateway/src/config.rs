//! Every setting of the gateway, as a flag and as an environment variable.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::builder::BoolishValueParser;

use crate::{
    headers::HeaderRules,
    settings::{Limits, Settings, SubgraphSettings, address_key, duration},
    subgraphs::Tls,
};

/// What a client did, may mend, or has to follow.
const SHOWN_ERROR_CODES: &str = "BAD_USER_INPUT,NOT_FOUND,CONFLICT,FORBIDDEN,\
                                 UNAUTHENTICATED,PROJECTION_BEHIND,OVERLOADED,\
                                 READ_AFTER_WRITE_FAILED,SUBSCRIPTION_LAGGED,\
                                 RESYNC_REQUIRED,FEED_STOPPED,MAX_TOKENS_EXCEEDED,\
                                 MAX_DEPTH_EXCEEDED,MAX_ALIASES_EXCEEDED,\
                                 MAX_ROOT_FIELDS_EXCEEDED,MAX_DIRECTIVES_EXCEEDED,\
                                 MAX_SELECTIONS_EXCEEDED,MAX_VARIABLES_EXCEEDED,\
                                 MAX_REPRESENTATIONS_EXCEEDED,MAX_COST_EXCEEDED";

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
    /// For development: introspection, GraphiQL, and subgraph errors as they are.
    #[arg(long, env = "DEVELOPMENT", value_parser = BoolishValueParser::new())]
    pub development: bool,
    /// Subgraph errors with these codes are meant for clients: outside development, too, they keep
    /// their message, and `cursor`, `missed` and `reason` in their extensions.
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
    /// How many distinct operations stay prepared.
    #[arg(long, env = "PREPARED_OPERATIONS_MAX", default_value_t = 2_000)]
    pub prepared_operations_max: usize,
    /// Bytes that they may hold together. A document of 1 KB takes some 60 KB.
    #[arg(long, env = "PREPARED_OPERATIONS_BYTES_MAX", default_value_t = 128 * 1024 * 1024)]
    pub prepared_operations_bytes_max: usize,
    /// Headers to forward.
    #[command(flatten)]
    pub headers: HeaderConfig,
    /// HTTP.
    #[command(flatten)]
    pub http: HttpConfig,
    /// WebSocket.
    #[command(flatten)]
    pub websocket: WebSocketConfig,
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

/// Which headers travel between clients and subgraphs. None does by default, but for
/// `traceparent`, `tracestate` and `x-request-id`.
#[derive(Clone, Debug, clap::Args)]
pub struct HeaderConfig {
    /// Client headers that subgraphs get: `authorization, x-tenant@posts` sends the first to every
    /// subgraph and the second to posts. Over a WebSocket, members of `connection_init`'s payload
    /// stand for headers of the same name.
    #[arg(
        long = "forward-headers",
        env = "FORWARD_HEADERS",
        value_delimiter = ','
    )]
    pub forward: Vec<String>,
    /// Subgraph headers that clients get, in the same notation.
    #[arg(long = "return-headers", env = "RETURN_HEADERS", value_delimiter = ',')]
    pub give_back: Vec<String>,
}

/// HTTP.
#[derive(Clone, Debug, clap::Args)]
pub struct HttpConfig {
    /// The largest request body, and the longest query string of a GET, in bytes.
    #[arg(long, env = "REQUEST_BYTES_MAX", default_value_t = 2 * 1024 * 1024)]
    pub request_bytes_max: usize,
    /// How long a query or mutation may take, whatever brought it.
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub request_timeout: Duration,
    /// A client that takes nothing of what is sent to it for this long is dropped, on every
    /// transport.
    #[arg(long, env = "CLIENT_WRITE_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub client_write_timeout: Duration,
    /// Origins whose pages may use the gateway (`https://app.example`), or `*` for all.
    #[arg(long, env = "CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// Whether pages of these origins may send cookies. Not together with `*`.
    #[arg(long, env = "CORS_CREDENTIALS", value_parser = BoolishValueParser::new())]
    pub cors_credentials: bool,
    /// Answers browsers' cross-site requests without the check against request forgery.
    #[arg(long, env = "CSRF_PREVENTION_OFF", value_parser = BoolishValueParser::new())]
    pub csrf_prevention_off: bool,
}

/// WebSocket (graphql-transport-ws).
#[derive(Clone, Debug, clap::Args)]
pub struct WebSocketConfig {
    /// A client has to send `connection_init` within this time (close code 4408).
    #[arg(long, env = "WS_INIT_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub ws_init_timeout: Duration,
    /// How often a quiet client is asked whether it still lives; without any sign of life for two
    /// such intervals its connection is dropped.
    #[arg(long, env = "WS_PING_INTERVAL", default_value = "20s", value_parser = duration)]
    pub ws_ping_interval: Duration,
    /// The largest message of a client, in bytes.
    #[arg(long, env = "WS_MESSAGE_BYTES_MAX", default_value_t = 256 * 1024)]
    pub ws_message_bytes_max: usize,
    /// Operations that one connection may have running at a time.
    #[arg(long, env = "WS_OPERATIONS_MAX", default_value_t = 100)]
    pub ws_operations_max: usize,
}

/// Subscriptions: what clients share and how the gateway keeps it up.
#[derive(Clone, Debug, clap::Args)]
pub struct SubscriptionConfig {
    /// Events that a client may be behind before its subscription ends with `SUBSCRIPTION_LAGGED`.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_EVENTS", default_value_t = 256)]
    pub subscription_buffer_events: usize,
    /// Events of one upstream subscription that are completed at the same time, in order.
    #[arg(long, env = "SUBSCRIPTION_CONCURRENT_EVENTS", default_value_t = 16)]
    pub subscription_concurrent_events: usize,
    /// How long the gateway tries to reach a subgraph again before the affected subscriptions end
    /// with `SUBSCRIPTION_UPSTREAM_LOST`.
    #[arg(long, env = "SUBSCRIPTION_RETRY_TIME", default_value = "60s", value_parser = duration)]
    pub subscription_retry_time: Duration,
    /// The longest pause between two attempts; each pause is random, and their bound doubles from
    /// 100 ms up to this.
    #[arg(long, env = "SUBSCRIPTION_RETRY_PAUSE_MAX", default_value = "5s", value_parser = duration)]
    pub subscription_retry_pause_max: Duration,
    /// How often subgraph sockets and streaming clients are sent a sign of life.
    #[arg(long, env = "SUBSCRIPTION_KEEP_ALIVE", default_value = "10s", value_parser = duration)]
    pub subscription_keep_alive: Duration,
    /// Subgraphs that speak subscriptions over server-sent events instead of a WebSocket.
    #[arg(long, env = "SUBSCRIPTION_SSE_SUBGRAPHS", value_delimiter = ',')]
    pub subscription_sse_subgraphs: Vec<String>,
}

/// Persisted operations.
#[derive(Clone, Debug, clap::Args)]
pub struct PersistedConfig {
    /// Automatic persisted queries: clients may send a document's SHA-256 instead of the document.
    #[arg(long, env = "AUTOMATIC_PERSISTED_QUERIES", value_parser = BoolishValueParser::new())]
    pub automatic_persisted_queries: bool,
    /// How many automatically persisted documents are kept.
    #[arg(long, env = "AUTOMATIC_PERSISTED_QUERIES_MAX", default_value_t = 5_000)]
    pub automatic_persisted_queries_max: usize,
    /// A file of the only operations to answer: a JSON object from identifier to document, or an
    /// Apollo persisted query manifest.
    #[arg(long, env = "TRUSTED_DOCUMENTS")]
    pub trusted_documents: Option<PathBuf>,
}

impl Config {
    /// What the graph is told.
    ///
    /// # Errors
    /// When a header rule or a subgraph address is not well-formed, or the authorities of
    /// `SUBGRAPH_CA_FILE` cannot be read.
    pub fn graph_settings(&self) -> anyhow::Result<Settings> {
        let mut subgraphs = self.subgraphs.clone();
        subgraphs.addresses = self.addresses(std::env::vars())?;
        if let Some(file) = &subgraphs.ca_file {
            subgraphs.tls = Tls::with_authorities(file)?;
        }
        Ok(Settings {
            limits: self.limits.clone(),
            subgraphs,
            introspection: self.development,
            report_cost: self.development,
            mask_subgraph_errors: !self.development,
            shown_error_codes: self.shown_error_codes.clone().into(),
            prepared_operations_max: self.prepared_operations_max,
            prepared_bytes_max: self.prepared_operations_bytes_max,
            header_rules: Arc::new(HeaderRules::new(&self.headers)?),
            ..Settings::default()
        })
    }

    /// Addresses from the environment, then from the flags, which win.
    fn addresses(
        &self,
        environment: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<HashMap<String, String>> {
        let mut addresses: HashMap<String, String> = environment
            .filter_map(|(name, url)| Some((name.strip_prefix("SUBGRAPH_URL_")?.to_owned(), url)))
            .collect();
        for pair in &self.subgraph_urls {
            let (name, url) = pair
                .split_once('=')
                .with_context(|| format!("--subgraph-url {pair:?} is not NAME=URL"))?;
            addresses.insert(address_key(name), url.to_owned());
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_flag_wins_over_the_environment() {
        let config = Config::parse_from(["gateway", "--subgraph-url", "my-posts=http://flag/"]);
        let environment = [
            ("SUBGRAPH_URL_MY_POSTS", "http://env/"),
            ("SUBGRAPH_URL_USERS", "http://users/"),
        ];
        let environment = environment.map(|(name, url)| (name.to_owned(), url.to_owned()));
        let addresses = config
            .addresses(environment.into_iter())
            .expect("well-formed");
        assert_eq!(addresses["MY_POSTS"], "http://flag/");
        assert_eq!(addresses["USERS"], "http://users/");
    }

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("5").is_err());
        assert!(duration("soon").is_err());
    }
}
