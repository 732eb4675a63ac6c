//! The command for operators: `--print-signing-key`.

use std::process::ExitCode;

use anyhow::Context;
use service::telemetry;

use crate::config::Config;

/// Runs the command if the flags name it, and returns its exit code.
pub(crate) fn main() -> Option<ExitCode> {
    // Its settings have no old names.
    let (config, _) = service::parse::<Config>();
    let name = config.print_signing_key.as_deref()?;
    let exit_code = match signing_key(&config, name) {
        Ok(key) => {
            telemetry::print(key);
            ExitCode::SUCCESS
        }
        Err(error) => {
            telemetry::tell(format_args!("gateway: {error:#}"));
            ExitCode::FAILURE
        }
    };
    telemetry::flush();
    Some(exit_code)
}

/// The key with which a subgraph verifies signatures, or the keys of several secrets, as a value of
/// `SUBGRAPH_SECRET`.
fn signing_key(config: &Config, name: &str) -> anyhow::Result<String> {
    let secrets = config.subgraphs.secret.secrets();
    let secrets = secrets
        .map_err(anyhow::Error::msg)
        .context("SUBGRAPH_SECRET")?;
    secrets
        .keys_of(name)
        .context("a signing key is derived from SUBGRAPH_SECRET, which is not set")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_key_of_a_subgraph_is_a_value_of_its_setting() {
        let key = |arguments: &[&str]| {
            let arguments = ["gateway"].iter().chain(arguments);
            signing_key(&Config::parse_from(arguments), "posts")
        };
        let secret = "0123456789abcdef0123456789abcdef";
        let both = format!("--subgraph-secret={secret},{secret}");
        let keys = key(&[&both]).expect("keys");
        let (first, second) = keys.split_once(',').expect("two");
        assert_eq!(first, second);
        assert!(graphql_transport::Verifier::new(&keys, "posts").is_ok());
        for (arguments, expected) in [
            (&["--subgraph-secret="][..], "which is not set"),
            (&["--subgraph-secret=short"], "at least 32 characters"),
        ] {
            let error = format!("{:#}", key(arguments).expect_err("refused"));
            assert!(error.contains(expected), "{error}");
        }
    }
}
