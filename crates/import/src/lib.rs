//! Imports posts and comments from the exports of WordPress and Disqus, while the services run.
//!
//! A file is read twice. The first reading builds an index (which posts and comments are imported, and what each reply
//! belongs to) and finds every fault, so that a damaged file changes nothing. The second one converts the texts and
//! writes, in transactions of bounded size. `docs/import.md` is for operators.
//!
//! | module | has |
//! |---|---|
//! | [`config`] | the settings |
//! | [`xml`] | XML as a stream, in bounded memory; [`error`] says what is wrong with a file, and where |
//! | [`record`] | what all exports have: posts, comments, and the trait [`record::Export`] |
//! | [`wordpress`], [`disqus`] | one kind of export each |
//! | [`index`] | what is imported, and what it belongs to |
//! | [`html`], [`date`] | texts and dates as exports have them |
//! | [`key`], [`document`] | the ids and the documents |
//! | [`writer`] | the database |
//! | [`run`](mod@run), [`tally`] | the course of an import, and what it counts |
//!
//! To add a kind of export: implement [`record::Export`] in a file of its own, and choose it in [`run::open`] by the name
//! of its root element.

pub mod config;
pub mod date;
pub mod disqus;
pub mod document;
pub mod error;
pub mod html;
pub mod index;
pub mod key;
pub mod record;
pub mod run;
pub mod tally;
pub mod wordpress;
pub mod writer;
pub mod xml;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use service::{print, telemetry, tell};
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use run::{ImportError, run};
pub use tally::Tally;

/// How often the progress is written.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// The exit code of a file that cannot be imported.
const BAD_FILE: u8 = 3;
/// The exit code after SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs an import as a process, to its exit code.
pub fn main() -> ExitCode {
    let (config, _) = service::parse::<Config>();
    let exit_code = match start(config) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            tell(format_args!("import: {error:#}"));
            ExitCode::FAILURE
        }
    };
    telemetry::flush();
    exit_code
}

fn start(config: Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let exit_code = runtime.block_on(async {
        let interrupted = CancellationToken::new();
        let tally = Arc::new(Tally::default());
        tokio::spawn(interrupt(interrupted.clone())?);
        let progress = tokio::spawn(progress(tally.clone()));
        let is_dry = config.dry_run;
        let outcome = run(config, tally.clone(), interrupted).await;
        progress.abort();
        Ok::<_, anyhow::Error>(report(outcome, is_dry, &tally))
    })?;
    runtime.shutdown_background();
    Ok(exit_code)
}

/// Tells how it went; returns the exit code.
fn report(outcome: Result<(), ImportError>, is_dry: bool, tally: &Tally) -> ExitCode {
    match outcome {
        Ok(()) if is_dry => print(format_args!(
            "nothing was written; an import would be:\n{tally}"
        )),
        Ok(()) => print(format_args!("imported:\n{tally}")),
        Err(error) => {
            let code = match &error {
                ImportError::File { .. } => BAD_FILE,
                ImportError::Interrupted => INTERRUPTED,
                ImportError::Database(_) => 1,
            };
            tell(format_args!("import: {:#}", anyhow::Error::new(error)));
            if tally.is_importing.load(Ordering::Relaxed) && !is_dry {
                print(format_args!("imported until then:\n{tally}"));
            }
            return ExitCode::from(code);
        }
    }
    ExitCode::SUCCESS
}

/// Interrupts the import at the first signal, after the batch that is being written; ends the process at the second.
fn interrupt(interrupted: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            if interrupted.is_cancelled() {
                std::process::exit(i32::from(INTERRUPTED));
            }
            tell(
                "import: interrupted, the current batch is finished first; a second signal ends it at once",
            );
            interrupted.cancel();
        }
    })
}

/// Writes the progress every second.
async fn progress(tally: Arc<Tally>) {
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    // The first one comes at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let step = match tally.is_importing.load(Ordering::Relaxed) {
            false => "checking",
            true => "importing",
        };
        tell(format_args!("{step}: {}", tally.line()));
    }
}
