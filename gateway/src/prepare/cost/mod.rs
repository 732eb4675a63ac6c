//! Estimates the cost of an operation before it is executed.
//!
//! The estimate is computed once, when an operation is prepared: a number, or a small formula if
//! variables decide the length of a list. The rules are those of the IBM cost specification as
//! Federation 2.9 uses them; see `docs/gateway.md`.
//!
//! [`count`] walks the operation, [`size`] finds the length of a list, [`inputs`] adds up
//! arguments, [`formula`] evaluates what depends on variables, [`actual`] computes the cost of a
//! response by the same rules.

pub mod actual;
mod count;
mod formula;
mod inputs;
mod size;

pub use count::of;
use formula::Estimate;
pub use formula::OperationCost;

use crate::{
    coerce::Variables,
    config::CostMode,
    error::{Code, RequestError},
    graph::Graph,
};

/// The additional cost of a mutation, as in Apollo Router: changing data is the larger part of its
/// work.
const MUTATION: f64 = 10.0;

/// Whether [`check`] refuses an operation of this cost whatever its variables are.
pub fn refuses_always(graph: &Graph, cost: &OperationCost) -> bool {
    let limits = &graph.settings.limits;
    limits.cost_mode == CostMode::Enforce && cost.is_always_above(limits.cost_max)
}

/// The estimate of an operation, and whether [`check`] lets it pass. Counts nothing.
pub fn look(graph: &Graph, cost: &OperationCost, variables: &Variables) -> (u64, bool) {
    let limits = &graph.settings.limits;
    let Estimate { cost, fault } = cost.estimate(graph, variables);
    let passes = fault.is_none() && cost <= limits.cost_max;
    (cost, passes || limits.cost_mode != CostMode::Enforce)
}

/// Refuses an operation that costs more than `cost_max`, or lacks a required slicing argument. In
/// the mode `measure`, it only counts the cost. Returns the estimate.
///
/// # Errors
/// `MAX_COST_EXCEEDED` with the estimate and the maximum, `INVALID_SLICING_ARGUMENTS`.
pub fn check(
    graph: &Graph,
    cost: &OperationCost,
    variables: &Variables,
) -> Result<u64, RequestError> {
    let limits = &graph.settings.limits;
    let metrics = &graph.settings.prepare_metrics;
    let enforces = limits.cost_mode == CostMode::Enforce;
    let Estimate {
        cost: estimated,
        fault,
    } = cost.estimate(graph, variables);
    if let Some(fault) = fault.filter(|_| enforces) {
        return Err(fault.into());
    }
    metrics.cost.inc_by(estimated);
    if estimated <= limits.cost_max {
        return Ok(estimated);
    }
    metrics.costly.inc();
    if !enforces {
        return Ok(estimated);
    }
    let max = limits.cost_max;
    let message = format!(
        "the operation would cost {estimated}, the limit is {max}: request smaller or fewer pages"
    );
    Err(RequestError::new(Code::MaxCost, message)
        .with_number("estimatedCost", estimated)
        .with_number("maxCost", max))
}
