//! Settings that are read from files: `NAME_FILE=/run/secrets/name` instead of `NAME=value`.
//!
//! Container engines hand out secrets as files, because everybody who may look at a container sees its
//! environment. What a file has is in no error, no log and no help.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command};

/// More than any setting needs.
const BYTES_MAX: u64 = 64 * 1024;

/// Whether a setting is given in the environment: as `NAME`, even if that is empty, or as `NAME_FILE`.
pub fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some()
        || std::env::var_os(file_variable(name)).is_some_and(|path| !path.is_empty())
}

/// The variable that names the file of a setting.
pub fn file_variable(name: &str) -> String {
    format!("{name}_FILE")
}

/// The settings of a command that are in files.
#[derive(Default)]
pub(crate) struct FromFiles(Vec<FromFile>);

/// A setting that is in a file.
struct FromFile {
    /// The setting's flag, with its dashes.
    flag: String,
    /// The variable that names the file.
    variable: String,
    path: PathBuf,
    /// The flag with the value; a switch that is off has none.
    argument: Option<OsString>,
}

impl FromFiles {
    /// Reads the files that the environment names. A flag takes precedence over a file, as it does over a
    /// variable. `NAME_FILE` has its own meaning where a setting has that name.
    ///
    /// # Errors
    /// When a file cannot be read, is empty, is longer than 64 KiB or is not UTF-8, or when the setting is
    /// also given by its variable.
    pub(crate) fn read(
        command: &mut Command,
        arguments: &[OsString],
        environment: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, clap::Error> {
        if named(command, environment).is_empty() {
            return Ok(Self(Vec::new()));
        }
        // Only to see which flags there are: mistakes are reported later.
        let lenient = command.clone().ignore_errors(true);
        let flags = lenient.try_get_matches_from(arguments)?;
        let is_flag = |argument: &Arg| {
            flags.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
        };
        let (settings, mistakes) = Self::read_all(command, &is_flag, environment);
        match mistakes.into_iter().next() {
            Some(text) => Err(refused(command, text)),
            None => Ok(settings),
        }
    }

    /// [`FromFiles::read`], but for all mistakes, in words. `is_flag` says which settings are on the command line.
    pub(crate) fn read_all(
        command: &Command,
        is_flag: &dyn Fn(&Arg) -> bool,
        environment: &impl Fn(&str) -> Option<OsString>,
    ) -> (Self, Vec<String>) {
        let (mut settings, mut mistakes) = (Vec::new(), Vec::new());
        for (argument, variable, path) in named(command, environment) {
            if is_flag(&argument) {
                continue;
            }
            let name = name_of(&argument).unwrap_or_default();
            let setting = if environment(name).is_some_and(|value| !value.is_empty()) {
                Err(format!("{name} and {variable} are both set: unset one"))
            } else {
                FromFile::read(&argument, variable, path)
            };
            match setting {
                Ok(setting) => settings.push(setting),
                Err(text) => mistakes.push(text),
            }
        }
        (Self(settings), mistakes)
    }

    /// Whether a setting is in a file.
    pub(crate) fn has(&self, argument: &Arg) -> bool {
        let long = argument.get_long().unwrap_or_default();
        self.0
            .iter()
            .any(|it| it.flag.strip_prefix("--") == Some(long))
    }

    /// The settings by their names, with the files as `NAME_FILE=path`, and as flags; a switch that is off is none.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = (String, String, OsString)> {
        self.0.iter().filter_map(|it| {
            let name = it.variable.trim_end_matches("_FILE").to_owned();
            let place = format!("{}={}", it.variable, it.path.display());
            Some((name, place, it.argument.clone()?))
        })
    }

    /// Adds the settings as flags. They are in no list of processes: only this process sees its arguments
    /// so.
    pub(crate) fn add_to(&self, arguments: &mut Vec<OsString>) {
        // After the program's name.
        let start = 1.min(arguments.len());
        let added = self.0.iter().filter_map(|it| it.argument.clone());
        arguments.splice(start..start, added);
    }

    /// An error without what a file has.
    pub(crate) fn without_values(&self, command: &mut Command, error: clap::Error) -> clap::Error {
        let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
            return error;
        };
        let flag = argument.split([' ', '=']).next();
        match self.0.iter().find(|it| flag == Some(&it.flag)) {
            Some(setting) => refused(command, setting.bad_value()),
            None => error,
        }
    }
}

impl FromFile {
    fn read(argument: &Arg, variable: String, path: PathBuf) -> Result<Self, String> {
        let long = argument.get_long().unwrap_or_default();
        let flag = format!("--{long}");
        let text =
            content(&path).map_err(|reason| format!("{variable}={}: {reason}", path.display()))?;
        let mut setting = Self {
            flag,
            variable,
            path,
            argument: None,
        };
        setting.argument = if matches!(argument.get_action(), ArgAction::SetTrue) {
            let is_on = BoolishValueParser::new()
                .parse_ref(&Command::new(""), None, text.as_ref())
                .map_err(|_| setting.bad_value())?;
            is_on.then(|| setting.flag.clone().into())
        } else {
            Some(format!("{}={text}", setting.flag).into())
        };
        Ok(setting)
    }

    fn bad_value(&self) -> String {
        let Self {
            flag,
            variable,
            path,
            ..
        } = self;
        format!(
            "{variable}={}: {flag} does not accept what this file has",
            path.display()
        )
    }
}

/// The settings that the environment says are in files: the variables that name the files, and these.
fn named(
    command: &Command,
    environment: &impl Fn(&str) -> Option<OsString>,
) -> Vec<(Arg, String, PathBuf)> {
    let given = |name: &str| environment(name).filter(|value| !value.is_empty());
    let is_setting = |name: &str| command.get_arguments().any(|it| name_of(it) == Some(name));
    let arguments = command.get_arguments();
    let named = arguments.filter_map(|argument| {
        let variable = file_variable(name_of(argument)?);
        let path = given(&variable).filter(|_| !is_setting(&variable))?;
        Some((argument.clone(), variable, path.into()))
    });
    named.collect()
}

/// The text of a file, without the newlines at its end.
fn content(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("the file is longer than {BYTES_MAX} bytes"));
    }
    // The error would have the bytes.
    let text = String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())?;
    match text.trim_end_matches(['\r', '\n']) {
        // A secret that is missing must not turn off what it protects.
        "" => Err("the file is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn name_of(argument: &Arg) -> Option<&str> {
    argument.get_long()?;
    argument.get_env()?.to_str()
}

fn refused(command: &mut Command, text: String) -> clap::Error {
    command.error(ErrorKind::ValueValidation, text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use clap::Parser;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Config {
        #[arg(long, env = "TEST_FILES_URI", default_value = "none")]
        uri: String,
        #[arg(long, env = "TEST_FILES_PORT")]
        port: Option<u16>,
        #[arg(long, env = "TEST_FILES_NAMES", value_delimiter = ',')]
        names: Vec<u8>,
        #[arg(long, env = "TEST_FILES_ON", value_parser = BoolishValueParser::new())]
        on: bool,
        /// A setting that is a file.
        #[arg(long, env = "TEST_FILES_CA_FILE")]
        ca_file: Option<PathBuf>,
        /// It does not take the file away from the setting above.
        #[arg(long, env = "TEST_FILES_CA")]
        ca: Option<String>,
    }

    /// What a program with these flags reads; each file is given by its variable and its content.
    fn parse(
        flags: &[&str],
        files: &[(&str, &[u8])],
        variables: &[(&str, &str)],
    ) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut environment: HashMap<String, OsString> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        for (variable, content) in files {
            let path = folder.path().join(variable);
            std::fs::write(&path, content).expect("written");
            environment.insert((*variable).to_owned(), path.into());
        }
        let mut command = Config::command();
        let arguments = ["test"].iter().chain(flags).map(OsString::from);
        let mut arguments: Vec<OsString> = arguments.collect();
        let read = |name: &str| environment.get(name).cloned();
        let files =
            FromFiles::read(&mut command, &arguments, &read).map_err(|it| it.to_string())?;
        files.add_to(&mut arguments);
        Config::try_parse_from(arguments)
            .map_err(|error| files.without_values(&mut command, error).to_string())
    }

    use clap::CommandFactory;

    #[test]
    fn a_setting_is_read_from_the_file_that_its_variable_names() {
        let files: [(&str, &[u8]); 4] = [
            ("TEST_FILES_URI_FILE", b"mongodb://u:p=,@host/?a=b\r\n\n"),
            ("TEST_FILES_PORT_FILE", b"4000"),
            ("TEST_FILES_NAMES_FILE", b"1,2\n"),
            ("TEST_FILES_ON_FILE", b"yes\n"),
        ];
        let config = parse(&[], &files, &[]).expect("read");
        assert_eq!(config.uri, "mongodb://u:p=,@host/?a=b");
        assert_eq!(config.port, Some(4000));
        assert_eq!(config.names, [1, 2]);
        assert!(config.on);
        let off = parse(&[], &[("TEST_FILES_ON_FILE", b"false")], &[]).expect("read");
        assert!(!off.on);
    }

    #[test]
    fn a_setting_whose_name_ends_in_file_keeps_its_meaning() {
        let config = parse(&[], &[("TEST_FILES_CA_FILE", b"PEM")], &[]).expect("read");
        assert_eq!(
            config.ca, None,
            "the file is not the value of another setting"
        );
        let named = parse(&[], &[("TEST_FILES_CA_FILE_FILE", b"/etc/ca.pem\n")], &[]);
        assert_eq!(named.expect("read").ca_file, Some("/etc/ca.pem".into()));
    }

    #[test]
    fn a_flag_takes_precedence_and_a_variable_beside_the_file_is_an_error() {
        let file: [(&str, &[u8]); 1] = [("TEST_FILES_URI_FILE", b"from the file")];
        let config = parse(&["--uri", "flag"], &file, &[]).expect("read");
        assert_eq!(config.uri, "flag");
        let both = parse(&[], &file, &[("TEST_FILES_URI", "variable")]).expect_err("refused");
        assert!(
            both.contains("TEST_FILES_URI and TEST_FILES_URI_FILE are both set"),
            "{both}"
        );
        let empty = parse(&[], &file, &[("TEST_FILES_URI", "")]).expect("an empty one is none");
        assert_eq!(empty.uri, "from the file");
        let unnamed = parse(&[], &[], &[("TEST_FILES_URI_FILE", "")]).expect("no file is named");
        assert_eq!(unnamed.uri, "none");
    }

    #[test]
    fn an_error_names_the_variable_and_the_file_and_never_shows_the_content() {
        let long = vec![b'7'; 64 * 1024 + 1];
        let cases: [(&str, &[u8], &str); 7] = [
            ("TEST_FILES_PORT_FILE", b"hunter2", "--port does not accept"),
            (
                "TEST_FILES_NAMES_FILE",
                b"1,hunter2",
                "--names does not accept",
            ),
            ("TEST_FILES_ON_FILE", b"hunter2", "--on does not accept"),
            ("TEST_FILES_URI_FILE", b"hunter2\xff", "is not UTF-8"),
            ("TEST_FILES_URI_FILE", b"\n", "is empty"),
            ("TEST_FILES_URI_FILE", &long, "longer than 65536 bytes"),
            ("TEST_FILES_PORT_FILE", b"77777", "--port does not accept"),
        ];
        for (variable, content, reason) in cases {
            let error = parse(&[], &[(variable, content)], &[]).expect_err("refused");
            assert!(error.contains(reason), "{error}");
            assert!(error.contains(&format!("{variable}=/")), "{error}");
            assert!(
                !error.contains("hunter") && !error.contains("777"),
                "{error}"
            );
        }
        let missing = [("TEST_FILES_URI_FILE", "/nowhere/secret")];
        let missing = parse(&[], &[], &missing).expect_err("refused");
        assert!(
            missing.contains("TEST_FILES_URI_FILE=/nowhere/secret: the file cannot be read"),
            "{missing}"
        );
    }

    #[test]
    fn help_and_mistakes_of_flags_are_as_without_files() {
        let file: [(&str, &[u8]); 1] = [("TEST_FILES_URI_FILE", b"hunter2")];
        let help = parse(&["--help"], &file, &[]).expect_err("help");
        assert!(
            help.contains("--uri <URI>") && !help.contains("hunter2"),
            "{help}"
        );
        let bad = parse(&["--port=x"], &file, &[]).expect_err("refused");
        assert!(
            bad.contains("invalid value 'x' for '--port <PORT>'"),
            "{bad}"
        );
    }
}
