//! Every limit of the transports, once, with its default.
//!
//! With the feature `clap`, each is a flag and an environment variable of a process that flattens these
//! structs; durations read `500ms`, `30s` or `5m`.

use std::time::Duration;

#[cfg(feature = "clap")]
use clap::builder::BoolishValueParser;
use http::HeaderName;

use crate::{http::origin::LOOPBACK, signature::Verifier, trusted_proxies::TrustedProxies, turns};

/// What the transports of one process are set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits and rules of HTTP requests; the timeouts hold for every transport.
    pub http: HttpSettings,
    /// Limits of a WebSocket and of its operations.
    pub websocket: WebSocketSettings,
    /// A quiet event stream shows a sign of life this often.
    pub keep_alive: Duration,
    /// Running operations get this long to end at a shutdown.
    pub grace: Duration,
    /// How many tasks of one client may be ready to run at a time; its others wait.
    pub tasks_per_client_max: usize,
    /// Whose requests alone are answered; by default, everybody's.
    pub verifier: Verifier,
    /// Response headers that pages of other origins may read.
    pub exposed_headers: Vec<HeaderName>,
    /// The proxies that tell their clients' addresses; by default, none.
    pub trusted_proxies: TrustedProxies,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http: HttpSettings::default(),
            websocket: WebSocketSettings::default(),
            keep_alive: Duration::from_secs(10),
            grace: Duration::from_secs(10),
            tasks_per_client_max: turns::tasks_per_client_max(),
            verifier: Verifier::default(),
            exposed_headers: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

/// Limits and rules of HTTP requests; the timeouts hold for every transport.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct HttpSettings {
    /// Limit the bytes of a request body, and of the query string of a GET.
    #[cfg_attr(feature = "clap", arg(long, env = "REQUEST_BYTES_MAX", default_value_t = Self::default().request_bytes_max))]
    pub request_bytes_max: usize,
    /// Answer batches, JSON arrays of requests by POST, of at most this many; each counts as if it had come alone. `0`
    /// answers none.
    #[cfg_attr(feature = "clap", arg(long, env = "BATCH_MAX", default_value_t = Self::default().batch_max, value_parser = batch_max))]
    pub batch_max: usize,
    /// Accept files by POST (`multipart/form-data`, the GraphQL multipart request specification), at most this many with a
    /// request. `0` accepts none.
    #[cfg_attr(feature = "clap", arg(long, env = "UPLOADS_MAX", default_value_t = Self::default().uploads_max, value_parser = uploads_max))]
    pub uploads_max: usize,
    /// Limit the bytes of a request with files. They are in memory until the operation has ended, and count twice in
    /// REQUEST_BODIES_BYTES_MAX.
    #[cfg_attr(feature = "clap", arg(long, env = "UPLOAD_BYTES_MAX", default_value_t = Self::default().upload_bytes_max))]
    pub upload_bytes_max: usize,
    /// Refuse a request whose body has not arrived completely after this time.
    #[cfg_attr(feature = "clap", arg(long, env = "REQUEST_BODY_TIMEOUT", default_value = "30s", value_parser = duration))]
    pub request_body_timeout: Duration,
    /// Limit the bytes of incomplete request bodies of all clients together. A request that exceeds it is
    /// refused. The last quarter is reserved for bodies of up to 16 KiB.
    #[cfg_attr(feature = "clap", arg(long, env = "REQUEST_BODIES_BYTES_MAX", default_value_t = Self::default().request_bodies_bytes_max))]
    pub request_bodies_bytes_max: usize,
    /// Limit the bytes of incomplete request bodies of one client address. Behind a proxy, set it to
    /// REQUEST_BODIES_BYTES_MAX.
    #[cfg_attr(feature = "clap", arg(long, env = "REQUEST_BODIES_BYTES_PER_CLIENT_MAX", default_value_t = Self::default().request_bodies_bytes_per_client_max))]
    pub request_bodies_bytes_per_client_max: usize,
    /// Limit the bytes of responses that clients have not read, of all clients together. Responses of up to 64
    /// KiB do not count. A response that exceeds it is discarded.
    #[cfg_attr(feature = "clap", arg(long, env = "ANSWERS_BYTES_MAX", default_value_t = Self::default().answers_bytes_max))]
    pub answers_bytes_max: usize,
    /// Limit the bytes of unread responses to one client address. Behind a proxy, set it to ANSWERS_BYTES_MAX.
    #[cfg_attr(feature = "clap", arg(long, env = "ANSWERS_BYTES_PER_CLIENT_MAX", default_value_t = Self::default().answers_bytes_per_client_max))]
    pub answers_bytes_per_client_max: usize,
    /// Fail a query or mutation after this time, on every transport.
    #[cfg_attr(feature = "clap", arg(long, env = "REQUEST_TIMEOUT", default_value = "60s", value_parser = duration))]
    pub request_timeout: Duration,
    /// Disconnect a client that reads nothing for this long, on every transport.
    #[cfg_attr(feature = "clap", arg(long, env = "CLIENT_WRITE_TIMEOUT", default_value = "30s", value_parser = duration))]
    pub client_write_timeout: Duration,
    /// Serve only requests to these host names (`api.example`), with a port or at any; `*` allows all. In
    /// development the default is `localhost`, `127.0.0.1` and `[::1]`, otherwise all.
    #[cfg_attr(feature = "clap", arg(long, env = "ALLOWED_HOSTS", value_delimiter = ',', value_parser = trimmed))]
    pub allowed_hosts: Vec<String>,
    /// Allow pages of these origins to use the service (`https://app.example`); `*` allows all, and `loopback`
    /// the pages of this machine at any port. In development the default is `loopback`; otherwise only pages
    /// of its own origin may.
    #[cfg_attr(feature = "clap", arg(long, env = "CORS_ORIGINS", value_delimiter = ',', value_parser = trimmed))]
    pub cors_origins: Vec<String>,
    /// Allow pages of these origins to send cookies. Not together with `*`.
    #[cfg_attr(feature = "clap", arg(long, env = "CORS_CREDENTIALS", value_parser = BoolishValueParser::new()))]
    pub cors_credentials: bool,
    /// Accept browsers' cross-site requests without the check against request forgery (CSRF).
    #[cfg_attr(feature = "clap", arg(long, env = "CSRF_PREVENTION_OFF", value_parser = BoolishValueParser::new()))]
    pub csrf_prevention_off: bool,
    /// Compress responses to queries and mutations of at least this many bytes, with gzip, for clients that
    /// accept it; at least 1024. `0` compresses none.
    #[cfg_attr(feature = "clap", arg(long, env = "COMPRESSION_BYTES_MIN", default_value_t = Self::default().compression_bytes_min, value_parser = compression_bytes_min))]
    pub compression_bytes_min: usize,
}

/// Smaller responses fit into one packet, compressed or not.
pub(crate) const COMPRESSION_BYTES_LEAST: usize = 1024;

/// Files beside a request; more would be a job for another protocol.
#[cfg(feature = "clap")]
const UPLOADS_MOST: usize = 100;

/// The requests of a batch run at the same time: no more may be set.
#[cfg(feature = "clap")]
const BATCH_MOST: usize = 1_000;

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            request_bytes_max: 2 * 1024 * 1024,
            batch_max: 0,
            uploads_max: 0,
            upload_bytes_max: 4 * 1024 * 1024,
            request_body_timeout: Duration::from_secs(30),
            request_bodies_bytes_max: 64 * 1024 * 1024,
            request_bodies_bytes_per_client_max: 16 * 1024 * 1024,
            answers_bytes_max: 256 * 1024 * 1024,
            answers_bytes_per_client_max: 32 * 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            client_write_timeout: Duration::from_secs(30),
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            cors_credentials: false,
            csrf_prevention_off: false,
            compression_bytes_min: 4096,
        }
    }
}

impl HttpSettings {
    /// The names of the machine itself, where no others are set: for development.
    #[must_use]
    pub fn at_loopback_names(mut self) -> Self {
        if self.allowed_hosts.iter().all(String::is_empty) {
            self.allowed_hosts = ["localhost", "127.0.0.1", "[::1]"]
                .map(str::to_owned)
                .into();
        }
        self
    }

    /// Pages of the machine itself, at any port, where no others are set: for development.
    #[must_use]
    pub fn for_loopback_pages(mut self) -> Self {
        if self.cors_origins.iter().all(String::is_empty) {
            self.cors_origins = vec![LOOPBACK.to_owned()];
        }
        self
    }
}

/// Limits of a WebSocket (graphql-transport-ws) and of its operations.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct WebSocketSettings {
    /// Close a WebSocket (4408) whose client has not sent `connection_init` after this time.
    #[cfg_attr(feature = "clap", arg(long, env = "WS_INIT_TIMEOUT", default_value = "10s", value_parser = duration))]
    pub ws_init_timeout: Duration,
    /// Ping a quiet client this often. Without any sign of life for two such intervals its connection is
    /// dropped.
    #[cfg_attr(feature = "clap", arg(long, env = "WS_PING_INTERVAL", default_value = "20s", value_parser = duration))]
    pub ws_ping_interval: Duration,
    /// Limit the pings that a client may send within such an interval, of the WebSocket and of the protocol
    /// together, in addition to one per operation. With more, its connection is closed (1008).
    #[cfg_attr(feature = "clap", arg(long, env = "WS_PINGS_MAX", default_value_t = Self::default().ws_pings_max))]
    pub ws_pings_max: usize,
    /// Limit the bytes of a client's message.
    #[cfg_attr(feature = "clap", arg(long, env = "WS_MESSAGE_BYTES_MAX", default_value_t = Self::default().ws_message_bytes_max))]
    pub ws_message_bytes_max: usize,
    /// Limit the running operations of one connection.
    #[cfg_attr(feature = "clap", arg(long, env = "WS_OPERATIONS_MAX", default_value_t = Self::default().ws_operations_max))]
    pub ws_operations_max: usize,
    /// Limit the queries and mutations among these operations; further ones fail with `OVERLOADED`.
    #[cfg_attr(feature = "clap", arg(long, env = "WS_ANSWERS_MAX", default_value_t = Self::default().ws_answers_max))]
    pub ws_answers_max: usize,
    /// Limit the queries and mutations of one connection that run, or whose response the client has not read;
    /// the others wait.
    #[cfg_attr(feature = "clap", arg(long, env = "WS_ANSWERS_RUNNING_MAX", default_value_t = Self::default().ws_answers_running_max, value_parser = at_least_one))]
    pub ws_answers_running_max: usize,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self {
            ws_init_timeout: Duration::from_secs(10),
            ws_ping_interval: Duration::from_secs(20),
            ws_pings_max: 100,
            ws_message_bytes_max: 256 * 1024,
            ws_operations_max: 100,
            ws_answers_max: 100,
            ws_answers_running_max: 64,
        }
    }
}

/// Reads one item of a list without the blanks around it.
///
/// # Errors
/// None.
pub fn trimmed(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.trim().to_owned())
}

#[cfg(feature = "clap")]
fn uploads_max(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ ..=UPLOADS_MOST) => Ok(count),
        _ => Err(format!("a number of at most {UPLOADS_MOST} is needed")),
    }
}

#[cfg(feature = "clap")]
fn batch_max(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ ..=BATCH_MOST) => Ok(count),
        _ => Err(format!("a number of at most {BATCH_MOST} is needed")),
    }
}

#[cfg(feature = "clap")]
fn compression_bytes_min(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Ok(0),
        Ok(bytes) if bytes >= COMPRESSION_BYTES_LEAST => Ok(bytes),
        Ok(_) => Err(format!(
            "0, or at least {COMPRESSION_BYTES_LEAST}, is needed"
        )),
        Err(error) => Err(format!("{text:?} is not a number: {error}")),
    }
}

#[cfg(feature = "clap")]
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1 is needed".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{text:?} is not a number: {error}")),
    }
}

/// Reads a duration such as `500ms`, `30s` or `5m`, of at most 100 years: a longer one has no end that an `Instant`
/// can hold.
#[cfg(feature = "clap")]
fn duration(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= MAX => Ok(duration),
        Ok(_) => Err("at most 100 years can be set".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(all(test, feature = "clap"))]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        http: HttpSettings,
        #[command(flatten)]
        websocket: WebSocketSettings,
    }

    #[test]
    fn flags_have_the_documented_defaults() {
        let flags = Flags::parse_from(["service"]);
        let defaults = (HttpSettings::default(), WebSocketSettings::default());
        assert_eq!(
            format!("{:?}", (flags.http, flags.websocket)),
            format!("{defaults:?}")
        );
    }

    #[test]
    fn blanks_around_an_origin_mean_nothing() {
        let flags = Flags::parse_from(["service", "--cors-origins=https://a.example , null"]);
        assert_eq!(flags.http.cors_origins, ["https://a.example", "null"]);
    }

    #[test]
    fn small_responses_are_never_compressed() {
        let flags =
            |value: &str| Flags::try_parse_from(["service", "--compression-bytes-min", value]);
        assert!(flags("0").is_ok() && flags("1024").is_ok());
        assert!(flags("1023").is_err() && flags("1K").is_err());
    }

    #[test]
    fn batches_have_a_bound() {
        let flags = |value: &str| Flags::try_parse_from(["service", "--batch-max", value]);
        assert!(flags("0").is_ok() && flags("1000").is_ok());
        let files = |value: &str| Flags::try_parse_from(["service", "--uploads-max", value]);
        assert!(files("100").is_ok() && files("101").is_err() && files("all").is_err());
        assert!(flags("1001").is_err() && flags("-1").is_err() && flags("all").is_err());
    }

    #[test]
    fn durations_carry_their_unit() {
        let flags =
            Flags::parse_from(["service", "--ws-init-timeout=500ms", "--request-timeout=5m"]);
        assert_eq!(flags.websocket.ws_init_timeout, Duration::from_millis(500));
        assert_eq!(flags.http.request_timeout, Duration::from_secs(300));
        assert!(Flags::try_parse_from(["service", "--request-timeout=5"]).is_err());
    }
}
