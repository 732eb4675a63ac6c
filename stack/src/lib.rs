//! The one-command local stack: MongoDB, the services and sample data.
//!
//! One program plays every part. Called by the name of a service (`argv[0]`, as busybox does it) it
//! is that service; called by any other name it is the stack, which starts itself once more for
//! each service. So the services are real processes with settings from the environment, as in
//! production, and one build is enough.
//!
//! Layout: [`run`](mod@run) has the steps from start to stop, in order; [`database`] finds or starts
//! MongoDB, [`process`] starts one service and [`supervisor`] keeps it running; [`issuer`] gives tokens; [`ports`],
//! [`secret`], [`supergraph`], [`sample`] and [`web`] are what their names say. To add a service, add it to
//! [`Service`].

mod database;
mod issuer;
mod options;
mod owner;
mod ports;
pub mod process;
mod run;
mod sample;
mod secret;
mod supergraph;
mod supervisor;
mod web;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use service::{Lifecycle, telemetry};

pub use options::Options;
pub use process::{Service, ServiceProcess};

/// The program's entry: a service when called by a service's name, else the stack.
pub fn main() -> ExitCode {
    if let Some(exit_code) = service_main() {
        return exit_code;
    }
    let exit_code = match start(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::tell(format_args!("stack: {error:#}"));
            ExitCode::FAILURE
        }
    };
    telemetry::flush();
    exit_code
}

/// Runs a service to its end when the program is called by a service's name. For programs that play
/// other parts beside the services', such as the benchmarks.
pub fn service_main() -> Option<ExitCode> {
    let called_as = std::env::args_os().next()?;
    let name = Path::new(&called_as).file_name().and_then(OsStr::to_str)?;
    let service = Service::by_name(name)?;
    owner::end_with_owner();
    Some(service.main())
}

fn start(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let lifecycle = Lifecycle::until_signal("stack", Duration::ZERO, run::stop_time_limit())?;
        run::run(options, lifecycle).await
    });
    runtime.shutdown_background();
    result
}
