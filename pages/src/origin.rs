//! The scheme and host that absolute links begin with.

use std::sync::Arc;

use anyhow::{Context, ensure};
use http::uri::Authority;
use http::{HeaderMap, Uri, header};

/// What the gateway was reached as. Nobody but the gateway reaches this service.
const FORWARDED_HOST: &str = "x-forwarded-host";
/// As long as a domain name can be, with a port.
const HOST_BYTES_MAX: usize = 261;

/// An origin without a slash at its end: `https://example.org`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    text: Arc<str>,
    /// Whether it is that of the setting, and not what a request says.
    is_public: bool,
}

impl Origin {
    /// An absolute address; `path` begins with a slash.
    pub fn with(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// The address that search engines are to know instead of all others; `None` where no setting says which it is.
    /// Behind a proxy, the host of a request may be any, and its scheme is not known.
    pub fn canonical(&self, path: &str) -> Option<String> {
        self.is_public.then(|| self.with(path))
    }
}

/// Where origins come from.
#[derive(Clone, Debug)]
pub struct Origins {
    public: Option<Origin>,
}

impl Origins {
    /// `public` is `PUBLIC_URL`.
    ///
    /// # Errors
    /// If it is not an origin.
    pub fn new(public: Option<&str>) -> anyhow::Result<Self> {
        let public = public.map(str::trim).filter(|url| !url.is_empty());
        let public = public.map(|url| of_setting(url).context("PUBLIC_URL"));
        Ok(Self {
            public: public.transpose()?,
        })
    }

    /// Whether there is a setting.
    pub fn are_known(&self) -> bool {
        self.public.is_some()
    }

    /// That of the setting, or else of the request; `None` if the request names no host or a strange one.
    pub fn of(&self, headers: &HeaderMap) -> Option<Origin> {
        if let Some(public) = &self.public {
            return Some(public.clone());
        }
        let host = headers.get(FORWARDED_HOST).or(headers.get(header::HOST))?;
        let host = plain(host.to_str().ok()?)?;
        Some(Origin {
            text: format!("http://{host}").into(),
            is_public: false,
        })
    }
}

fn of_setting(url: &str) -> anyhow::Result<Origin> {
    let uri: Uri = url.parse().context("it is not an address")?;
    let scheme = uri.scheme_str().unwrap_or_default();
    ensure!(
        ["http", "https"].contains(&scheme),
        "it has to begin with https:// or http://"
    );
    ensure!(
        uri.path() == "/" && uri.query().is_none(),
        "it has to be an origin such as https://example.org, without a path"
    );
    let host = uri.authority().and_then(|it| plain(it.as_str()));
    let host = host.context("its host is not one")?;
    Ok(Origin {
        text: format!("{scheme}://{host}").into(),
        is_public: true,
    })
}

/// A host, perhaps with a port, of the characters that names and addresses have.
fn plain(host: &str) -> Option<&str> {
    let authority: Authority = host.parse().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let fits = host.len() <= HOST_BYTES_MAX && host.bytes().all(is_plain);
    (fits && !authority.host().is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn of(public: Option<&str>, headers: &[(&'static str, &str)]) -> Option<String> {
        let headers = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (HeaderName::from_static(name), value)
        });
        let origins = Origins::new(public).expect("an origin");
        Some(origins.of(&headers.collect())?.with("/"))
    }

    #[test]
    fn the_setting_counts_before_the_request() {
        let host = ("host", "10.0.0.1:4004");
        let forwarded = ("x-forwarded-host", "localhost:4000");
        let public = Some("https://example.org/");
        assert_eq!(of(public, &[host]).as_deref(), Some("https://example.org/"));
        let both = of(None, &[host, forwarded]);
        assert_eq!(both.as_deref(), Some("http://localhost:4000/"));
        let direct = of(Some(" "), &[host]);
        assert_eq!(direct.as_deref(), Some("http://10.0.0.1:4004/"));
        let ipv6 = of(None, &[("host", "[::1]:4000")]);
        assert_eq!(ipv6.as_deref(), Some("http://[::1]:4000/"));
    }

    #[test]
    fn strange_hosts_and_settings_are_refused() {
        let long = "a".repeat(HOST_BYTES_MAX + 1);
        for host in [
            "",
            "a@b",
            "a/b",
            "a\"b",
            "a b",
            "a<b",
            "a?b",
            "ä.example",
            &long,
        ] {
            assert_eq!(of(None, &[("host", host)]), None, "{host}");
        }
        assert_eq!(of(None, &[]), None);
        for url in [
            "example.org",
            "ftp://example.org",
            "https://example.org/path",
            "https://example.org/?q",
            "https://user@example.org",
            "https://",
        ] {
            assert!(Origins::new(Some(url)).is_err(), "{url}");
        }
    }
}
