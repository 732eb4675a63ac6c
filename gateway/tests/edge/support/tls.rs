//! A TLS proxy for a server, with a new certificate.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
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
    serving: JoinHandle<()>,
}

impl TlsFront {
    /// In front of `target`, with a certificate for `name`.
    pub async fn start(target: SocketAddr, name: &str) -> Self {
        let (config, authority) = certificate(name);
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

fn certificate(name: &str) -> (ServerConfig, NamedTempFile) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let authority = authority.self_signed(&authority_key).expect("signed");

    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new([name.to_owned()])
        .expect("a name")
        .signed_by(&key, &authority, &authority_key)
        .expect("signed");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a key that fits");

    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), authority.pem()).expect("written");
    (config, file)
}
