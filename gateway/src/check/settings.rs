//! The mistakes in settings that each accept their value, but not what it means, or not beside others.

use std::sync::Arc;

use service::{GivenSetting, telemetry};

use super::Mistake;
use crate::{
    admission::{Admission, AdmissionMetrics},
    authorization::policies::PolicyService,
    config::{Config, HeaderConfig, SubgraphSettings, listed},
    edge::pages,
    gateway::transport_settings,
    graph::settings::addresses_and_mistakes,
    headers::HeaderRules,
    identity,
    metrics::{SubgraphMetrics, pages as metrics_pages},
    persisted::PersistedOperations,
    rate_limit,
    subgraphs::{Tls, without_user},
    supergraph_source::{KeptCopy, Source},
};

/// The longest value of a setting in a report, in characters.
const VALUE_CHARS_MAX: usize = 200;

/// The settings that the process was given.
pub(super) struct Settings(Vec<GivenSetting>);

impl Settings {
    pub(super) fn new(given: Vec<GivenSetting>) -> Self {
        Self(given)
    }

    /// How many there are, without `--check`.
    pub(super) fn count(&self) -> usize {
        self.0.iter().filter(|it| it.name != super::FLAG).count()
    }

    /// A mistake that begins with the name of its setting, at the place where that was given.
    pub(super) fn mistake(&self, text: &str) -> Mistake {
        let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let end = text.find(|c| !is_of_name(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let places = self.0.iter().filter(|it| it.name == name);
        let places: Vec<String> = places.map(|it| shown(&it.place)).collect();
        match (name, places.is_empty()) {
            ("", _) => Mistake {
                place: "settings".to_owned(),
                reason: shown(text),
            },
            (name, true) => Mistake {
                place: name.to_owned(),
                reason: reason(name, rest),
            },
            (name, false) => Mistake {
                place: places.join(" "),
                reason: reason(name, rest),
            },
        }
    }

    /// All mistakes in what the settings mean.
    pub(super) fn mistakes(&self, config: &Config) -> Vec<Mistake> {
        let texts = texts(config);
        texts.iter().map(|text| self.mistake(text)).collect()
    }
}

/// The rest of a text that begins with the name of a setting: `NAME: what is wrong`, or `NAME needs ...`.
fn reason(name: &str, rest: &str) -> String {
    match rest.strip_prefix(": ") {
        Some(rest) => shown(rest),
        None => shown(&format!("{name}{rest}")),
    }
}

fn texts(config: &Config) -> Vec<String> {
    let mut found = Found::default();
    found.failure("LOG", telemetry::check(&config.service));
    let rules = headers(config, &mut found);
    let (_, wrong) = addresses_and_mistakes(&config.subgraph_urls, std::env::vars());
    found.0.extend(wrong);
    let secrets = config.subgraphs.secret.secrets();
    found.failure("SUBGRAPH_SECRET", secrets.map_err(anyhow::Error::msg));
    found.failure("TLS_", config.tls.check());
    let tls = tls(config, &mut found);
    found.0.extend(
        Source::new(&config.supergraph, &tls)
            .err()
            .unwrap_or_default(),
    );
    let copy = config.supergraph.copy.as_deref();
    let copy = copy.map_or(Ok(()), |path| KeptCopy::new(path, "", 0).check());
    found.failure("SUPERGRAPH_COPY", copy.map_err(anyhow::Error::msg));
    found
        .0
        .extend(identity::mistakes(&config.identity, &rules, &tls));
    let has_tokens = config.identity.is_on();
    found
        .0
        .extend(rate_limit::mistakes(&config.rate_limit, has_tokens));
    let rate = &config.subscriptions.live_clients_rate;
    found.failure(
        "LIVE_CLIENTS_RATE",
        Admission::new(rate, AdmissionMetrics::default),
    );
    found.0.extend(transport_settings::mistakes(config, &rules));
    found.failure(
        "TRUSTED_DOCUMENTS",
        PersistedOperations::new(&config.persisted),
    );
    let (subgraphs, metrics) = (&config.subgraphs, SubgraphMetrics::default());
    let policies = PolicyService::new(&config.authorization, subgraphs, &tls, &metrics);
    found.failure("POLICY_URL", policies);
    found
        .0
        .extend(metrics_pages::mistakes(&config.metrics_pages));
    found.0.extend(pages::mistakes(config));
    found.0.extend(config.service.traces.mistakes());
    found.0
}

/// Texts that begin with the name of a setting.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn failure<T>(&mut self, name: &str, result: anyhow::Result<T>) {
        if let Err(error) = result {
            let text = format!("{error:#}");
            self.0.push(match text.starts_with(name) {
                true => text,
                false => format!("{name}: {text}"),
            });
        }
    }
}

/// Each rule alone, so that one does not hide another.
fn headers(config: &Config, found: &mut Found) -> Arc<HeaderRules> {
    let all = &config.headers;
    let mut sound = HeaderConfig {
        viewer_tags: all.viewer_tags.clone(),
        ..HeaderConfig::default()
    };
    let mut is_sound = |name: &str, config: HeaderConfig| {
        let rules = HeaderRules::new(&config);
        let is_sound = rules.is_ok();
        found.failure(name, rules);
        is_sound
    };
    for rule in listed(&all.forward).map(str::to_owned) {
        let alone = HeaderConfig {
            forward: vec![rule.clone()],
            ..HeaderConfig::default()
        };
        if is_sound("FORWARD_HEADERS", alone) {
            sound.forward.push(rule);
        }
    }
    for rule in listed(&all.give_back).map(str::to_owned) {
        let alone = HeaderConfig {
            give_back: vec![rule.clone()],
            ..HeaderConfig::default()
        };
        if is_sound("RETURN_HEADERS", alone) {
            sound.give_back.push(rule);
        }
    }
    for header in listed(&all.insert).map(str::to_owned) {
        let alone = HeaderConfig {
            insert: vec![header.clone()],
            ..HeaderConfig::default()
        };
        if is_sound("SUBGRAPH_HEADERS", alone) {
            sound.insert.push(header);
        }
    }
    for rule in listed(&all.withhold).map(str::to_owned) {
        let alone = HeaderConfig {
            withhold: vec![rule.clone()],
            ..HeaderConfig::default()
        };
        if is_sound("WITHHOLD_HEADERS", alone) {
            sound.withhold.push(rule);
        }
    }
    for claim in listed(&all.claims).map(str::to_owned) {
        let alone = HeaderConfig {
            claims: vec![claim.clone()],
            ..HeaderConfig::default()
        };
        if is_sound("SUBGRAPH_CLAIMS", alone) {
            sound.claims.push(claim);
        }
    }
    let alone = HeaderConfig {
        override_labels_header: all.override_labels_header.clone(),
        ..HeaderConfig::default()
    };
    if is_sound("OVERRIDE_LABELS_HEADER", alone) {
        sound.override_labels_header = all.override_labels_header.clone();
    }
    Arc::new(HeaderRules::new(&sound).unwrap_or_default())
}

fn tls(config: &Config, found: &mut Found) -> Tls {
    let providers = Tls::for_providers(&config.subgraphs);
    let tls = providers.as_ref().map(Clone::clone).unwrap_or_default();
    found.failure("SUBGRAPH_CA_FILE", providers);
    let without_authorities = SubgraphSettings {
        ca_file: None,
        ..config.subgraphs.clone()
    };
    let shown = Tls::for_subgraphs(&without_authorities);
    // Its errors begin with `SUBGRAPH_CERT` or `SUBGRAPH_KEY`.
    found.failure("SUBGRAPH_", shown);
    tls
}

/// A text without user information in its addresses, and not too long.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for part in text.split_inclusive([' ', ',', ';', '"', '\'']) {
        let address = part.find("://").map(|_| part);
        match address {
            // Before it there may be `NAME=`.
            Some(address) => shown.push_str(&without_user(address)),
            None => shown.push_str(part),
        }
    }
    if shown.chars().count() > VALUE_CHARS_MAX * 2 {
        shown = shown.chars().take(VALUE_CHARS_MAX * 2).collect();
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_information_is_in_no_report() {
        let text = r#"A=http://u:hunter2@a/,https://hunter2@b/x: "http://u:hunter2@c" is none"#;
        let expected = r#"A=http://***@a/,https://***@b/x: "http://***@c" is none"#;
        assert_eq!(shown(text), expected);
        assert!(shown(&"long ".repeat(1_000)).ends_with('…'));
    }

    #[test]
    fn a_mistake_is_at_the_place_of_its_setting() {
        let given = GivenSetting {
            name: "POLICY_URL".to_owned(),
            place: "--policy-url=ftp://u:p@a/".to_owned(),
        };
        let settings = Settings::new(vec![given]);
        let line = |text: &str| settings.mistake(text).to_string();
        assert_eq!(
            line("POLICY_URL: it is not\nan address"),
            "--policy-url=ftp://***@a/: it is not an address"
        );
        assert_eq!(
            line("JWT_COOKIE needs JWT_JWKS"),
            "JWT_COOKIE: JWT_COOKIE needs JWT_JWKS"
        );
        assert_eq!(
            line("--subgraph-url is none"),
            "settings: --subgraph-url is none"
        );
    }
}
