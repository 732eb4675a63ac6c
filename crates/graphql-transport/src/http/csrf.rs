//! CSRF protection: refuses what a browser sends for a page of another site.
//!
//! By Fetch Metadata (<https://www.w3.org/TR/fetch-metadata/>), else by `Origin`: a browser's
//! cross-site request is answered only from an origin that CORS allows, or if it has forced a
//! preflight, which a proxy in front may have answered. Programs that are no browsers send neither
//! header, and are untouched.

use http::{HeaderMap, header};

use super::origin;
use crate::{
    code::{Code, Refusal},
    settings::HttpSettings,
};

/// A browser asks by a preflight before it sends any of these across sites.
const PREFLIGHT_HEADERS: [&str; 3] = [
    "graphql-require-preflight",
    "apollo-require-preflight",
    "x-apollo-operation-name",
];

/// Checks a request that is no upgrade to a WebSocket.
///
/// # Errors
/// `CSRF_REFUSED`.
pub(super) fn check(headers: &HeaderMap, settings: &HttpSettings) -> Result<(), Refusal> {
    if settings.csrf_prevention_off || !is_cross_site(headers, settings) {
        return Ok(());
    }
    let has_header = PREFLIGHT_HEADERS
        .iter()
        .any(|name| headers.get(*name).is_some_and(|value| !value.is_empty()));
    if has_header {
        return Ok(());
    }
    Err(Refusal::new(
        Code::CsrfRefused,
        "a cross-site request from a browser needs an origin that CORS_ORIGINS lists, or the header \
         graphql-require-preflight",
    ))
}

/// Checks the upgrade to a WebSocket, for which browsers make no preflight: its page has to be of
/// this host or of one of the origins that CORS allows.
///
/// # Errors
/// `CSRF_REFUSED`.
pub(crate) fn check_upgrade(headers: &HeaderMap, settings: &HttpSettings) -> Result<(), Refusal> {
    if settings.csrf_prevention_off || !is_cross_site(headers, settings) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::CsrfRefused,
        "pages of this origin may not open a WebSocket here: CORS_ORIGINS lists those that may",
    ))
}

fn is_cross_site(headers: &HeaderMap, settings: &HttpSettings) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = text("origin");
    if origin.is_some_and(|origin| origin::is_allowed(origin, settings)) {
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
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn cross_site(pairs: &[(&'static str, &'static str)]) -> bool {
        let settings = HttpSettings {
            cors_origins: vec!["https://app.example".to_owned()],
            ..HttpSettings::default()
        };
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        is_cross_site(&headers, &settings)
    }

    #[test]
    fn only_browsers_name_their_site() {
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
