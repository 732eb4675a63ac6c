//! Whatever bytes a client sends, the gateway answers or closes: it neither panics nor hangs.
//!
//! The first byte chooses how the rest is sent: as the bytes of the connection, as the body of a POST,
//! as the query string of a GET, or as messages of a WebSocket.

#![no_main]

use std::{
    process::abort,
    sync::{Arc, LazyLock},
    time::Duration,
};

use clap::Parser;
use gateway::{config::Config, gateway::Gateway, graph::Graph};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    runtime::Runtime,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const SUPERGRAPH: &str = include_str!("../../tests/edge/support/supergraph.graphql");
/// Far more than any answer takes: its subgraphs refuse every connection.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 1024 * 1024;

struct Target {
    runtime: Runtime,
    gateway: Arc<Gateway>,
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let config = Config::parse_from([
        "gateway",
        "--automatic-persisted-queries",
        "--development",
        "--allowed-hosts=*",
    ]);
    let metrics = service::Metrics::new("gateway");
    let gateway =
        Gateway::new(config, &metrics, CancellationToken::new(), &Default::default()).expect("well-formed settings");
    let settings = gateway.graph_settings().clone();
    gateway.set_graph(Graph::load(SUPERGRAPH, settings).expect("a supergraph"));
    Target {
        runtime,
        gateway: Arc::new(gateway),
    }
});

fuzz_target!(|bytes: &[u8]| {
    let Some((way, bytes)) = bytes.split_first() else {
        return;
    };
    let sent = match way % 4 {
        0 => bytes.to_vec(),
        1 => post(bytes),
        2 => get(bytes),
        _ => messages(bytes),
    };
    TARGET.runtime.block_on(serve(&sent));
});

async fn serve(sent: &[u8]) {
    let (mut client, server) = duplex(BUFFER_BYTES);
    let service = TowerToHyperService::new(graphql_transport::routes(&TARGET.gateway));
    let serving = tokio::spawn(async move {
        // What the client sent need not be HTTP.
        let _ = auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(server), service)
            .await;
    });
    let exchange = async {
        // The gateway may close before it has read everything.
        let _ = client.write_all(sent).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut Vec::new()).await;
    };
    if timeout(TIME_LIMIT, exchange).await.is_err() {
        eprintln!("neither an answer nor an end within {TIME_LIMIT:?}");
        abort();
    }
    serving.abort();
}

fn post(body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /graphql HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

fn get(query: &[u8]) -> Vec<u8> {
    [
        b"GET /graphql?",
        query,
        b" HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
    ]
    .concat()
}

/// Each line is a message, after a handshake and an acknowledged `connection_init`.
fn messages(lines: &[u8]) -> Vec<u8> {
    let mut sent =
        b"GET /graphql HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
            .to_vec();
    let init = br#"{"type":"connection_init"}"#;
    for line in [&init[..]]
        .into_iter()
        .chain(lines.split(|byte| *byte == b'\n'))
    {
        sent.push(0x81);
        match u8::try_from(line.len()) {
            Ok(length @ 0..=125) => sent.push(0x80 | length),
            _ => {
                let length = line.len().min(usize::from(u16::MAX)) as u16;
                sent.push(0x80 | 126);
                sent.extend_from_slice(&length.to_be_bytes());
            }
        }
        // A mask of zeros changes nothing.
        sent.extend_from_slice(&[0; 4]);
        sent.extend_from_slice(&line[..line.len().min(usize::from(u16::MAX))]);
    }
    sent
}
