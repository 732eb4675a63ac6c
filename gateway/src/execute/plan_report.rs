//! In development, reports an operation's plan, with the times of each request, as
//! `extensions.queryPlan`, if a header asks for it.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};
use serde::Serialize;

use crate::{
    graph::Graph,
    prepare::{self, ExplainedFetch, plan::Plan},
    subgraphs::{FetchError, HttpResponse},
};

/// The request header that asks for the plan, with the value `include`.
const HEADER: HeaderName = HeaderName::from_static("rejoinder-query-plan");
const INCLUDE: &[u8] = b"include";

/// Records when each request of a plan is sent and answered.
pub struct PlanReport {
    begun: Instant,
    /// By the steps' indexes in the plan.
    requests: Vec<Times>,
}

#[derive(Clone, Default)]
struct Times {
    sent: Option<Duration>,
    ended: Option<Duration>,
    bytes: usize,
    failure: Option<String>,
}

impl PlanReport {
    /// A new report, if the settings allow it and the client asks for it.
    pub fn wanted(graph: &Graph, plan: &Plan, client: &HeaderMap) -> Option<Self> {
        let is_wanted = graph.settings.report_plan
            && client
                .get(HEADER)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(INCLUDE));
        is_wanted.then(|| Self {
            begun: Instant::now(),
            requests: vec![Times::default(); plan.steps.len()],
        })
    }

    /// Records that the step's request was sent.
    pub fn sent(&mut self, place: usize) {
        self.requests[place].sent = Some(self.begun.elapsed());
    }

    /// Records a response to the step's request, or its failure.
    pub fn answered(&mut self, place: usize, answer: &Result<HttpResponse, FetchError>) {
        let times = &mut self.requests[place];
        times.ended = Some(self.begun.elapsed());
        match answer {
            Ok(answer) => times.bytes += answer.body.len(),
            Err(error) => times.failure = Some(error.to_string()),
        }
    }

    /// The report as a member of `extensions`, without a comma.
    pub fn member(self, graph: &Graph, plan: &Plan) -> Option<String> {
        let fetches = prepare::fetches(graph, plan).into_iter();
        let reported = ReportedPlan {
            milliseconds: milliseconds(self.begun.elapsed()),
            fetches: fetches
                .zip(self.requests)
                .map(|(fetch, times)| ReportedFetch::new(fetch, times))
                .collect(),
        };
        let plan = serde_json::to_string(&reported).ok()?;
        Some(format!("\"queryPlan\":{plan}"))
    }
}

#[derive(Serialize)]
struct ReportedPlan {
    /// From the start of the execution to the response.
    milliseconds: f64,
    fetches: Vec<ReportedFetch>,
}

/// A step of the plan: when its request was sent, and how long it took. Both are absent if no
/// request was needed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportedFetch {
    #[serde(flatten)]
    fetch: ExplainedFetch,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<f64>,
    /// Bytes of the responses' bodies.
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl ReportedFetch {
    fn new(fetch: ExplainedFetch, times: Times) -> Self {
        let took = times.ended.zip(times.sent);
        Self {
            fetch,
            sent_at_ms: times.sent.map(milliseconds),
            took_ms: took.map(|(ended, sent)| milliseconds(ended.saturating_sub(sent))),
            bytes: times.bytes,
            failure: times.failure,
        }
    }
}

/// Milliseconds, rounded to three decimals.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
