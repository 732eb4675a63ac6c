//! Keeps other sites' pages from using a visitor's browser as their hand.
//!
//! By Fetch Metadata (<https://www.w3.org/TR/fetch-metadata/>), else by `Origin`: a browser's
//! cross-site request is answered only if it has forced a preflight, in which CORS decided. Programs
//! that are no browsers send neither header, and are untouched.

use http::{HeaderMap, Method, header, request::Parts};

use crate::{
    config::{Config, HttpConfig},
    error::{Code, RequestError},
};

/// A browser asks by a preflight before it sends any of these across sites.
const PREFLIGHT_HEADERS: [&str; 3] = [
    "graphql-require-preflight",
    "apollo-require-preflight",
    "x-apollo-operation-name",
];

/// Checks a POST or GET.
///
/// # Errors
/// `CSRF_REFUSED`.
pub fn check(parts: &Parts, config: &Config) -> Result<(), RequestError> {
    if config.http.csrf_prevention_off || !is_cross_site(&parts.headers, &config.http) {
        return Ok(());
    }
    let has_header = PREFLIGHT_HEADERS.iter().any(|name| {
        parts
            .headers
            .get(*name)
            .is_some_and(|value| !value.is_empty())
    });
    // The content types that need no preflight are refused for a POST anyway.
    if has_header || parts.method == Method::POST {
        return Ok(());
    }
    Err(RequestError::new(
        Code::CsrfRefused,
        "a cross-site request from a browser needs the header graphql-require-preflight",
    ))
}

/// Checks the upgrade to a WebSocket, for which browsers make no preflight: its page has to be of
/// this host or of one of the origins that CORS allows.
///
/// # Errors
/// `CSRF_REFUSED`.
pub fn check_upgrade(headers: &HeaderMap, config: &Config) -> Result<(), RequestError> {
    if config.http.csrf_prevention_off || !is_cross_site(headers, &config.http) {
        return Ok(());
    }
    Err(RequestError::new(
        Code::CsrfRefused,
        "pages of this origin may not open a WebSocket here: CORS_ORIGINS lists those that may",
    ))
}

fn is_cross_site(headers: &HeaderMap, config: &HttpConfig) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text("origin");
    if origin.is_some_and(|origin| {
        config
            .cors_origins
            .iter()
            .any(|allowed| allowed == origin || allowed == "*")
    }) {
        return false;
    }
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (headers.get(header::ORIGIN), origin) {
        (None, _) => false,
        // `null` and what cannot be read belong to nobody.
        (Some(_), None) => true,
        (Some(_), Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_none() || host != text("host")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn config() -> HttpConfig {
        Config::parse_from(["gateway", "--cors-origins", "https://app.example"]).http
    }

    fn cross_site(pairs: &[(&'static str, &'static str)]) -> bool {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        is_cross_site(&headers, &config())
    }

    #[test]
    fn only_browsers_tell_their_site() {
        assert!(!cross_site(&[]));
        assert!(!cross_site(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://other")
        ]));
        assert!(!cross_site(&[("sec-fetch-site", "none")]));
        assert!(cross_site(&[("sec-fetch-site", "cross-site")]));
        assert!(cross_site(&[("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn without_fetch_metadata_the_origin_has_to_be_the_host() {
        assert!(!cross_site(&[
            ("origin", "http://here:4000"),
            ("host", "here:4000")
        ]));
        assert!(cross_site(&[
            ("origin", "http://here:4001"),
            ("host", "here:4000")
        ]));
        assert!(cross_site(&[("origin", "null"), ("host", "here:4000")]));
    }

    #[test]
    fn an_allowed_origin_is_no_stranger() {
        assert!(!cross_site(&[
            ("origin", "https://app.example"),
            ("sec-fetch-site", "cross-site")
        ]));
    }
}
