//! TLS to subgraphs, and the certificate authorities to trust.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use anyhow::Context;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::FetchError;
use crate::config::SubgraphSettings;

/// The ALPN name of the protocol of [`super::http_connection`], with which WebSockets start too.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Shared by all graphs, because the public authorities are the same.
static PUBLIC: LazyLock<Tls> = LazyLock::new(|| Tls::trusting(public_authorities()));

/// The TLS configuration for `https` addresses. Clones share it, and with it the sessions that can
/// be resumed.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    authorities: Arc<RootCertStore>,
}

/// Trusts the public authorities in Mozilla's list.
impl Default for Tls {
    fn default() -> Self {
        PUBLIC.clone()
    }
}

impl Tls {
    /// For the subgraphs: trusts the public authorities and those of `SUBGRAPH_CA_FILE`, and shows the
    /// certificate of `SUBGRAPH_CERT` to servers that ask for one.
    ///
    /// # Errors
    /// If a file cannot be read or does not have what it should, or one of certificate and key is missing.
    pub fn for_subgraphs(settings: &SubgraphSettings) -> anyhow::Result<Self> {
        let public = Self::for_providers(settings)?;
        match (&settings.certificate, &settings.key) {
            (None, None) => Ok(public),
            (Some(certificate), Some(key)) => public.showing(certificate, key),
            (Some(_), None) => anyhow::bail!("SUBGRAPH_CERT needs SUBGRAPH_KEY"),
            (None, Some(_)) => anyhow::bail!("SUBGRAPH_KEY needs SUBGRAPH_CERT"),
        }
    }

    /// For identity providers: trusts the same authorities, and shows nothing.
    ///
    /// # Errors
    /// If `SUBGRAPH_CA_FILE` cannot be read, or has no certificate.
    pub fn for_providers(settings: &SubgraphSettings) -> anyhow::Result<Self> {
        match &settings.ca_file {
            Some(file) => Self::with_authorities(file),
            None => Ok(Self::default()),
        }
    }

    fn with_authorities(file: &Path) -> anyhow::Result<Self> {
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
        let mut config = builder(authorities.clone()).with_no_client_auth();
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Self {
            config: Arc::new(config),
            authorities: Arc::new(authorities),
        }
    }

    /// The same with a certificate to show, and the certificates that lead to its authority.
    fn showing(self, certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let in_file = || format!("SUBGRAPH_CERT {}", certificate.display());
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
            .with_context(in_file)?
            .collect::<Result<_, _>>()
            .with_context(in_file)?;
        anyhow::ensure!(!chain.is_empty(), "{} has no certificate", in_file());
        // The error of the parser has lines of the file in it: of a key, nobody may see them.
        let bytes =
            std::fs::read(key).with_context(|| format!("SUBGRAPH_KEY {}", key.display()))?;
        let key = PrivateKeyDer::from_pem_slice(&bytes)
            .ok()
            .with_context(|| format!("SUBGRAPH_KEY {}: no private key in PEM", key.display()))?;
        let authorities = RootCertStore::clone(&self.authorities);
        let mut config = builder(authorities)
            .with_client_auth_cert(chain, key)
            .context("SUBGRAPH_KEY is not the key of SUBGRAPH_CERT")?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            ..self
        })
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
        let connector = TlsConnector::from(Arc::clone(&self.config));
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

fn builder(authorities: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
        .with_root_certificates(authorities)
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

    #[test]
    fn a_certificate_and_its_key_go_together() {
        let pem = |text: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), text).expect("written");
            file
        };
        let made = || {
            let key = rcgen::KeyPair::generate().expect("a key");
            let parameters = rcgen::CertificateParams::new(["gateway".to_owned()]);
            let certificate = parameters
                .expect("a name")
                .self_signed(&key)
                .expect("signed");
            (pem(&certificate.pem()), pem(&key.serialize_pem()))
        };
        let ((certificate, key), (_, other), empty) = (made(), made(), pem(""));
        let started = |certificate: Option<&Path>, key: Option<&Path>| {
            let settings = SubgraphSettings {
                certificate: certificate.map(Path::to_owned),
                key: key.map(Path::to_owned),
                ..SubgraphSettings::default()
            };
            let refused = Tls::for_subgraphs(&settings).err();
            refused.map(|error| format!("{error:#}"))
        };
        let path = |file: &'_ tempfile::NamedTempFile| Some(file.path().to_owned());
        let (certificate, key) = (path(&certificate), path(&key));
        assert_eq!(started(certificate.as_deref(), key.as_deref()), None);
        for (certificate, key, expected) in [
            (
                certificate.clone(),
                None,
                "SUBGRAPH_CERT needs SUBGRAPH_KEY",
            ),
            (None, key.clone(), "SUBGRAPH_KEY needs SUBGRAPH_CERT"),
            (
                certificate.clone(),
                path(&other),
                "SUBGRAPH_KEY is not the key of SUBGRAPH_CERT",
            ),
            (certificate.clone(), path(&empty), "SUBGRAPH_KEY "),
            (path(&empty), key.clone(), "SUBGRAPH_CERT "),
        ] {
            let refused = started(certificate.as_deref(), key.as_deref()).expect("refused");
            assert!(refused.starts_with(expected), "{refused}");
        }
    }
}
