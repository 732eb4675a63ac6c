//! What every Rejoinder binary needs: configuration, telemetry, lifecycle, serving, health, metrics.
//!
//! A binary is a clap struct that flattens [`Settings`] and a `run` function:
//!
//! ```no_run
//! # use service::{Health, Lifecycle, Metrics, Settings};
//! #[derive(clap::Parser)]
//! struct Config {
//!     #[command(flatten)]
//!     service: Settings,
//! }
//!
//! async fn run(config: Config, listener: tokio::net::TcpListener, lifecycle: Lifecycle) -> anyhow::Result<()> {
//!     let (health, metrics) = (Health::default(), Metrics::new("example"));
//!     let pages = axum::Router::new();
//!     let operations =
//!         service::operations_routes(&config.service, &health, &metrics, pages, &lifecycle).await?;
//!     let router = axum::Router::new().merge(operations);
//!     service::serve(listener, router, &lifecycle, &config.service, &metrics).await
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     service::start("example", 4000, |config: &Config| &config.service, run)
//! }
//! ```
//!
//! Layout: [`settings`] are the settings that all share, `settings_parser` reads them from flags and
//! environment, `settings_files` from files, `settings_check` reports all mistakes, [`telemetry`] starts the logs
//! (`log_queue` writes them, `log_flood` sums them up), [`lifecycle`]
//! owns signals and background tasks, [`server`] owns the socket
//! (`connections` bounds the clients, `shared_socket` lets others write to them, [`tls`] has the certificate), [`health`]
//! and [`metrics`] answer operators (`tracing_requests` makes spans of requests, `process_metrics` are the process's own,
//! `health_check` asks, for container engines), `memory` gives memory
//! back. To add a background task, spawn it on the [`Lifecycle`]; to add a readiness check, register it on the [`Health`].

mod client_stream;
mod connections;
pub mod health;
mod health_check;
pub mod lifecycle;
mod log_flood;
mod log_queue;
mod memory;
pub mod metrics;
mod process_metrics;
pub mod server;
pub mod settings;
mod settings_check;
mod settings_files;
mod settings_parser;
mod shared_socket;
mod start;
pub mod telemetry;
pub mod tls;
mod tracing_requests;
mod write_limit;

pub use connections::ConnectionLimits;
pub use health::Health;
pub use lifecycle::Lifecycle;
pub use metrics::Metrics;
pub use prometheus_client;
pub use server::{
    MakeResponder, Responder, ServeLimits, bind, operations_routes, serve, serve_tls_within,
    serve_traced, serve_within,
};
pub use settings::{LogFormat, Settings};
pub use settings_check::{GivenSetting, SettingMistake, parse_reporting};
pub use settings_files::{file_variable, is_set};
pub use settings_parser::{OldNames, duration, duration_from, duration_up_to, parse};
pub use start::{LISTENING, LISTENING_TLS, OPERATIONS, start, start_tls};
pub use telemetry::{print, print_line, tell};
pub use tls::{Tls, TlsSettings};
pub use traces;
pub use tracing_requests::{start_traces, traced};
pub use write_limit::WriteLimits;
