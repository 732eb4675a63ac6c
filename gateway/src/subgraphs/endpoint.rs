//! Parses a subgraph's address, and connects to it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::{FetchError, stream::Stream, tls::Tls};

/// A subgraph's address, from `http://user:password@host:port/path` or `https://...`. The user
/// information is used only for the `Authorization` header; the texts that this type gives do not
/// have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host name or address, without the brackets of IPv6.
    host: String,
    port: u16,
    /// The name that the certificate must have; `None` for plain `http`.
    server_name: Option<ServerName<'static>>,
    authority: String,
    path: String,
    /// `Basic ...`, from the user information.
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// Parses an address.
    ///
    /// # Errors
    /// In words, if it is not a valid HTTP address.
    pub fn parse(url: &str) -> Result<Self, String> {
        let shown = without_user(url);
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("{shown} is not an address: {error}"))?;
        let authority = uri
            .authority()
            .ok_or_else(|| format!("{shown} has no host"))?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let (default_port, server_name) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| format!("{shown}: {host} cannot be the name in a certificate"))?;
                (443, Some(name))
            }
            _ => {
                return Err(format!(
                    "{shown}: an address must start with http:// or https://"
                ));
            }
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let (user, authority_alone) = match authority.as_str().rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, authority.as_str()),
        };
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(default_port),
            server_name,
            authority: authority_alone.to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            authorization: user.map(basic).transpose()?,
        })
    }

    /// The value of the `Authorization` header, if the address has user information.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The address as `ws://` or `wss://`, without user information.
    pub fn socket_url(&self) -> String {
        let scheme = match self.server_name {
            None => "ws",
            Some(_) => "wss",
        };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    /// Host and port, for the `Host` header.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path with its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is `https`.
    pub(crate) fn is_tls(&self) -> bool {
        self.server_name.is_some()
    }

    /// Whether its host is this machine, by name or by address.
    pub(crate) fn is_this_machine(&self) -> bool {
        let address: Option<IpAddr> = self.host.parse().ok();
        self.host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }

    /// Whether both have one host and port.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(&other.host) && self.port == other.port
    }

    /// Its host and port, if the host is an IP address and not a name.
    pub(super) fn ip(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }

    /// What its host's name stands for now.
    pub(super) async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        Ok(found.collect())
    }

    /// Connects, with a TLS handshake for `https`, within `time_limit`.
    ///
    /// # Errors
    /// If the connection or the handshake fails, or the certificate is not trusted.
    pub async fn connect(&self, tls: &Tls, time_limit: Duration) -> Result<Stream, FetchError> {
        self.connect_to(None, tls, time_limit).await
    }

    /// [`Endpoint::connect`] to one of the addresses that its host's name stands for, or to the first of all that
    /// accepts.
    pub(crate) async fn connect_to(
        &self,
        address: Option<SocketAddr>,
        tls: &Tls,
        time_limit: Duration,
    ) -> Result<Stream, FetchError> {
        let connect = async {
            let stream = match address {
                Some(address) => TcpStream::connect(address).await,
                None => TcpStream::connect((self.host.as_str(), self.port)).await,
            };
            let stream = stream.map_err(FetchError::connect)?;
            // A request is one write, so Nagle's algorithm would only delay it.
            stream.set_nodelay(true).map_err(FetchError::connect)?;
            Ok(match &self.server_name {
                None => Stream::Plain(stream),
                Some(name) => Stream::Tls(Box::new(tls.handshake(name.clone(), stream).await?)),
            })
        };
        tokio::time::timeout(time_limit, connect)
            .await
            .unwrap_or(Err(FetchError::Timeout(time_limit)))
    }
}

/// An address that is safe to show: `***` replaces its user information.
pub(crate) fn without_user(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => return url.rsplit('@').next().unwrap_or_default().to_owned(),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

/// Basic authentication (RFC 7617) with the user information of an address, percent-decoded.
fn basic(user: &str) -> Result<HeaderValue, String> {
    let mut plain = percent_encoding::percent_decode_str(user).collect::<Vec<u8>>();
    if !user.contains(':') {
        plain.push(b':');
    }
    let value = format!("Basic {}", BASE64_STANDARD.encode(plain));
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| "the user information in the address is too long".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let endpoint = Endpoint::parse("http://user@[::1]:4001/graphql?a=1").expect("an address");
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 4001));
        assert_eq!(endpoint.authority(), "[::1]:4001");
        assert_eq!(endpoint.path(), "/graphql?a=1");
        assert_eq!(endpoint.server_name, None);

        let endpoint = Endpoint::parse("https://posts.example").expect("an address");
        assert_eq!((endpoint.port, endpoint.path()), (443, "/"));
        assert!(endpoint.server_name.is_some());
        assert_eq!(
            Endpoint::parse("http://posts.example").map(|it| it.port),
            Ok(80)
        );
    }

    #[test]
    fn user_information_becomes_basic_authentication_and_is_shown_nowhere() {
        for (url, user) in [
            ("http://user:pw@host/graphql", "user:pw"),
            ("http://us%40er:p%3Aw@host:80/graphql", "us@er:p:w"),
            ("https://token@host/graphql", "token:"),
        ] {
            let endpoint = Endpoint::parse(url).expect("an address");
            let expected = format!("Basic {}", BASE64_STANDARD.encode(user));
            assert_eq!(endpoint.authorization().expect("a value"), &expected);
            assert!(!format!("{endpoint:?}").contains(&expected));
            assert!(!endpoint.socket_url().contains('@'), "{url}");
            let shown = without_user(url);
            assert!(shown.contains("://***@host") && shown.ends_with("/graphql"));
        }
        let plain = "https://host/a@b";
        assert_eq!(without_user(plain), plain);
        let endpoint = Endpoint::parse(plain).expect("an address");
        assert_eq!(endpoint.authorization(), None);
        assert_eq!(endpoint.socket_url(), "wss://host/a@b");
        for broken in [
            "ftp://user:secret@host/",
            "https://user:secret@a_b..c/",
            "secret@host",
        ] {
            let error = Endpoint::parse(broken).expect_err("no address");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_no_address_of_http_is_refused() {
        for url in [
            "posts",
            "ftp://posts/",
            "https://a_b..c/",
            "http:///graphql",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
