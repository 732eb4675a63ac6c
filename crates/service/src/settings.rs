//! The settings that every binary shares, from flags or the environment.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::builder::{BoolishValueParser, RangedU64ValueParser};

use crate::settings_parser::{duration, duration_from, duration_up_to};
use traces::TraceSettings;

use crate::{ConnectionLimits, ServeLimits, WriteLimits};

/// A client that reads nothing for this long is disconnected, unless the binary has a setting for it.
const WRITE_TIME_LIMIT: Duration = Duration::from_secs(30);

/// A longer delay would be a mistake: nothing waits for so long.
const SHUTDOWN_DELAY_MAX: Duration = Duration::from_secs(60 * 60);

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Compact,
    /// One JSON object per event, for log collectors.
    Json,
}

/// The settings that every binary shares.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Listen on this address. The default accepts connections from this machine only.
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Listen on this port; 0 takes a free one. The default is 4000 for the gateway, 4001 for posts and 4002
    /// for comments.
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// Serve `/metrics` and the pages below it on this port instead of the public one; 0 takes a free one.
    /// Without it they are on the public port in development, and nowhere otherwise.
    #[arg(long, env = "OPERATIONS_PORT")]
    pub operations_port: Option<u16>,
    /// Enable what helps in development: metrics on the public port, and only this machine's host names; in the
    /// gateway also introspection, GraphiQL and subgraphs' full error messages. Off by default, as these help
    /// attackers too.
    #[arg(long, env = "DEVELOPMENT", value_parser = BoolishValueParser::new())]
    pub development: bool,
    /// Write log events as `compact`, one readable line each, or as `json`, one object each for log collectors.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Write the log events that this filter selects, in tracing's syntax: `info`, or `warn,gateway=debug`.
    #[arg(long, env = "LOG", default_value = "info")]
    pub log: String,
    /// Give running requests and background tasks this long to finish at a shutdown. Open WebSockets and event streams
    /// are ended one after the other within four fifths of it. The default is below the 30 s that Kubernetes allows.
    #[arg(long, env = "SHUTDOWN_GRACE", alias = "shutdown-grace-seconds", default_value = "10s", value_parser = duration)]
    pub shutdown_grace: Duration,
    /// After SIGTERM, serve on for this long, and only report at `/health/ready` that the service is not ready. Only then
    /// does the shutdown begin, and its grace period. A second signal ends the delay. Set it to what your load balancer
    /// takes to send nothing more: in Kubernetes about 5s. By default the shutdown begins at once.
    #[arg(long, env = "SHUTDOWN_DELAY", default_value = "0s", value_parser = duration_up_to(SHUTDOWN_DELAY_MAX))]
    pub shutdown_delay: Duration,
    /// Limit the number of open client connections, WebSockets included. The limit of open files, less 256,
    /// also applies.
    #[arg(long, env = "CONNECTIONS_MAX", default_value_t = 10_000, value_parser = at_least_one)]
    pub connections_max: usize,
    /// Limit the number of open client connections from one address; for IPv6, from one network of 64 bits. The
    /// default leaves half of CONNECTIONS_MAX to others. Behind a proxy, set it to CONNECTIONS_MAX: all clients
    /// then have the proxy's address.
    #[arg(long, env = "CONNECTIONS_PER_ADDRESS_MAX", default_value_t = 5_000, value_parser = at_least_one)]
    pub connections_per_address_max: usize,
    /// Limit the requests and streams that one HTTP/2 connection may have open at the same time. Further ones are
    /// refused.
    #[arg(long, env = "HTTP2_STREAMS_MAX", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub http2_streams_max: u32,
    /// Limit the bytes of a request's head: its line and its headers. A larger one is answered with status 431. Over
    /// HTTP/2, at most 16 KiB are accepted in any case. The default is enough for several large cookies and tokens.
    #[arg(long, env = "REQUEST_HEAD_BYTES_MAX", default_value_t = 65_536, value_parser = head_bytes())]
    pub request_head_bytes_max: usize,
    /// Limit the tasks of one client address that stand in the queue for a processor at the same time; its other
    /// tasks wait until these have run. Addresses with tasks there share this number, and each has at least one; an
    /// address that is alone may have 16 times as many. The default is the number of processors. Behind a proxy,
    /// where all clients have the proxy's address, a limit far above CONNECTIONS_MAX turns this off.
    #[arg(long, env = "TASKS_PER_CLIENT_MAX", value_parser = at_least_one)]
    pub tasks_per_client_max: Option<usize>,
    /// Close a new connection that has not sent the head of its first request after this time. The default is
    /// enough for a slow mobile network.
    #[arg(long, env = "FIRST_REQUEST_TIMEOUT", alias = "first-request-seconds", default_value = "10s", value_parser = duration_from(Duration::from_secs(1)))]
    pub first_request_timeout: Duration,
    /// Disconnect a client that reads fewer bytes per second than this while data waits for it. The default is
    /// far below any usable network. 0 turns this off.
    #[arg(long, env = "CLIENT_BYTES_PER_SECOND_MIN", default_value_t = 1_024)]
    pub client_bytes_per_second_min: u64,
    /// Which traces are made, and where they are sent.
    #[command(flatten)]
    pub traces: TraceSettings,
    /// Ask the service that runs with these settings on this machine whether it is ready, and exit: with 0 if it is,
    /// with 1 and the reason otherwise.
    #[arg(long)]
    pub health_check: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number of at least 1 is expected".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// The HTTP implementation reads 8 KiB at once, and counts in 32 bits.
fn head_bytes() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(8_192..=u64::from(u32::MAX))
}

impl Settings {
    /// Where to listen, given the binary's own default port.
    pub fn address(&self, default_port: u16) -> SocketAddr {
        SocketAddr::new(self.host, self.port.unwrap_or(default_port))
    }

    /// The limits for a server's clients. One that reads nothing for 30 s is disconnected.
    pub fn serve_limits(&self) -> ServeLimits {
        ServeLimits {
            grace: self.shutdown_grace,
            write: WriteLimits {
                time: WRITE_TIME_LIMIT,
                bytes_per_second_min: self.client_bytes_per_second_min,
            },
            connections: ConnectionLimits {
                max: self.connections_max,
                per_address_max: self.connections_per_address_max,
                first_request: self.first_request_timeout,
            },
            http2_streams_max: self.http2_streams_max,
            request_head_bytes_max: self.request_head_bytes_max,
        }
    }
}
