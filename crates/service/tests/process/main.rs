//! A service as a process: what it logs, how it ends, and with which exit code.
//!
//! Each test plays two roles: in its own process it starts this binary again with its own name, and in
//! that second process it is the service.

mod connections;
mod endings;
mod logs;
mod ports;
mod process;
mod settings;
mod talkative;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use axum::routing::get;
use service::{Health, Lifecycle, Metrics, Settings};
use tokio::net::TcpListener;

/// Set in a process that plays a service.
const ROLE: &str = "SERVICE_TEST_ROLE";
/// Enough for whatever is waited for; only a failure takes as long.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(clap::Parser)]
struct Config {
    #[command(flatten)]
    service: Settings,
    /// What the test harness is told.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _harness: Vec<String>,
}

/// In the role of a service: is it, to its end. Otherwise returns.
fn play<F, Fut>(run: F)
where
    F: FnOnce(Config, TcpListener, Lifecycle) -> Fut + 'static,
    Fut: Future<Output = anyhow::Result<()>> + 'static,
{
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let code = service::start("doomed", 0, |config: &Config| &config.service, run);
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

async fn serve(
    router: axum::Router,
    config: &Config,
    listener: TcpListener,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let metrics = Metrics::new("doomed");
    service::serve(listener, router, lifecycle, &config.service, &metrics).await
}

/// The routes for operators, with a page of the service's own.
async fn operations(config: &Config, lifecycle: &Lifecycle) -> anyhow::Result<axum::Router> {
    let (health, metrics) = (Health::default(), Metrics::new("doomed"));
    let pages = axum::Router::new().route("/metrics/page", get(|| async { "a page" }));
    service::operations_routes(&config.service, &health, &metrics, pages, lifecycle).await
}
