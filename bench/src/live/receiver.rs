//! One client: its socket, how far its handshake is, and which event is its next.
//!
//! Most bytes that it reads are those of the event before, but for the number and the time: it compares and counts. What
//! differs is read as JSON.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;
use serde_json::{Value, json};

use super::Transport;
use super::message::{MARKER_LENGTH, Marker, marker, now_ns, text};
use super::wire;

/// A server's head may have so many bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What all clients of a process have in common.
pub struct Common {
    pub transport: Transport,
    /// The value of `Host`.
    pub host: String,
    pub query: String,
    /// `{client}` is replaced by the client's number.
    pub variables: String,
    pub text_length: usize,
    /// The event that the coordinator waits for, plus 1.
    pub target: u64,
    pub counts: Counts,
    template: Option<Template>,
    /// By the event's number: each client's delay in microseconds.
    delays_us: Vec<Vec<u32>>,
}

/// How many clients are how far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Clients whose handshake is under way.
    pub beginning: usize,
    /// Clients that have subscribed.
    pub subscribed: usize,
    /// Clients that have got the target.
    pub reached: usize,
}

/// The bytes of an event around its marker.
struct Template {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Template {
    fn marker_in(&self, message: &[u8]) -> Option<Marker> {
        let rest = message.strip_prefix(&self.before[..])?;
        (rest.get(MARKER_LENGTH..)? == self.after).then(|| marker(rest))?
    }
}

impl Common {
    pub fn new(
        transport: Transport,
        host: String,
        query: String,
        variables: String,
        text_length: usize,
    ) -> Self {
        Self {
            transport,
            host,
            query,
            variables,
            text_length,
            target: 0,
            counts: Counts::default(),
            template: None,
            delays_us: Vec::new(),
        }
    }

    /// The delays of these events in microseconds, by event.
    pub fn delays_us(&self, from: usize, to: usize) -> &[Vec<u32>] {
        let to = to.min(self.delays_us.len());
        self.delays_us.get(from..to).unwrap_or_default()
    }

    fn operation(&self, client: usize) -> anyhow::Result<Value> {
        let variables = self.variables.replace("{client}", &client.to_string());
        let variables: Value = serde_json::from_str(&variables).context("the variables")?;
        Ok(json!({ "query": self.query, "variables": variables }))
    }

    fn opening(&self, client: usize) -> anyhow::Result<String> {
        let host = &self.host;
        Ok(match self.transport {
            Transport::Ws => format!(
                "GET /graphql HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\
                 Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n",
                wire::KEY
            ),
            Transport::Sse => {
                let body = self.operation(client)?.to_string();
                format!(
                    "POST /graphql HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
        })
    }

    fn record(&mut self, marker: Marker, now_ns: u64) -> anyhow::Result<()> {
        let index = usize::try_from(marker.number)?;
        if self.delays_us.len() <= index {
            self.delays_us.resize_with(index + 1, Vec::new);
        }
        let delay_us = now_ns.saturating_sub(marker.sent_ns) / 1_000;
        self.delays_us[index].push(u32::try_from(delay_us).unwrap_or(u32::MAX));
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// The request is sent.
    Head,
    /// `connection_init` is sent.
    Acknowledgement,
    Subscribed,
    Ended,
}

/// One client.
pub struct Client {
    pub stream: TcpStream,
    number: usize,
    stage: Stage,
    /// The number that the next event must have: any, until the first has come.
    pub next: Option<u64>,
    /// Bytes of a frame that is not complete.
    partial: Vec<u8>,
    /// The first parts of a message of several frames or chunks.
    message: Vec<u8>,
    /// Why the server ended the subscription, of a client that may be ended.
    pub ended: Option<String>,
    /// Whether the server may end it.
    pub may_end: bool,
}

impl Client {
    /// A client whose connection is under way.
    pub fn new(stream: TcpStream, number: usize) -> Self {
        Self {
            stream,
            number,
            stage: Stage::Connecting,
            next: None,
            partial: Vec::new(),
            message: Vec::new(),
            ended: None,
            may_end: false,
        }
    }

    /// The socket can be written to for the first time.
    ///
    /// # Errors
    /// When the connection was refused.
    pub fn writable(&mut self, common: &mut Common) -> anyhow::Result<()> {
        if self.stage != Stage::Connecting {
            return Ok(());
        }
        if let Some(error) = self.stream.take_error()? {
            bail!("connecting: {error}");
        }
        self.stream.set_nodelay(true)?;
        let opening = common.opening(self.number)?;
        self.send(opening.as_bytes())?;
        self.stage = Stage::Head;
        Ok(())
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// When an event is missing, doubled or not as expected, or the server ends what it may not end.
    pub fn readable(&mut self, common: &mut Common, buffer: &mut [u8]) -> anyhow::Result<()> {
        while self.stage != Stage::Ended {
            let length = match self.stream.read(buffer) {
                Ok(0) => return self.end("the connection was closed"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.end(&format!("the connection broke: {}", error.kind())),
            };
            self.take(common, &buffer[..length])?;
            // There was no more than this; what comes later is told anew.
            if length < buffer.len() {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, common: &mut Common, bytes: &[u8]) -> anyhow::Result<()> {
        if self.partial.is_empty() {
            let used = self.consume(common, bytes)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        let used = self.consume(common, &all)?;
        if used < all.len() {
            all.drain(..used);
            self.partial = all;
        }
        Ok(())
    }

    /// Reads all frames that are complete, and says how many bytes they had.
    fn consume(&mut self, common: &mut Common, bytes: &[u8]) -> anyhow::Result<usize> {
        let now_ns = now_ns();
        let mut used = 0;
        if self.stage == Stage::Head {
            let Some(head) = wire::head(bytes) else {
                ensure!(bytes.len() < HEAD_BYTES_MAX, "the head has no end");
                return Ok(0);
            };
            used = head.len();
            self.opened(common, &String::from_utf8_lossy(head))
                .with_context(|| String::from_utf8_lossy(bytes).into_owned())?;
        }
        while self.stage != Stage::Ended {
            let rest = &bytes[used..];
            match common.transport {
                Transport::Ws => {
                    let Some(frame) = wire::server_frame(rest)? else {
                        break;
                    };
                    used += frame.length;
                    self.frame(common, &frame, now_ns)?;
                }
                Transport::Sse => {
                    let Some((chunk, length)) = wire::chunk(rest)? else {
                        break;
                    };
                    used += length;
                    self.chunk(common, chunk, now_ns)?;
                }
            }
        }
        Ok(used)
    }

    fn opened(&mut self, common: &mut Common, head: &str) -> anyhow::Result<()> {
        match common.transport {
            Transport::Ws => {
                ensure!(head.starts_with("HTTP/1.1 101 "), "no WebSocket");
                ensure!(head.contains(wire::ACCEPT), "a wrong Sec-WebSocket-Accept");
                self.send(&wire::to_server(
                    wire::TEXT,
                    br#"{"type":"connection_init"}"#,
                ))?;
                self.stage = Stage::Acknowledgement;
            }
            Transport::Sse => {
                let head = head.to_ascii_lowercase();
                ensure!(head.starts_with("http/1.1 200 "), "no stream");
                ensure!(head.contains("text/event-stream"), "no server-sent events");
                ensure!(head.contains("chunked"), "no chunks");
                self.subscribed(common);
            }
        }
        Ok(())
    }

    fn subscribed(&mut self, common: &mut Common) {
        self.stage = Stage::Subscribed;
        common.counts.beginning -= 1;
        common.counts.subscribed += 1;
    }

    fn frame(
        &mut self,
        common: &mut Common,
        frame: &wire::Frame<'_>,
        now_ns: u64,
    ) -> anyhow::Result<()> {
        match frame.opcode {
            wire::TEXT if frame.is_last => self.message(common, frame.payload, now_ns),
            wire::TEXT | wire::CONTINUATION => {
                self.message.extend_from_slice(frame.payload);
                if !frame.is_last {
                    return Ok(());
                }
                let message = std::mem::take(&mut self.message);
                self.message(common, &message, now_ns)
            }
            wire::PING => self.send(&wire::to_server(wire::PONG, frame.payload)),
            wire::PONG => Ok(()),
            wire::CLOSE => {
                let code = frame.payload.first_chunk();
                let code = code.map_or(1005, |&code| u16::from_be_bytes(code));
                self.end(&format!("close {code}"))
            }
            other => bail!("a frame of opcode {other}"),
        }
    }

    /// Events end with a blank line, and mostly with their chunk.
    fn chunk(&mut self, common: &mut Common, chunk: &[u8], now_ns: u64) -> anyhow::Result<()> {
        if chunk.is_empty() {
            return self.end("the stream ended");
        }
        if !self.message.is_empty() || !chunk.ends_with(b"\n\n") {
            self.message.extend_from_slice(chunk);
            if !chunk.ends_with(b"\n\n") {
                return Ok(());
            }
            let events = std::mem::take(&mut self.message);
            return self.events(common, &events, now_ns);
        }
        self.events(common, chunk, now_ns)
    }

    fn events(&mut self, common: &mut Common, events: &[u8], now_ns: u64) -> anyhow::Result<()> {
        let mut rest = events;
        while !rest.is_empty() && self.stage != Stage::Ended {
            let end = rest.windows(2).position(|window| window == b"\n\n");
            let (event, others) = rest.split_at(end.context("an event without an end")? + 2);
            rest = others;
            self.message(common, event, now_ns)?;
        }
        Ok(())
    }

    /// A whole message: of the WebSocket, or one server-sent event.
    fn message(&mut self, common: &mut Common, message: &[u8], now_ns: u64) -> anyhow::Result<()> {
        let template = common.template.as_ref();
        if let Some(marker) = template.and_then(|template| template.marker_in(message)) {
            return self.event(common, marker, now_ns);
        }
        let shown = || String::from_utf8_lossy(message).into_owned();
        match common.transport {
            Transport::Ws => {
                let value: Value = serde_json::from_slice(message).with_context(shown)?;
                match value["type"].as_str() {
                    Some("connection_ack") if self.stage == Stage::Acknowledgement => {
                        let payload = common.operation(self.number)?;
                        let subscribe =
                            json!({ "id": "1", "type": "subscribe", "payload": payload });
                        let subscribe = subscribe.to_string();
                        self.send(&wire::to_server(wire::TEXT, subscribe.as_bytes()))?;
                        self.subscribed(common);
                        Ok(())
                    }
                    Some("next") => self.whole_event(common, message, &value["payload"], now_ns),
                    Some("ping") => self.send(&wire::to_server(wire::TEXT, br#"{"type":"pong"}"#)),
                    Some("error") => self.failed(&value["payload"][0]),
                    Some("complete") => self.end("complete"),
                    _ => bail!("unexpected: {}", shown()),
                }
            }
            Transport::Sse => {
                let text = std::str::from_utf8(message)?;
                let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
                match (field("event:").map(str::trim), field("data:")) {
                    (Some("complete"), _) => self.end("complete"),
                    (Some("next") | None, Some(data)) => {
                        let value: Value = serde_json::from_str(data).with_context(shown)?;
                        self.whole_event(common, message, &value, now_ns)
                    }
                    // A comment, to keep the connection.
                    (None, None) => Ok(()),
                    _ => bail!("unexpected: {}", shown()),
                }
            }
        }
    }

    /// An event that is not like the one before: it is checked in full, and the next ones are compared with it.
    fn whole_event(
        &mut self,
        common: &mut Common,
        message: &[u8],
        result: &Value,
        now_ns: u64,
    ) -> anyhow::Result<()> {
        let shown = || String::from_utf8_lossy(message).into_owned();
        if let Some(error) = result["errors"].get(0) {
            return self.failed(error);
        }
        let found = marked_text(&result["data"]).with_context(shown)?;
        let marker = marker(found.as_bytes()).with_context(shown)?;
        ensure!(found == text(marker, common.text_length), "{}", shown());
        let is_start = |window: &[u8]| window == &found.as_bytes()[..MARKER_LENGTH];
        let start = message.windows(MARKER_LENGTH).position(is_start);
        let start = start.with_context(shown)?;
        common.template = Some(Template {
            before: message[..start].to_vec(),
            after: message[start + MARKER_LENGTH..].to_vec(),
        });
        self.event(common, marker, now_ns)
    }

    fn event(&mut self, common: &mut Common, marker: Marker, now_ns: u64) -> anyhow::Result<()> {
        let number = marker.number;
        if let Some(next) = self.next {
            ensure!(number == next, "event {number} came for {next}");
        }
        let had_reached = self.next.is_some_and(|next| next >= common.target);
        self.next = Some(number + 1);
        if !had_reached && number + 1 >= common.target {
            common.counts.reached += 1;
        }
        common.record(marker, now_ns)
    }

    fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        // A client sends little: the kernel takes it.
        self.stream.write_all(bytes).context("sending")
    }

    fn failed(&mut self, error: &Value) -> anyhow::Result<()> {
        self.end(&code(error)).with_context(|| error.to_string())
    }

    fn end(&mut self, reason: &str) -> anyhow::Result<()> {
        let number = self.number;
        ensure!(self.may_end, "client {number} ended: {reason}");
        self.stage = Stage::Ended;
        self.ended.get_or_insert_with(|| reason.to_owned());
        Ok(())
    }
}

/// The code of a GraphQL error; of one that has none, all of it.
fn code(error: &Value) -> String {
    let code = error["extensions"]["code"].as_str();
    code.map_or_else(|| error.to_string(), ToOwned::to_owned)
}

/// The first text with a marker.
fn marked_text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => marker(text.as_bytes()).map(|_| text.as_str()),
        Value::Array(items) => items.iter().find_map(marked_text),
        Value::Object(fields) => fields.values().find_map(marked_text),
        _ => None,
    }
}
