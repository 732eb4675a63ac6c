//! A subgraph's address, taken apart, and a fresh stream to it.

use std::time::Duration;

use http::Uri;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::{FetchError, stream::Stream, tls::Tls};

/// Where a subgraph listens, from `http://host:port/path` or `https://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Whom the certificate has to name; none for plain `http`.
    server_name: Option<ServerName<'static>>,
    authority: String,
    path: String,
}

impl Endpoint {
    /// Takes an address apart.
    ///
    /// # Errors
    /// In words, when it is not one of HTTP.
    pub fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url
            .parse()
            .map_err(|error| format!("{url} is not an address: {error}"))?;
        let authority = uri
            .authority()
            .ok_or_else(|| format!("{url} has no host"))?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let (default_port, server_name) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| format!("{url}: no certificate can name {host}"))?;
                (443, Some(name))
            }
            _ => return Err(format!("{url}: an address is http:// or https://")),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host,
            port: authority.port_u16().unwrap_or(default_port),
            server_name,
            authority: authority
                .as_str()
                .rsplit('@')
                .next()
                .unwrap_or_default()
                .to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
        })
    }

    /// Host and port as the `Host` header has them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Connects, and shakes hands where the address is `https`, all within `time_limit`.
    ///
    /// # Errors
    /// When there is no connection, or nobody at its other end to trust.
    pub async fn connect(&self, tls: &Tls, time_limit: Duration) -> Result<Stream, FetchError> {
        let connect = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port))
                .await
                .map_err(FetchError::connect)?;
            // A request is one write; waiting for more to send would only delay it.
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
