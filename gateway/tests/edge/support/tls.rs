//! A TLS proxy for a server, with a new certificate.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::NamedTempFile;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// Takes TLS off and hands everything on to a server.
pub struct TlsFront {
    port: u16,
    /// The authority that has signed the certificate.
    pub authority: NamedTempFile,
    /// The files that a client has, which stay as long as this does.
    #[expect(dead_code, reason = "they are deleted when they are dropped")]
    client: Vec<NamedTempFile>,
    serving: JoinHandle<()>,
}

impl TlsFront {
    /// In front of `target`, with a certificate for `name`.
    pub async fn start(target: SocketAddr, name: &str) -> Self {
        Self::with(target, certificate(name, false)).await
    }

    /// The same for clients alone that show a certificate of the same authority; with the arguments of a
    /// gateway that does.
    pub async fn for_known_clients(target: SocketAddr) -> (Self, Vec<String>) {
        let made = certificate("localhost", true);
        let arguments = ["cert", "key"].iter().zip(&made.client);
        let arguments =
            arguments.map(|(name, file)| format!("--subgraph-{name}={}", file.path().display()));
        let arguments = arguments.collect();
        let front = Self::with(target, made).await;
        (front, arguments)
    }

    async fn with(target: SocketAddr, made: Made) -> Self {
        let Made {
            config,
            authority,
            client,
        } = made;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Clients that do not trust it leave early.
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(target).await.expect("the server");
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self {
            port,
            authority,
            client,
            serving,
        }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/graphql", self.port)
    }

    /// The setting that makes a gateway trust it.
    pub fn trusted(&self) -> String {
        format!("--subgraph-ca-file={}", self.authority.path().display())
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A server's side of TLS, and what its clients have.
struct Made {
    config: ServerConfig,
    authority: NamedTempFile,
    /// A client's certificate and its key.
    client: Vec<NamedTempFile>,
}

fn certificate(name: &str, only_known_clients: bool) -> Made {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let authority = authority.self_signed(&authority_key).expect("signed");
    let signed = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new([name.to_owned()])
            .expect("a name")
            .signed_by(&key, &authority, &authority_key)
            .expect("signed");
        (certificate, key)
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS");
    let builder = if only_known_clients {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).expect("a certificate");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
    } else {
        builder.with_no_client_auth()
    };
    let (certificate, key) = signed(name);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = builder
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a key that fits");
    let file = |pem: String| {
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), pem).expect("written");
        file
    };
    let (client, client_key) = signed("gateway");
    Made {
        config,
        authority: file(authority.pem()),
        client: vec![file(client.pem()), file(client_key.serialize_pem())],
    }
}
