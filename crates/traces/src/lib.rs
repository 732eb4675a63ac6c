//! Traces: spans of requests and of background work, W3C trace context, and their export over OTLP.
//!
//! ```
//! use traces::{Kind, Tracer};
//!
//! let tracer = Tracer::off();
//! let mut span = tracer.root(None, "batch", Kind::Internal);
//! span.set("changes", 3);
//! // Its end is when it is dropped. Without an exporter, nothing of this costs more than a branch.
//! ```
//!
//! Layout: [`settings`] are the standard `OTEL_*` settings; [`context`] is the trace context of W3C; `sampler` chooses the
//! traces; [`span`] has tracers, spans, and the span that a task works for; `encode` writes them as OTLP has them;
//! `queue` holds what waits, within a bound in bytes; `exporter` sends it; [`metrics`] counts what was sent and dropped.
//! `testing`, with the feature of that name, is a receiver.
//!
//! Sources: [trace context](https://www.w3.org/TR/trace-context/), [baggage](https://www.w3.org/TR/baggage/),
//! [OTLP](https://opentelemetry.io/docs/specs/otlp/),
//! [semantic conventions](https://opentelemetry.io/docs/specs/semconv/). `docs/decisions/traces.md` says why this is not
//! OpenTelemetry's own SDK.

pub mod context;
mod encode;
mod exporter;
pub mod metrics;
mod queue;
mod sampler;
pub mod server;
pub mod settings;
pub mod span;
#[cfg(feature = "testing")]
pub mod testing;

pub use context::TraceContext;
pub use exporter::Exporter;
pub use metrics::TraceMetrics;
pub use settings::TraceSettings;
pub use span::{Kind, Parent, Span, Tracer, current_parent, in_current};
