//! Prepares operations: text is parsed, validated, planned and projected, once, and kept in a
//! cache.
//!
//! [`operation`] takes an operation from the cache, or prepares it; [`decided`] takes its plan for
//! given values of its condition variables and for what the client may see.

mod build;
pub mod cache;
mod compile;
mod conditions;
pub(crate) mod cost;
mod descriptions;
mod explain;
mod forward;
mod heap;
mod in_preparation;
pub(crate) mod introspection;
mod limits;
pub(crate) mod one_of;
pub mod plan;
mod prepared;
pub(crate) mod preparers;
pub mod projection;
pub mod resume;
pub mod rollout;
mod scan;
mod serving;
pub mod sizes;
pub mod upkeep;
mod values;
mod visible_schema;
pub(crate) mod warm_up;

use std::sync::Arc;

use bytes::Bytes;
use federation::authorization::RequirementId;
use graphql_transport::ClientKey;
use http::HeaderMap;

use crate::{
    authorization::{Claims, Decisions, policies::PolicyAsker},
    coerce::{self, Variables},
    error::{Code, RequestError},
    graph::Graph,
};
pub use build::subscription_too_large;
pub use explain::{ExplainedEntities, ExplainedFetch, explain, fetches};
use heap::Heap;
use in_preparation::{Outcome, Role};
pub use prepared::{OperationKind, Prepared, UpstreamSubscription};
use preparers::NotDone;
use rollout::RolloutGroup;
pub use serving::Serving;

/// With more bytes of variables, [`known_cost`] looks no further.
const KNOWN_COST_VARIABLES_BYTES_MAX: usize = 4 * 1024;

/// A client's request for an operation.
#[derive(Clone, Copy)]
pub struct OperationRequest<'a> {
    document: &'a str,
    operation_name: Option<&'a str>,
    client: ClientKey,
    group: RolloutGroup,
    asker: Asker<'a>,
    /// The requirements that the group has decisions about.
    touched: Option<&'a Arc<[RequirementId]>>,
}

/// Who may see what the operation selects.
#[derive(Clone, Copy)]
pub enum Asker<'a> {
    /// A client.
    Client(Claims<'a>),
    /// A client for which a service may be asked about policies that its claims do not name.
    Asking(Claims<'a>, PolicyAsker<'a>),
    /// All clients that share an operation which was prepared before, perhaps for another supergraph: they have the
    /// same decisions about the requirements that it touched.
    SameAs(&'a Graph, &'a Prepared),
}

impl Default for Asker<'_> {
    fn default() -> Self {
        Self::Client(Claims::default())
    }
}

impl<'a> OperationRequest<'a> {
    /// Identifies an operation by its document and, if that has several, its name. A new operation
    /// is prepared in the client's turn. Its headers may enable progressive overrides.
    pub fn new(
        serving: &Serving,
        document: &'a str,
        operation_name: Option<&'a str>,
        client: ClientKey,
        headers: &HeaderMap,
    ) -> Self {
        let rules = &serving.graph.settings.header_rules;
        Self {
            document,
            operation_name,
            client,
            group: serving.rollout.draw(rules.override_labels(headers)),
            asker: Asker::default(),
            touched: None,
        }
    }

    /// The same request from a client of whom more is known than nothing.
    #[must_use]
    pub fn from_asker(self, asker: Asker<'a>) -> Self {
        Self { asker, ..self }
    }

    /// The operation from the cache, if it is there.
    fn kept_by(&self, serving: &Serving) -> Option<Arc<Prepared>> {
        let cache = &serving.prepared;
        cache.get(self.document, self.operation_name, self.group)
    }
}

/// The prepared operation. If its plan depends on condition variables or on what the client may see, it
/// has no plan yet: see [`decided`].
///
/// # Errors
/// With the code of the check that refused the operation.
pub async fn operation(
    serving: &Arc<Serving>,
    request: &OperationRequest<'_>,
) -> Result<Arc<Prepared>, RequestError> {
    let metrics = &serving.graph.settings.prepare_metrics;
    if let Some(prepared) = request.kept_by(serving) {
        metrics.hits.inc();
        return Ok(prepared);
    }
    metrics.misses.inc();
    Box::pin(make_ready(serving, request)).await
}

/// The same operation with the plan for these values of its condition variables, and for what the
/// client may see.
///
/// # Errors
/// As [`operation`], and `POLICY_SERVICE_UNAVAILABLE`.
pub async fn decided(
    serving: &Arc<Serving>,
    request: &OperationRequest<'_>,
    prepared: Arc<Prepared>,
    variables: &Variables,
) -> Result<Arc<Prepared>, RequestError> {
    let conditions = prepared.conditions.values(variables);
    let requirements = &prepared.requirements;
    if conditions.is_none() && requirements.is_empty() {
        return Ok(prepared);
    }
    let mut request = *request;
    request.group.conditions = conditions;
    if !requirements.is_empty() {
        request.group.authorization = Some(
            request
                .asker
                .decisions(&serving.graph, requirements)
                .await?,
        );
        request.touched = Some(requirements);
    }
    operation(serving, &request).await
}

impl Asker<'_> {
    /// Which of the requirements that an operation touches are met.
    ///
    /// # Errors
    /// `UNAUTHORIZED_FIELD_OR_TYPE` if nothing was decided before about one of them; `POLICY_SERVICE_UNAVAILABLE`.
    async fn decisions(
        &self,
        graph: &Graph,
        touched: &[RequirementId],
    ) -> Result<Decisions, RequestError> {
        let authorization = graph.supergraph.authorization();
        match self {
            Self::Client(claims) => Ok(Decisions::by_claims(authorization, touched, claims)),
            Self::Asking(claims, service) => {
                let open = claims.open_policies(authorization, touched);
                if open.is_empty() {
                    return Ok(Decisions::by_claims(authorization, touched, claims));
                }
                // Boxed because it is rare: the futures of all other requests stay small.
                let mut policies = Box::pin(service.holding(open)).await?;
                policies.extend_from_slice(claims.policies);
                policies.sort_unstable();
                let claims = Claims {
                    policies: &policies,
                    ..*claims
                };
                Ok(Decisions::by_claims(authorization, touched, &claims))
            }
            Self::SameAs(before, prepared) => same_decisions(before, prepared, graph, touched),
        }
    }
}

/// The decisions about `touched` that were made about the same requirements when `prepared` was prepared for another
/// graph.
///
/// # Errors
/// `UNAUTHORIZED_FIELD_OR_TYPE` if nothing was decided before about one of them.
fn same_decisions(
    before: &Graph,
    prepared: &Prepared,
    graph: &Graph,
    touched: &[RequirementId],
) -> Result<Decisions, RequestError> {
    let authorization = graph.supergraph.authorization();
    let before = before.supergraph.authorization();
    let known = |id: &RequirementId| {
        let wanted = authorization.requirement(*id);
        let mut known = prepared.requirements.iter();
        known.find(|known| before.requirement(**known) == wanted)
    };
    if touched.iter().any(|id| known(id).is_none()) {
        return Err(RequestError::new(
            Code::UnauthorizedFieldOrType,
            "its fields have other requirements of authorisation now",
        ));
    }
    let is_met = |id: RequirementId| {
        let decided = prepared.decisions.zip(known(&id));
        decided.is_some_and(|(decisions, id)| decisions.is_met(&prepared.requirements, *id))
    };
    Ok(Decisions::of(touched, is_met))
}

/// All steps before execution at once, for an operation without an HTTP request of its own.
/// `variables` is the text of a JSON object, or absent; they are checked.
///
/// # Errors
/// With the code of the check that refused the operation or its variables.
pub async fn ready(
    serving: &Arc<Serving>,
    request: &OperationRequest<'_>,
    variables: Option<&Bytes>,
) -> Result<(Arc<Prepared>, Variables), RequestError> {
    let prepared = operation(serving, request).await?;
    let variables = coerce::variables(&serving.graph, prepared.declared(), variables)?;
    let prepared = decided(serving, request, prepared, &variables).await?;
    check(&serving.graph, &prepared, &variables)?;
    Ok((prepared, variables))
}

/// Refuses an operation that costs too much with these variables, or that is never executed. Returns its
/// estimated cost.
///
/// # Errors
/// With the code of the refusal.
pub fn check(
    graph: &Graph,
    prepared: &Prepared,
    variables: &Variables,
) -> Result<u64, RequestError> {
    let cost = cost::check(graph, &prepared.cost, variables)?;
    prepared.refusal.clone().map_or(Ok(cost), Err)
}

/// What an operation has to have left of a rate limit, if it is prepared already: its estimated cost, and for a
/// subscription that of its start and of one event. `None` if it is not prepared, if that would have to be decided
/// first, or if it is refused anyway. Costs little, whatever the variables are, and leaves no trace: it is no use of the
/// operation.
pub fn known_cost(
    serving: &Serving,
    request: &OperationRequest<'_>,
    variables: Option<&Bytes>,
) -> Option<u64> {
    let cache = &serving.prepared;
    let prepared = cache.look(request.document, request.operation_name, request.group)?;
    let graph = &serving.graph;
    let is_decided = !prepared.conditions.are_planned_apart() && prepared.requirements.is_empty();
    if !is_decided || variables.is_some_and(|json| json.len() > KNOWN_COST_VARIABLES_BYTES_MAX) {
        return None;
    }
    let variables = coerce::variables(graph, prepared.declared(), variables).ok()?;
    let (cost, is_executed) = cost::look(graph, &prepared.cost, &variables);
    if !is_executed || prepared.refusal.is_some() {
        return None;
    }
    Some(match prepared.kind() {
        OperationKind::Subscription => cost.max(1).saturating_add(1),
        _ => cost,
    })
}

/// [`ready`] for a document without a client.
///
/// # Errors
/// As [`ready`].
pub async fn with_variables(
    serving: &Arc<Serving>,
    document: &str,
    operation_name: Option<&str>,
    variables: Option<&Bytes>,
) -> Result<(Arc<Prepared>, Variables), RequestError> {
    let (client, headers) = (ClientKey::default(), HeaderMap::new());
    let request = OperationRequest::new(serving, document, operation_name, client, &headers);
    ready(serving, &request, variables).await
}

/// Parses, validates and plans an operation, off the event loop, within `limits.prepare_timeout`. A
/// panic becomes an internal error.
async fn make_ready(
    serving: &Arc<Serving>,
    request: &OperationRequest<'_>,
) -> Result<Arc<Prepared>, RequestError> {
    let timeout = serving.graph.settings.limits.prepare_timeout;
    let too_slow = || {
        RequestError::new(
            Code::PrepareTimeout,
            format!("the operation could not be prepared within {timeout:?}"),
        )
    };
    let in_time = tokio::time::timeout(timeout, async {
        loop {
            let ready = ready_once(serving, request).await;
            if let Some(outcome) = ready {
                return outcome;
            }
        }
    })
    .await;
    in_time.unwrap_or_else(|_| Err(too_slow()))
}

/// Prepares an operation, or waits for another caller that does; `None` if that caller leaves.
async fn ready_once(serving: &Arc<Serving>, request: &OperationRequest<'_>) -> Option<Outcome> {
    let document: Arc<str> = request.document.into();
    let (client, group) = (request.client, request.group);
    let all = &serving.in_preparation;
    let mut follow = match all.join(client, &document, request.operation_name, group) {
        Role::Lead(lead) => {
            // A queue that is full for this client is not full for the others.
            let Some(outcome) = build_in_turn(serving, &document, request).await else {
                return Some(Err(too_many()));
            };
            lead.end(&outcome);
            return Some(outcome);
        }
        Role::Follow(follow) => follow,
    };
    if follow.is_same_client {
        return follow.outcome().await;
    }
    // The other client's queue may be long.
    let own = tokio::select! {
        outcome = follow.outcome() => return outcome,
        own = build_in_turn(serving, &document, request) => own,
    };
    match own {
        Some(outcome) => Some(outcome),
        None => follow.outcome().await,
    }
}

/// Builds the operation when it is the client's turn; `None` if the queue is full. Once started,
/// the work continues when its caller leaves, because the next caller may want the same.
async fn build_in_turn(
    serving: &Arc<Serving>,
    document: &Arc<str>,
    request: &OperationRequest<'_>,
) -> Option<Outcome> {
    let (client, group) = (request.client, request.group);
    let document = Arc::clone(document);
    let operation_name = request.operation_name.map(str::to_owned);
    let touched = request.touched.map(Arc::clone).unwrap_or_default();
    let job = {
        let serving = Arc::clone(serving);
        move || {
            let name = operation_name.as_deref();
            let cache = &serving.prepared;
            // Another caller may have been quicker.
            if let Some(kept) = cache.get(&document, name, group) {
                return Ok(kept);
            }
            let Built {
                prepared,
                bytes,
                worth,
            } = build_weighed(&serving, &document, name, group, &touched)?;
            let kept = (Arc::clone(&prepared), bytes);
            cache.insert(client, &document, name, group, kept, worth);
            Ok(prepared)
        }
    };
    match serving.preparers.run(client, job).await {
        Ok(outcome) => Some(outcome),
        Err(NotDone::QueueFull) => None,
        Err(NotDone::Failed) => {
            tracing::error!("preparing an operation failed");
            Some(Err(RequestError::new(
                Code::InternalServerError,
                "the operation could not be prepared",
            )))
        }
    }
}

/// An operation for the cache.
struct Built {
    prepared: Arc<Prepared>,
    /// What it holds in memory.
    bytes: usize,
    worth: cache::Worth,
}

/// Builds an operation on this thread, which takes milliseconds.
fn build_weighed(
    serving: &Serving,
    document: &str,
    operation_name: Option<&str>,
    group: RolloutGroup,
    touched: &Arc<[RequirementId]>,
) -> Result<Built, RequestError> {
    let prepared = build::build(serving, document, operation_name, group, touched)?;
    let worth = match build::is_refused(&serving.graph, &prepared) {
        true => cache::Worth::Brief,
        false => cache::Worth::Lasting,
    };
    Ok(Built {
        bytes: size_of::<Prepared>() + prepared.heap(),
        prepared: Arc::new(prepared),
        worth,
    })
}

fn too_many() -> RequestError {
    RequestError::new(
        Code::PrepareQueueFull,
        "too many new documents wait to be prepared: send this one again later",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::{FutureExt, poll};
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        config::Limits,
        graph::{Graph, Settings},
        test_supergraph::supergraph,
    };

    const TYPES: &str = "type Query @join__type(graph: A) { a: Int }";

    fn serving(prepare_queue_max: usize) -> Arc<Serving> {
        let settings = Settings {
            limits: Limits {
                prepare_queue_max,
                ..Limits::default()
            },
            ..Settings::default()
        };
        let graph =
            Graph::load(&supergraph(&["a"], TYPES), settings).expect("the supergraph loads");
        Arc::new(Serving::new(graph))
    }

    fn clients() -> [ClientKey; 2] {
        [[10, 0, 0, 1], [10, 0, 0, 2]].map(|it| ClientKey::of(it.into()))
    }

    #[tokio::test]
    async fn what_always_costs_too_much_has_no_plan() {
        let types = "type Query @join__type(graph: A) { a: Int items: [Item] }
            type Item @join__type(graph: A) { a: Int }";
        let settings = Settings {
            limits: Limits {
                cost_max: 5,
                ..Limits::default()
            },
            ..Settings::default()
        };
        let graph =
            Graph::load(&supergraph(&["a"], types), settings).expect("the supergraph loads");
        let serving = Arc::new(Serving::new(graph));
        for (document, steps) in [("{ items { a } }", 0), ("{ a }", 1)] {
            let (client, headers) = (ClientKey::default(), HeaderMap::new());
            let request = OperationRequest::new(&serving, document, None, client, &headers);
            let prepared = operation(&serving, &request)
                .await
                .expect("a valid document");
            assert_eq!(prepared.plan.steps.len(), steps, "{document}");
            let is_ready = ready(&serving, &request, None).await.is_ok();
            assert_eq!(is_ready, steps > 0, "{document}");
        }
    }

    /// Keeps as many threads busy as one client may, until the sender is dropped.
    async fn hold(serving: &Arc<Serving>, client: ClientKey) -> Vec<mpsc::Sender<()>> {
        let mut held = Vec::new();
        for _ in 0..preparers::threads_per_client() {
            let (release, released) = mpsc::channel::<()>();
            let (begun, has_begun) = oneshot::channel();
            let serving = Arc::clone(serving);
            tokio::spawn(async move {
                let job = move || {
                    let _ = begun.send(());
                    let _ = released.recv();
                };
                serving.preparers.run(client, job).await
            });
            has_begun.await.expect("it begins");
            held.push(release);
        }
        held
    }

    #[tokio::test]
    async fn who_wants_the_same_document_takes_one_place_in_the_queue() {
        let serving = serving(2);
        let [one, other] = clients();
        let prepare = |client| {
            let serving = Arc::clone(&serving);
            async move {
                let request =
                    OperationRequest::new(&serving, "{ a }", None, client, &HeaderMap::new());
                operation(&serving, &request).await.map(drop)
            }
            .boxed()
        };
        let held = hold(&serving, one).await;
        let mut leader = prepare(one);
        assert!(poll!(&mut leader).is_pending());
        let mut followers: Vec<_> = (0..20).map(|_| prepare(one)).collect();
        for follower in &mut followers {
            assert!(poll!(follower).is_pending());
        }
        assert_eq!(serving.graph.settings.prepare_metrics.waiting.get(), 1);
        // The first one leaves, and the next one takes its place.
        drop(leader);
        for follower in &mut followers {
            assert!(poll!(follower).is_pending());
        }
        assert_eq!(serving.graph.settings.prepare_metrics.waiting.get(), 1);
        // Another client does not wait for this one's turn.
        assert_eq!(prepare(other).await, Ok(()));
        drop(held);
        for follower in followers {
            assert_eq!(follower.await, Ok(()));
        }
        assert_eq!(serving.graph.settings.prepare_metrics.kept.get(), 1);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_new_documents_and_takes_known_ones() {
        let serving = serving(2);
        let prepare = async |client, document| {
            let request =
                OperationRequest::new(&serving, document, None, client, &HeaderMap::new());
            let prepared = operation(&serving, &request).await;
            prepared.map(drop).map_err(|refusal| {
                let response = refusal.clone().into_response();
                (refusal.code, response.overloaded)
            })
        };
        let [one, other] = clients();
        assert_eq!(prepare(one, "{ a }").await, Ok(()));
        let held = hold(&serving, one).await;
        let refused = Err((Code::PrepareQueueFull, true));
        let mut first = Box::pin(prepare(one, "{ b: a }"));
        let mut second = Box::pin(prepare(one, "{ c: a }"));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        assert_eq!(prepare(one, "{ d: a }").await, refused);
        assert_eq!(prepare(one, "{ a }").await, Ok(()));
        // Whoever has more waiting makes room for it.
        assert_eq!(prepare(other, "{ e: a }").await, Ok(()));
        assert_eq!(second.await, refused);
        drop(held);
        assert_eq!(first.await, Ok(()));
        assert_eq!(prepare(one, "{ d: a }").await, Ok(()));
    }
}
