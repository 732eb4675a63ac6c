//! What a quiet subscription on a WebSocket holds of the heap, from the listener to the service.
//!
//! In a program of its own: every allocation is counted, and the clients' side has none.

use std::{
    alloc::System,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
};

use clap::Parser;
use futures_util::{StreamExt, stream};
use graphql_transport::{
    ClientContext, GraphqlRequest, Outcome, Service, Serving, Settings, TransportMetrics,
};
use prometheus_client::registry::Registry;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough that what they share does not matter.
const CLIENTS: usize = 300;
/// The goal is 8 KiB for a client of the gateway, whose subscription adds about a KiB to this.
const BYTES_MAX: usize = 6_500;
/// A browser sends as many headers, and as long ones.
const UPGRADE: &str = "GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
    Cache-Control: no-cache\r\nUpgrade: websocket\r\nOrigin: http://localhost\r\nSec-WebSocket-Version: 13\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
    Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n";

struct Quiet {
    serving: Serving,
}

impl Service for Quiet {
    fn serving(&self) -> &Serving {
        &self.serving
    }

    /// As large as a gateway's: it holds much until the subscription has begun.
    async fn answer(self: &Arc<Self>, request: GraphqlRequest, _client: ClientContext) -> Outcome {
        let work = [0_u8; 16 * 1024];
        tokio::task::yield_now().await;
        assert!(request.query.is_some() && work[0] == 0);
        Outcome::Stream(stream::pending().boxed())
    }
}

#[derive(Parser)]
struct Config {
    #[command(flatten)]
    service: service::Settings,
}

/// Writes a masked text frame (RFC 6455, section 5.2) whose mask is 0.
fn send(client: &mut TcpStream, text: &str) {
    let length = u8::try_from(text.len()).expect("a short message");
    assert!(length < 126);
    let head = [0x81, 0x80 | length, 0, 0, 0, 0];
    client
        .write_all(&[&head, text.as_bytes()].concat())
        .expect("sent");
}

fn read_until(client: &mut TcpStream, end: &[u8]) {
    let (mut read, mut buffer) = (0, [0; 1024]);
    while !buffer[..read].ends_with(end) {
        let bytes = client.read(&mut buffer[read..]).expect("an answer");
        assert!(bytes > 0, "the connection is open");
        read += bytes;
    }
}

/// Subscribes, and waits until the server has begun with it: it answers pings in order.
fn subscribe(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("connected");
    // A ping follows the subscription at once.
    client.set_nodelay(true).expect("a TCP socket");
    client.write_all(UPGRADE.as_bytes()).expect("sent");
    read_until(&mut client, b"\r\n\r\n");
    send(&mut client, r#"{"type":"connection_init"}"#);
    read_until(&mut client, br#"{"type":"connection_ack"}"#);
    let subscribe = r#"{"id":"1","type":"subscribe","payload":{"query":"subscription { quiet }"}}"#;
    send(&mut client, subscribe);
    send(&mut client, r#"{"type":"ping"}"#);
    read_until(&mut client, br#"{"type":"pong"}"#);
    client
}

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

#[tokio::test]
async fn a_quiet_subscription_holds_little() -> anyhow::Result<()> {
    let config = Config::parse_from(["quiet", "--connections-per-address-max", "1000"]);
    let metrics = Arc::new(TransportMetrics::register(
        &mut Registry::default(),
        "quiet",
    ));
    let subscribed = Arc::clone(&metrics);
    let serving = Serving::new(Settings::default(), metrics, Default::default());
    let router = graphql_transport::routes(&Arc::new(Quiet { serving }));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let lifecycle = service::Lifecycle::new();
    let of_server = lifecycle.clone();
    let server = tokio::spawn(async move {
        let metrics = service::Metrics::new("quiet");
        service::serve(listener, router, &of_server, &config.service, &metrics).await
    });
    let connected = tokio::task::spawn_blocking(move || {
        let first: Vec<_> = (0..10).map(|_| subscribe(address)).collect();
        let before = allocated();
        let clients: Vec<_> = (0..CLIENTS).map(|_| subscribe(address)).collect();
        (first, clients, before)
    });
    let (first, clients, before) = connected.await?;
    // The answer to the last ping may come before the task of the handshake has ended.
    tokio::task::yield_now().await;
    let each = (allocated() - before) / CLIENTS;
    assert!(each <= BYTES_MAX, "{each} bytes for each client");
    println!("{each} bytes for each client");
    drop((first, clients, subscribed));
    lifecycle.end();
    server.await?
}
