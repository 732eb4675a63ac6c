//! Time limits of single subgraphs.

use std::{str::FromStr, time::Duration};

use service::duration_from;

/// No response comes in less.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The time limits of subgraphs that have their own, by name: `posts=2s, reports=2m`.
#[derive(Clone, Debug, Default)]
pub struct SubgraphTimeouts(Vec<(String, Duration)>);

impl SubgraphTimeouts {
    /// That of one subgraph.
    pub fn of(&self, subgraph: &str) -> Option<Duration> {
        let (_, timeout) = self.0.iter().find(|(name, _)| name == subgraph)?;
        Some(*timeout)
    }

    /// The subgraphs' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl FromStr for SubgraphTimeouts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        for pair in text.split(',').map(str::trim) {
            if pair.is_empty() {
                continue;
            }
            let (name, timeout) = pair
                .split_once('=')
                .map(|(name, timeout)| (name.trim(), timeout.trim()))
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| format!("{pair:?} is not NAME=TIME, such as posts=2s"))?;
            if all.of(name).is_some() {
                return Err(format!("{name} is there twice"));
            }
            let timeout = duration_from(TIMEOUT_MIN)(timeout)
                .map_err(|error| format!("{pair:?}: {error}"))?;
            all.0.push((name.to_owned(), timeout));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::config::Config;

    #[test]
    fn a_subgraph_may_have_a_time_limit_of_its_own() {
        let config = |value: &str| {
            let flag = format!("--subgraph-timeouts={value}");
            Config::try_parse_from(["gateway", &flag]).map(|config| config.subgraphs)
        };
        let settings = config("posts=2s, reports=2m,").expect("well-formed");
        for (name, seconds) in [("posts", 2), ("reports", 120), ("comments", 30)] {
            assert_eq!(settings.of(name).timeout.as_secs(), seconds, "{name}");
        }
        assert!(config("").is_ok());
        for wrong in ["posts", "posts=", "=2s", "posts=2", "posts=0s", "a=1s,a=2s"] {
            assert!(config(wrong).is_err(), "{wrong}");
        }
    }
}
