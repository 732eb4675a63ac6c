//! `wss` and `https`, with an authority of the test's own.

use std::sync::Arc;

use rejoinder_client::Client;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::reader::{QUERY, TRANSPORTS, client, reconnecting, words};
use crate::server::{FakeServer, log};

#[tokio::test]
async fn all_transports_go_over_tls_with_the_authorities_that_are_given() {
    let names = vec!["localhost".to_owned()];
    let signed = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivateKeyDer::try_from(signed.key_pair.serialize_der()).expect("a key");
    let provider = Arc::new(default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = FakeServer::start(log(3, 9)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let plain = server.address;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut behind = tokio::net::TcpStream::connect(plain).await.expect("it");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });

    let mut roots = RootCertStore::empty();
    roots.add(signed.cert.der().clone()).expect("an authority");
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let trusting = Arc::new(trusting);
    for (transport, scheme) in TRANSPORTS.into_iter().zip(["wss", "https", "https"]) {
        let client: Client =
            client(&format!("{scheme}://localhost:{port}/graphql")).transport(transport);
        let mut read = client
            .clone()
            .tls(trusting.clone())
            .subscribe(QUERY)
            .start();
        let expected = ["stands c0", "gap!", "1", "2", "3"];
        assert_eq!(words(&mut read, "3").await, expected, "{transport:?}");
        // Nobody else's authorities have signed it.
        let (failure, _) = reconnecting(&mut client.subscribe(QUERY).start()).await;
        assert!(failure.message().contains("certificate"), "{failure}");
    }
}
