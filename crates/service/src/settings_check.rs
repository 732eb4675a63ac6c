//! Reads a program's settings and reports every mistake in them, where [`crate::parse`] ends at the first one.
//!
//! Each value is tried alone, in a command that has no other. What is wrong is left out, so that the rest can be read.

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};

use crate::settings_files::FromFiles;
use crate::settings_parser;

/// A setting with what it was given, and what is wrong with that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingMistake {
    /// `NAME=value` of the environment or `--name=value`, without the value of a secret.
    pub place: String,
    /// What would be right.
    pub reason: String,
}

/// A value that a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenSetting {
    /// The setting's environment variable; of a flag without one, the flag.
    pub name: String,
    /// As in [`SettingMistake`].
    pub place: String,
}

/// The settings of this process as far as they can be read, what was given, and all mistakes.
///
/// # Panics
/// If the program cannot run with its defaults.
pub fn parse_reporting<C: Parser>() -> (C, Vec<GivenSetting>, Vec<SettingMistake>) {
    let environment = |name: &str| std::env::var_os(name);
    Checked::<C>::read(std::env::args_os().collect(), &environment)
}

/// Where a value is from.
enum Origin {
    Flag,
    Variable,
}

struct Value {
    id: String,
    origin: Origin,
    value: Option<OsString>,
}

struct Checked<C>(std::marker::PhantomData<C>);

impl<C: Parser> Checked<C> {
    fn read(
        arguments: Vec<OsString>,
        environment: &impl Fn(&str) -> Option<OsString>,
    ) -> (C, Vec<GivenSetting>, Vec<SettingMistake>) {
        let command = settings_parser::with_old_names(C::command());
        let mut mistakes = Vec::new();
        let mut given = Vec::new();
        let mut accepted: Vec<OsString> = arguments.first().cloned().into_iter().collect();
        let mut values = flags(&command, &arguments, &mut mistakes);
        let is_flag = |argument: &Arg| values.iter().any(|it| *argument.get_id() == *it.id);
        let (files, refused) = FromFiles::read_all(&command, &is_flag, environment);
        for text in refused {
            // `NAME_FILE=path: reason`.
            let (place, reason) = text.split_once(": ").unwrap_or(("the settings", &text));
            mistakes.push(SettingMistake {
                place: place.to_owned(),
                reason: reason.to_owned(),
            });
        }
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            let is_flag = values.iter().any(|it| it.id == id);
            if is_flag || files.has(argument) {
                continue;
            }
            let value = argument.get_env().and_then(|name| name.to_str());
            if let Some(value) = value.and_then(environment) {
                values.push(Value {
                    id: id.to_owned(),
                    origin: Origin::Variable,
                    value: Some(value),
                });
            }
        }
        let bare = without_environment(command.clone());
        for value in values {
            let Some(argument) = bare.get_arguments().find(|it| *it.get_id() == *value.id) else {
                continue;
            };
            let named = command.get_arguments().find(|it| *it.get_id() == *value.id);
            let place = place(named.unwrap_or(argument), &value);
            match try_alone(&bare, argument, &value) {
                Ok(flag) => {
                    accepted.extend(flag);
                    given.push(GivenSetting {
                        name: name(named.unwrap_or(argument)),
                        place,
                    });
                }
                Err(reason) => mistakes.push(SettingMistake { place, reason }),
            }
        }
        for (name, place, flag) in files.arguments() {
            let mut alone = accepted.iter().take(1).cloned().collect::<Vec<_>>();
            alone.push(flag.clone());
            match bare.clone().try_get_matches_from(&alone) {
                Err(error) if is_about_the_value(&error) => mistakes.push(SettingMistake {
                    place,
                    reason: "the setting does not accept what this file has".to_owned(),
                }),
                _ => {
                    accepted.push(flag);
                    given.push(GivenSetting { name, place });
                }
            }
        }
        let config = Self::rest(&bare, accepted, &mut mistakes);
        (config, given, mistakes)
    }

    /// The settings, when each value is right alone. What does not go together is reported and left out.
    fn rest(bare: &Command, mut accepted: Vec<OsString>, mistakes: &mut Vec<SettingMistake>) -> C {
        loop {
            let read = settings_parser::parse_command::<C>(bare.clone(), accepted.clone());
            let error = match read {
                Ok((config, _)) => return config,
                Err(error) => error,
            };
            // The one without which there is another outcome.
            let culprit = (1..accepted.len()).find(|index| {
                let mut others = accepted.clone();
                others.remove(*index);
                match settings_parser::parse_command::<C>(bare.clone(), others) {
                    Ok(_) => true,
                    Err(other) => reason_of(&other) != reason_of(&error),
                }
            });
            let place = match culprit {
                Some(index) => accepted.remove(index).to_string_lossy().into_owned(),
                None => {
                    accepted.truncate(1);
                    "the settings".to_owned()
                }
            };
            let place = place.split('=').next().unwrap_or_default().to_owned();
            mistakes.push(SettingMistake {
                place,
                reason: reason_of(&error),
            });
            if culprit.is_none() && accepted.len() <= 1 {
                let defaults = settings_parser::parse_command::<C>(bare.clone(), accepted.clone());
                let (config, _) = defaults.unwrap_or_else(|error| error.exit());
                return config;
            }
        }
    }
}

/// The flags of a command line. What is none is reported.
fn flags(
    command: &Command,
    arguments: &[OsString],
    mistakes: &mut Vec<SettingMistake>,
) -> Vec<Value> {
    let mut values: Vec<Value> = Vec::new();
    let mut rest = arguments.iter().skip(1).peekable();
    let mut refuse = |place: &str, reason: &str| {
        mistakes.push(SettingMistake {
            place: place.to_owned(),
            reason: reason.to_owned(),
        });
    };
    while let Some(text) = rest.next() {
        let Some(text) = text.to_str() else {
            refuse(&text.to_string_lossy(), "it is not UTF-8");
            continue;
        };
        let (flag, value) = match text.split_once('=') {
            Some((flag, value)) => (flag, Some(OsString::from(value))),
            None => (text, None),
        };
        let long = flag.strip_prefix("--").unwrap_or_default();
        let is_named = |it: &&Arg| {
            let aliases = it.get_all_aliases().unwrap_or_default();
            it.get_long() == Some(long) || aliases.contains(&long)
        };
        let Some(argument) = command.get_arguments().find(is_named) else {
            refuse(flag, "there is no such setting, see --help");
            continue;
        };
        let takes_value = argument.get_action().takes_values();
        let value = match value {
            None if takes_value => {
                match rest.next_if(|next| !next.to_string_lossy().starts_with("--")) {
                    Some(next) => Some(next.clone()),
                    None => {
                        refuse(flag, "it needs a value");
                        continue;
                    }
                }
            }
            value => value,
        };
        let id = argument.get_id().to_string();
        let is_list = matches!(argument.get_action(), clap::ArgAction::Append);
        if !is_list && values.iter().any(|it| it.id == id) {
            refuse(flag, "it is given twice");
            continue;
        }
        values.push(Value {
            id,
            origin: Origin::Flag,
            value,
        });
    }
    values
}

/// The flag with its value, if the setting accepts it.
fn try_alone(bare: &Command, argument: &Arg, value: &Value) -> Result<Option<OsString>, String> {
    let flag = format!("--{}", argument.get_long().unwrap_or_default());
    let is_switch = !argument.get_action().takes_values();
    let flag = match &value.value {
        None => Some(OsString::from(flag)),
        Some(text) if is_switch => match (&value.origin, is_on(text)) {
            (Origin::Flag, _) => return Err("it takes no value".to_owned()),
            (Origin::Variable, None) => {
                return Err("`true` or `false` is expected".to_owned());
            }
            (Origin::Variable, Some(is_on)) => is_on.then(|| flag.into()),
        },
        Some(text) => {
            let mut whole = OsString::from(flag);
            whole.push("=");
            whole.push(text);
            Some(whole)
        }
    };
    let Some(flag) = flag else { return Ok(None) };
    let alone = [OsString::from("program"), flag.clone()];
    match bare.clone().try_get_matches_from(alone) {
        // The reason might repeat a part of the value.
        Err(error) if is_about_the_value(&error) && argument.is_hide_env_values_set() => {
            Err("the setting does not accept this value".to_owned())
        }
        Err(error) if is_about_the_value(&error) => Err(reason_of(&error)),
        _ => Ok(Some(flag)),
    }
}

fn is_on(text: &OsStr) -> Option<bool> {
    use clap::builder::{BoolishValueParser, TypedValueParser};

    let parser = BoolishValueParser::new();
    parser.parse_ref(&Command::new(""), None, text).ok()
}

/// Whether the error would be there whatever else is set.
fn is_about_the_value(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidValue
            | ErrorKind::ValueValidation
            | ErrorKind::InvalidUtf8
            | ErrorKind::TooManyValues
            | ErrorKind::TooFewValues
            | ErrorKind::WrongNumberOfValues
            | ErrorKind::NoEquals
    )
}

/// What an error says, without the value and advice about the command.
fn reason_of(error: &clap::Error) -> String {
    use std::error::Error as _;

    if let Some(source) = error.source() {
        return source.to_string();
    }
    if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue) {
        return format!("one of {} is expected", valid.join(", "));
    }
    let text = error.to_string();
    let text = text.trim_start_matches("error: ");
    let end = text.find("\n\nUsage").or_else(|| text.find("\n\nFor more"));
    let words = text[..end.unwrap_or(text.len())].split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

fn without_environment(command: Command) -> Command {
    command.mut_args(|argument| argument.env(None::<&'static str>))
}

fn name(argument: &Arg) -> String {
    let variable = argument.get_env().and_then(|name| name.to_str());
    let flag = || format!("--{}", argument.get_long().unwrap_or_default());
    variable.map_or_else(flag, str::to_owned)
}

fn place(argument: &Arg, value: &Value) -> String {
    let name = match value.origin {
        Origin::Flag => format!("--{}", argument.get_long().unwrap_or_default()),
        Origin::Variable => name(argument),
    };
    match &value.value {
        Some(_) if argument.is_hide_env_values_set() => name,
        Some(text) => format!("{name}={}", text.to_string_lossy()),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::duration;

    #[derive(Debug, clap::Parser)]
    struct Config {
        #[arg(long, env = "TEST_CHECK_PORT", default_value_t = 1)]
        port: u16,
        #[arg(long, env = "TEST_CHECK_TIME", default_value = "1s", value_parser = duration)]
        time: Duration,
        #[arg(long, env = "TEST_CHECK_ON", value_parser = clap::builder::BoolishValueParser::new())]
        on: bool,
        #[arg(
            long,
            env = "TEST_CHECK_NAMES",
            value_delimiter = ',',
            requires = "url"
        )]
        names: Vec<String>,
        #[arg(long, env = "TEST_CHECK_URL")]
        url: Option<String>,
        #[arg(long, env = "TEST_CHECK_SECRET", hide_env_values = true, value_parser = duration)]
        secret: Option<Duration>,
    }

    fn check(flags: &[&str], variables: &[(&str, &str)]) -> (Config, Vec<String>) {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        let environment = |name: &str| variables.get(name).map(OsString::from);
        let arguments = ["test"].iter().chain(flags).map(OsString::from).collect();
        let (config, _, mistakes) = Checked::<Config>::read(arguments, &environment);
        let mistakes = mistakes.into_iter();
        let lines = mistakes.map(|it| format!("{}: {}", it.place, it.reason));
        (config, lines.collect())
    }

    #[test]
    fn every_mistake_is_reported_and_the_rest_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        std::fs::write(&file, "hunter2").expect("written");
        let (config, mistakes) = check(
            &["--port=70000", "--prot=1", "stray", "--url"],
            &[
                ("TEST_CHECK_PORT", "2"),
                ("TEST_CHECK_TIME", "10"),
                ("TEST_CHECK_ON", "perhaps"),
                ("TEST_CHECK_NAMES", "a,b"),
                ("TEST_CHECK_SECRET_FILE", file.to_str().expect("a path")),
            ],
        );
        assert_eq!((config.port, config.time), (1, Duration::from_secs(1)));
        assert!(
            !config.on
                && config.names.is_empty()
                && config.url.is_none()
                && config.secret.is_none()
        );
        let starts = [
            "--prot: there is no such setting",
            "stray: there is no such setting",
            "--url: it needs a value",
            "--port=70000: 70000 is not in 0..=65535",
            "TEST_CHECK_TIME=10: time unit needed",
            "TEST_CHECK_ON=perhaps: `true` or `false`",
            "TEST_CHECK_SECRET_FILE=",
            "--names: the following required arguments were not provided: --url <URL>",
        ];
        assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
        for (mistake, start) in mistakes.iter().zip(starts) {
            assert!(mistake.starts_with(start), "{mistake}");
            assert!(!mistake.contains("hunter"), "{mistake}");
        }
    }

    #[test]
    fn what_is_right_is_read_as_it_would_be_anyway() {
        let variables = [
            ("TEST_CHECK_PORT", "2"),
            ("TEST_CHECK_TIME", "5s"),
            ("TEST_CHECK_ON", "yes"),
            ("TEST_CHECK_NAMES", "a,b"),
        ];
        let (config, mistakes) = check(&["--url", "x", "--port=3"], &variables);
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!((config.port, config.time), (3, Duration::from_secs(5)));
        assert_eq!((config.on, config.url.as_deref()), (true, Some("x")));
        assert_eq!(config.names, ["a", "b"]);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let (_, mistakes) = check(&["--secret=hunter2"], &[]);
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].starts_with("--secret: "), "{}", mistakes[0]);
        assert!(!mistakes[0].contains("hunter"), "{}", mistakes[0]);
    }
}
