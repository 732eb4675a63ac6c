//! Every setting of the gateway, as a flag and as an environment variable.

use std::{collections::HashMap, num::ParseIntError, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::builder::BoolishValueParser;
use graphql_transport::{HttpSettings, WebSocketSettings};

use crate::{
    headers::HeaderRules,
    prepare::cache::CacheBounds,
    settings::{Limits, Settings, SubgraphSettings, address_key, duration},
    subgraphs::{Tls, without_user},
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

/// Subscriptions: what clients share and how the gateway keeps it up.
#[derive(Clone, Debug, clap::Args)]
pub struct SubscriptionConfig {
    /// Bytes of one upstream subscription's events that wait for its clients at most. A client that is
    /// further behind ends with `SUBSCRIPTION_LAGGED`. While half of it waits for even the quickest
    /// client, no more events are taken from the subgraph.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_BYTES", default_value_t = 4 << 20)]
    pub subscription_buffer_bytes: usize,
    /// How long the quickest client may take to make room, before it and others that are too far behind
    /// end with `SUBSCRIPTION_LAGGED`.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_WAIT", default_value = "10s", value_parser = duration)]
    pub subscription_buffer_wait: Duration,
    /// The same bytes of all upstream subscriptions together. Beyond it, those whose events have waited for
    /// a second give way, the largest first, and then the largest of the others.
    #[arg(long, env = "SUBSCRIPTION_BUFFERS_BYTES_MAX", default_value_t = 256 << 20)]
    pub subscription_buffers_bytes_max: usize,
    /// Events that wait for a client at most, if their number shall be bounded as well as their bytes.
    /// Empty leaves it open.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_EVENTS", value_parser = count_if_any)]
    pub subscription_buffer_events: Option<usize>,
    /// Events of one upstream subscription that are completed at the same time, in order.
    #[arg(long, env = "SUBSCRIPTION_CONCURRENT_EVENTS", default_value_t = 16)]
    pub subscription_concurrent_events: usize,
    /// The largest event of a subgraph, in bytes.
    #[arg(long, env = "SUBSCRIPTION_EVENT_BYTES_MAX", default_value_t = 64 << 20)]
    pub subscription_event_bytes_max: usize,
    /// Events of one upstream subscription that wait to be completed. With more it is begun again from its
    /// cursor, so that it never holds up the others on its connection.
    #[arg(long, env = "SUBSCRIPTION_UNCOMPLETED_EVENTS_MAX", default_value = "16384", value_parser = at_least_one)]
    pub subscription_uncompleted_events_max: usize,
    /// Bytes of them, with those that are being completed; a single larger event still passes.
    #[arg(long, env = "SUBSCRIPTION_UNCOMPLETED_BYTES_MAX", default_value_t = 8 << 20)]
    pub subscription_uncompleted_bytes_max: usize,
    /// The same bytes of all upstream subscriptions together. Those of one client address may have as many as
    /// nobody uses. 16 KiB of each always find room, and of events that are larger than all of it, one at a
    /// time.
    #[arg(long, env = "SUBSCRIPTION_UNCOMPLETED_ALL_BYTES_MAX", default_value_t = 128 << 20)]
    pub subscription_uncompleted_all_bytes_max: usize,
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
    /// The largest request for a subscription, in bytes of JSON. It has to be below what subgraphs
    /// accept as a WebSocket message: many close the connection of all subscriptions otherwise.
    #[arg(
        long,
        env = "SUBSCRIPTION_REQUEST_BYTES_MAX",
        default_value_t = 1_000_000
    )]
    pub subscription_request_bytes_max: usize,
    /// Different subscriptions of all clients together; clients with equal ones count once. One more
    /// is refused with `SUBSCRIPTION_LIMIT_REACHED`.
    #[arg(long, env = "SUBSCRIPTION_UPSTREAM_MAX", default_value_t = 5_000)]
    pub subscription_upstream_max: usize,
    /// Different subscriptions that one client (a WebSocket) may begin. One more is refused with
    /// `TOO_MANY_SUBSCRIPTIONS`. One that another client has begun does not count.
    #[arg(long, env = "SUBSCRIPTION_UPSTREAM_CLIENT_MAX", default_value_t = 100)]
    pub subscription_upstream_client_max: usize,
    /// Different subscriptions that the clients of one address may begin. One more is refused with
    /// `TOO_MANY_SUBSCRIPTIONS`. Behind a proxy, set it to `SUBSCRIPTION_UPSTREAM_MAX`.
    #[arg(
        long,
        env = "SUBSCRIPTION_UPSTREAM_ADDRESS_MAX",
        default_value_t = 1_000
    )]
    pub subscription_upstream_address_max: usize,
    /// Subscriptions of one address that share WebSockets to a subgraph with those of others. For more,
    /// WebSockets of its own are opened, so that their events keep nobody else's waiting.
    #[arg(
        long,
        env = "SUBSCRIPTION_SHARED_SOCKETS_ADDRESS_MAX",
        default_value_t = 50
    )]
    pub subscription_shared_sockets_address_max: usize,
    /// Subscriptions on one WebSocket to a subgraph; for more, another is opened. It has to be below
    /// what subgraphs accept on one connection.
    #[arg(long, env = "SUBSCRIPTION_SOCKET_OPERATIONS_MAX", default_value = "500", value_parser = at_least_one)]
    pub subscription_socket_operations_max: usize,
    /// Operations that are remembered because a subgraph ended the connection on which they arrived.
    /// Such an operation goes over a connection of its own, or is refused.
    #[arg(long, env = "SUBSCRIPTION_QUARANTINE_MAX", default_value_t = 1_000)]
    pub subscription_quarantine_max: usize,
    /// WebSockets to one subgraph for such operations. Where more are needed at a time, operations wait
    /// for a later attempt.
    #[arg(long, env = "SUBSCRIPTION_ALONE_SOCKETS_MAX", default_value_t = 64)]
    pub subscription_alone_sockets_max: usize,
    /// Pings of a subgraph on one WebSocket between two of the gateway's own (`SUBSCRIPTION_KEEP_ALIVE`).
    /// Each is answered; with more, the WebSocket is closed.
    #[arg(long, env = "SUBSCRIPTION_SOCKET_PINGS_MAX", default_value_t = 1_000)]
    pub subscription_socket_pings_max: usize,
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
    /// Bytes of them.
    #[arg(long, env = "AUTOMATIC_PERSISTED_QUERIES_BYTES_MAX", default_value_t = 64 << 20)]
    pub automatic_persisted_queries_bytes_max: usize,
    /// A file of the only operations to answer: a JSON object from identifier to document, or an
    /// Apollo persisted query manifest.
    #[arg(long, env = "TRUSTED_DOCUMENTS")]
    pub trusted_documents: Option<PathBuf>,
}

/// Reads a bound that an empty text leaves open.
fn count_if_any(text: &str) -> Result<usize, ParseIntError> {
    match text {
        "" => Ok(usize::MAX),
        count => count.parse(),
    }
}

/// Reads a count that must not be 0.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it has to be 1 or more".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("{text:?} is not a whole number")),
    }
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
            introspection: self.service.development,
            report_cost: self.service.development,
            mask_subgraph_errors: !self.service.development,
            shown_error_codes: self.shown_error_codes.clone().into(),
            prepared: CacheBounds {
                entries_max: self.prepared_operations_max,
                bytes_max: self.prepared_operations_bytes_max,
                new_bytes_max: self.prepared_operations_new_bytes_max,
                new_time: self.prepared_operations_new_time,
                unused_time: self.prepared_operations_unused_time,
            },
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
            let (name, url) = pair.split_once('=').with_context(|| {
                format!("--subgraph-url {:?} is not NAME=URL", without_user(pair))
            })?;
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
    fn an_empty_bound_of_waiting_events_is_none() {
        let events = |value: &str| {
            let flag = format!("--subscription-buffer-events={value}");
            let config = Config::try_parse_from(["gateway", &flag]).ok()?;
            config.subscriptions.subscription_buffer_events
        };
        assert_eq!(events(""), Some(usize::MAX));
        assert_eq!(events("16"), Some(16));
        assert_eq!(events("many"), None);
    }

    #[test]
    fn a_refused_address_shows_no_user_information() {
        let config = Config::parse_from(["gateway", "--subgraph-url", "http://u:secret@host/"]);
        let refused = config.addresses(std::iter::empty());
        let error = format!("{:#}", refused.expect_err("no name"));
        assert!(error.contains("://***@host/"), "{error}");
    }
}
