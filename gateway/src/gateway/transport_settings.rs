//! The settings of the transports.

use anyhow::{Context, bail};
use graphql_transport::{Network, Settings, TrustedProxies, Verifier, tasks_per_client_max};
use http::header;

use crate::{
    config::{Config, listed},
    headers::{HeaderRules, trace_context},
};

/// Converts the gateway's settings to those of the transports.
///
/// # Errors
/// If a trusted proxy is malformed. If pages of all origins could send requests with their visitors' cookies, which subgraphs or the gateway
/// would take as theirs.
pub fn transport_settings(config: &Config, rules: &HeaderRules) -> anyhow::Result<Settings> {
    if let Some(danger) = dangers(config, rules).first() {
        bail!(*danger);
    }
    let mut http = config.http.clone();
    if config.service.development {
        http = http.at_loopback_names().for_loopback_pages();
    }
    let returned = rules.returned().cloned();
    // Why a token is refused.
    let challenge = config.identity.is_on().then_some(header::WWW_AUTHENTICATE);
    // When a client may come again.
    let is_limited = config.rate_limit.rate().is_some()
        || !config.subscriptions.live_clients_rate.trim().is_empty();
    let retry_after = is_limited.then_some(header::RETRY_AFTER);
    Ok(Settings {
        http,
        websocket: config.websocket.clone(),
        keep_alive: config.subscriptions.subscription_keep_alive,
        grace: config.service.shutdown_grace,
        tasks_per_client_max: config
            .service
            .tasks_per_client_max
            .unwrap_or_else(tasks_per_client_max),
        // Clients sign nothing.
        verifier: Verifier::default(),
        exposed_headers: returned
            .chain([trace_context::REQUEST_ID])
            .chain(challenge)
            .chain(retry_after)
            .collect(),
        trusted_proxies: trusted_proxies(config)?,
    })
}

/// All mistakes in the settings, where [`transport_settings`] ends at the first one.
pub(crate) fn mistakes(config: &Config, rules: &HeaderRules) -> Vec<String> {
    let networks = listed(&config.trusted_proxies).map(str::parse::<Network>);
    let networks = networks.filter_map(|read| Some(format!("TRUSTED_PROXIES: {:#}", read.err()?)));
    let dangers = dangers(config, rules).into_iter().map(str::to_owned);
    networks.chain(dangers).collect()
}

/// What would let pages of all origins act as their visitors.
fn dangers(config: &Config, rules: &HeaderRules) -> Vec<&'static str> {
    let allows = |wanted: &str| {
        config
            .http
            .cors_origins
            .iter()
            .any(|origin| origin == wanted)
    };
    let has_cookie = config.identity.is_on() && config.identity.cookie().is_some();
    let all = [
        (
            allows("*") && rules.forwards(&header::COOKIE),
            "CORS_ORIGINS=* would let every page send its visitors' cookies, which FORWARD_HEADERS \
             forwards to subgraphs: list the allowed origins instead",
        ),
        (
            has_cookie && allows("*"),
            "CORS_ORIGINS=* would let every page act as its visitors, whose browsers send the cookie \
             that JWT_COOKIE names: list the allowed origins instead",
        ),
        // Files, sandboxed frames and pages behind some redirects have this origin, whoever made them.
        (
            has_cookie && allows("null"),
            "CORS_ORIGINS=null would let every page act as its visitors, whose browsers send the cookie \
             that JWT_COOKIE names: list the allowed origins instead",
        ),
        (
            has_cookie && config.http.csrf_prevention_off,
            "CSRF_PREVENTION_OFF would let every page act as its visitors, whose browsers send the \
             cookie that JWT_COOKIE names",
        ),
        (
            config.http.uploads_max > 0 && config.http.csrf_prevention_off,
            "CSRF_PREVENTION_OFF would let the forms of every page send files and mutations, which UPLOADS_MAX \
             allows: browsers ask nobody before they send a form",
        ),
    ];
    let there = all.into_iter().filter(|(is_there, _)| *is_there);
    there.map(|(_, danger)| danger).collect()
}

fn trusted_proxies(config: &Config) -> anyhow::Result<TrustedProxies> {
    listed(&config.trusted_proxies)
        .map(|text| text.parse::<Network>().context("TRUSTED_PROXIES"))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn every_origin_and_forwarded_cookies_do_not_go_together() {
        let settings = |arguments: &[&str]| {
            let arguments = ["gateway"].iter().chain(arguments);
            let config = Config::parse_from(arguments);
            let rules = HeaderRules::new(&config.headers).expect("rules");
            transport_settings(&config, &rules)
        };
        let (every, cookie) = ("--cors-origins=*", "--forward-headers=cookie");
        let error = settings(&[every, cookie]).expect_err("refused");
        assert!(error.to_string().starts_with("CORS_ORIGINS=*"), "{error}");
        assert!(settings(&[every]).is_ok());
        assert!(settings(&["--cors-origins=https://a.example", cookie]).is_ok());
    }

    #[test]
    fn trusted_proxies_are_addresses_and_networks() {
        let settings = |proxies: &str| {
            let proxies = format!("--trusted-proxies={proxies}");
            let config = Config::parse_from(["gateway", &proxies]);
            transport_settings(&config, &HeaderRules::default())
        };
        let trusted = settings(" 10.0.0.0/8,, ::1")
            .expect("settings")
            .trusted_proxies;
        assert!(trusted.has([10, 1, 2, 3].into()) && trusted.has([0, 0, 0, 0, 0, 0, 0, 1].into()));
        let trusted = settings("").expect("settings").trusted_proxies;
        assert!(!trusted.has([127, 0, 0, 1].into()));
        let error = format!("{:#}", settings("10.0.0.0/8, proxy").expect_err("refused"));
        assert!(error.starts_with("TRUSTED_PROXIES: \"proxy\""), "{error}");
    }

    #[test]
    fn a_cookie_with_a_token_needs_the_protection_of_cookies() {
        let settings = |arguments: &[&str]| {
            let jwks = ["gateway", "--jwt-jwks=https://a.example/keys"];
            let config = Config::parse_from(jwks.iter().chain(arguments));
            transport_settings(&config, &HeaderRules::default())
        };
        let cookie = "--jwt-cookie=session";
        for (other, name) in [
            ("--cors-origins=*", "CORS_ORIGINS=*"),
            ("--cors-origins=null", "CORS_ORIGINS=null"),
            ("--csrf-prevention-off", "CSRF_PREVENTION_OFF"),
        ] {
            let error = settings(&[cookie, other]).expect_err("refused").to_string();
            assert!(error.starts_with(name), "{error}");
            assert!(settings(&[other]).is_ok());
        }
        assert!(settings(&[cookie, "--cors-origins=https://a.example"]).is_ok());
    }

    #[test]
    fn in_development_the_machine_answers_to_its_own_names() {
        let hosts = |arguments: &[&str]| {
            let arguments = ["gateway"].iter().chain(arguments);
            let config = Config::parse_from(arguments);
            let settings = transport_settings(&config, &HeaderRules::default()).expect("settings");
            settings.http.allowed_hosts
        };
        assert!(hosts(&[]).is_empty());
        assert_eq!(
            hosts(&["--development"]),
            ["localhost", "127.0.0.1", "[::1]"]
        );
        assert_eq!(hosts(&["--development", "--allowed-hosts=*"]), ["*"]);
    }

    #[test]
    fn in_development_the_machines_own_pages_are_allowed() {
        let origins = |arguments: &[&str]| {
            let arguments = ["gateway"].iter().chain(arguments);
            let config = Config::parse_from(arguments);
            let settings = transport_settings(&config, &HeaderRules::default()).expect("settings");
            settings.http.cors_origins
        };
        assert!(origins(&[]).is_empty());
        assert_eq!(origins(&["--development"]), ["loopback"]);
        let own = ["--development", "--cors-origins=https://app.example"];
        assert_eq!(origins(&own), ["https://app.example"]);
    }
}
