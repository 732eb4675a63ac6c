//! What a quiet subscription on a WebSocket holds of the heap, from the listener to the service, and what is left of a large
//! message.
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
    ClientContext, GraphqlRequest, GraphqlResponse, Outcome, Service, Serving, Settings,
    TransportMetrics, WebSocketSettings,
};
use prometheus_client::registry::Registry;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough that what they share does not matter.
const CLIENTS: usize = 300;
/// The goal is 8 KiB for a client of the gateway, whose subscription adds about a KiB to this.
const BYTES_MAX: usize = 5_900;
/// The bytes of a large message.
const LARGE_BYTES: usize = 1_000_000;
/// Clients that send and get one.
const LARGE_CLIENTS: usize = 20;
/// What such a client may hold more than the others: its buffers may have grown by some small messages.
const LEFT_BYTES_MAX: usize = 1_000;
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

    /// As large as a gateway's: it holds much until the subscription has begun. A query has a large answer.
    async fn answer(self: &Arc<Self>, request: GraphqlRequest, _client: ClientContext) -> Outcome {
        if request
            .query
            .as_ref()
            .is_some_and(|query| query.starts_with('{'))
        {
            let body = format!(r#"{{"data":"{}"}}"#, "x".repeat(LARGE_BYTES));
            return Outcome::Single(GraphqlResponse::executed(body.into()));
        }
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

/// The same with a large message: a query. `frame` is scratch space.
fn send_large(client: &mut TcpStream, frame: &mut Vec<u8>) {
    const HEAD: &str = r#"{"id":"2","type":"subscribe","payload":{"query":"{ large #"#;
    const TAIL: &str = r#"\n }"}}"#;
    frame.clear();
    frame.extend([0x81, 0x80 | 127]);
    frame.extend((LARGE_BYTES as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(HEAD.as_bytes());
    frame.resize(frame.len() + LARGE_BYTES - HEAD.len() - TAIL.len(), b'x');
    frame.extend(TAIL.as_bytes());
    client.write_all(frame).expect("sent");
}

/// Reads a large answer to its end, into the same space.
fn read_large(client: &mut TcpStream, buffer: &mut Vec<u8>) {
    const END: &[u8] = br#"{"id":"2","type":"complete"}"#;
    buffer.clear();
    while !buffer.ends_with(END) {
        let read = buffer.len();
        buffer.resize(read + 64 * 1024, 0);
        let bytes = client.read(&mut buffer[read..]).expect("an answer");
        assert!(bytes > 0, "the connection is open");
        buffer.truncate(read + bytes);
    }
    assert!(buffer.len() > LARGE_BYTES);
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
async fn a_quiet_subscription_holds_little_and_nothing_of_a_large_message() -> anyhow::Result<()> {
    let config = Config::parse_from(["quiet", "--connections-per-address-max", "1000"]);
    let metrics = Arc::new(TransportMetrics::register(
        &mut Registry::default(),
        "quiet",
    ));
    let subscribed = Arc::clone(&metrics);
    let settings = Settings {
        websocket: WebSocketSettings {
            ws_message_bytes_max: LARGE_BYTES,
            ..WebSocketSettings::default()
        },
        ..Settings::default()
    };
    let serving = Serving::new(settings, metrics, Default::default());
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

    let talked = tokio::task::spawn_blocking(move || {
        let (mut clients, mut buffer) = (clients, Vec::with_capacity(2 * LARGE_BYTES));
        let mut talk = |client: &mut TcpStream| {
            send_large(client, &mut buffer);
            read_large(client, &mut buffer);
        };
        let (first, others) = clients.split_at_mut(1);
        first.iter_mut().for_each(&mut talk);
        let before = allocated();
        others.iter_mut().take(LARGE_CLIENTS).for_each(&mut talk);
        (clients, buffer, before)
    });
    let (clients, buffer, before) = talked.await?;
    tokio::task::yield_now().await;
    let left = allocated().saturating_sub(before) / LARGE_CLIENTS;
    assert!(left <= LEFT_BYTES_MAX, "{left} bytes of each large message");
    println!("{left} bytes of each large message");
    drop((first, clients, buffer, subscribed));
    lifecycle.end();
    server.await?
}
