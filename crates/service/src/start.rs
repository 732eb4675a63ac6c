//! A service from its command line to its exit code.

use std::convert::Infallible;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures_util::future::LocalBoxFuture;
use tokio::net::TcpListener;

use crate::{
    Lifecycle, OldNames, Settings, health_check, memory, server, settings_parser, telemetry,
};

/// How long after its grace period `run` may take to return. Then the service is abandoned.
const RETURN_TIME: Duration = Duration::from_secs(1);
/// After that, a process whose threads are all busy or blocked is ended after this time. It is longer than
/// [`telemetry::flush`] takes.
const EXIT_TIME: Duration = Duration::from_secs(2);

/// The start of the line that a service writes to standard output when it listens; its address follows.
/// A program that starts a service on port 0 reads the port from it.
pub const LISTENING: &str = "listening on http://";

/// The same of a service that is served over TLS.
pub const LISTENING_TLS: &str = "listening on https://";

/// The start of the line that a service writes to standard output when it listens on `OPERATIONS_PORT`;
/// the address follows.
pub const OPERATIONS: &str = "operations on http://";

/// Reads the settings, starts logs and runtime, binds the socket and runs the service until SIGINT,
/// SIGTERM or a fault. A fault is logged and gives exit code 1; a bad setting gives 2. With `--health-check`
/// it asks the service that runs instead.
///
/// A signal ends a service that does not serve yet at once. A service that serves has its grace period;
/// if it still runs after that, it is abandoned, which is a fault.
pub fn start<C, F, Fut>(
    name: &'static str,
    default_port: u16,
    settings: fn(&C) -> &Settings,
    run: F,
) -> ExitCode
where
    C: Parser + 'static,
    F: FnOnce(C, TcpListener, Lifecycle) -> Fut + 'static,
    Fut: Future<Output = anyhow::Result<()>> + 'static,
{
    start_tls(name, default_port, settings, |_| false, run)
}

/// [`start`] of a service whose settings say whether it is served over TLS.
pub fn start_tls<C, F, Fut>(
    name: &'static str,
    default_port: u16,
    settings: fn(&C) -> &Settings,
    is_tls: fn(&C) -> bool,
    run: F,
) -> ExitCode
where
    C: Parser + 'static,
    F: FnOnce(C, TcpListener, Lifecycle) -> Fut + 'static,
    Fut: Future<Output = anyhow::Result<()>> + 'static,
{
    let (config, old_names) = settings_parser::parse::<C>();
    let (shared, is_tls) = (settings(&config).clone(), is_tls(&config));
    if shared.health_check {
        return health_check::run(shared.address(default_port), is_tls);
    }
    let listening = match is_tls {
        true => LISTENING_TLS,
        false => LISTENING,
    };
    let announced = Announced {
        port: default_port,
        listening,
    };
    let run: Run = Box::new(|listener, lifecycle| Box::pin(run(config, listener, lifecycle)));
    start_service(name, announced, &shared, old_names, run)
}

/// Serves on a listener until the shutdown.
type Run = Box<dyn FnOnce(TcpListener, Lifecycle) -> LocalBoxFuture<'static, anyhow::Result<()>>>;

/// What a service has if no setting says otherwise, and how it announces itself.
struct Announced {
    port: u16,
    listening: &'static str,
}

/// [`start`] without type parameters, so that it is compiled once.
fn start_service(
    name: &'static str,
    announced: Announced,
    shared: &Settings,
    old_names: OldNames,
    run: Run,
) -> ExitCode {
    let grace = shared.shutdown_grace;
    let result = telemetry::init(shared).and_then(|()| {
        old_names.warn();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .on_thread_park(memory::give_back_at_times)
            .build()?;
        let result = runtime.block_on(async {
            // Before the service is announced, because then it may be signalled.
            let lifecycle = Lifecycle::until_signal(
                name,
                shared.shutdown_delay,
                grace + RETURN_TIME + EXIT_TIME,
            )?;
            lifecycle.reload_at_hangup()?;
            let listener = server::bind(shared.address(announced.port)).await?;
            let address = listener.local_addr()?;
            tracing::info!(service = name, %address, "listening");
            telemetry::print(format_args!("{}{address}", announced.listening));
            tokio::select! {
                result = run(listener, lifecycle.clone()) => result,
                result = abandoned(&lifecycle, grace) => result,
                never = announce_operations(&lifecycle) => match never {},
            }
        });
        runtime.shutdown_background();
        result
    });
    let exit_code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::fault(name, format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    telemetry::flush();
    exit_code
}

async fn announce_operations(lifecycle: &Lifecycle) -> Infallible {
    let address = lifecycle.operations_served().await;
    telemetry::print(format_args!("{OPERATIONS}{address}"));
    std::future::pending().await
}

/// Returns when the grace period of a shutdown is over.
async fn abandoned(lifecycle: &Lifecycle, grace: Duration) -> anyhow::Result<()> {
    lifecycle.shutdown().cancelled().await;
    if lifecycle.is_serving() {
        tokio::time::sleep(grace + RETURN_TIME).await;
        anyhow::bail!("the service did not end within {} s", grace.as_secs());
    }
    tracing::info!("stopped before the service was ready");
    lifecycle.failure()
}
