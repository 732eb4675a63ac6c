//! The limit: one loop that writes ready bytes to all sockets.
//!
//! It reads each text from its feed, frames it once for each transport, and writes it to one socket after the other
//! without waiting. It knows nothing of GraphQL but the messages that its clients expect.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, bail, ensure};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::wire;

const LISTENER: Token = Token(usize::MAX);
const FEED: Token = Token(usize::MAX - 1);
const EVENTS: usize = 1_024;
const BUFFER_BYTES: usize = 64 << 10;

/// Options of the hidden subcommand.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[arg(long)]
    port: u16,
    /// Where the texts come from, a line each.
    #[arg(long)]
    feed: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Initialised,
    Ws,
    Sse,
}

struct Client {
    stream: TcpStream,
    stage: Stage,
}

/// Serves until the process ends.
///
/// # Errors
/// When a socket fails, or a client does not read.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port).into())?;
    let registry = poll.registry();
    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
    let feed = std::net::TcpStream::connect(options.feed).context("connecting to the feed")?;
    feed.set_nonblocking(true)?;
    let mut feed = TcpStream::from_std(feed);
    registry.register(&mut feed, FEED, Interest::READABLE)?;

    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut line = Vec::new();
    let mut events = Events::with_capacity(EVENTS);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() == ErrorKind::Interrupted {
                continue;
            }
            return Err(error.into());
        }
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, &poll, &mut clients)?,
                FEED => loop {
                    let read = match feed.read(&mut buffer) {
                        Ok(0) => return Ok(()),
                        Ok(length) => &buffer[..length],
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error.into()),
                    };
                    for part in read.split_inclusive(|byte| *byte == b'\n') {
                        line.extend_from_slice(part);
                        if line.pop_if(|byte| *byte == b'\n').is_some() {
                            deliver(&line, &mut clients)?;
                            line.clear();
                        }
                    }
                },
                Token(index) => {
                    let Some(slot) = clients.get_mut(index) else {
                        continue;
                    };
                    if let Some(client) = slot
                        && !client.hear(&mut buffer)?
                    {
                        *slot = None;
                    }
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    clients: &mut Vec<Option<Client>>,
) -> anyhow::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nodelay(true)?;
        let token = Token(clients.len());
        poll.registry()
            .register(&mut stream, token, Interest::READABLE)?;
        let stage = Stage::Head;
        clients.push(Some(Client { stream, stage }));
    }
}

fn deliver(text: &[u8], clients: &mut [Option<Client>]) -> anyhow::Result<()> {
    let text = std::str::from_utf8(text)?;
    let result = format!(r#"{{"data":{{"message":{{"text":"{text}"}}}}}}"#);
    let ws = format!(r#"{{"id":"1","type":"next","payload":{result}}}"#);
    let ws = wire::to_client(wire::TEXT, ws.as_bytes());
    let sse = wire::to_chunk(format!("event: next\ndata: {result}\n\n").as_bytes());
    for slot in clients {
        let Some(client) = slot else { continue };
        let frame = match client.stage {
            Stage::Ws => &ws,
            Stage::Sse => &sse,
            Stage::Head | Stage::Initialised => continue,
        };
        match client.stream.write(frame) {
            Ok(length) => ensure!(length == frame.len(), "a client does not read"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("a client does not read"),
            Err(_) => *slot = None,
        }
    }
    Ok(())
}

impl Client {
    /// Reads what the client says, and answers; `false` when it has left. Each of its messages comes in one piece: it
    /// sends the next one after an answer.
    fn hear(&mut self, buffer: &mut [u8]) -> anyhow::Result<bool> {
        loop {
            let message = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => &buffer[..length],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(_) => return Ok(false),
            };
            self.answer(message)?;
        }
    }

    fn answer(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let (answer, stage) = match self.stage {
            Stage::Head if message.starts_with(b"GET ") => (
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n",
                    wire::ACCEPT
                )
                .into_bytes(),
                Stage::Initialised,
            ),
            Stage::Head => (
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                    .to_vec(),
                Stage::Sse,
            ),
            Stage::Initialised => {
                let (_, payload, _) = wire::client_frame(message)?.context("half a frame")?;
                let payload = std::str::from_utf8(&payload)?;
                if payload.contains("\"subscribe\"") {
                    (Vec::new(), Stage::Ws)
                } else {
                    let acknowledged = wire::to_client(wire::TEXT, br#"{"type":"connection_ack"}"#);
                    (acknowledged, Stage::Initialised)
                }
            }
            stage @ (Stage::Ws | Stage::Sse) => (Vec::new(), stage),
        };
        self.stream.write_all(&answer)?;
        self.stage = stage;
        Ok(())
    }
}
