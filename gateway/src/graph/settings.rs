//! What a graph is loaded with: plain settings, and what was made of them at the start.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context;

use crate::{
    config::{Config, Limits, SubgraphSettings, address_key},
    headers::HeaderRules,
    metrics::{PrepareMetrics, SubgraphMetrics},
    prepare::cache::CacheBounds,
    subgraphs::{Tls, without_user},
};

/// Everything that a graph is loaded and served with, beside the supergraph itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What an operation and its variables may cost.
    pub limits: Limits,
    /// How subgraphs are spoken to.
    pub subgraphs: SubgraphSettings,
    /// Whom to trust at `https` addresses.
    pub tls: Tls,
    /// Counts and times the requests to subgraphs.
    pub subgraph_metrics: SubgraphMetrics,
    /// Whether `__schema` and `__type` are answered.
    pub introspection: bool,
    /// Whether the messages and extensions of subgraph errors are hidden from clients. The code
    /// and the subgraph's name stay.
    pub mask_subgraph_errors: bool,
    /// The codes of subgraph errors that are meant for clients: their messages are shown where
    /// others are hidden, with `extensions.cursor` and `extensions.missed`.
    pub shown_error_codes: Arc<[String]>,
    /// How many operations stay prepared, and for how long.
    pub prepared: CacheBounds,
    /// Labels of progressive overrides that hold for all requests.
    pub override_labels: Arc<[String]>,
    /// Which headers travel between clients and subgraphs.
    pub header_rules: Arc<HeaderRules>,
    /// Counts hits and misses of the prepared operations.
    pub prepare_metrics: PrepareMetrics,
    /// Whether clients may ask for an operation's plan.
    pub report_plan: bool,
    /// Whether answers report what they cost, in `extensions.cost` and a header.
    pub report_cost: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            subgraphs: SubgraphSettings::default(),
            tls: Tls::default(),
            subgraph_metrics: SubgraphMetrics::default(),
            introspection: true,
            mask_subgraph_errors: false,
            shown_error_codes: Arc::default(),
            prepared: CacheBounds::default(),
            override_labels: Arc::default(),
            header_rules: Arc::default(),
            prepare_metrics: PrepareMetrics::default(),
            report_cost: false,
            report_plan: false,
        }
    }
}

impl Settings {
    /// Those of a process. The metrics are not registered yet.
    ///
    /// # Errors
    /// When a header rule or a subgraph address is not well-formed, or the authorities of
    /// `SUBGRAPH_CA_FILE` cannot be read.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let mut subgraphs = config.subgraphs.clone();
        subgraphs.addresses = addresses(&config.subgraph_urls, std::env::vars())?;
        let tls = match &subgraphs.ca_file {
            Some(file) => Tls::with_authorities(file)?,
            None => Tls::default(),
        };
        Ok(Self {
            limits: config.limits.clone(),
            subgraphs,
            tls,
            introspection: config.service.development,
            report_cost: config.service.development,
            report_plan: config.service.development,
            mask_subgraph_errors: !config.service.development,
            shown_error_codes: config.shown_error_codes.clone().into(),
            prepared: CacheBounds {
                entries_max: config.prepared_operations_max,
                bytes_max: config.prepared_operations_bytes_max,
                new_bytes_max: config.prepared_operations_new_bytes_max,
                new_time: config.prepared_operations_new_time,
                unused_time: config.prepared_operations_unused_time,
            },
            override_labels: config.override_labels.clone().into(),
            header_rules: Arc::new(HeaderRules::new(&config.headers)?),
            ..Self::default()
        })
    }
}

/// Addresses from the environment, then from the flags, which win.
fn addresses(
    flags: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> anyhow::Result<HashMap<String, String>> {
    let mut addresses: HashMap<String, String> = environment
        .filter_map(|(name, url)| Some((name.strip_prefix("SUBGRAPH_URL_")?.to_owned(), url)))
        .collect();
    for pair in flags {
        let (name, url) = pair
            .split_once('=')
            .with_context(|| format!("--subgraph-url {:?} is not NAME=URL", without_user(pair)))?;
        addresses.insert(address_key(name), url.to_owned());
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_flag_wins_over_the_environment() {
        let config = Config::parse_from(["gateway", "--subgraph-url", "my-posts=http://flag/"]);
        let environment = [
            ("SUBGRAPH_URL_MY_POSTS", "http://env/"),
            ("SUBGRAPH_URL_USERS", "http://users/"),
        ];
        let environment = environment.map(|(name, url)| (name.to_owned(), url.to_owned()));
        let addresses =
            super::addresses(&config.subgraph_urls, environment.into_iter()).expect("well-formed");
        assert_eq!(addresses["MY_POSTS"], "http://flag/");
        assert_eq!(addresses["USERS"], "http://users/");
    }

    #[test]
    fn a_refused_address_shows_no_user_information() {
        let config = Config::parse_from(["gateway", "--subgraph-url", "http://u:secret@host/"]);
        let refused = super::addresses(&config.subgraph_urls, std::iter::empty());
        let error = format!("{:#}", refused.expect_err("no name"));
        assert!(error.contains("://***@host/"), "{error}");
    }
}
