//! Where people sign in at the pages: `/sign-in.json` names the token service, and the pages' Content-Security-Policy
//! allows it.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, Uri, header};
use serde_json::json;

use crate::config::Config;

/// The service that gives the pages tokens.
#[derive(Debug, PartialEq, Eq)]
pub struct TokenService {
    url: String,
    /// As the policy names it; `None` for a path on the gateway's own origin.
    origin: Option<String>,
}

impl TokenService {
    /// The one of `WEB_SIGN_IN_URL`, if that is set.
    ///
    /// # Errors
    /// If it is malformed, not `https` outside this machine, or has no host that a policy can name.
    pub fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let url = config.web_sign_in_url.as_deref().map(str::trim);
        let url = url.filter(|url| !url.is_empty());
        url.map(|url| Self::parse(url).context("WEB_SIGN_IN_URL"))
            .transpose()
    }

    fn parse(url: &str) -> anyhow::Result<Self> {
        let address: Uri = url.parse().context("it is not an address")?;
        // Browsers read it as a slash.
        ensure!(!url.contains('\\'), "it may not have a backslash");
        let url = url.to_owned();
        if url.starts_with('/') && !url.starts_with("//") {
            return Ok(Self { url, origin: None });
        }
        let (Some(scheme), Some(authority)) = (address.scheme_str(), address.authority()) else {
            bail!("it has to be an address (https://id.example/token) or a path (/token)");
        };
        let host = authority.host();
        ensure!(
            scheme == "https" || scheme == "http" && is_this_machine(host),
            "it has to be https: whoever reads a token on its way can use it"
        );
        ensure!(!authority.as_str().contains('@'), "it may not name a user");
        if !host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        {
            bail!("a Content-Security-Policy cannot name the host {host}");
        }
        let port = authority.port().map(|port| format!(":{port}"));
        let origin = format!("{scheme}://{host}{}", port.unwrap_or_default());
        Ok(Self {
            url,
            origin: Some(origin),
        })
    }

    /// What the pages may connect to beside the gateway itself: an origin with a blank before it, or nothing.
    pub(super) fn policy_source(service: Option<&Self>) -> String {
        let origin = service.and_then(|service| service.origin.as_deref());
        origin.map_or_else(String::new, |origin| format!(" {origin}"))
    }
}

/// `/sign-in.json`: the token service's address. Without a service, 204: a browser reports 404 as an error of the page.
pub(super) fn route<S: Clone + Send + Sync + 'static>(service: Option<TokenService>) -> Router<S> {
    let told = service.map(|service| json!({ "tokenUrl": service.url }).to_string());
    let response = move || async move {
        let mut response: Response = match told {
            Some(told) => ([(header::CONTENT_TYPE, "application/json")], told).into_response(),
            None => StatusCode::NO_CONTENT.into_response(),
        };
        let no_cache = HeaderValue::from_static("no-cache");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_cache);
        response
    };
    Router::new().route("/sign-in.json", get(response))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_the_origin_of_the_token_service() {
        for (url, expected) in [
            ("https://id.example/token", " https://id.example"),
            (
                "https://id.example:8443/a/b?c=d",
                " https://id.example:8443",
            ),
            ("http://127.0.0.1:4003/token", " http://127.0.0.1:4003"),
            ("http://localhost/token", " http://localhost"),
            ("/token", ""),
        ] {
            let service = TokenService::parse(url).expect(url);
            assert_eq!(
                TokenService::policy_source(Some(&service)),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn what_a_page_should_not_send_names_to_is_refused() {
        for (url, reason) in [
            ("http://id.example/token", "https"),
            ("ftp://id.example/token", "https"),
            ("token", "or a path"),
            ("//id.example/token", "or a path"),
            ("https://[2001:db8::1]/token", "cannot name the host"),
            ("https://a;b/token", "cannot name the host"),
            ("https://user@id.example/", "a user"),
            ("https://id.example/ *", "not an address"),
            ("/\\id.example/token", "backslash"),
        ] {
            let error = format!("{:#}", TokenService::parse(url).expect_err(url));
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
