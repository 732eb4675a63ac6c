//! `--check`: reads the settings and the supergraph as a start would, and reports every mistake with its place.
//!
//! A start ends at the first mistake, or begins without a supergraph. Who deploys wants to know all of them before.

mod settings;
mod supergraph;

use std::{fmt, process::ExitCode};

use service::{SettingMistake, telemetry};

use crate::config::Config;
use settings::Settings;

const FLAG: &str = "--check";

/// Whether this process was started to check.
pub(crate) fn is_wanted() -> bool {
    // Help comes first, as with all flags.
    let mut arguments = std::env::args_os().skip(1);
    let is_help = |it: &std::ffi::OsString| it == "--help" || it == "-h" || it == "--version";
    arguments.any(|it| it == FLAG) && !std::env::args_os().any(|it| is_help(&it))
}

/// Checks, reports, and returns the exit code.
pub(crate) fn main() -> ExitCode {
    let (config, given, refused) = service::parse_reporting::<Config>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            telemetry::tell(format_args!("gateway: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let settings = Settings::new(given);
    let mut mistakes: Vec<Mistake> = refused.into_iter().map(Mistake::from).collect();
    mistakes.extend(settings.mistakes(&config));
    let (summary, wrong) = runtime.block_on(supergraph::check(&config, &settings));
    mistakes.extend(wrong);
    let exit_code = match (mistakes.len(), summary) {
        (0, Some(summary)) => {
            telemetry::print(format_args!(
                "settings: {} are set, and no mistake is in them",
                settings.count()
            ));
            telemetry::print(summary);
            ExitCode::SUCCESS
        }
        (count, _) => {
            for mistake in &mistakes {
                telemetry::tell(mistake);
            }
            let noun = if count == 1 { "mistake" } else { "mistakes" };
            telemetry::tell(format_args!("{count} {noun}"));
            ExitCode::FAILURE
        }
    };
    telemetry::flush();
    exit_code
}

/// One mistake, on one line.
pub(crate) struct Mistake {
    /// The setting with its value, or the supergraph with line and column.
    place: String,
    reason: String,
}

impl From<SettingMistake> for Mistake {
    fn from(mistake: SettingMistake) -> Self {
        Self {
            place: settings::shown(&mistake.place),
            reason: settings::shown(&mistake.reason),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.reason.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(formatter, "{}: {lines}", self.place)
    }
}
