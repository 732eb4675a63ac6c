//! Tracers and spans, and the span that a task works for.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::future::Either;
use http::HeaderMap;

use crate::TraceContext;
use crate::context::{TRACEPARENT, TRACESTATE, trace_state};
use crate::encode;
pub use crate::encode::Value;
use crate::queue::Queue;
use crate::sampler::Sampler;

/// The longest text of an attribute, in bytes. The rest is cut.
const TEXT_BYTES_MAX: usize = 1_000;
/// The bytes of a span's attributes and links together. Further ones are left out.
const REST_BYTES_MAX: usize = 16 * 1024;

tokio::task_local! {
    /// What the task works for.
    static CURRENT: Parent;
}

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work of this process.
    Internal = 1,
    /// A request that it answers.
    Server = 2,
    /// A request that it sends, until its answer.
    Client = 3,
    /// Something that it hands over to others, who may take it later.
    Producer = 4,
    /// Something that it takes from others.
    Consumer = 5,
}

/// Makes spans, or none. Clones are the same.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

pub(crate) struct Shared {
    pub(crate) sampler: Sampler,
    pub(crate) queue: Arc<Queue>,
}

impl Tracer {
    /// One that makes none.
    pub fn off() -> Self {
        Self(None)
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self(Some(Arc::new(shared)))
    }

    /// Whether it may make spans.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// A span of a trace that begins here, or of that of a parent elsewhere, if the sampler chooses it.
    pub fn root(&self, parent: Option<TraceContext>, name: &'static str, kind: Kind) -> Span {
        let Some(shared) = &self.0 else {
            return Span(None);
        };
        let context = new_context(shared, parent.as_ref());
        Span::of_root(shared, context, parent.as_ref(), None, name, kind)
    }

    /// The span of a request that comes with these headers. What is sent on with them belongs to it then; of a trace that
    /// is not chosen, it is that others need not choose it either.
    pub fn server(&self, headers: &mut HeaderMap, name: &'static str) -> Span {
        let Some(shared) = &self.0 else {
            return Span(None);
        };
        let parent = TraceContext::of(headers);
        let context = new_context(shared, parent.as_ref());
        let is_the_parents = !context.is_sampled && parent.is_some_and(|it| !it.is_sampled);
        if is_the_parents {
            return Span(None);
        }
        let state = match parent {
            Some(_) => trace_state(headers),
            None => {
                headers.remove(TRACESTATE);
                String::new()
            }
        };
        headers.insert(TRACEPARENT, context.to_header());
        let state = (!state.is_empty()).then(|| state.into());
        Span::of_root(shared, context, parent.as_ref(), state, name, Kind::Server)
    }
}

fn new_context(shared: &Shared, parent: Option<&TraceContext>) -> TraceContext {
    let context = match parent {
        Some(parent) => parent.with_new_span(),
        None => TraceContext::new_trace(false),
    };
    TraceContext {
        is_sampled: shared.sampler.samples(parent, &context),
        ..context
    }
}

/// A moment by both clocks, by which all times of a trace in this process are told: so they have the order that they had.
#[derive(Clone, Copy)]
struct Clock {
    instant: Instant,
    /// In nanoseconds since 1970.
    time: u64,
}

impl Clock {
    fn now() -> Self {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let time = time.unwrap_or_default().as_nanos();
        Self {
            instant: Instant::now(),
            time: u64::try_from(time).unwrap_or(u64::MAX),
        }
    }

    fn time_of(&self, instant: Instant) -> u64 {
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match instant.checked_duration_since(self.instant) {
            Some(after) => self.time.saturating_add(nanos(after)),
            None => self
                .time
                .saturating_sub(nanos(self.instant.duration_since(instant))),
        }
    }
}

/// Something that takes time. It ends when it is dropped. One that is not recorded is nothing.
#[derive(Default)]
pub struct Span(Option<Box<Recording>>);

struct Recording {
    of: Parent,
    parent: Option<[u8; 8]>,
    is_parent_remote: bool,
    name: Cow<'static, str>,
    kind: Kind,
    began: Instant,
    /// When it ended, if that was before it is dropped.
    ended: Option<Instant>,
    /// Attributes, links and the status, already encoded.
    rest: Vec<u8>,
    has_failed: bool,
}

impl Span {
    /// A span that is not recorded.
    pub fn none() -> Self {
        Self(None)
    }

    fn of_root(
        shared: &Arc<Shared>,
        context: TraceContext,
        parent: Option<&TraceContext>,
        state: Option<Arc<str>>,
        name: &'static str,
        kind: Kind,
    ) -> Self {
        if !context.is_sampled {
            return Self(None);
        }
        let of = Parent {
            shared: Arc::clone(shared),
            context,
            state,
            clock: Clock::now(),
        };
        let began = of.clock.instant;
        let mut span = Self::new(of, parent.map(|it| it.span_id), name, kind, began);
        if let Some(recording) = &mut span.0 {
            recording.is_parent_remote = parent.is_some();
        }
        span
    }

    fn new(
        of: Parent,
        parent: Option<[u8; 8]>,
        name: &'static str,
        kind: Kind,
        began: Instant,
    ) -> Self {
        Self(Some(Box::new(Recording {
            of,
            parent,
            is_parent_remote: false,
            name: Cow::Borrowed(name),
            kind,
            began,
            ended: None,
            rest: Vec::new(),
            has_failed: false,
        })))
    }

    /// Whether it is recorded.
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Sets an attribute. A long text is cut.
    pub fn set<'v>(&mut self, name: &str, value: impl Into<Value<'v>>) {
        let Some(recording) = &mut self.0 else {
            return;
        };
        if recording.rest.len() < REST_BYTES_MAX {
            let value = match value.into() {
                Value::Text(text) => Value::Text(cut(text)),
                value => value,
            };
            encode::attribute(&mut recording.rest, 9, name, value);
        }
    }

    /// Replaces its name.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(recording) = &mut self.0 {
            let name = name();
            recording.name = Cow::Owned(cut(&name).to_owned());
        }
    }

    /// Links it to a span of another trace that it has to do with.
    pub fn link(&mut self, context: &TraceContext) {
        if let Some(recording) = &mut self.0
            && recording.rest.len() < REST_BYTES_MAX
        {
            encode::link(&mut recording.rest, context);
        }
    }

    /// Marks it as failed, with a kind of error that is one of few. Only the first failure counts.
    pub fn fail(&mut self, kind: &str, message: &str) {
        let Some(recording) = &mut self.0 else {
            return;
        };
        if !std::mem::replace(&mut recording.has_failed, true) {
            encode::attribute(&mut recording.rest, 9, "error.type", Value::Text(cut(kind)));
            encode::error_status(&mut recording.rest, cut(message));
        }
    }

    /// Begins it as of a moment that has passed.
    #[must_use]
    pub fn begun_at(mut self, began: Instant) -> Self {
        if let Some(recording) = &mut self.0 {
            recording.began = began;
        }
        self
    }

    /// Ends it as of a moment that has passed.
    pub fn end_at(mut self, ended: Instant) {
        if let Some(recording) = &mut self.0 {
            recording.ended = Some(ended);
        }
    }

    /// As others name it; absent if it is not recorded.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|it| it.of.context)
    }

    /// What its children begin from; absent if it is not recorded.
    pub fn parent(&self) -> Option<Parent> {
        self.0.as_ref().map(|it| it.of.clone())
    }

    /// A span that begins now within this one.
    pub fn child(&self, name: &'static str, kind: Kind) -> Self {
        match &self.0 {
            Some(recording) => recording.of.child(name, kind),
            None => Self(None),
        }
    }

    /// Polls a future as work for this span, if it is recorded.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        scope(self.parent(), future)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Parent {
            shared,
            context,
            state,
            clock,
        } = &self.of;
        let head = encode::Head {
            context: *context,
            parent: self.parent,
            is_parent_remote: self.is_parent_remote,
            state: state.as_deref().unwrap_or_default(),
            name: &self.name,
            kind: self.kind as u64,
            began: clock.time_of(self.began),
            ended: clock.time_of(self.ended.unwrap_or_else(Instant::now)),
        };
        shared.queue.push(&encode::span(&head, &self.rest));
    }
}

/// A recorded span, for its children. Clones are the same.
#[derive(Clone)]
pub struct Parent {
    shared: Arc<Shared>,
    context: TraceContext,
    state: Option<Arc<str>>,
    clock: Clock,
}

impl Parent {
    /// A span that begins now within it.
    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        self.child_from(name, kind, Instant::now())
    }

    /// A span that has begun already.
    pub fn child_from(&self, name: &'static str, kind: Kind, began: Instant) -> Span {
        let of = Self {
            context: self.context.with_new_span(),
            ..self.clone()
        };
        Span::new(of, Some(self.context.span_id), name, kind, began)
    }

    /// As others name it.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// When the first span of this trace in this process began.
    pub fn began(&self) -> Instant {
        self.clock.instant
    }

    /// The span that the task works for, if that is recorded.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }
}

/// The span that the task works for, if that is recorded.
pub fn current_parent() -> Option<Parent> {
    Parent::current()
}

/// The future as work for the span that the task works for now, whichever task polls it.
pub fn in_current<F: Future>(future: F) -> impl Future<Output = F::Output> + use<F> {
    scope(Parent::current(), future)
}

fn scope<F: Future>(parent: Option<Parent>, future: F) -> impl Future<Output = F::Output> + use<F> {
    match parent {
        Some(parent) => Either::Left(CURRENT.scope(parent, future)),
        None => Either::Right(future),
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
