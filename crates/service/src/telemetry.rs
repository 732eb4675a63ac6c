//! Starts the logs: events go to standard error, so that standard output stays the program's own.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::{LogFormat, Settings};

/// Installs the process-wide subscriber. Called once by [`crate::start()`]; a second call keeps the
/// first subscriber.
///
/// # Errors
/// When the `LOG` filter cannot be parsed.
pub fn init(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log)
        .map_err(|error| anyhow::anyhow!("LOG={:?} is not a log filter: {error}", settings.log))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for people, not for files.
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match settings.log_format {
        LogFormat::Compact => builder.compact().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logs were started before: their subscriber stays");
    }
    Ok(())
}
