//! Clients that are slow: they take 500 bytes of a large answer each second, or never end their body.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Attacker, code_in};

const READERS: usize = 200;
const BYTES_A_SECOND: usize = 500;
/// The kernel's buffer for what is not read.
const RECEIVE_BUFFER_BYTES: u32 = 4 * 1024;
/// The content of all posts so many times: an answer of several MB.
const ALIASES: usize = 100;

const UNFINISHED: usize = 400;
/// The gateway takes bodies of 2 MiB.
const BODY_BYTES: usize = 2_000_000;
/// A connection that is left open for so long is held for as long as anybody likes.
const HELD: Duration = Duration::from_secs(45);

pub(super) async fn readers(attacker: Attacker) {
    let mut fields = String::new();
    for number in 0..ALIASES {
        // Writing to a text cannot fail.
        let _ = write!(fields, " c{number}: content");
    }
    let query = format!("{{ posts(first: 100) {{ edges {{ node {{{fields} }} }} }} }}");
    let request = request(&attacker, &json!({ "query": query }).to_string(), 0);
    let readers = attacker.share_of(READERS);
    let client = move |attacker, _| read_slowly(attacker, request.clone());
    attacker.keep_up(readers, client).await;
}

async fn read_slowly(attacker: Attacker, request: Vec<u8>) {
    let connected = attacker.connect_to_read_slowly(RECEIVE_BUFFER_BYTES).await;
    let Ok(mut stream) = connected else { return };
    attacker.tally.requested(1);
    if stream.write_all(&request).await.is_err() {
        return attacker.tally.answered("connection ended");
    }
    let began = Instant::now();
    let mut part = [0; BYTES_A_SECOND];
    loop {
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return attacker.tally.answered("connection ended"),
            Ok(read) => {
                if let Some(code) = code_in(&String::from_utf8_lossy(&part[..read])) {
                    return attacker.tally.answered(&code);
                }
            }
        }
        if began.elapsed() > HELD {
            return attacker.tally.answered("held");
        }
        // Slowness is what this is about: there is nothing to wait for.
        sleep(Duration::from_secs(1)).await;
    }
}

pub(super) async fn unfinished_bodies(attacker: Attacker) {
    let clients = attacker.share_of(UNFINISHED);
    // Made once: the program that attacks takes none of the processors more than it must.
    let request: Arc<[u8]> = request(&attacker, &" ".repeat(BODY_BYTES), 1).into();
    let client = move |attacker, _| send_all_but_one_byte(attacker, Arc::clone(&request));
    attacker.keep_up(clients, client).await;
}

async fn send_all_but_one_byte(attacker: Attacker, request: Arc<[u8]>) {
    let Ok(mut stream) = attacker.connect().await else {
        return;
    };
    attacker.tally.requested(1);
    attacker.link.carry(request.len()).await;
    let held = timeout(HELD, send_and_wait(&mut stream, &request)).await;
    let answer = held.as_ref().map_or("held", |answer| answer.as_str());
    attacker.tally.answered(answer);
}

/// What the server says, or that it ended the connection.
async fn send_and_wait(stream: &mut TcpStream, request: &[u8]) -> String {
    // The server may answer and close before it has read everything.
    let sent = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    match code_in(&String::from_utf8_lossy(&answer)) {
        Some(code) => code,
        None if sent.is_err() || read.is_err() || answer.is_empty() => {
            "connection ended".to_owned()
        }
        None => "answered".to_owned(),
    }
}

/// A request that announces `missing` bytes more than it has.
fn request(attacker: &Attacker, body: &str, missing: usize) -> Vec<u8> {
    let host = attacker.target.gateway;
    let length = body.len() + missing;
    format!(
        "POST /graphql HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
