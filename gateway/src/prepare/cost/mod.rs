//! What an operation costs, estimated before it is executed.
//!
//! The estimate is made once, when an operation is prepared: a number, or a small formula where variables
//! decide a list's size. The rules are those of the IBM cost specification as Federation 2.9 uses them; see
//! `docs/gateway.md`.
//!
//! [`count`] walks the operation, [`size`] finds out how long a list is, [`inputs`] weighs arguments,
//! [`formula`] evaluates what is left for the variables, [`actual`] counts an answer by the same rules.

pub mod actual;
mod count;
mod formula;
mod inputs;
mod size;

pub use count::of;
pub use formula::OperationCost;

use crate::{
    coerce::Variables,
    config::CostMode,
    error::{Code, RequestError},
    graph::Graph,
};

/// Every mutation costs so much more, as in Apollo's router: what it changes is the larger part of its work.
const MUTATION: f64 = 10.0;

/// Refuses an operation that costs more than `cost_max` or leaves a required slicing argument out; in the
/// mode `measure` it only counts.
///
/// # Errors
/// `MAX_COST_EXCEEDED` with the estimate and the maximum, `INVALID_SLICING_ARGUMENTS`.
pub fn check(
    graph: &Graph,
    cost: &OperationCost,
    variables: &Variables,
) -> Result<(), RequestError> {
    let limits = &graph.settings.limits;
    let metrics = &graph.settings.prepare_metrics;
    let enforces = limits.cost_mode == CostMode::Enforce;
    let estimated = match cost.estimate(graph, variables) {
        Ok(estimated) => estimated,
        Err(fault) if enforces => return Err(fault.into()),
        Err(_) => return Ok(()),
    };
    metrics.cost.inc_by(estimated);
    if estimated <= limits.cost_max {
        return Ok(());
    }
    metrics.costly.inc();
    if !enforces {
        return Ok(());
    }
    let max = limits.cost_max;
    let message = format!(
        "the operation would cost {estimated}, and may cost {max}: ask for smaller or fewer pages"
    );
    Err(RequestError::new(Code::MaxCost, message)
        .with_number("estimatedCost", estimated)
        .with_number("maxCost", max))
}
