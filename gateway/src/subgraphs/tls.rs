//! TLS to subgraphs, and the certificate authorities to trust.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use anyhow::Context;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::FetchError;

/// The ALPN name of the protocol of [`super::http_connection`], with which WebSockets start too.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Shared by all graphs, because the public authorities are the same.
static PUBLIC: LazyLock<Tls> = LazyLock::new(|| Tls::trusting(public_authorities()));

/// The TLS configuration for `https` addresses. Clones share it, and with it the sessions that can
/// be resumed.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ClientConfig>);

/// Trusts the public authorities in Mozilla's list.
impl Default for Tls {
    fn default() -> Self {
        PUBLIC.clone()
    }
}

impl Tls {
    /// Trusts the public authorities and those of a PEM file.
    ///
    /// # Errors
    /// If the file cannot be read, or has no certificate.
    pub fn with_authorities(file: &Path) -> anyhow::Result<Self> {
        let in_file = || format!("SUBGRAPH_CA_FILE {}", file.display());
        let mut authorities = public_authorities();
        let before = authorities.len();
        for certificate in CertificateDer::pem_file_iter(file).with_context(in_file)? {
            let certificate = certificate.with_context(in_file)?;
            authorities.add(certificate).with_context(in_file)?;
        }
        if authorities.len() == before {
            anyhow::bail!("{} has no certificate", in_file());
        }
        Ok(Self::trusting(authorities))
    }

    fn trusting(authorities: RootCertStore) -> Self {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .with_root_certificates(authorities)
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Self(Arc::new(config))
    }

    /// Performs the TLS handshake with a server that must be `name`.
    ///
    /// # Errors
    /// [`FetchError::Untrusted`] if the certificate is not valid for `name`, [`FetchError::Tls`] if
    /// the handshake fails for another reason.
    pub(super) async fn handshake(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, FetchError> {
        let connector = TlsConnector::from(Arc::clone(&self.0));
        connector.connect(name, stream).await.map_err(|error| {
            let reason = error
                .get_ref()
                .and_then(|reason| reason.downcast_ref::<rustls::Error>());
            match reason {
                Some(rustls::Error::InvalidCertificate(reason)) => {
                    FetchError::Untrusted(reason.clone())
                }
                _ => FetchError::Tls(Arc::new(error)),
            }
        })
    }
}

fn public_authorities() -> RootCertStore {
    RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = Tls::with_authorities(file.path()).expect_err("nothing to trust");
        assert!(error.to_string().contains("has no certificate"));
        assert!(Tls::with_authorities(Path::new("nowhere.pem")).is_err());
    }
}
