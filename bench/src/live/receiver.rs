//! One client: its socket, how far its handshake is, and which event is its next. One that resumes asks for cursors, and
//! comes back after the last one when its connection ends.
//!
//! Most bytes that it reads are those of the event before, but for the number and the time: it compares and counts. What
//! differs is read as JSON.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// Clients ask for cursors and come back.
    pub resumes: bool,
    /// Clients that came back or will, in the order in which their connections ended, since somebody looked.
    pub departures: Vec<Departure>,
    /// When which clients come back.
    pub returns: BinaryHeap<Reverse<(Instant, usize)>>,
    template: Option<Template>,
    /// The last event with a cursor: all clients get the same bytes.
    last: Option<LastEvent>,
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

/// The end of a connection whose client comes back.
#[derive(Debug)]
pub struct Departure {
    pub reason: String,
    /// On the monotonic clock.
    pub at_ns: u64,
}

struct LastEvent {
    message: Vec<u8>,
    marker: Marker,
    cursor: Arc<str>,
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
            resumes: false,
            departures: Vec::new(),
            returns: BinaryHeap::new(),
            template: None,
            last: None,
            delays_us: Vec::new(),
        }
    }

    /// The delays of these events in microseconds, by event.
    pub fn delays_us(&self, from: usize, to: usize) -> &[Vec<u32>] {
        let to = to.min(self.delays_us.len());
        self.delays_us.get(from..to).unwrap_or_default()
    }

    fn operation(&self, client: &Client) -> anyhow::Result<Value> {
        let variables = self
            .variables
            .replace("{client}", &client.number.to_string());
        let variables: Value = serde_json::from_str(&variables).context("the variables")?;
        let mut operation = json!({ "query": self.query, "variables": variables });
        if self.resumes {
            let delivery = json!({ "version": 1, "after": client.cursor });
            operation["extensions"] = json!({ "delivery": delivery });
        }
        Ok(operation)
    }

    fn opening(&self, client: &Client) -> anyhow::Result<String> {
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

/// Between two tries, as `rejoinder-client` has them.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// The request is sent.
    Head,
    /// `connection_init` is sent.
    Acknowledgement,
    /// `subscribe` is sent, and the first frame is awaited.
    Standing,
    Subscribed,
    /// The connection has ended, and the client comes back.
    Away,
    Ended,
}

/// One client.
pub struct Client {
    pub stream: TcpStream,
    number: usize,
    stage: Stage,
    /// The number that the next event must have: any, until the first has come.
    pub next: Option<u64>,
    /// The cursor of its last event, where it resumes.
    cursor: Option<Arc<str>>,
    /// Tries in a row that failed.
    failures: u32,
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
            cursor: None,
            failures: 0,
            partial: Vec::new(),
            message: Vec::new(),
            ended: None,
            may_end: false,
        }
    }

    /// Comes back over a connection that is under way.
    pub fn come_back(&mut self, stream: TcpStream) {
        self.stream = stream;
        self.stage = Stage::Connecting;
        self.partial.clear();
        self.message.clear();
    }

    /// Nobody listened when it came back.
    ///
    /// # Errors
    /// When it may not end.
    pub fn refused(&mut self, common: &mut Common) -> anyhow::Result<()> {
        self.stage = Stage::Connecting;
        self.end(common, "connecting: refused")
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Away | Stage::Ended)
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
            return self.end(common, &format!("connecting: {}", error.kind()));
        }
        self.stream.set_nodelay(true)?;
        let opening = common.opening(self)?;
        self.send(opening.as_bytes())?;
        self.stage = Stage::Head;
        Ok(())
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// When an event is missing, doubled or not as expected, or the server ends what it may not end.
    pub fn readable(&mut self, common: &mut Common, buffer: &mut [u8]) -> anyhow::Result<()> {
        while !self.is_over() {
            let length = match self.stream.read(buffer) {
                Ok(0) => return self.end(common, "the connection was closed"),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let reason = format!("the connection broke: {}", error.kind());
                    return self.end(common, &reason);
                }
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
            if self.is_over() {
                return Ok(());
            }
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(bytes);
        let used = self.consume(common, &all)?;
        if used < all.len() && !self.is_over() {
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
        while !self.is_over() {
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
                if head.starts_with("http/1.1 503 ") && common.resumes {
                    let seconds = head
                        .lines()
                        .find_map(|line| line.strip_prefix("retry-after: "));
                    let seconds = seconds.context("no time to wait")?;
                    return self.end(common, &format!("status 503 (retry-after: {seconds})"));
                }
                ensure!(head.starts_with("http/1.1 200 "), "no stream");
                ensure!(head.contains("text/event-stream"), "no server-sent events");
                ensure!(head.contains("chunked"), "no chunks");
                self.asked(common);
            }
        }
        Ok(())
    }

    /// The operation is sent. It stands once the first frame comes, where one is asked for.
    fn asked(&mut self, common: &mut Common) {
        match common.resumes {
            true => self.stage = Stage::Standing,
            false => self.subscribed(common),
        }
    }

    fn subscribed(&mut self, common: &mut Common) {
        self.stage = Stage::Subscribed;
        self.failures = 0;
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
                let reason = frame.payload.get(2..).unwrap_or_default();
                let reason = String::from_utf8_lossy(reason);
                match common.resumes {
                    true => self.end(common, &format!("close {code} {reason}")),
                    false => self.end(common, &format!("close {code}")),
                }
            }
            other => bail!("a frame of opcode {other}"),
        }
    }

    /// Events end with a blank line, and mostly with their chunk.
    fn chunk(&mut self, common: &mut Common, chunk: &[u8], now_ns: u64) -> anyhow::Result<()> {
        if chunk.is_empty() {
            return self.end(common, "the stream ended");
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
        while !rest.is_empty() && !self.is_over() {
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
        let last = common.last.as_ref();
        if let Some(last) = last.filter(|last| last.message == message) {
            self.cursor = Some(Arc::clone(&last.cursor));
            return self.event(common, last.marker, now_ns);
        }
        let shown = || String::from_utf8_lossy(message).into_owned();
        match common.transport {
            Transport::Ws => {
                let value: Value = serde_json::from_slice(message).with_context(shown)?;
                match value["type"].as_str() {
                    Some("connection_ack") if self.stage == Stage::Acknowledgement => {
                        let payload = common.operation(self)?;
                        let subscribe =
                            json!({ "id": "1", "type": "subscribe", "payload": payload });
                        let subscribe = subscribe.to_string();
                        self.send(&wire::to_server(wire::TEXT, subscribe.as_bytes()))?;
                        self.asked(common);
                        Ok(())
                    }
                    Some("next") => self.whole_event(common, message, &value["payload"], now_ns),
                    Some("ping") => self.send(&wire::to_server(wire::TEXT, br#"{"type":"pong"}"#)),
                    Some("error") => self.failed(common, &value["payload"][0]),
                    Some("complete") => self.end(common, "complete"),
                    _ => bail!("unexpected: {}", shown()),
                }
            }
            Transport::Sse => {
                let text = std::str::from_utf8(message)?;
                let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
                match (field("event:").map(str::trim), field("data:")) {
                    (Some("complete"), _) => self.end(common, "complete"),
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
            return self.failed(common, error);
        }
        let cursor = result["extensions"]["cursor"].as_str().map(Arc::from);
        if common.resumes && result["extensions"]["delivery"].is_object() {
            ensure!(self.stage == Stage::Standing, "a second first frame");
            let kept = &result["extensions"]["delivery"]["kept"];
            ensure!(kept == "AT_LEAST_ONCE", "{}", shown());
            self.cursor = cursor.or(self.cursor.take());
            self.subscribed(common);
            return Ok(());
        }
        let found = marked_text(&result["data"]).with_context(shown)?;
        let marker = marker(found.as_bytes()).with_context(shown)?;
        ensure!(found == text(marker, common.text_length), "{}", shown());
        let is_start = |window: &[u8]| window == &found.as_bytes()[..MARKER_LENGTH];
        if common.resumes {
            let cursor: Arc<str> = cursor.with_context(shown)?;
            self.cursor = Some(Arc::clone(&cursor));
            common.last = Some(LastEvent {
                message: message.to_vec(),
                marker,
                cursor,
            });
            return self.event(common, marker, now_ns);
        }
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

    fn failed(&mut self, common: &mut Common, error: &Value) -> anyhow::Result<()> {
        let code = code(error);
        ensure!(!common.resumes, "client {} ended: {error}", self.number);
        self.end(common, &code).with_context(|| error.to_string())
    }

    /// The connection has ended, and the client comes back after a pause: that which the server asks for, or one that
    /// grows.
    fn leave(&mut self, common: &mut Common, reason: &str) -> anyhow::Result<()> {
        ensure!(reason != "complete", "client {} was completed", self.number);
        match self.stage {
            Stage::Subscribed => common.counts.subscribed -= 1,
            _ => common.counts.beginning -= 1,
        }
        self.stage = Stage::Away;
        let asked = reason.split_once("(retry-after: ").map(|(_, rest)| rest);
        let asked = asked.and_then(|rest| rest.trim_end_matches(')').parse().ok());
        // Evenly spread, and different each time.
        let random = f64::from(u32::try_from(now_ns() % 1_000)?) / 1_000.0;
        let pause = match asked {
            Some(seconds) => Duration::from_secs(seconds) + Duration::from_secs(1).mul_f64(random),
            None => {
                let grown = FIRST_PAUSE * 2_u32.pow(self.failures.min(16));
                self.failures += 1;
                grown.min(PAUSE_MAX).mul_f64(0.75 + random / 2.0)
            }
        };
        common
            .returns
            .push(Reverse((Instant::now() + pause, self.number)));
        common.departures.push(Departure {
            reason: reason.to_owned(),
            at_ns: now_ns(),
        });
        // The next one has the same name in the poll.
        self.stream.shutdown(Shutdown::Both).ok();
        Ok(())
    }

    fn end(&mut self, common: &mut Common, reason: &str) -> anyhow::Result<()> {
        if common.resumes {
            return self.leave(common, reason);
        }
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
