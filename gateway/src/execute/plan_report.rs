//! In development, how an operation was answered: its plan, with the times of each request, as
//! `extensions.queryPlan`. A client asks for it by a header.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};
use serde::Serialize;

use crate::{
    graph::Graph,
    prepare::{self, ExplainedFetch, plan::Plan},
    subgraphs::{FetchError, HttpAnswer},
};

/// `include` asks for the plan.
const HEADER: HeaderName = HeaderName::from_static("rejoinder-query-plan");
const INCLUDE: &[u8] = b"include";

/// What happens to the requests of a plan while it runs.
pub struct PlanReport {
    begun: Instant,
    /// By their places in the plan.
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
    /// A report, if the graph gives one and the client wants it.
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

    /// The request at this place of the plan is on its way.
    pub fn sent(&mut self, place: usize) {
        self.requests[place].sent = Some(self.begun.elapsed());
    }

    /// Its answer has come, or the last of them; or it has failed.
    pub fn answered(&mut self, place: usize, answer: &Result<HttpAnswer, FetchError>) {
        let times = &mut self.requests[place];
        times.ended = Some(self.begun.elapsed());
        match answer {
            Ok(answer) => times.bytes += answer.body.len(),
            Err(error) => times.failure = Some(error.to_string()),
        }
    }

    /// The member of `extensions`, without a comma.
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
    /// From the first step to the answer.
    milliseconds: f64,
    fetches: Vec<ReportedFetch>,
}

/// A request of the plan: when it was sent and how long it took, both absent where it was not needed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportedFetch {
    #[serde(flatten)]
    fetch: ExplainedFetch,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<f64>,
    /// Of the answer.
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

/// With three decimals.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
