//! The gateway in front of small real subgraphs.

mod abstract_types;
mod any_supergraph;
mod authorization;
mod budgets;
mod conditions;
mod costs;
mod differential;
mod directives;
mod failures;
mod federation;
mod in_flight;
mod introspection;
mod limits;
mod mutations;
mod one_of;
mod query_plans;
mod random_graphs;
mod september_2025;
mod support;
