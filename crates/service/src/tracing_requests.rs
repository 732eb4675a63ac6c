//! Traces of a service: what sends them, and the span of each request.

use std::future::Future;

use axum::response::Response;
use traces::{Exporter, Span, TraceMetrics, Tracer, server};

use crate::{Lifecycle, MakeResponder, Metrics, Settings};

/// The tracer of a service, by the settings. What it records is sent in the background until nothing is served any more.
///
/// # Errors
/// If a setting is malformed.
pub fn start_traces(
    settings: &Settings,
    name: &str,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Tracer> {
    let counts = metrics.with_registry(TraceMetrics::register);
    let version = env!("CARGO_PKG_VERSION");
    let (tracer, exporter) = Exporter::new(&settings.traces, name, version, counts)?;
    if let Some(exporter) = exporter {
        lifecycle.spawn_last(exporter.run(lifecycle.served().clone()));
    }
    Ok(tracer)
}

/// Makes a span of each request. What answers it works for that span.
pub fn traced(tracer: &Tracer, make: MakeResponder) -> MakeResponder {
    if !tracer.is_on() {
        return make;
    }
    let tracer = tracer.clone();
    Box::new(move |peer| {
        let (respond, tracer) = (make(peer), tracer.clone());
        Box::new(move |request| {
            let (mut parts, body) = request.into_parts();
            let span = server::begin_parts(&tracer, &mut parts);
            let request = http::Request::from_parts(parts, body);
            if !span.is_recorded() {
                return respond(request);
            }
            let answer = span.scope(respond(request));
            Box::pin(answered(answer, Unanswered(span)))
        })
    })
}

async fn answered<E>(
    answer: impl Future<Output = Result<Response, E>>,
    mut unanswered: Unanswered,
) -> Result<Response, E> {
    let answer = answer.await;
    let mut span = std::mem::take(&mut unanswered.0);
    server::end(&mut span, answer.as_ref().ok().map(Response::status));
    answer
}

/// A span of a request without a response: dropped, its client has left.
struct Unanswered(Span);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.0.is_recorded() {
            server::end(&mut self.0, None);
        }
    }
}
