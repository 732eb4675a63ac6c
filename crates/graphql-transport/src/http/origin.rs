//! Whose pages may use the service: the origins that the settings allow.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::settings::HttpSettings;

/// In place of an origin: every page of this machine itself, at any port.
pub(crate) const LOOPBACK: &str = "loopback";

/// Whether a page of this origin is allowed by `cors_origins`.
pub(super) fn is_allowed(origin: &str, settings: &HttpSettings) -> bool {
    settings.cors_origins.iter().any(|allowed| {
        allowed == "*" || allowed == origin || (allowed == LOOPBACK && is_loopback(origin))
    })
}

/// Whether an origin (`http://localhost:5173`) is a page of this machine: `localhost`, a name below it, or a loopback
/// address. Browsers resolve these names themselves, so no other site can take one.
fn is_loopback(origin: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return false;
    };
    let has_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match rest.rsplit_once(':') {
        Some((host, port)) if has_port(port) => host,
        _ => rest,
    };
    let ip6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    matches!(scheme, "http" | "https")
        && match ip6 {
            Some(address) => address.parse() == Ok(Ipv6Addr::LOCALHOST),
            None => {
                host == "localhost"
                    || host.ends_with(".localhost")
                    || host
                        .parse()
                        .is_ok_and(|address: Ipv4Addr| address.is_loopback())
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_this_machine_is_known_by_its_host() {
        for origin in [
            "http://localhost",
            "http://localhost:5173",
            "https://localhost:8443",
            "http://app.localhost:3000",
            "http://127.0.0.1:5173",
            "http://127.1.2.3",
            "http://[::1]:5173",
            "http://[::1]",
        ] {
            assert!(is_loopback(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://",
            "http://localhost.evil.example",
            "http://evil.example:80",
            "http://127.0.0.1.evil.example",
            "http://evillocalhost",
            "http://localhost:80@evil.example",
            "http://localhost:",
            "http://[::2]:80",
            "http://192.168.0.1:5173",
            "file://localhost",
            "chrome-extension://localhost",
        ] {
            assert!(!is_loopback(origin), "{origin}");
        }
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let allowed = |origins: &[&str], origin: &str| {
            let cors_origins = origins.iter().map(|&origin| origin.to_owned()).collect();
            is_allowed(
                origin,
                &HttpSettings {
                    cors_origins,
                    ..HttpSettings::default()
                },
            )
        };
        assert!(!allowed(&[], "http://localhost:5173"));
        assert!(!allowed(&["https://app.example"], "http://localhost:5173"));
        assert!(allowed(
            &["https://app.example", LOOPBACK],
            "http://localhost:5173"
        ));
        assert!(!allowed(&[LOOPBACK], "https://app.example"));
        assert!(allowed(&["*"], "null"));
    }
}
