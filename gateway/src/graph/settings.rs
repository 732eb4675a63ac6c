//! The settings with which a graph is loaded, and what is derived from them at the start.

use std::{collections::HashMap, sync::Arc};

use anyhow::Context;
use graphql_transport::turns::Competition;

use crate::{
    config::{AuthorizationMode, Config, Limits, SubgraphSettings, address_key, listed},
    headers::HeaderRules,
    metrics::{PrepareMetrics, SubgraphMetrics},
    prepare::cache::CacheBounds,
    subgraphs::{Tls, without_user},
};

/// Everything that loading and serving a graph needs, beside the supergraph itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits on operations and variables.
    pub limits: Limits,
    /// Settings of the requests to subgraphs.
    pub subgraphs: SubgraphSettings,
    /// The certificate authorities to trust for `https` addresses.
    pub tls: Tls,
    /// Counts and times the requests to subgraphs.
    pub subgraph_metrics: SubgraphMetrics,
    /// Whether `__schema` and `__type` are answered.
    pub introspection: bool,
    /// The largest number of bytes of a subscription's request to a subgraph.
    pub subscription_request_bytes_max: usize,
    /// The largest number of introspection answers that are kept.
    pub introspection_answers_max: usize,
    /// The largest number of bytes that they have together.
    pub introspection_answers_bytes_max: usize,
    /// What happens to an operation that selects what its client may not see.
    pub authorization_mode: AuthorizationMode,
    /// Whether introspection leaves out what its client may not see.
    pub hides_schema: bool,
    /// Whether the messages and extensions of subgraph errors are hidden from clients. The codes
    /// and the subgraph's name stay visible.
    pub mask_subgraph_errors: bool,
    /// The codes of subgraph errors that are meant for clients: their messages stay visible when
    /// others are hidden, and so do `extensions.cursor`, `missed` and `reason`.
    pub shown_error_codes: Arc<[String]>,
    /// The bounds of the cache of prepared operations.
    pub prepared: CacheBounds,
    /// The labels of progressive overrides that are enabled for all requests.
    pub override_labels: Arc<[String]>,
    /// The headers that pass between clients and subgraphs.
    pub header_rules: Arc<HeaderRules>,
    /// The subgraphs that tag each field whose value depends on who asks.
    pub viewer_tags: Arc<[String]>,
    /// Counters of the preparation and the costs of operations.
    pub prepare_metrics: PrepareMetrics,
    /// Whether clients compete for the processors.
    pub competition: Competition,
    /// Whether clients may request an operation's plan.
    pub report_plan: bool,
    /// Whether responses report their cost, in `extensions.cost` and a header.
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
            subscription_request_bytes_max: 1_000_000,
            introspection_answers_max: 64,
            introspection_answers_bytes_max: 8 * 1024 * 1024,
            authorization_mode: AuthorizationMode::Cut,
            hides_schema: false,
            mask_subgraph_errors: false,
            shown_error_codes: Arc::default(),
            prepared: CacheBounds::default(),
            override_labels: Arc::default(),
            header_rules: Arc::default(),
            viewer_tags: Arc::default(),
            prepare_metrics: PrepareMetrics::default(),
            competition: Competition::default(),
            report_cost: false,
            report_plan: false,
        }
    }
}

impl Settings {
    /// The settings of a process, with metrics that are not registered yet.
    ///
    /// # Errors
    /// If a header rule, a subgraph address or a secret is malformed, or the files of a TLS
    /// setting cannot be read.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let mut subgraphs = config.subgraphs.clone();
        subgraphs.addresses = addresses(&config.subgraph_urls, std::env::vars())?;
        subgraphs.subscription_addresses = subscription_addresses(std::env::vars());
        let secrets = subgraphs.secret.secrets().map_err(anyhow::Error::msg);
        subgraphs.secrets = secrets.context("SUBGRAPH_SECRET")?;
        let tls = Tls::for_subgraphs(&subgraphs)?;
        Ok(Self {
            limits: config.limits.clone(),
            subgraphs,
            tls,
            introspection: config.service.development,
            subscription_request_bytes_max: config.subscriptions.subscription_request_bytes_max,
            introspection_answers_max: config.introspection_answers_max,
            introspection_answers_bytes_max: config.introspection_answers_bytes_max,
            authorization_mode: config.authorization.authorization_mode,
            hides_schema: config.authorization.authorization_hides_schema,
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
            viewer_tags: listed(&config.headers.viewer_tags)
                .map(ToOwned::to_owned)
                .collect(),
            ..Self::default()
        })
    }
}

/// The addresses from the environment and the flags. Flags win.
fn addresses(
    flags: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> anyhow::Result<HashMap<String, String>> {
    let (addresses, mistakes) = addresses_and_mistakes(flags, environment);
    match mistakes.into_iter().next() {
        Some(mistake) => Err(anyhow::Error::msg(mistake)),
        None => Ok(addresses),
    }
}

/// The addresses for subscriptions alone, by [`address_key`].
pub(crate) fn subscription_addresses(
    environment: impl Iterator<Item = (String, String)>,
) -> HashMap<String, String> {
    let addresses = prefixed(environment, "SUBSCRIPTION_URL_");
    addresses
        .filter(|(_, url)| !url.trim().is_empty())
        .collect()
}

/// The variables whose names begin so, without that.
fn prefixed(
    environment: impl Iterator<Item = (String, String)>,
    prefix: &'static str,
) -> impl Iterator<Item = (String, String)> {
    environment.filter_map(move |(name, url)| Some((name.strip_prefix(prefix)?.to_owned(), url)))
}

/// The addresses by [`address_key`], and all flags that are malformed.
pub(crate) fn addresses_and_mistakes(
    flags: &[String],
    environment: impl Iterator<Item = (String, String)>,
) -> (HashMap<String, String>, Vec<String>) {
    let mut addresses: HashMap<String, String> = prefixed(environment, "SUBGRAPH_URL_").collect();
    let mut mistakes = Vec::new();
    for pair in flags {
        match pair.split_once('=') {
            Some((name, url)) => {
                addresses.insert(address_key(name), url.to_owned());
            }
            None => mistakes.push(format!(
                "--subgraph-url {:?} is not NAME=URL",
                without_user(pair)
            )),
        }
    }
    (addresses, mistakes)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_malformed_secret_is_refused_by_its_name_and_not_shown() {
        for secret in ["hunter2", ",", "hunter2,hunter3"] {
            let arguments = ["gateway", "--subgraph-secret", secret];
            // Not by clap, which would show it.
            let config = Config::try_parse_from(arguments).expect("any text");
            let error = format!("{:#}", Settings::of(&config).expect_err("refused"));
            assert!(error.starts_with("SUBGRAPH_SECRET: "), "{error}");
            assert!(!error.contains("hunter"), "{error}");
        }
    }

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
    fn an_empty_list_for_subscriptions_is_none() {
        let environment = [
            ("SUBSCRIPTION_URL_POSTS", "http://live/"),
            ("SUBSCRIPTION_URL_COMMENTS", " "),
            ("SUBGRAPH_URL_POSTS", "http://all/"),
        ];
        let environment = environment.map(|(name, url)| (name.to_owned(), url.to_owned()));
        let addresses = subscription_addresses(environment.into_iter());
        let only = HashMap::from([("POSTS".to_owned(), "http://live/".to_owned())]);
        assert_eq!(addresses, only);
    }

    #[test]
    fn a_refused_address_shows_no_user_information() {
        let config = Config::parse_from(["gateway", "--subgraph-url", "http://u:secret@host/"]);
        let refused = super::addresses(&config.subgraph_urls, std::iter::empty());
        let error = format!("{:#}", refused.expect_err("no name"));
        assert!(error.contains("://***@host/"), "{error}");
    }
}
