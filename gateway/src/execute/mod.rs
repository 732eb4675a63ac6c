//! Executes a prepared operation: sends its subgraph requests, merges the responses, and writes the
//! client's response.

mod absorb;
mod budget;
mod contexts;
mod cost_report;
mod extensions;
mod field_error;
mod forward;
mod leaf;
mod left_out;
mod merge;
mod plan_report;
mod read;
mod render;
mod represent;
mod request;
mod response_store;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::select_all;
use graphql_transport::{
    request::ClientContext,
    response::{GraphqlResponse, ResponseKind},
};
use http::HeaderMap;
use rustc_hash::FxHashSet;

use crate::{
    coerce::Variables,
    error::{Code, RequestError},
    graph::{Graph, introspection_answers::IntrospectionAnswer},
    headers::trace_context,
    prepare::{OperationKind, Prepared, plan::FetchStep},
    subgraphs::{Caller, FetchError, HttpResponse, SharedQuery},
    watch::OperationNote,
};
use contexts::Unsent;
use field_error::FieldError;
use plan_report::PlanReport;
use render::Renderer;
use request::Request;
use response_store::{ObjectId, ResponseStore};

/// Bytes that a response gets in advance, at least.
const ANSWER_BYTES_MIN: usize = 1024;

/// The start of a response whose data is null.
const NO_DATA: &[u8] = b"{\"data\":null";

/// Executes a query or a mutation. Failures become errors in the response.
pub async fn operation(
    graph: &Graph,
    prepared: &Arc<Prepared>,
    variables: &Variables,
    client: &ClientContext,
) -> GraphqlResponse {
    noted_operation(graph, prepared, variables, client, None).await
}

/// [`operation`], of which operators are told.
pub async fn noted_operation(
    graph: &Graph,
    prepared: &Arc<Prepared>,
    variables: &Variables,
    client: &ClientContext,
    note: Option<&OperationNote>,
) -> GraphqlResponse {
    let mut run = Execution::new(graph, prepared, variables, client);
    run.note = note;
    if let Some(note) = note {
        note.execution_begins();
    }
    run.plan_report = PlanReport::wanted(graph, &prepared.plan, &client.headers).map(Box::new);
    run.steps(None).await;
    run.respond_with_reports()
}

/// Completes one event of a subscription. `payload` is the subgraph's GraphQL response (`{"data":
/// ...}`, perhaps with `errors`); the rest of the selection is fetched from other subgraphs.
pub async fn event(
    graph: &Graph,
    prepared: &Arc<Prepared>,
    variables: &Variables,
    payload: Bytes,
    client: &ClientContext,
) -> GraphqlResponse {
    let mut run = Execution::new(graph, prepared, variables, client);
    run.steps(Some(payload)).await;
    run.respond_with_reports()
}

/// The state of one execution of an operation.
struct Execution<'a> {
    graph: &'a Graph,
    prepared: &'a Prepared,
    variables: &'a Variables,
    client: &'a ClientContext,
    store: ResponseStore,
    root: ObjectId,
    /// Objects that a step did not fetch, because they lack a field that it requires; with the
    /// step's index.
    left_out: FxHashSet<(usize, ObjectId)>,
    /// The indexes of steps that wait for further responses, once for each response.
    further: Vec<usize>,
    /// What steps with contexts request after their earlier requests are answered.
    unsent: Vec<Unsent>,
    errors: Vec<FieldError>,
    /// Whether any subgraph has returned data.
    has_data: bool,
    /// The number of requests with root fields of a mutation that were answered or failed.
    mutations_sent: usize,
    /// The number of these for which the subgraph has executed nothing, because of an overload.
    mutations_refused: usize,
    to_client: HeaderMap,
    /// Bytes left in the budget for subgraph responses.
    bytes_left: usize,
    /// Why the operation ends before it is complete, if it does.
    ended: Option<Code>,
    /// The whole response, if a subgraph's own can be forwarded.
    forwarded: Option<Bytes>,
    /// The times of the requests, if the client asks for them.
    plan_report: Option<Box<PlanReport>>,
    /// What operators are told of it.
    note: Option<&'a OperationNote>,
}

impl<'a> Execution<'a> {
    fn new(
        graph: &'a Graph,
        prepared: &'a Prepared,
        variables: &'a Variables,
        client: &'a ClientContext,
    ) -> Self {
        let limits = &graph.settings.limits;
        let mut store = ResponseStore::for_about(&prepared.sizes, limits.objects_max);
        let root = store.add_object(federation::TypeId::UNKNOWN, std::iter::empty());
        Self {
            graph,
            prepared,
            variables,
            client,
            store,
            root,
            left_out: FxHashSet::default(),
            further: Vec::new(),
            unsent: Vec::new(),
            errors: Vec::new(),
            has_data: false,
            mutations_sent: 0,
            mutations_refused: 0,
            to_client: HeaderMap::new(),
            bytes_left: limits.answer_bytes_max,
            ended: None,
            forwarded: None,
            plan_report: None,
            note: None,
        }
    }

    /// Runs every step as soon as those it waits for are done. A subscription's event is the
    /// response to the first step.
    async fn steps(&mut self, event: Option<Bytes>) {
        let steps = &self.prepared.plan.steps;
        let mut waits: Vec<usize> = steps.iter().map(|step| step.waits_for).collect();
        // In reverse, so that the earliest step is taken first.
        let mut ready: Vec<usize> = (0..steps.len())
            .rev()
            .filter(|step| waits[*step] == 0)
            .collect();
        if let Some(payload) = event
            && let Some(first) = ready.pop()
        {
            self.absorb_event(&steps[first], payload);
            done(&steps[first], &mut waits, &mut ready);
        }
        // A mutation or an event must not read data from before it, so only queries share requests.
        let may_share = self.graph.settings.subgraphs.deduplicate_in_flight
            && self.prepared.kind() == OperationKind::Query;
        let asking = Asking {
            client: self.client,
            variables: self.variables,
            answer_bytes: self.prepared.sizes.answer.last(),
            note: self.note,
        };
        // Polled all together: they are few, and a set that wakes them one by one would wake this
        // task once more for each.
        let mut in_flight = Vec::new();
        while self.ended.is_none() {
            while let Some(index) = ready.pop() {
                if self.ended.is_some() {
                    return;
                }
                let step = &steps[index];
                let (request, further) = self.requests(index, step);
                let Some(request) = request else {
                    done(step, &mut waits, &mut ready);
                    continue;
                };
                if let Some(report) = &mut self.plan_report {
                    report.sent(index);
                }
                for request in further {
                    self.further.push(index);
                    let call = send(self.graph, step, request, asking, may_share);
                    in_flight.push(Box::pin(call));
                }
                let call = send(self.graph, step, request, asking, may_share);
                if ready.is_empty() && in_flight.is_empty() {
                    let (step, request, answer) = call.await;
                    self.answered(step, &request, answer);
                    done(step, &mut waits, &mut ready);
                } else {
                    in_flight.push(Box::pin(call));
                }
            }
            if in_flight.is_empty() {
                break;
            }
            let ((step, request, answer), _, others) = select_all(in_flight).await;
            in_flight = others;
            self.answered(step, &request, answer);
            if let Some(next) = self.next_request(request.step, step) {
                let call = send(self.graph, step, next, asking, may_share);
                in_flight.push(Box::pin(call));
                continue;
            }
            match self.further.iter().position(|it| *it == request.step) {
                Some(other) => {
                    self.further.swap_remove(other);
                }
                None => done(step, &mut waits, &mut ready),
            }
        }
    }

    fn answered(
        &mut self,
        step: &FetchStep,
        request: &Request,
        answer: Result<HttpResponse, FetchError>,
    ) {
        if let Some(report) = &mut self.plan_report {
            report.answered(request.step, &answer);
        }
        self.absorb(step, request, answer);
    }

    /// The response, with the reports of development.
    fn respond_with_reports(mut self) -> GraphqlResponse {
        let (graph, prepared, variables) = (self.graph, self.prepared, self.variables);
        let plan_report = self.plan_report.take();
        let mut response = self.respond();
        if response.kind != ResponseKind::Executed {
            return response;
        }
        let cost = cost_report::member(&mut response, graph, prepared, variables);
        let plan = plan_report.and_then(|report| report.member(graph, &prepared.plan));
        let members: Vec<String> = cost.into_iter().chain(plan).collect();
        extensions::with(response, &members)
    }

    fn respond(mut self) -> GraphqlResponse {
        if let Some(code) = self.ended {
            return self.ended_with(code);
        }
        if let Some(body) = self.forwarded.take() {
            self.prepared.sizes.answer.was(body.len());
            return GraphqlResponse {
                headers: self.to_client,
                ..GraphqlResponse::executed(body)
            };
        }
        let introspection = match self.introspection() {
            Ok(answer) => answer,
            Err(refusal) => return refusal.into_response(),
        };
        let Some((mut out, errors)) = self.data(&introspection) else {
            return self.ended_with(Code::MaxAnswerBytes);
        };
        let has_no_data = !self.has_data || out.ends_with(NO_DATA);
        // A mutation must not be sent again if any part of it may have been executed.
        let nothing_was_written = self.mutations_sent == self.mutations_refused;
        let overloaded =
            has_no_data && nothing_was_written && errors.iter().any(FieldError::is_overload);
        if !errors.is_empty() {
            if let Some(note) = self.note {
                note.has_errors(errors.iter().map(FieldError::shown_code));
            }
            out.extend_from_slice(self.errors_member(&errors).as_bytes());
        }
        out.push(b'}');
        self.prepared.sizes.answer.was(out.len());
        GraphqlResponse {
            body: Bytes::from(out),
            kind: ResponseKind::Executed,
            refused: None,
            overloaded,
            headers: self.to_client,
        }
    }

    /// The response's text up to the end of its `data`, and the errors of all fields; `None` if it is too large.
    fn data(&mut self, introspection: &IntrospectionAnswer) -> Option<(Vec<u8>, Vec<FieldError>)> {
        let mut store = std::mem::take(&mut self.store);
        left_out::drop_errors(
            &mut self.errors,
            &self.prepared.projection,
            self.variables,
            self.graph.supergraph.authorization(),
        );
        let sizes = &self.prepared.sizes;
        store.tell(sizes);
        let mut out = Vec::with_capacity(sizes.answer.expected().max(ANSWER_BYTES_MIN));
        out.extend_from_slice(b"{\"data\":");
        let mut renderer = Renderer {
            store: &mut store,
            types: self.graph.types(),
            projection: &self.prepared.projection,
            variables: self.variables,
            introspection,
            errors: std::mem::take(&mut self.errors),
            out,
            epoch: 1,
            bytes_max: self.graph.settings.limits.answer_bytes_max,
            is_too_large: false,
            cuts_reported: Vec::new(),
        };
        renderer.data(self.root);
        (!renderer.is_too_large).then_some((renderer.out, renderer.errors))
    }

    fn introspection(&self) -> Result<IntrospectionAnswer, RequestError> {
        match &self.prepared.introspection {
            None => Ok(IntrospectionAnswer::default()),
            Some(introspection) => introspection.answer(self.graph, self.variables.json()),
        }
    }

    /// `,"errors":[…]`, to follow the response's data.
    fn errors_member(&self, errors: &[FieldError]) -> String {
        let mut text = String::from(",\"errors\":[");
        for (index, error) in errors.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            error.write(&self.prepared.plan.client_keys, &mut text);
        }
        text.push(']');
        text
    }
}

/// Makes the steps ready that waited only for `step`.
fn done(step: &FetchStep, waits: &mut [usize], ready: &mut Vec<usize>) {
    for waiting in step.wakes.iter().rev() {
        waits[*waiting] -= 1;
        if waits[*waiting] == 0 {
            ready.push(*waiting);
        }
    }
}

/// What all requests of an operation to subgraphs have in common.
#[derive(Clone, Copy)]
struct Asking<'a> {
    client: &'a ClientContext,
    variables: &'a Variables,
    /// The bytes that the last answers to these requests had.
    answer_bytes: usize,
    /// What is noted of the operation for operators, if anything is.
    note: Option<&'a OperationNote>,
}

async fn send<'s>(
    graph: &Graph,
    step: &'s FetchStep,
    request: Request,
    asking: Asking<'_>,
    may_share: bool,
) -> (&'s FetchStep, Request, Result<HttpResponse, FetchError>) {
    let Asking {
        client,
        variables,
        answer_bytes,
        note,
    } = asking;
    let subgraph = &graph.subgraphs[usize::from(step.subgraph.0)];
    let rules = &graph.settings.header_rules;
    let mut lines = rules.request_lines(subgraph.name(), &client.headers);
    let want_headers = !rules.is_empty();
    let caller = Caller {
        client: client.key,
        answer_bytes,
    };
    let fetch = note.map(|note| (note, note.fetch_begins(step.subgraph, &request.body)));
    if let Some(context) = fetch.as_ref().and_then(|(_, fetch)| fetch.context())
        && rules.sends_trace_context(subgraph.name())
    {
        trace_context::set_parent(&mut lines, &context);
    }
    let form = variables
        .uploads()
        .and_then(|uploads| upload::form(&request.body, uploads));
    let answer = if let Some(upload::Form { lines: own, body }) = form {
        let lines = [own, lines].concat();
        Box::pin(subgraph.send(caller, &body, &lines, step.is_mutation, want_headers)).await
    } else if may_share && !rules.gives_back_cookies(subgraph.name()) {
        let query = SharedQuery {
            body: request.body.clone(),
            relevant_headers: rules.relevant_to(subgraph.name(), &client.headers),
        };
        Box::pin(subgraph.send_shared(caller, query, lines, want_headers)).await
    } else {
        subgraph
            .send(
                caller,
                &request.body,
                &lines,
                step.is_mutation,
                want_headers,
            )
            .await
    };
    if let Some((note, fetch)) = fetch {
        note.fetch_ended(fetch, &answer);
    }
    (step, request, answer)
}
