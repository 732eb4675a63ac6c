//! Who may ask the issuer: programs and pages of this machine.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::Refused;

const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// Refuses requests to other host names, and those of other sites' pages. A page can point a name of its own at this
/// address (DNS rebinding); for the browser, its requests are then of one site, and only `Host` says whose they are.
pub(super) async fn check(request: Request, next: Next) -> Response {
    if !names_this_machine(request.headers(), request.uri()) {
        return refused(
            StatusCode::MISDIRECTED_REQUEST,
            "the development issuer answers to localhost, 127.0.0.1 and [::1] only",
        );
    }
    // A browser sends it with each POST, also with one that it makes without a preflight.
    if request
        .headers()
        .get_all(header::ORIGIN)
        .iter()
        .any(|origin| !is_of_this_machine(origin))
    {
        return refused(
            StatusCode::FORBIDDEN,
            "the development issuer gives tokens to pages of this machine only",
        );
    }
    next.run(request).await
}

/// Lets pages of this machine read responses, at any port: a front end's development server has a port of its own. The
/// gateway allows the same pages in development.
pub(super) fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(|origin, _| {
            is_of_this_machine(origin)
        }))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::CONTENT_TYPE])
        .max_age(PREFLIGHT_MAX_AGE)
}

fn refused(status: StatusCode, reason: &str) -> Response {
    let reason = reason.to_owned();
    Refused { status, reason }.into_response()
}

fn names_this_machine(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
        // HTTP/2 may have it in the address alone.
        (None, None) => uri.authority().cloned(),
        _ => None,
    };
    host.is_some_and(|host| is_this_machine(&host)) && uri.authority().is_none_or(is_this_machine)
}

fn is_of_this_machine(origin: &HeaderValue) -> bool {
    let origin: Option<Uri> = origin.to_str().ok().and_then(|origin| origin.parse().ok());
    origin.is_some_and(|origin| {
        matches!(origin.scheme_str(), Some("http" | "https"))
            && origin.path() == "/"
            && origin.authority().is_some_and(is_this_machine)
    })
}

/// Browsers resolve `localhost` themselves, so no other site can take that name. Not all do so for names below it.
fn is_this_machine(authority: &Authority) -> bool {
    let host = authority.host().to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    !authority.as_str().contains('@')
        && (host == "localhost"
            || address
                .parse()
                .is_ok_and(|address: IpAddr| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_machine_are_known() {
        for (origin, expected) in [
            ("http://127.0.0.1:4000", true),
            ("http://localhost:5173", true),
            ("http://LOCALHOST", true),
            ("https://app.localhost", false),
            ("http://[::1]:4000", true),
            ("null", false),
            ("", false),
            ("localhost", false),
            ("http://evil.example", false),
            ("http://localhost.evil.example", false),
            ("http://127.0.0.1.evil.example:4000", false),
            ("http://localhost@evil.example", false),
            ("http://user@localhost", false),
            ("http://192.168.0.1:4000", false),
            ("file://localhost", false),
        ] {
            let value = HeaderValue::from_static(origin);
            assert_eq!(is_of_this_machine(&value), expected, "{origin}");
        }
    }
}
