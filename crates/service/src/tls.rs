//! TLS towards clients: the certificate and its key, which are read again when their files change.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use prometheus_client::metrics::counter::Counter;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::Metrics;
use crate::settings_parser::duration_from;

/// What is offered by ALPN, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// A chain of certificates, or a key, is shorter.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The shortest time limit of a handshake, and pause between two looks at the files.
const TIME_MIN: Duration = Duration::from_millis(10);

/// Settings of TLS towards clients.
#[derive(Clone, Debug, clap::Args)]
pub struct TlsSettings {
    /// Serve over TLS, and nothing without it, with the certificate in this PEM file; those that lead to its authority
    /// follow it. HTTP/2 and HTTP/1.1 are offered. Needs `TLS_KEY`. By default there is no TLS: a proxy in front has it.
    #[arg(long, env = "TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Read the private key of `TLS_CERT` from this PEM file.
    #[arg(long, env = "TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Look this often whether the files of `TLS_CERT` and `TLS_KEY` have changed. New connections get the new
    /// certificate. A pair that cannot be used is logged, and the one before stays in use.
    #[arg(long, env = "TLS_RELOAD_INTERVAL", default_value = "5s", value_parser = duration_from(TIME_MIN))]
    pub tls_reload_interval: Duration,
    /// Close a connection whose TLS handshake takes longer than this. `FIRST_REQUEST_TIMEOUT` includes it.
    #[arg(long, env = "TLS_HANDSHAKE_TIMEOUT", default_value = "5s", value_parser = duration_from(TIME_MIN))]
    pub tls_handshake_timeout: Duration,
}

impl TlsSettings {
    /// Whether clients are served over TLS.
    pub fn is_on(&self) -> bool {
        set(self.tls_cert.as_ref()).is_some()
    }

    /// Reads the files, as a start does.
    ///
    /// # Errors
    /// If one of the settings is missing, or the files have no certificate and the key of it.
    pub fn check(&self) -> anyhow::Result<()> {
        let files = self.files()?;
        files.map_or(Ok(()), |files| files.read()?.config().map(drop))
    }

    fn files(&self) -> anyhow::Result<Option<Files>> {
        match (set(self.tls_cert.as_ref()), set(self.tls_key.as_ref())) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(Files {
                certificate: certificate.clone(),
                key: key.clone(),
            })),
            (Some(_), None) => anyhow::bail!("TLS_CERT needs TLS_KEY"),
            (None, Some(_)) => anyhow::bail!("TLS_KEY needs TLS_CERT"),
        }
    }
}

/// An empty variable is none.
fn set(path: Option<&PathBuf>) -> Option<&PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The content of both files.
#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(&self) -> anyhow::Result<Pair> {
        Ok(Pair {
            certificate: read(&self.certificate).with_context(|| {
                format!("TLS_CERT: {} cannot be read", self.certificate.display())
            })?,
            key: read(&self.key)
                .with_context(|| format!("TLS_KEY: {} cannot be read", self.key.display()))?,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut file = File::open(path)?.take(FILE_BYTES_MAX + 1);
    file.read_to_end(&mut content)?;
    ensure!(
        content.len() as u64 <= FILE_BYTES_MAX,
        "it has more than {FILE_BYTES_MAX} bytes"
    );
    Ok(content)
}

impl Pair {
    fn config(&self) -> anyhow::Result<ServerConfig> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        // A key may be in the same file.
        let chain = chain.ok().context("TLS_CERT: the file is not PEM")?;
        ensure!(!chain.is_empty(), "TLS_CERT: the file has no certificate");
        // The error of the parser has lines of the file in it: of a key, nobody may see them.
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key.ok().context(
            "TLS_KEY: the file has no private key in PEM form, with its first and last line on lines of their own",
        )?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS_CERT")?
            .with_no_client_auth();
        let config = builder.with_single_cert(chain, key);
        let mut config = config.context("TLS_KEY: it is not the key of TLS_CERT")?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(config)
    }
}

/// TLS with the certificate that is in use now.
pub struct Tls {
    files: Files,
    reload_interval: Duration,
    handshake_timeout: Duration,
    /// Locked once for each connection.
    config: RwLock<Arc<ServerConfig>>,
    /// As it was read last and can be used.
    first: Pair,
    metrics: TlsMetrics,
}

struct TlsMetrics {
    failed: Counter,
    loaded: Counter,
    refused: Counter,
}

impl Tls {
    /// Reads the certificate and the key; `None` if none are set.
    ///
    /// # Errors
    /// If one of the settings is missing, or the files have no certificate and the key of it.
    pub fn new(settings: &TlsSettings, metrics: &Metrics) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(files) = settings.files()? else {
            return Ok(None);
        };
        let first = files.read()?;
        let metrics = TlsMetrics {
            failed: metrics.register(
                "connections_tls_failed",
                "Connections that were closed because their TLS handshake failed or took longer than TLS_HANDSHAKE_TIMEOUT",
                Counter::default(),
            ),
            loaded: metrics.register(
                "tls_certificates_loaded",
                "Certificates that serve or have served",
                Counter::default(),
            ),
            refused: metrics.register(
                "tls_certificates_refused",
                "Changes of TLS_CERT or TLS_KEY that cannot be used, or not be read: the certificate before stays in use",
                Counter::default(),
            ),
        };
        let config = RwLock::new(Arc::new(first.config()?));
        metrics.loaded.inc();
        Ok(Some(Arc::new(Self {
            files,
            reload_interval: settings.tls_reload_interval,
            handshake_timeout: settings.tls_handshake_timeout,
            config,
            first,
            metrics,
        })))
    }

    /// Looks for changes of the files at intervals, and when `reloads` changes, until shutdown.
    pub async fn run(self: Arc<Self>, reloads: watch::Receiver<u64>, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.watch(reloads)).await;
    }

    async fn watch(self: &Arc<Self>, mut reloads: watch::Receiver<u64>) {
        // What was read last, in use or not. A pair that is refused is tried once.
        let mut seen: Option<Pair> = None;
        let mut fails: Option<String> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.reload_interval) => {}
                Ok(()) = reloads.changed() => {}
            }
            let tls = Arc::clone(self);
            let read = tokio::task::spawn_blocking(move || tls.files.read()).await;
            let read = read.unwrap_or_else(|_| Err(anyhow::anyhow!("reading it panicked")));
            let pair = match read {
                Ok(pair) => pair,
                Err(error) => {
                    let error = format!("{error:#}");
                    if fails.as_ref() != Some(&error) {
                        self.refuse(&error);
                        fails = Some(error);
                    }
                    continue;
                }
            };
            fails = None;
            if pair == *seen.as_ref().unwrap_or(&self.first) {
                continue;
            }
            match pair.config() {
                Ok(config) => self.serve(config),
                Err(error) => self.refuse(&format!("{error:#}")),
            }
            seen = Some(pair);
        }
    }

    fn serve(&self, config: ServerConfig) {
        let mut current = self.config.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(config);
        drop(current);
        self.metrics.loaded.inc();
        tracing::info!(
            certificate = %self.files.certificate.display(),
            "the certificate has changed, new connections get the new one"
        );
    }

    fn refuse(&self, error: &str) {
        self.metrics.refused.inc();
        tracing::error!(
            certificate = %self.files.certificate.display(),
            error,
            "the changed certificate cannot be used, the one before stays in use"
        );
    }

    fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }

    /// Performs a handshake; `None` if it fails or takes too long. Dropping the future closes the connection.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = self.acceptor();
        let handshake = timeout(self.handshake_timeout, acceptor.accept(stream)).await;
        let reason = match handshake {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took longer than {:?}", self.handshake_timeout),
        };
        self.metrics.failed.inc();
        tracing::debug!(reason, "a TLS handshake failed");
        None
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tempfile::NamedTempFile;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        tls: TlsSettings,
    }

    fn file(text: &str) -> NamedTempFile {
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    fn made() -> (NamedTempFile, NamedTempFile) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(["localhost".to_owned()]);
        let certificate = parameters.expect("a name").self_signed(&key);
        let certificate = certificate.expect("signed");
        (file(&certificate.pem()), file(&key.serialize_pem()))
    }

    fn refusal(certificate: Option<&Path>, key: Option<&Path>) -> Option<String> {
        let flag = |name, path: &Path| format!("--tls-{name}={}", path.display());
        let flags = [
            certificate.map(|path| flag("cert", path)),
            key.map(|path| flag("key", path)),
        ];
        let flags = flags.into_iter().flatten();
        let flags = Flags::parse_from(std::iter::once("service".to_owned()).chain(flags));
        let started = Tls::new(&flags.tls, &Metrics::new("test"));
        assert_eq!(started.is_ok(), flags.tls.check().is_ok());
        started.err().map(|error| format!("{error:#}"))
    }

    #[test]
    fn a_certificate_and_its_key_go_together() {
        let ((certificate, key), (_, other), empty) = (made(), made(), file(""));
        let path = |file: &'_ NamedTempFile| Some(file.path().to_owned());
        let (certificate, key) = (path(&certificate), path(&key));
        assert_eq!(refusal(None, None), None);
        assert_eq!(refusal(certificate.as_deref(), key.as_deref()), None);
        let nowhere = Some(PathBuf::from("nowhere.pem"));
        for (certificate, key, expected) in [
            (certificate.clone(), None, "TLS_CERT needs TLS_KEY"),
            (None, key.clone(), "TLS_KEY needs TLS_CERT"),
            (
                certificate.clone(),
                path(&other),
                "TLS_KEY: it is not the key of TLS_CERT",
            ),
            (
                certificate.clone(),
                path(&empty),
                "TLS_KEY: the file has no",
            ),
            (path(&empty), key.clone(), "TLS_CERT: the file has no"),
            (nowhere, key.clone(), "TLS_CERT: nowhere.pem cannot be read"),
        ] {
            let refusal = refusal(certificate.as_deref(), key.as_deref()).expect("refused");
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }

    #[test]
    fn times_have_a_least_value() {
        for wrong in ["--tls-reload-interval=0s", "--tls-handshake-timeout=1"] {
            assert!(
                Flags::try_parse_from(["service", wrong]).is_err(),
                "{wrong}"
            );
        }
    }

    /// What a secret store or an editor makes of a key: everything on one line, or the end missing.
    #[test]
    fn an_error_shows_nothing_of_a_key() {
        let pem =
            |label: &str, body: &str| format!("-----BEGIN {label}-----{body}-----END {label}-----");
        let whole = pem("CERTIFICATE", "\nAAAA\n").into_bytes();
        for key in [
            pem("PRIVATE KEY", "c2VjcmV0"),
            "-----BEGIN PRIVATE KEY-----c2VjcmV0".to_owned(),
        ] {
            let of_key = |certificate: &[u8]| Pair {
                certificate: certificate.to_vec(),
                key: key.clone().into_bytes(),
            };
            for pair in [of_key(&whole), of_key(key.as_bytes())] {
                let error = pair.config().map(drop).expect_err("no key");
                let error = format!("{error:#}");
                assert!(error.starts_with("TLS_"), "{error}");
                // As text, and as the numbers of its bytes.
                assert!(
                    !error.contains("c2Vj") && !error.contains("99, 50"),
                    "{error}"
                );
            }
        }
    }
}
