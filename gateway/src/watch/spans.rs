//! The spans of one operation, by the semantic conventions for GraphQL and HTTP: the operation with its phases, and each
//! request to a subgraph.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use graphql_transport::ClientContext;
use traces::{Kind, Span, TraceContext, Tracer};

use super::{operation::Summary, plain::plain};
use crate::{
    graph::SubgraphAddress,
    metrics::Ending,
    prepare::Prepared,
    subgraphs::{FetchError, HttpResponse},
};

/// The spans of an operation whose trace is recorded.
pub(super) struct OperationSpans(Mutex<Spans>);

struct Spans {
    operation: Span,
    execution: Span,
}

impl OperationSpans {
    /// Begins the span of an operation within that of its HTTP request. One on a WebSocket begins a trace of its own, with
    /// a link to the request that opened it. None, if the trace is not recorded.
    pub(super) fn begin(tracer: &Tracer, client: &ClientContext, began: Instant) -> Option<Self> {
        if !tracer.is_on() {
            return None;
        }
        let operation = match client.socket {
            None => {
                let request = traces::current_parent()?;
                request
                    .child_from("read", Kind::Internal, request.began())
                    .end_at(began);
                request.child_from("GraphQL operation", Kind::Internal, began)
            }
            Some(_) => {
                let mut span = tracer.root(None, "GraphQL operation", Kind::Server);
                if let Some(opened) = TraceContext::of(&client.headers) {
                    span.link(&opened);
                }
                span
            }
        };
        operation.is_recorded().then(|| {
            Self(Mutex::new(Spans {
                operation,
                execution: Span::none(),
            }))
        })
    }

    /// Tells which operation it is. If it was prepared for this request, the stages of that are spans, too.
    pub(super) fn is_prepared(&self, prepared: &Prepared, began: Instant) {
        let spans = self.lock();
        let Some(operation) = spans.operation.parent() else {
            return;
        };
        let stages = prepared.stages;
        let is_new = stages.began >= began;
        let mut preparation = operation.child_from("prepare", Kind::Internal, began);
        preparation.set("rejoinder.operation.was_kept", !is_new);
        if let Some(preparation) = preparation.parent().filter(|_| is_new) {
            let stage = |name, from, to| {
                preparation
                    .child_from(name, Kind::Internal, from)
                    .end_at(to)
            };
            stage("parse and validate", stages.began, stages.planning);
            stage("plan", stages.planning, stages.ended);
        }
    }

    /// Begins the span of the execution.
    pub(super) fn execution_begins(&self) {
        let mut spans = self.lock();
        spans.execution = spans.operation.child("execute", Kind::Internal);
    }

    /// Begins the span of a request to a subgraph.
    pub(super) fn fetch(&self, subgraph: SubgraphAddress<'_>, body: &[u8]) -> Span {
        let mut span = self.lock().execution.child("POST", Kind::Client);
        span.set("http.request.method", "POST");
        span.set("url.full", subgraph.url);
        span.set("http.request.body.size", body.len());
        span.set("rejoinder.subgraph.name", subgraph.name);
        let name = subgraph.name;
        span.rename(|| format!("POST {name}"));
        span
    }

    /// Ends them all.
    pub(super) fn end(&self, summary: &Summary) {
        let mut spans = self.lock();
        spans.execution = Span::none();
        let mut operation = std::mem::take(&mut spans.operation);
        let name = summary.shown_name();
        if let Some(kind) = summary.kind() {
            operation.set("graphql.operation.type", kind);
            operation.rename(|| match &name {
                Some(name) => format!("{kind} {name}"),
                None => kind.to_owned(),
            });
        }
        if let Some(name) = &name {
            operation.set("graphql.operation.name", &**name);
        }
        if let Some(hash) = summary.hash() {
            operation.set("rejoinder.operation.hash", &hash);
        }
        operation.set("rejoinder.outcome", summary.ending.as_str());
        match (summary.codes.first(), summary.ending) {
            (Some(code), _) => operation.fail(code, &summary.codes.join(", ")),
            (None, Ending::Unfinished) => {
                operation.fail("unfinished", "the client left, or its time was over")
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Spans> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what became of a request to a subgraph.
pub(super) fn fetch_ended(span: &mut Span, answer: &Result<HttpResponse, FetchError>) {
    if !span.is_recorded() {
        return;
    }
    match answer {
        Ok(answer) => {
            span.set("http.response.status_code", answer.status);
            span.set("http.response.body.size", answer.body.len());
            if answer.status >= 400 {
                span.fail(itoa::Buffer::new().format(answer.status), "");
            }
        }
        Err(error) => span.fail(kind_of(error), &plain(error.to_string().as_bytes())),
    }
}

fn kind_of(error: &FetchError) -> &'static str {
    match error {
        FetchError::Connect(_) => "connect",
        FetchError::Untrusted(_) | FetchError::Tls(_) => "tls",
        FetchError::Timeout(_) => "timeout",
        FetchError::TooLarge(_) => "too_large",
        FetchError::Overloaded(_) | FetchError::NotSent(_) => "overloaded",
        _ => "connection",
    }
}
