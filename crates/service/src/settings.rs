//! The settings that every binary shares, from flags or the environment.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::builder::BoolishValueParser;

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
}

impl Settings {
    /// Where to listen, given the binary's own default port.
    pub fn address(&self, default_port: u16) -> SocketAddr {
        SocketAddr::new(self.host, self.port.unwrap_or(default_port))
    }

    /// How long running requests get to finish at a shutdown.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.shutdown_grace_seconds)
    }
}
