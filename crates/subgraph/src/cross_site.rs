//! Keeps other sites' pages from using a visitor's browser as their hand.
//!
//! By Fetch Metadata (<https://www.w3.org/TR/fetch-metadata/>), else by `Origin`: what a browser sends
//! for a page of another site is refused. Programs that are no browsers, such as the gateway, send
//! neither header.

use http::header::{self, HeaderMap};

/// Whether a browser sent this for a page of another site.
pub(crate) fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    // `null` and what cannot be read belong to nobody.
    let host = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    host.is_none_or(|(_, host)| Some(host) != text("host"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn cross_site(pairs: &[(&'static str, &'static str)]) -> bool {
        let headers = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        is_cross_site(&headers.collect())
    }

    #[test]
    fn only_browsers_tell_their_site() {
        assert!(!cross_site(&[]));
        assert!(!cross_site(&[("sec-fetch-site", "same-origin")]));
        assert!(!cross_site(&[("sec-fetch-site", "none")]));
        assert!(cross_site(&[("sec-fetch-site", "cross-site")]));
        assert!(cross_site(&[("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn without_fetch_metadata_the_origin_has_to_be_the_host() {
        let host = ("host", "127.0.0.1:4002");
        assert!(!cross_site(&[("origin", "http://127.0.0.1:4002"), host]));
        for foreign in ["http://127.0.0.1:4001", "https://evil.example", "null", ""] {
            assert!(cross_site(&[("origin", foreign), host]), "{foreign:?}");
        }
    }
}
