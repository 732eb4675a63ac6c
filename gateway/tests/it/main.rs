//! The gateway in front of small real subgraphs.

mod abstract_types;
mod conditions;
mod directives;
mod failures;
mod mutations;
mod support;
