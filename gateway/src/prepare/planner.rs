//! The one place that knows the query planner's crate as a planner: operation text in, its plan out.
//!
//! `compile.rs` turns that plan into ours; nothing else reads the crate's types.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use hive_router_query_planner::{
    ast::{normalization::normalize_operation, operation::OperationDefinition},
    graph::PlannerOverrideContext,
    planner::{
        Planner as HivePlanner, QueryPlannerOptions,
        plan_nodes::{PlanNode, QueryPlan},
    },
    state::supergraph_state::OperationKind,
    utils::{
        cancellation::CancellationToken,
        parsing::{safe_parse_operation, safe_parse_schema},
    },
};

use super::overlaps;
use crate::{
    error::{Code, RequestError},
    graph::SupergraphError,
};

/// Plans operations over one supergraph.
pub struct Planner(HivePlanner);

/// Until when there has to be a plan, whatever number of attempts that takes.
#[derive(Clone, Copy)]
pub struct Deadline {
    limit: Duration,
    end: Instant,
}

impl Deadline {
    /// So much time from now on.
    pub fn after(limit: Duration) -> Self {
        let end = Instant::now() + limit;
        Self { limit, end }
    }

    /// The time left.
    pub fn remaining(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

/// A plan, and the operation as the planner understood it.
pub struct Planned {
    /// The planner's tree.
    pub plan: QueryPlan,
    /// A subscription with its fragments written out and its fields in the planner's order: equal
    /// for documents that ask for the same. Empty for queries and mutations.
    pub normal_form: String,
    /// Whether subgraphs accept all of its requests, as far as the supergraph tells.
    pub is_accepted: bool,
}

impl Planner {
    /// Reads the supergraph. The crate takes an invalid one for a defect and panics; here it is an
    /// error.
    pub fn new(sdl: &str) -> Result<Self, SupergraphError> {
        let document =
            safe_parse_schema(sdl).map_err(|error| SupergraphError::Planner(error.to_string()))?;
        let built = catch_unwind(AssertUnwindSafe(|| {
            HivePlanner::new_from_supergraph(&document, QueryPlannerOptions::default())
        }));
        match built {
            Ok(Ok(planner)) => Ok(Self(planner)),
            Ok(Err(error)) => Err(SupergraphError::Planner(error.to_string())),
            Err(_) => Err(SupergraphError::Planner("it does not hold together".into())),
        }
    }

    /// The percentages of the supergraph's progressive overrides, in parts of 1/100,000,000.
    pub fn percentages(&self) -> Vec<u64> {
        let overrides = &self.0.supergraph.progressive_overrides;
        overrides.percentages.iter().copied().collect()
    }

    /// Plans one operation of a valid document, giving up at `deadline`, for requests at `place`
    /// among the [percentages](Self::percentages): below one, its fields have moved. Where the crate panics,
    /// which some combinations of conditions make it do, there is no plan.
    pub fn plan(
        &self,
        document: &str,
        operation_name: Option<&str>,
        place: u64,
        deadline: Deadline,
    ) -> Result<Planned, RequestError> {
        catch_unwind(AssertUnwindSafe(|| {
            self.try_to_plan(document, operation_name, place, deadline)
        }))
        .unwrap_or_else(|_| {
            let message = "the planner failed on this operation";
            Err(RequestError::new(Code::PlanFailed, message))
        })
    }

    fn try_to_plan(
        &self,
        document: &str,
        operation_name: Option<&str>,
        place: u64,
        deadline: Deadline,
    ) -> Result<Planned, RequestError> {
        let failed = |reason: String| RequestError::new(Code::PlanFailed, reason);
        let document = safe_parse_operation(document)
            .map_err(|error| RequestError::new(Code::ParseFailed, error.to_string()))?;
        let normalized = normalize_operation(&self.0.supergraph, &document, operation_name)
            .map_err(|error| failed(error.to_string()))?;
        let operation = normalized.executable_operation();
        let overrides = PlannerOverrideContext::new(HashSet::new(), place);
        let cancellation = CancellationToken::with_timeout(deadline.remaining());
        let plan = self
            .0
            .plan_from_normalized_operation(operation, overrides, &cancellation)
            .map_err(|error| {
                // The crate reports it in the terms of whichever step it came to.
                if cancellation.bail_if_cancelled().is_err() {
                    let message = format!("no plan was found within {:?}", deadline.limit);
                    return RequestError::new(Code::PrepareTimeout, message);
                }
                failed(error.to_string())
            })?;
        // The operation's own name changes nothing of what it means.
        let normal_form =
            (operation.operation_kind == Some(OperationKind::Subscription)).then(|| {
                OperationDefinition {
                    name: None,
                    ..operation.clone()
                }
                .to_string()
            });
        let has_conflict = |node: &PlanNode| overlaps::has_conflict(node, &self.0.supergraph);
        Ok(Planned {
            is_accepted: !plan.node.as_ref().is_some_and(has_conflict),
            plan,
            normal_form: normal_form.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_has_only_the_time_that_is_left() {
        let planner =
            Planner::new(include_str!("../../../schema/supergraph.graphql")).expect("a supergraph");
        let plan = |deadline| {
            let planned = planner.plan("{ posts { edges { cursor } } }", None, 0, deadline);
            planned.map(|planned| planned.is_accepted)
        };
        let limit = Duration::from_secs(2);
        let spent = Deadline {
            limit,
            end: Instant::now(),
        };
        let refusal = plan(spent).expect_err("no time is left");
        let message = "no plan was found within 2s";
        assert_eq!(refusal, RequestError::new(Code::PrepareTimeout, message));
        assert_eq!(plan(Deadline::after(limit)), Ok(true));
    }
}
