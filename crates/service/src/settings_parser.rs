//! Reads a program's settings from its command line and environment, and its durations.
//!
//! Durations carry their unit: `SHUTDOWN_GRACE=10s`. Settings that once had the unit in their name
//! (`SHUTDOWN_GRACE_SECONDS=10`) are still read by that name for one release. Such a setting declares the
//! flag of the old name as a hidden alias, `alias = "shutdown-grace-seconds"`; the old variable and the unit
//! follow from it. A setting that is given by both names has the value of the new one.
//!
//! Every setting can be read from a file instead (`settings_files`).

use std::ffi::OsString;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Parser, value_parser};

use crate::settings_files::FromFiles;

/// The longest duration that a setting takes: 100 years. Added to any point in time, it does not overflow.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Reads a duration with its unit, such as `500ms`, `10s`, `5m` or `1h30m`, as [`humantime`] has them.
///
/// # Errors
/// When the unit is missing or unknown, or the duration is longer than 100 years.
pub fn duration(text: &str) -> Result<Duration, String> {
    duration_between(text, Duration::ZERO)
}

/// A parser like [`duration`] that refuses what is shorter than `min`.
pub fn duration_from(
    min: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| duration_between(text, min)
}

/// A parser like [`duration`] that refuses what is longer than `max`.
pub fn duration_up_to(
    max: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| match duration(text)? {
        duration if duration <= max => Ok(duration),
        _ => Err(format!(
            "at most {} can be set",
            humantime::format_duration(max)
        )),
    }
}

fn duration_between(text: &str, min: Duration) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < min {
        return Err(format!(
            "at least {} is needed",
            humantime::format_duration(min)
        ));
    }
    if duration > DURATION_MAX {
        return Err("at most 100 years can be set".to_owned());
    }
    Ok(duration)
}

/// Reads the settings of this process. Prints help, or what is wrong with a setting, and exits, where
/// [`Parser::parse`] does.
pub fn parse<C: Parser>() -> (C, OldNames) {
    parse_from(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
}

fn parse_from<C: Parser>(mut arguments: Vec<OsString>) -> Result<(C, OldNames), clap::Error> {
    let mut command = C::command();
    let environment = |name: &str| std::env::var_os(name);
    let files = FromFiles::read(&mut command, &arguments, &environment)?;
    files.add_to(&mut arguments);
    parse_with(command, arguments, &files)
}

/// Reads the settings from these arguments with a command, which may have the old names already.
pub(crate) fn parse_command<C: Parser>(
    command: Command,
    arguments: Vec<OsString>,
) -> Result<(C, OldNames), clap::Error> {
    parse_with(command, arguments, &FromFiles::default())
}

/// The command with the old names as settings of their own, which have the values of the new ones after
/// [`parse_command`].
pub(crate) fn with_old_names(command: Command) -> Command {
    let renamed: Vec<Renamed> = command.get_arguments().filter_map(Renamed::of).collect();
    let renamed = renamed.iter();
    renamed.fold(command, |command, setting| setting.add_old_name(command))
}

fn parse_with<C: Parser>(
    mut command: Command,
    mut arguments: Vec<OsString>,
    files: &FromFiles,
) -> Result<(C, OldNames), clap::Error> {
    let renamed: Vec<Renamed> = command.get_arguments().filter_map(Renamed::of).collect();
    for setting in &renamed {
        command = setting.add_old_name(command);
    }
    let mut matches = command
        .clone()
        .try_get_matches_from(&arguments)
        .map_err(|error| files.without_values(&mut command, error))?;
    let mut old_names = OldNames(Vec::new());
    for setting in renamed {
        let Some(number) = matches.get_one::<u64>(&setting.old_variable) else {
            continue;
        };
        let value = format!("{number}{}", setting.unit);
        let is_overridden = is_given(&matches, &setting.id);
        if !is_overridden {
            let flag = format!("--{}={value}", setting.long);
            arguments.insert(1.min(arguments.len()), flag.into());
            matches = command
                .clone()
                .try_get_matches_from(&arguments)
                .map_err(|error| setting.refused(&mut command, &error))?;
        }
        old_names.0.push(OldName {
            name: setting.old_variable,
            new_name: setting.variable,
            value,
            is_overridden,
        });
    }
    Ok((C::from_arg_matches(&matches)?, old_names))
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches!(
        matches.value_source(id),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    )
}

/// A setting that has had another name, with its unit in it.
struct Renamed {
    id: String,
    long: String,
    variable: String,
    old_long: String,
    /// The environment variable of the old name, which is also the id of the old flag.
    old_variable: String,
    unit: &'static str,
}

impl Renamed {
    fn of(argument: &Arg) -> Option<Self> {
        let aliases = argument.get_aliases()?;
        let (old_long, unit) = aliases
            .into_iter()
            .find_map(|alias| Some((alias, unit_in(alias)?)))?;
        Some(Self {
            id: argument.get_id().to_string(),
            long: argument.get_long()?.to_owned(),
            variable: argument.get_env()?.to_str()?.to_owned(),
            old_variable: old_long.to_uppercase().replace('-', "_"),
            old_long: old_long.to_owned(),
            unit,
        })
    }

    /// The command, with the old name as a setting of its own that help does not show.
    fn add_old_name(&self, command: Command) -> Command {
        let old = Arg::new(self.old_variable.clone())
            .long(self.old_long.clone())
            .env(self.old_variable.clone())
            .action(ArgAction::Set)
            .value_parser(value_parser!(u64))
            .hide(true);
        command
            .mut_arg(&self.id, |argument| argument.alias(None::<&'static str>))
            .arg(old)
    }

    /// The error of a number that the setting does not take, by the name that was given.
    fn refused(&self, command: &mut Command, error: &clap::Error) -> clap::Error {
        let error = error.to_string();
        let error = error.trim_start_matches("error: ");
        command.error(
            ErrorKind::ValueValidation,
            format!(
                "{} is the old name of {}: {error}",
                self.old_variable, self.variable
            ),
        )
    }
}

fn unit_in(old_long: &str) -> Option<&'static str> {
    let mut words = old_long.split('-');
    words.find_map(|word| match word {
        "seconds" => Some("s"),
        "milliseconds" => Some("ms"),
        _ => None,
    })
}

/// The old names that settings were given by.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "whoever uses an old name has to hear of the new one"]
pub struct OldNames(Vec<OldName>);

#[derive(Debug, PartialEq, Eq)]
struct OldName {
    name: String,
    new_name: String,
    value: String,
    is_overridden: bool,
}

impl OldNames {
    /// Logs a warning for each of them. To be called once the log is there.
    pub fn warn(self) {
        for OldName {
            name,
            new_name,
            value,
            is_overridden,
        } in self.0
        {
            if is_overridden {
                tracing::warn!(
                    setting = name,
                    new_name,
                    "a setting is given by its old and its new name: the value of the new one holds"
                );
            } else {
                tracing::warn!(
                    setting = name,
                    instead = format!("{new_name}={value}"),
                    "a setting has a new name: the next release no longer reads the old one"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Config {
        #[arg(
            long,
            env = "TEST_LEASE",
            alias = "test-lease-seconds",
            default_value = "10s",
            value_parser = duration_from(Duration::from_secs(1))
        )]
        lease: Duration,
        #[arg(
            long,
            env = "TEST_COMMIT_AIM",
            alias = "test-commit-milliseconds-aim",
            default_value = "300ms",
            value_parser = duration
        )]
        commit_aim: Duration,
    }

    fn parse(flags: &[&str]) -> Result<(Config, OldNames), clap::Error> {
        let arguments = ["test"].iter().chain(flags).map(OsString::from);
        parse_from(arguments.collect())
    }

    fn error(flags: &[&str]) -> String {
        parse(flags).expect_err("a bad setting").to_string()
    }

    #[test]
    fn durations_carry_their_unit() {
        for (text, ms) in [
            ("500ms", 500),
            ("5m", 300_000),
            ("1m 30s", 90_000),
            ("1h30m", 5_400_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["5", "", "soon", "-1s", "5 fortnights", "1000years"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_new_name_is_read_without_a_word() {
        let (config, old_names) = parse(&["--lease=90s", "--commit-aim=1s"]).expect("read");
        assert_eq!(config.lease, Duration::from_secs(90));
        assert_eq!(config.commit_aim, Duration::from_secs(1));
        assert_eq!(old_names, OldNames(Vec::new()));
    }

    #[test]
    fn an_old_name_is_read_in_its_unit() {
        let flags = [
            "--test-lease-seconds=90",
            "--test-commit-milliseconds-aim",
            "20",
        ];
        let (config, old_names) = parse(&flags).expect("read");
        assert_eq!(config.lease, Duration::from_secs(90));
        assert_eq!(config.commit_aim, Duration::from_millis(20));
        let told: Vec<_> = old_names
            .0
            .iter()
            .map(|old| (&*old.name, &*old.new_name, &*old.value))
            .collect();
        assert_eq!(
            told,
            [
                ("TEST_LEASE_SECONDS", "TEST_LEASE", "90s"),
                ("TEST_COMMIT_MILLISECONDS_AIM", "TEST_COMMIT_AIM", "20ms"),
            ]
        );
    }

    #[test]
    fn of_both_names_the_new_one_holds() {
        let (config, old_names) = parse(&["--test-lease-seconds=90", "--lease=5s"]).expect("read");
        assert_eq!(config.lease, Duration::from_secs(5));
        assert!(old_names.0[0].is_overridden);
    }

    #[test]
    fn a_bad_value_names_its_setting() {
        let unitless = error(&["--lease=10"]);
        assert!(unitless.contains("--lease <LEASE>"), "{unitless}");
        assert!(unitless.contains("unit needed"), "{unitless}");
        let short = error(&["--lease=1ms"]);
        assert!(short.contains("at least 1s is needed"), "{short}");
        let no_number = error(&["--test-lease-seconds=10s"]);
        assert!(no_number.contains("--test-lease-seconds"), "{no_number}");
        let refused = error(&["--test-lease-seconds=0"]);
        assert!(
            refused.contains("TEST_LEASE_SECONDS is the old name of TEST_LEASE"),
            "{refused}"
        );
        assert!(refused.contains("at least 1s is needed"), "{refused}");
    }

    #[test]
    fn help_shows_new_names_alone() {
        let help = error(&["--help"]);
        assert!(help.contains("TEST_LEASE="), "{help}");
        assert!(!help.contains("SECONDS"), "{help}");
    }
}
