//! A byte stream to the server: TCP, and TLS where the URL asks for it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
pub(crate) use tls::Tls;

/// The address of a server.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub uri: Uri,
    host: String,
    port: u16,
    is_secure: bool,
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

impl Endpoint {
    /// `None` for what is no absolute URL of a known scheme.
    pub(crate) fn new(uri: Uri) -> Option<Self> {
        let is_secure = match uri.scheme_str()? {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return None,
        };
        let host = uri.host().filter(|it| !it.is_empty())?;
        // An address of IPv6 is in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
            is_secure,
            #[cfg(feature = "tls")]
            tls: is_secure.then(Tls::default),
            uri,
        })
    }

    pub(crate) fn needs_feature(&self) -> bool {
        self.is_secure && !cfg!(feature = "tls")
    }

    /// The value of the header `host`.
    pub(crate) fn authority(&self) -> &str {
        let authority = self.uri.authority().map_or("", |it| it.as_str());
        // What is before it are credentials, which are not sent.
        authority.rsplit('@').next().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |it| it.as_str())
    }

    /// The same with the scheme that the WebSocket library wants; the stream is made here.
    pub(crate) fn websocket_url(&self) -> String {
        format!("ws://{}{}", self.authority(), self.path())
    }

    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.as_ref().filter(|_| self.is_secure) {
            return Ok(Stream::Tls(Box::new(tls.connect(&self.host, tcp).await?)));
        }
        Ok(Stream::Tcp(tcp))
    }
}

/// What the transports read and write.
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp(it) => {
                let $stream = Pin::new(it);
                $call
            }
            #[cfg(feature = "tls")]
            Stream::Tls(it) => {
                let $stream = Pin::new(it.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::io;
    use std::sync::{Arc, LazyLock};

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    /// Mozilla's authorities, as `webpki-roots` has them.
    static DEFAULT: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
        let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them");
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    });

    #[derive(Clone)]
    pub(crate) struct Tls(Arc<ClientConfig>);

    impl Default for Tls {
        fn default() -> Self {
            Self(Arc::clone(&DEFAULT))
        }
    }

    impl From<Arc<ClientConfig>> for Tls {
        fn from(config: Arc<ClientConfig>) -> Self {
            Self(config)
        }
    }

    impl Tls {
        pub(super) async fn connect(
            &self,
            host: &str,
            tcp: TcpStream,
        ) -> io::Result<TlsStream<TcpStream>> {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            TlsConnector::from(Arc::clone(&self.0))
                .connect(name, tcp)
                .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Option<Endpoint> {
        Endpoint::new(url.parse().ok()?)
    }

    #[test]
    fn urls_of_four_schemes_are_known() {
        for (url, host, port, path) in [
            ("http://a/graphql", "a", 80, "/graphql"),
            ("ws://a:4000/graphql?x=1", "a", 4000, "/graphql?x=1"),
            ("https://a", "a", 443, "/"),
            ("wss://[::1]:9/g", "::1", 9, "/g"),
        ] {
            let endpoint = endpoint(url).expect(url);
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port));
            assert_eq!(endpoint.path(), path);
        }
        for url in ["/graphql", "ftp://a/", "a:4000", ""] {
            assert!(endpoint(url).is_none(), "{url}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_not_sent() {
        let endpoint = endpoint("http://me:secret@a:1/graphql").expect("a URL");
        assert_eq!(endpoint.authority(), "a:1");
        assert_eq!(endpoint.websocket_url(), "ws://a:1/graphql");
    }
}
