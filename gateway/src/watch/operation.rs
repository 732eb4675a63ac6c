//! What is noted of one operation while it runs, and told when it ends: in metrics, in the log of slow operations, in the
//! access log.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use federation::SubgraphIndex;
use graphql_transport::{ClientContext, GraphqlResponse};
use http::{HeaderMap, HeaderName};
use traces::{Span, TraceContext};

use super::{
    Watch,
    access_log::{Line, Milliseconds},
    plain::{code, plain},
    request::RequestNote,
    spans::{self, OperationSpans},
};
use crate::{
    headers::trace_context,
    metrics::Ending,
    prepare::{OperationKind, Prepared, Serving},
    subgraphs::{FetchError, HttpResponse},
};

/// Codes of one response that are noted.
const CODES_MAX: usize = 8;
/// Subgraph requests of one operation that are noted.
const FETCHES_MAX: usize = 64;

/// The name of an operation that has none.
const ANONYMOUS: &str = "(anonymous)";
/// The name of what was refused before its operation was known.
const UNKNOWN: &str = "(refused)";
/// The name of a client that does not tell its own.
const NO_NAME: &str = "(none)";

/// The headers by which clients tell their names, and their versions: those of Apollo's clients, and the common ones.
const NAME_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("graphql-client-name"),
    HeaderName::from_static("apollographql-client-name"),
];
const VERSION_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("graphql-client-version"),
    HeaderName::from_static("apollographql-client-version"),
];

/// Whether a client tells its name or its version with this header.
pub(crate) fn is_of_client(name: &HeaderName) -> bool {
    NAME_HEADERS.contains(name) || VERSION_HEADERS.contains(name)
}

/// A client's name and version as plain texts; empty if it does not tell them.
pub(super) fn client_of(headers: &HeaderMap) -> [Cow<'_, str>; 2] {
    [&NAME_HEADERS, &VERSION_HEADERS].map(|names| {
        let value = names.iter().find_map(|name| headers.get(name));
        value.map_or_else(Default::default, |value| plain(value.as_bytes()))
    })
}

/// An operation that is known, and what became of it.
pub(super) struct Summary {
    pub(super) prepared: Option<Arc<Prepared>>,
    pub(super) ending: Ending,
    /// Each code once.
    pub(super) codes: Vec<String>,
}

impl Summary {
    /// The operation's own name, cut if it is long.
    pub(super) fn shown_name(&self) -> Option<Cow<'_, str>> {
        let name = self.prepared.as_ref()?.name()?;
        Some(plain(name.as_bytes()))
    }

    pub(super) fn kind(&self) -> Option<&'static str> {
        self.prepared.as_ref().map(|it| kind(it))
    }

    /// The SHA-256 of the document in hexadecimal digits, as in persisted queries.
    pub(super) fn hash(&self) -> Option<String> {
        self.prepared.as_ref()?.hash()
    }

    pub(super) fn is_unfinished(&self) -> bool {
        self.ending == Ending::Unfinished
    }

    /// The name and the kind in metrics.
    fn label(&self) -> [Cow<'_, str>; 2] {
        let Some(prepared) = &self.prepared else {
            return [UNKNOWN.into(), "unknown".into()];
        };
        let name = self.shown_name().unwrap_or(ANONYMOUS.into());
        [name, kind(prepared).into()]
    }
}

fn kind(prepared: &Prepared) -> &'static str {
    match prepared.kind() {
        OperationKind::Query => "query",
        OperationKind::Mutation => "mutation",
        OperationKind::Subscription => "subscription",
    }
}

/// The note of one operation. Dropped before its end is told, it tells that it was not finished.
pub struct OperationNote {
    watch: Arc<Watch>,
    began: Instant,
    headers: Arc<HeaderMap>,
    is_on_socket: bool,
    /// The HTTP request that brought it, if that is noted.
    request: Option<Arc<RequestNote>>,
    state: Mutex<State>,
    /// Boxed because most operations have none.
    spans: Option<Box<OperationSpans>>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    codes: Vec<String>,
    fetches: Vec<Fetch>,
    fetches_left_out: usize,
    has_ended: bool,
}

struct Known {
    serving: Arc<Serving>,
    prepared: Arc<Prepared>,
    /// When it was prepared, since the beginning.
    at: Duration,
}

/// A request to a subgraph, by times since the beginning.
struct Fetch {
    subgraph: SubgraphIndex,
    sent: Duration,
    ended: Option<(Duration, bool)>,
}

/// A request to a subgraph that is noted.
pub struct FetchNote {
    /// The place of its [`Fetch`]; absent for one beyond the bound.
    place: Option<usize>,
    span: Span,
}

impl FetchNote {
    /// Its span, as the subgraph is told it; absent if it is not recorded.
    pub fn context(&self) -> Option<TraceContext> {
        self.span.context()
    }
}

impl OperationNote {
    pub(super) fn new(watch: &Arc<Watch>, client: &ClientContext) -> Arc<Self> {
        let began = Instant::now();
        let spans = OperationSpans::begin(&watch.tracer, client, began);
        Arc::new(Self {
            watch: Arc::clone(watch),
            began,
            spans: spans.map(Box::new),
            headers: Arc::clone(&client.headers),
            is_on_socket: client.socket.is_some(),
            request: RequestNote::current(),
            state: Mutex::default(),
        })
    }

    /// Notes which operation it is.
    pub fn is_known(&self, serving: &Arc<Serving>, prepared: &Arc<Prepared>, document: &str) {
        if self.watch.tells_hashes() {
            prepared.hash_of(document);
        }
        if let Some(spans) = &self.spans {
            spans.is_prepared(prepared, self.began);
        }
        self.lock().known = Some(Known {
            serving: Arc::clone(serving),
            prepared: Arc::clone(prepared),
            at: self.began.elapsed(),
        });
    }

    /// Notes a request to a subgraph that is being sent.
    pub fn fetch_begins(&self, subgraph: SubgraphIndex, body: &[u8]) -> FetchNote {
        let sent = self.began.elapsed();
        let mut state = self.lock();
        let span = match (&self.spans, &state.known) {
            (Some(spans), Some(known)) => spans.fetch(known.serving.graph.subgraph(subgraph), body),
            _ => Span::none(),
        };
        if state.fetches.len() >= FETCHES_MAX {
            state.fetches_left_out += 1;
            return FetchNote { place: None, span };
        }
        state.fetches.push(Fetch {
            subgraph,
            sent,
            ended: None,
        });
        let place = Some(state.fetches.len() - 1);
        FetchNote { place, span }
    }

    /// Notes that the operation is executed from now on.
    pub fn execution_begins(&self) {
        if let Some(spans) = &self.spans {
            spans.execution_begins();
        }
    }

    /// Notes the answer to a request, or its failure.
    pub fn fetch_ended(&self, mut fetch: FetchNote, answer: &Result<HttpResponse, FetchError>) {
        spans::fetch_ended(&mut fetch.span, answer);
        let ended = (self.began.elapsed(), answer.is_ok());
        let mut state = self.lock();
        if let Some(noted) = fetch.place.and_then(|place| state.fetches.get_mut(place)) {
            noted.ended = Some(ended);
        }
    }

    /// Notes the codes of the response's errors.
    pub fn has_errors<'c>(&self, codes: impl Iterator<Item = &'c str>) {
        let mut state = self.lock();
        for found in codes {
            let found = code(found);
            if state.codes.len() < CODES_MAX && !state.codes.iter().any(|it| it == found) {
                state.codes.push(found.to_owned());
            }
        }
    }

    /// Tells that the operation was answered.
    pub fn answered(&self, response: &GraphqlResponse) {
        let ending = match response.refused {
            Some(refused) => {
                self.has_errors(std::iter::once(refused.code));
                Ending::Refused
            }
            None if self.lock().codes.is_empty() => Ending::Executed,
            None => Ending::Failed,
        };
        self.end(ending, Some(response.body.len()));
    }

    /// Tells that the operation is a subscription, and that it has begun.
    pub fn subscribed(&self) {
        self.end(Ending::Subscribed, None);
    }

    fn end(&self, ending: Ending, bytes: Option<usize>) {
        let took = self.began.elapsed();
        let state = {
            let mut state = self.lock();
            if state.has_ended {
                return;
            }
            let ended = State {
                has_ended: true,
                ..State::default()
            };
            std::mem::replace(&mut *state, ended)
        };
        let summary = Summary {
            prepared: state.known.as_ref().map(|it| Arc::clone(&it.prepared)),
            ending,
            codes: state.codes,
        };
        if let Some(spans) = &self.spans {
            spans.end(&summary);
        }
        let client = client_of(&self.headers);
        if let Some(metrics) = &self.watch.metrics {
            let name = summary.label();
            let [client, version] = client.each_ref().map(|text| &**text);
            let client = if client.is_empty() { NO_NAME } else { client };
            let name = name.each_ref().map(|text| &**text);
            metrics.ended(name, [client, version], ending, took);
        }
        if let (Some(limit), Some(known)) = (self.watch.slow, &state.known)
            && took >= limit
            && ending != Ending::Subscribed
        {
            let fetches = shown(&state.fetches, state.fetches_left_out, &known.serving);
            self.tell_slow(&summary, known, took, &fetches);
        }
        match (&self.request, &self.watch.access_log) {
            (Some(request), _) => request.has_operation(summary),
            (None, Some(rules)) if self.is_on_socket => {
                let trace_id = trace_context::trace_id(&self.headers);
                rules.write(&Line {
                    is_on_socket: true,
                    client: client.each_ref().map(|text| &**text),
                    took,
                    bytes: bytes.map(|bytes| bytes as u64),
                    trace_id: trace_id.as_deref(),
                    request_id: trace_context::request_id(&self.headers),
                    operation: Some(&summary),
                    ..Line::default()
                });
            }
            _ => {}
        }
    }

    fn tell_slow(&self, summary: &Summary, known: &Known, took: Duration, fetches: &str) {
        let [client, version] = client_of(&self.headers);
        tracing::warn!(
            operation.name = &*summary.shown_name().unwrap_or(ANONYMOUS.into()),
            operation.kind = kind(&known.prepared),
            operation.hash = summary.hash().unwrap_or_default(),
            client.name = &*client,
            client.version = &*version,
            outcome = summary.ending.as_str(),
            duration_ms = %Milliseconds(took),
            prepared_after_ms = %Milliseconds(known.at),
            fetches,
            request_id = trace_context::request_id(&self.headers),
            trace_id = trace_context::trace_id(&self.headers),
            "an operation was slow"
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OperationNote {
    fn drop(&mut self) {
        self.end(Ending::Unfinished, None);
    }
}

/// The requests to subgraphs with their times: `posts 1.000+20.000 ms, comments 21.000+3.000 ms failed`. The first number is
/// when it was sent, the second how long it took.
fn shown(fetches: &[Fetch], left_out: usize, serving: &Serving) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for fetch in fetches {
        let name = serving.graph.subgraph(fetch.subgraph).name;
        let comma = if text.is_empty() { "" } else { ", " };
        let sent = Milliseconds(fetch.sent);
        // Writing to a String cannot fail.
        let _ = match fetch.ended {
            Some((ended, is_ok)) => {
                let took = Milliseconds(ended.saturating_sub(fetch.sent));
                let failed = if is_ok { "" } else { " failed" };
                write!(text, "{comma}{name} {sent}+{took} ms{failed}")
            }
            None => write!(text, "{comma}{name} {sent} ms unfinished"),
        };
    }
    if left_out > 0 {
        let _ = write!(text, ", {left_out} more");
    }
    text
}
