//! Text -> parsed, checked, planned, projected; kept in one cache.

mod build;
pub mod cache;
mod compile;
mod conditions;
pub(crate) mod cost;
mod explain;
mod forward;
mod heap;
pub(crate) mod in_preparation;
pub(crate) mod introspection;
mod limits;
pub(crate) mod one_of;
pub mod plan;
pub mod projection;
pub mod resume;
pub mod rollout;
mod root_fields;
mod scan;
pub mod sizes;
pub mod turns;
pub mod upkeep;
mod values;
pub mod workers;

use std::sync::Arc;

use apollo_compiler::{Node, ast::VariableDefinition};
use bytes::Bytes;
use federation::SubgraphIndex;
use graphql_transport::ClientKey;

use crate::{
    error::{Code, RequestError},
    graph::Graph,
    variables::Variables,
};
use conditions::Conditions;
use cost::{OperationCost, actual::Counted};
pub use explain::explain;
use heap::Heap;
use in_preparation::{Outcome, Part};
use introspection::Introspection;
use plan::Plan;
use projection::Projection;
use resume::Resume;
use rollout::Group;
use sizes::Sizes;
use turns::{QueueFull, Turn};
use workers::NotDone;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Reads.
    Query,
    /// Changes, in the order written.
    Mutation,
    /// Reads again at every event.
    Subscription,
}

/// An operation ready to be executed any number of times.
pub struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) projection: Projection,
    pub(crate) variables: Vec<Node<VariableDefinition>>,
    pub(crate) conditions: Conditions,
    pub(crate) introspection: Option<Introspection>,
    pub(crate) sizes: Sizes,
    pub(crate) cost: OperationCost,
    /// Where answers report their cost.
    pub(crate) counted: Option<Counted>,
    kind: OperationKind,
    name: Option<String>,
    subscription: Option<UpstreamSubscription>,
}

impl Prepared {
    /// Query, mutation or subscription.
    pub fn kind(&self) -> OperationKind {
        self.kind
    }

    /// The operation's own name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// For a subscription: what to ask of which subgraph.
    pub fn subscription(&self) -> Option<&UpstreamSubscription> {
        self.subscription.as_ref()
    }
}

/// The subgraph's half of a subscription: its events are what [`crate::execute::event`] completes.
pub struct UpstreamSubscription {
    /// Which subgraph has the events.
    pub subgraph: SubgraphIndex,
    /// The operation's text in the subgraph's terms.
    pub operation: String,
    /// The whole operation in one normal form: two documents that mean the same have the same.
    /// With the variables' bytes it identifies what can be shared between clients.
    pub normal_form: Arc<str>,
    /// The argument that resumes the field from a cursor (`after`), where the field has one.
    pub resume: Option<Resume>,
    variables: Vec<(Box<[u8]>, usize)>,
    all_variables: Vec<(Box<[u8]>, usize)>,
}

impl UpstreamSubscription {
    /// The JSON object of the variables that the subgraph's operation uses.
    pub fn variables(&self, variables: &Variables) -> Bytes {
        object(&self.variables, variables)
    }

    /// The JSON object of all the operation's variables, in the order declared: equal bytes mean
    /// equal variables, for this subgraph and for those that complete the events.
    pub fn all_variables(&self, variables: &Variables) -> Bytes {
        object(&self.all_variables, variables)
    }
}

fn object(wanted: &[(Box<[u8]>, usize)], variables: &Variables) -> Bytes {
    let mut json = vec![b'{'];
    variables.write(wanted, &mut json);
    json.push(b'}');
    Bytes::from(json)
}

/// An operation ready for these variables (a JSON object's text, or nothing), and the variables
/// checked.
///
/// # Errors
/// With the code of the step that refused the operation or its variables.
pub async fn operation(
    graph: &Arc<Graph>,
    query: &str,
    operation_name: Option<&str>,
    variables: Option<&Bytes>,
) -> Result<(Arc<Prepared>, Variables), RequestError> {
    let client = ClientKey::default();
    operation_for(graph, client, query, operation_name, variables).await
}

/// The same for a client, who takes turns with others where the operation is new.
///
/// # Errors
/// As [`operation`].
pub async fn operation_for(
    graph: &Arc<Graph>,
    client: ClientKey,
    query: &str,
    operation_name: Option<&str>,
    variables: Option<&Bytes>,
) -> Result<(Arc<Prepared>, Variables), RequestError> {
    let mut group = graph.rollout.draw();
    let prepared = for_group(graph, client, query, operation_name, group).await?;
    let variables = Variables::coerce(graph, &prepared, variables)?;
    group.conditions = prepared.conditions.values(&variables);
    let prepared = match group.conditions {
        None => prepared,
        Some(_) => for_group(graph, client, query, operation_name, group).await?,
    };
    cost::check(graph, &prepared, &variables)?;
    Ok((prepared, variables))
}

/// An operation from the cache, or one that is made ready now.
async fn for_group(
    graph: &Arc<Graph>,
    client: ClientKey,
    query: &str,
    operation_name: Option<&str>,
    group: Group,
) -> Result<Arc<Prepared>, RequestError> {
    let metrics = &graph.settings.prepare_metrics;
    if let Some(prepared) = graph.prepared.get(query, operation_name, group) {
        metrics.hits.inc();
        return Ok(prepared);
    }
    metrics.misses.inc();
    Box::pin(make_ready(graph, client, query, operation_name, group)).await
}

/// Reads, checks and plans an operation. The work itself runs off the event loop, within
/// `limits.prepare_timeout`; a panic in it is an internal error.
async fn make_ready(
    graph: &Arc<Graph>,
    client: ClientKey,
    query: &str,
    operation_name: Option<&str>,
    group: Group,
) -> Result<Arc<Prepared>, RequestError> {
    let timeout = graph.settings.limits.prepare_timeout;
    let too_slow = || {
        RequestError::new(
            Code::PrepareTimeout,
            format!("the operation was not ready within {timeout:?}"),
        )
    };
    let in_time = tokio::time::timeout(timeout, async {
        loop {
            let ready = ready_once(graph, client, query, operation_name, group).await;
            if let Some(outcome) = ready {
                return outcome;
            }
        }
    })
    .await;
    in_time.unwrap_or_else(|_| Err(too_slow()))
}

/// Prepares an operation, or waits for another caller that does; none where that one leaves.
async fn ready_once(
    graph: &Arc<Graph>,
    client: ClientKey,
    query: &str,
    operation_name: Option<&str>,
    group: Group,
) -> Option<Outcome> {
    let turn = || graph.preparing.take(client);
    let in_turn = async |turn| match graph.prepared.get(query, operation_name, group) {
        Some(prepared) => Ok(prepared),
        None => build_in_turn(graph, turn, query, operation_name, group).await,
    };
    let all = &graph.in_preparation;
    let mut follow = match all.join(client, query, operation_name, group) {
        Part::Lead(lead) => {
            // That the queue is full for this client is none of the others' affairs.
            let outcome = match turn().await {
                Ok(turn) => in_turn(turn).await,
                Err(full) => return Some(Err(too_many(full))),
            };
            lead.end(&outcome);
            return Some(outcome);
        }
        Part::Follow(follow) => follow,
    };
    if follow.is_same_client {
        return follow.outcome().await;
    }
    // The other client may have a long queue before it.
    let turn = tokio::select! {
        outcome = follow.outcome() => return outcome,
        turn = turn() => turn,
    };
    match turn {
        Ok(turn) => Some(in_turn(turn).await),
        Err(_) => follow.outcome().await,
    }
}

/// The work itself: it goes on when its caller leaves, as the next one may want the same.
async fn build_in_turn(
    graph: &Arc<Graph>,
    turn: Turn,
    query: &str,
    operation_name: Option<&str>,
    group: Group,
) -> Result<Arc<Prepared>, RequestError> {
    let graph = Arc::clone(graph);
    let query = query.to_owned();
    let operation_name = operation_name.map(str::to_owned);
    let workers = Arc::clone(&graph.preparers);
    let work = workers.run(move || {
        let name = operation_name.as_deref();
        let prepared = Arc::new(build::build(&graph, &query, name, group)?);
        let weight = size_of::<Prepared>() + prepared.heap();
        let (client, kept) = (turn.client(), Arc::clone(&prepared));
        graph
            .prepared
            .insert(client, &query, name, group, kept, weight);
        Ok(prepared)
    });
    work.await.unwrap_or_else(|NotDone| {
        tracing::error!("preparing an operation failed");
        Err(RequestError::new(
            Code::InternalServerError,
            "the operation could not be prepared",
        ))
    })
}

fn too_many(_: QueueFull) -> RequestError {
    RequestError::new(
        Code::PrepareQueueFull,
        "too many new documents wait to be prepared: send this one again later",
    )
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, poll};

    use super::*;
    use crate::settings::{Limits, Settings};

    const SUPERGRAPH: &str = "schema @link(url: \"https://specs.apollo.dev/link/v1.0\")
          @link(url: \"https://specs.apollo.dev/join/v0.3\", for: EXECUTION) { query: Query }
        enum join__Graph { A @join__graph(name: \"a\", url: \"http://a.test/graphql\") }
        type Query @join__type(graph: A) { a: Int }";

    fn graph(prepare_queue_max: usize) -> Arc<Graph> {
        let settings = Settings {
            limits: Limits {
                prepare_queue_max,
                ..Limits::default()
            },
            ..Settings::default()
        };
        Arc::new(Graph::load(SUPERGRAPH, settings).expect("the supergraph loads"))
    }

    fn clients() -> [ClientKey; 2] {
        [[10, 0, 0, 1], [10, 0, 0, 2]].map(|it| ClientKey::of(it.into()))
    }

    /// All places that a client may hold.
    async fn hold(graph: &Arc<Graph>, client: ClientKey) -> Vec<Turn> {
        let mut held = Vec::new();
        for _ in 0..turns::places_per_client() {
            let turn = graph.preparing.take(client).await;
            held.push(turn.unwrap_or_else(|_| panic!("no turn")));
        }
        held
    }

    #[tokio::test]
    async fn who_wants_the_same_document_takes_one_place_in_the_queue() {
        let graph = graph(2);
        let [one, other] = clients();
        let prepare = |client| {
            let graph = Arc::clone(&graph);
            async move {
                operation_for(&graph, client, "{ a }", None, None)
                    .await
                    .map(drop)
            }
            .boxed()
        };
        let held = hold(&graph, one).await;
        let mut leader = prepare(one);
        assert!(poll!(&mut leader).is_pending());
        let mut followers: Vec<_> = (0..20).map(|_| prepare(one)).collect();
        for follower in &mut followers {
            assert!(poll!(follower).is_pending());
        }
        assert_eq!(graph.settings.prepare_metrics.waiting.get(), 1);
        // The first one leaves, and the next one takes its place.
        drop(leader);
        for follower in &mut followers {
            assert!(poll!(follower).is_pending());
        }
        assert_eq!(graph.settings.prepare_metrics.waiting.get(), 1);
        // Another client does not wait for this one's turn.
        assert_eq!(prepare(other).await, Ok(()));
        drop(held);
        for follower in followers {
            assert_eq!(follower.await, Ok(()));
        }
        assert_eq!(graph.settings.prepare_metrics.kept.get(), 1);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_new_documents_and_takes_known_ones() {
        let graph = graph(2);
        let prepare = async |client, document| {
            let prepared = operation_for(&graph, client, document, None, None).await;
            prepared.map(drop).map_err(|refusal| {
                let response = refusal.clone().into_response();
                (refusal.code, response.overloaded)
            })
        };
        let [one, other] = clients();
        assert_eq!(prepare(one, "{ a }").await, Ok(()));
        let held = hold(&graph, one).await;
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
