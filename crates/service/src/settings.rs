//! The settings that every binary shares, from flags or the environment.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::builder::BoolishValueParser;

use crate::{ConnectionLimits, ServeLimits, WriteLimits};

/// A client that takes nothing of its answer for this long is dropped, unless the binary has a setting for it.
const WRITE_TIME_LIMIT: Duration = Duration::from_secs(30);

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Compact,
    /// One JSON object an event, for log collectors.
    Json,
}

/// The settings that every binary shares.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Address to listen on.
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one. Each binary has its own default.
    #[arg(long, env = "PORT")]
    pub port: Option<u16>,
    /// Port for `/metrics` and the pages below it, which then leave the public port; 0 takes a free one.
    /// Without it they are on the public port in development, and nowhere otherwise.
    #[arg(long, env = "OPERATIONS_PORT")]
    pub operations_port: Option<u16>,
    /// For development: metrics on the public port; at the gateway introspection, GraphiQL, and
    /// subgraph errors as they are.
    #[arg(long, env = "DEVELOPMENT", value_parser = BoolishValueParser::new())]
    pub development: bool,
    /// Log format.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Which log events are written, in tracing's filter syntax.
    #[arg(long, env = "LOG", default_value = "info")]
    pub log: String,
    /// Seconds that running requests and background tasks get to finish at a shutdown.
    #[arg(long, env = "SHUTDOWN_GRACE_SECONDS", default_value_t = 10)]
    pub shutdown_grace_seconds: u64,
    /// Open client connections, WebSockets included. At most what the limit of open files allows, less 256.
    #[arg(long, env = "CONNECTIONS_MAX", default_value_t = 10_000, value_parser = at_least_one)]
    pub connections_max: usize,
    /// Open client connections of one address; of an IPv6 address the network counts (64 bits). Behind a proxy,
    /// set it to CONNECTIONS_MAX.
    #[arg(long, env = "CONNECTIONS_PER_ADDRESS_MAX", default_value_t = 5_000, value_parser = at_least_one)]
    pub connections_per_address_max: usize,
    /// Seconds that a new connection has for the head of its first request.
    #[arg(long, env = "FIRST_REQUEST_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub first_request_seconds: u64,
    /// Bytes a second that a client has to take while writes to it wait; a slower one is dropped. 0 turns it off.
    #[arg(long, env = "CLIENT_BYTES_PER_SECOND_MIN", default_value_t = 1_024)]
    pub client_bytes_per_second_min: u64,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number of at least 1 is expected".to_owned()),
        Ok(number) => Ok(number),
    }
}

impl Settings {
    /// Where to listen, given the binary's own default port.
    pub fn address(&self, default_port: u16) -> SocketAddr {
        SocketAddr::new(self.host, self.port.unwrap_or(default_port))
    }

    /// What bounds the clients of a server. One that takes nothing for 30 s is dropped.
    pub fn serve_limits(&self) -> ServeLimits {
        ServeLimits {
            grace: self.grace(),
            write: WriteLimits {
                time: WRITE_TIME_LIMIT,
                bytes_per_second_min: self.client_bytes_per_second_min,
            },
            connections: ConnectionLimits {
                max: self.connections_max,
                per_address_max: self.connections_per_address_max,
                first_request: Duration::from_secs(self.first_request_seconds),
            },
        }
    }

    /// How long running requests get to finish at a shutdown.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_seconds)
    }
}
