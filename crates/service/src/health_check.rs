//! `--health-check`: whether the service that runs on this machine is ready, for container engines. An image
//! needs no other program for it.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::telemetry;

/// Readiness takes 2 s at most.
const TIME_LIMIT: Duration = Duration::from_secs(4);
/// A report of readiness is shorter.
const REPORT_BYTES_MAX: u64 = 64 * 1024;

/// Asks the service that listens on `address`, over TLS if it does. Exit code 0 says that it is ready.
pub(crate) fn run(address: SocketAddr, is_tls: bool) -> ExitCode {
    let asked = ask(reachable(address), is_tls);
    let exit_code = match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::tell(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    telemetry::flush();
    exit_code
}

/// A service that listens on all addresses is asked on the loopback one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn ask(address: SocketAddr, is_tls: bool) -> anyhow::Result<()> {
    let answer = answer(address, is_tls).with_context(|| format!("{address} does not answer"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, report) = answer.split_once("\r\n\r\n").unwrap_or((&*answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    anyhow::bail!("{}: {report}", head.lines().next().unwrap_or_default());
}

fn answer(address: SocketAddr, is_tls: bool) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect_timeout(&address, TIME_LIMIT)?;
    stream.set_read_timeout(Some(TIME_LIMIT))?;
    stream.set_write_timeout(Some(TIME_LIMIT))?;
    match is_tls {
        false => exchange(stream, address),
        true => {
            let name = ServerName::from(address.ip());
            let session = ClientConnection::new(AnyCertificate::config(), name);
            let session = session.map_err(std::io::Error::other)?;
            exchange(StreamOwned::new(session, stream), address)
        }
    }
}

fn exchange(mut stream: impl Read + Write, address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let request =
        format!("GET /health/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    match stream.take(REPORT_BYTES_MAX).read_to_end(&mut answer) {
        // The other side has ended TCP without ending TLS.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        read => drop(read?),
    }
    Ok(answer)
}

/// Accepts any certificate: the service is on this machine, nothing secret is sent, and its certificate has the name under
/// which others know it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl AnyCertificate {
    fn config() -> Arc<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Self(provider)))
            .with_no_client_auth();
        Arc::new(config)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that answers one request.
    fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            // To its end: a connection that is closed before is reset.
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                head.extend(byte);
            }
            assert!(head.starts_with(b"GET /health/ready HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).expect("answered");
        });
        address
    }

    #[test]
    fn a_service_is_ready_if_it_says_so() {
        let ready = answering("HTTP/1.1 200 OK\r\n\r\n{}");
        ask(ready, false).expect("ready");
        let waiting = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"database\":\"gone\"}");
        let reason = format!("{:#}", ask(waiting, false).expect_err("not ready"));
        assert_eq!(
            reason,
            "HTTP/1.1 503 Service Unavailable: {\"database\":\"gone\"}"
        );
        let silent = answering("");
        assert!(ask(silent, false).is_err());
    }

    #[test]
    fn a_service_that_does_not_run_is_not_ready() {
        // Bound, so that nobody else gets the port.
        let silent = tokio::net::TcpSocket::new_v4().expect("a socket");
        let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        silent.bind(any).expect("a port");
        let address = silent.local_addr().expect("bound");
        let reason = format!("{:#}", ask(address, false).expect_err("nobody listens"));
        assert!(reason.contains("does not answer"), "{reason}");
    }

    #[test]
    fn a_service_on_all_addresses_is_asked_on_this_machine() {
        for (listens, asked) in [
            ("0.0.0.0:4000", "127.0.0.1:4000"),
            ("[::]:4000", "[::1]:4000"),
            ("10.0.0.7:4000", "10.0.0.7:4000"),
        ] {
            let listens = listens.parse().expect("an address");
            assert_eq!(reachable(listens).to_string(), asked);
        }
    }
}
