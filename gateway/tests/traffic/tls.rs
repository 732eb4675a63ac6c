//! TLS towards clients, and certificates that change.

use std::{path::Path, sync::Arc};

use graphql_transport::testing::PATIENCE;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{
    eventually,
    gateway::{SUPERGRAPH, TestGateway},
};

const QUERY: &str = r#"{"query":"{ greeting }"}"#;

/// A certificate for this machine, its own authority, and its key, as PEM.
struct Made {
    certificate: String,
    key: String,
}

fn made() -> Made {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(["localhost".to_owned()]);
    let certificate = parameters.expect("a name").self_signed(&key);
    Made {
        certificate: certificate.expect("signed").pem(),
        key: key.serialize_pem(),
    }
}

struct Served {
    gateway: TestGateway,
    files: TempDir,
}

impl Served {
    async fn start(made: &Made, more: &[&str]) -> Self {
        let files = TempDir::new().expect("a folder");
        write(files.path(), made);
        let cert = format!("--tls-cert={}", files.path().join("cert.pem").display());
        let key = format!("--tls-key={}", files.path().join("key.pem").display());
        let own = [&*cert, &*key, "--tls-reload-interval=10ms"];
        let gateway = TestGateway::without_supergraph(&[&own[..], more].concat()).await;
        gateway.write_supergraph(SUPERGRAPH);
        let is_loaded = || async { gateway.metric("gateway_supergraph_loads_total").await > 0.0 };
        eventually("the supergraph is loaded", is_loaded).await;
        Self { gateway, files }
    }

    async fn connect(
        &self,
        trusted: &Made,
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(trusted.certificate.as_bytes());
        roots.add(certificate.expect("PEM")).expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        let stream = TcpStream::connect(self.gateway.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

/// Each file at once, one after the other.
fn write(folder: &Path, made: &Made) {
    for (name, text) in [("cert.pem", &made.certificate), ("key.pem", &made.key)] {
        let draft = folder.join("draft");
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(draft, folder.join(name)).expect("renamed");
    }
}

/// Sends a query over HTTP/1.1, and reads until its answer has come whole.
async fn query(stream: &mut TlsStream<TcpStream>) -> String {
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{QUERY}",
        QUERY.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    read_until(stream, "hello you\"}}").await
}

async fn read_until(stream: &mut TlsStream<TcpStream>, end: &str) -> String {
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(end) {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        let read = read.expect("bytes in time").expect("an open connection");
        let so_far = String::from_utf8_lossy(&answer);
        assert_ne!(read, 0, "the connection ended early: {so_far}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn both_versions_of_http_are_served() {
    let made = made();
    let served = Served::start(&made, &[]).await;
    for protocols in [&[&b"http/1.1"[..]][..], &[]] {
        let mut stream = served.connect(&made, protocols).await.expect("trusted");
        for _ in 0..3 {
            let answer = query(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    }
    let stream = served
        .connect(&made, &[b"h2", b"http/1.1"])
        .await
        .expect("trusted");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let connected = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut client, connection) = connected.expect("HTTP/2");
    let running = tokio::spawn(connection);
    for _ in 0..3 {
        let request = http::Request::post("https://localhost/graphql")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from_static(QUERY.as_bytes())))
            .expect("a request");
        let response = client.send_request(request).await.expect("an answer");
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer, json!({"data": {"greeting": "hello you"}}));
    }
    running.abort();
}

#[tokio::test]
async fn events_travel_over_tls() {
    let made = made();
    let served = Served::start(&made, &[]).await;
    let mut stream = served
        .connect(&made, &[b"http/1.1"])
        .await
        .expect("trusted");
    let body = r#"{"query":"subscription { messages { text } }"}"#;
    let request = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    served.gateway.news.log.until_open(1).await;
    for text in ["first", "second"] {
        served.gateway.news.log.publish(text);
        read_until(&mut stream, text).await;
    }
}

#[tokio::test]
async fn websockets_travel_over_tls() {
    let made = made();
    let served = Served::start(&made, &[]).await;
    let connected = served.connect(&made, &[b"http/1.1"]).await;
    let mut stream = connected.expect("trusted");
    let upgrade = "GET /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                   sec-websocket-protocol: graphql-transport-ws\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.expect("sent");
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let subscribe =
        r#"{"id":"1","type":"subscribe","payload":{"query":"subscription{messages{text}}"}}"#;
    for (message, answer) in [
        (r#"{"type":"connection_init"}"#, "connection_ack"),
        (r#"{"type":"ping"}"#, "pong"),
        (subscribe, ""),
    ] {
        // A masked text frame, whose mask changes nothing.
        let length = u8::try_from(message.len()).expect("short");
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], message.as_bytes()].concat();
        stream.write_all(&frame).await.expect("sent");
        if !answer.is_empty() {
            read_until(&mut stream, answer).await;
        }
    }
    served.gateway.news.log.until_open(1).await;
    for text in ["first", "second"] {
        served.gateway.news.log.publish(text);
        read_until(&mut stream, text).await;
    }
}

#[tokio::test]
async fn open_connections_end_with_the_gateway() {
    let made = made();
    let mut served = Served::start(&made, &["--shutdown-grace=60s"]).await;
    let mut idle = served.connect(&made, &[]).await.expect("trusted");
    query(&mut idle).await;
    let silent = TcpStream::connect(served.gateway.address).await;
    served.gateway.end().await.expect("a clean end");
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, idle.read_to_end(&mut rest)).await;
    ended
        .expect("it ends in time")
        .expect("with the end of TLS");
    drop(silent);
}

#[tokio::test]
async fn a_changed_certificate_is_served_to_new_connections() {
    let (old, new) = (made(), made());
    let served = Served::start(&old, &[]).await;
    let mut kept = served.connect(&old, &[]).await.expect("trusted");
    query(&mut kept).await;
    write(served.files.path(), &new);
    let is_new = || async { served.connect(&new, &[]).await.is_ok() };
    eventually("the new certificate is served", is_new).await;
    assert!(served.connect(&old, &[]).await.is_err());
    query(&mut kept).await;
}

#[tokio::test]
async fn a_bad_certificate_keeps_the_one_before() {
    let (old, other) = (made(), made());
    let served = Served::start(&old, &[]).await;
    let refused = || async {
        served
            .gateway
            .metric("tls_certificates_refused_total")
            .await
    };
    let mixed = Made {
        certificate: other.certificate.clone(),
        key: old.key.clone(),
    };
    let none = Made {
        certificate: "nothing".to_owned(),
        key: "nothing".to_owned(),
    };
    for bad in [&mixed, &none] {
        let before = refused().await;
        write(served.files.path(), bad);
        eventually("it is refused", || async { refused().await > before }).await;
        let mut stream = served.connect(&old, &[]).await.expect("trusted");
        query(&mut stream).await;
    }
    let before = refused().await;
    std::fs::remove_file(served.files.path().join("key.pem")).expect("removed");
    eventually("it is refused", || async { refused().await > before }).await;
    served.connect(&old, &[]).await.expect("trusted");
    write(served.files.path(), &other);
    let is_new = || async { served.connect(&other, &[]).await.is_ok() };
    eventually("the good one is served", is_new).await;
}

#[tokio::test]
async fn who_does_not_shake_hands_is_disconnected() {
    let made = made();
    let served = Served::start(&made, &["--tls-handshake-timeout=50ms"]).await;
    let failed = || async { served.gateway.metric("connections_tls_failed_total").await };
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 2]] {
        let before = failed().await;
        let mut stream = TcpStream::connect(served.gateway.address)
            .await
            .expect("open");
        stream.write_all(bytes).await.expect("sent");
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        // An end, or a reset.
        let _ = ended.expect("it ends in time");
        assert!(!rest.starts_with(b"HTTP"));
        eventually("it is counted", || async { failed().await > before }).await;
    }
    let mut stream = served.connect(&made, &[]).await.expect("trusted");
    query(&mut stream).await;
}

#[tokio::test]
async fn a_handshake_counts_among_the_connections() {
    let made = made();
    let slow = ["--connections-max=2", "--tls-handshake-timeout=1h"];
    let served = Served::start(&made, &slow).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(
            TcpStream::connect(served.gateway.address)
                .await
                .expect("open"),
        );
    }
    let evicted = || async { served.gateway.metric("connections_evicted_total").await >= 3.0 };
    eventually("silent ones are closed for others", evicted).await;
    let mut stream = served.connect(&made, &[]).await.expect("trusted");
    query(&mut stream).await;
    assert!(served.gateway.metric("connections_open").await <= 2.0);
}

#[tokio::test]
async fn a_gateway_without_its_key_does_not_start() {
    let made = made();
    let files = TempDir::new().expect("a folder");
    write(files.path(), &made);
    let cert = format!("--tls-cert={}", files.path().join("cert.pem").display());
    for key in ["", "--tls-key=nowhere.pem"] {
        let arguments = [&*cert, key];
        let arguments: Vec<_> = arguments
            .iter()
            .copied()
            .filter(|it| !it.is_empty())
            .collect();
        let mut gateway = TestGateway::without_supergraph(&arguments).await;
        let error = gateway.end().await.expect_err("refused");
        assert!(format!("{error:#}").starts_with("TLS_"), "{error:#}");
    }
}
