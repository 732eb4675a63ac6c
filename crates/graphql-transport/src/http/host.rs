//! Which host names the service answers to.
//!
//! A page can point its own name at this address (DNS rebinding): then its requests are of one site
//! for the browser, and only their `Host` says whose they are.

use http::{Version, header, request::Parts};

use crate::{
    code::{Code, Refusal},
    settings::HttpSettings,
};

/// Checks that the request names one host, and one that is allowed.
///
/// # Errors
/// `BAD_REQUEST`; `HOST_REFUSED`.
pub(super) fn check(parts: &Parts, settings: &HttpSettings) -> Result<(), Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        // HTTP/2 may have it in the address alone.
        (None, None) => authority,
        _ => None,
    };
    let allowed = &settings.allowed_hosts;
    let is_allowed = |host: &str| allowed.iter().any(|it| is_named(host, it));
    match host {
        Some(_) if allowed.is_empty() => Ok(()),
        // Where the address has a host, that one counts, and the header may say another (RFC 9112, section 3.2.2).
        Some(host) if is_allowed(host) && authority.is_none_or(is_allowed) => Ok(()),
        Some(_) => Err(Refusal::new(
            Code::HostRefused,
            "this service does not answer to the host of the request: ALLOWED_HOSTS lists those that \
             it answers to",
        )),
        None if parts.version < Version::HTTP_11 && allowed.is_empty() => Ok(()),
        None => Err(Refusal::new(
            Code::BadRequest,
            "a request needs one Host header",
        )),
    }
}

/// Whether `host` is the allowed name, at any port where that has none.
fn is_named(host: &str, allowed: &str) -> bool {
    let port = host.rfind(':').filter(|at| !host[*at..].contains(']'));
    let name = port.map_or(host, |at| &host[..at]);
    allowed == "*" || allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_that_a_request_names_has_to_be_allowed() {
        let settings = HttpSettings {
            allowed_hosts: vec!["localhost".to_owned()],
            ..HttpSettings::default()
        };
        for (address, hosts, expected) in [
            ("/graphql", &["localhost"][..], None),
            ("http://localhost:4000/graphql", &["localhost"], None),
            ("http://localhost/graphql", &[], None),
            (
                "http://evil.example/graphql",
                &["localhost"],
                Some(Code::HostRefused),
            ),
            (
                "http://localhost/graphql",
                &["evil.example"],
                Some(Code::HostRefused),
            ),
            ("http://evil.example/graphql", &[], Some(Code::HostRefused)),
            (
                "http://localhost@evil.example/",
                &["localhost"],
                Some(Code::HostRefused),
            ),
            (
                "/graphql",
                &["localhost", "localhost"],
                Some(Code::BadRequest),
            ),
            ("/graphql", &[], Some(Code::BadRequest)),
        ] {
            let mut request = http::Request::builder().uri(address);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let (parts, ()) = request.body(()).expect("a request").into_parts();
            let code = check(&parts, &settings).err().map(|refusal| refusal.code);
            assert_eq!(code, expected, "{address} {hosts:?}");
        }
    }

    #[test]
    fn a_name_is_allowed_at_any_port() {
        for (host, allowed, expected) in [
            ("localhost", "localhost", true),
            ("LocalHost:4000", "localhost", true),
            ("[::1]:4000", "[::1]", true),
            ("[::1]", "[::1]", true),
            ("localhost:4000", "localhost:4000", true),
            ("localhost:4001", "localhost:4000", false),
            ("localhost.evil.example", "localhost", false),
            ("evil.example:4000", "localhost", false),
            ("any.example", "*", true),
        ] {
            assert_eq!(is_named(host, allowed), expected, "{host} {allowed}");
        }
    }
}
