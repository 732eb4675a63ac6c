//! The way of a process from its command line to its exit code.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tokio::net::TcpListener;

use crate::{Lifecycle, Settings, server, telemetry};

/// What the one line that a service writes to standard output starts with; the address follows.
/// Whoever starts it on port 0 learns the port from there.
pub const LISTENING: &str = "listening on http://";

/// Reads the configuration, starts logs and runtime, binds the socket and runs the service until
/// SIGINT, SIGTERM or a fault. Faults are logged and give exit code 1; a bad flag gives 2.
pub fn start<C, F, Fut>(
    name: &'static str,
    default_port: u16,
    settings: fn(&C) -> &Settings,
    run: F,
) -> ExitCode
where
    C: Parser,
    F: FnOnce(C, TcpListener, Lifecycle) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let config = C::parse();
    let shared = settings(&config).clone();
    let result = telemetry::init(&shared).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let result = runtime.block_on(async {
            // Before anybody hears of the service, and may signal it.
            let lifecycle = Lifecycle::until_signal()?;
            let listener = server::bind(shared.address(default_port)).await?;
            let address = listener.local_addr()?;
            tracing::info!(service = name, %address, "listening");
            // Nobody may be reading, and the service does not depend on a reader.
            let _ = writeln!(std::io::stdout(), "{LISTENING}{address}");
            run(config, listener, lifecycle).await
        });
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(
                service = name,
                reason = format!("{error:#}"),
                "stopped by a fault"
            );
            // Where the log does not say it, because it could not be started or is turned off.
            if !tracing::enabled!(tracing::Level::ERROR) {
                eprintln!("{name}: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
