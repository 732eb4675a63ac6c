//! The supergraph model of Apollo Federation 2, and a query planner for it.

mod api_schema;
mod client_aliases;
mod error;
mod operation;
mod override_label;
mod planned_fields;
mod planner;
mod selection;
mod specifications;
mod supergraph;
mod types;

pub use client_aliases::ClientAliases;
pub use error::{PlanError, SupergraphError};
pub use operation::Operation;
pub use override_label::{OverrideLabel, PARTS_PER_PERCENT};
pub use planner::{Plan, PlanOptions, fetches, places, plan};
pub use selection::{Field, On, Selection, merged};
pub use supergraph::{Join, SubgraphIndex, SubgraphInfo, Supergraph, View};
pub use types::{TypeId, TypeSet, TypeTable};
