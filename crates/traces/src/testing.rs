//! A receiver of OTLP for tests: an HTTP server that decodes `ExportTraceServiceRequest` by OpenTelemetry's own types.

#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
pub use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Whatever a test waits for comes within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the receiver does with one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It takes the spans.
    Take,
    /// It takes them, but for so many.
    Reject(i64),
    /// It answers with this status, and takes nothing.
    Status(u16),
    /// It reads the batch and never answers.
    Silence,
}

/// A span that was received, and of which service.
#[derive(Clone, Debug)]
pub struct Received {
    /// The attributes of the resource.
    pub resource: Vec<KeyValue>,
    /// The span as it was sent.
    pub span: Span,
}

#[derive(Default)]
struct State {
    script: VecDeque<Act>,
    heads: Vec<String>,
    spans: Vec<Received>,
}

/// A receiver that listens. It takes all spans, once its script is played.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Listens, and does the acts of the script with the first batches.
    pub async fn start(script: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            script: script.iter().copied().collect(),
            ..State::default()
        }));
        let receiving = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receive(stream, Arc::clone(&receiving)));
            }
        });
        Self {
            address,
            state,
            serving,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The flags of a service that sends it traces at once.
    pub fn flags(&self) -> [String; 2] {
        [
            format!("--otel-exporter-otlp-endpoint={}", self.url()),
            "--otel-bsp-schedule-delay=10".to_owned(),
        ]
    }

    /// The heads of the requests.
    pub fn heads(&self) -> Vec<String> {
        self.lock().heads.clone()
    }

    /// All spans that it has taken.
    pub fn spans(&self) -> Vec<Received> {
        self.lock().spans.clone()
    }

    /// Waits until a span has come for which `is_it` holds, and returns it.
    pub async fn span(&self, what: &str, is_it: impl Fn(&Received) -> bool) -> Received {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if let Some(found) = spans.iter().find(|span| is_it(span)) {
                return found.clone();
            }
            let names: Vec<_> = spans.iter().map(|it| it.span.name.as_str()).collect();
            let is_late = tokio::time::Instant::now() > deadline;
            assert!(!is_late, "no span came: {what}; there are {names:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for a span of this name.
    pub async fn named(&self, name: &str) -> Received {
        self.span(name, |it| it.span.name == name).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Received {
    /// An attribute of the span, as text.
    pub fn attribute(&self, name: &str) -> Option<String> {
        text_of(&self.span.attributes, name)
    }

    /// An attribute of its service, as text.
    pub fn of_resource(&self, name: &str) -> Option<String> {
        text_of(&self.resource, name)
    }

    /// `Server`, `Client` and so on.
    pub fn kind(&self) -> SpanKind {
        self.span.kind()
    }

    /// Whether it is marked as failed.
    pub fn has_failed(&self) -> bool {
        let status = self.span.status.as_ref();
        status.is_some_and(|status| status.code() == StatusCode::Error)
    }

    /// The id of its trace, in hexadecimal digits.
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// Its id, in hexadecimal digits.
    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// The id of its parent, in hexadecimal digits; empty if it has none.
    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }
}

fn text_of(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(value) => value.to_string(),
        other => format!("{other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String");
        text
    })
}

async fn receive(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Some((head, body)) = read(&mut stream).await else {
        return;
    };
    let request = ExportTraceServiceRequest::decode(&*body).expect("an export request");
    let act = {
        let mut state = state.lock().expect("not poisoned");
        state.heads.push(head);
        state.script.pop_front().unwrap_or(Act::Take)
    };
    let mut answer = ExportTraceServiceResponse::default();
    let status = match act {
        Act::Silence => {
            // Until the sender closes.
            let _ = stream.read(&mut [0]).await;
            return;
        }
        Act::Status(status) => status,
        Act::Take | Act::Reject(_) => 200,
    };
    if let Act::Reject(rejected_spans) = act {
        answer.partial_success = Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: "no".to_owned(),
        });
    }
    if status == 200 {
        let spans = request.resource_spans.into_iter().flat_map(|spans| {
            let resource = spans.resource.expect("a resource").attributes;
            let scopes = spans.scope_spans.into_iter();
            scopes.flat_map(move |scope| {
                assert_eq!(scope.scope.expect("a scope").name, "rejoinder");
                let resource = resource.clone();
                let received = move |span| Received {
                    resource: resource.clone(),
                    span,
                };
                scope.spans.into_iter().map(received).collect::<Vec<_>>()
            })
        });
        let spans: Vec<_> = spans.collect();
        state.lock().expect("not poisoned").spans.extend(spans);
    }
    let body = answer.encode_to_vec();
    let head = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The sender may have given up.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
}

async fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .expect("a length");
        if bytes.len() == end + 4 + length {
            return Some((head, bytes.split_off(end + 4)));
        }
    }
}
