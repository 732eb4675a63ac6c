//! The bytes of a subgraph request that are known before any client asks.

use bytes::Bytes;
use hive_router_query_planner::ast::operation::SubgraphFetchOperation;

use crate::{
    json::write,
    prepare::{literals::Literals, plan::RequestTemplate},
};

/// The template of `operation`. `representations` are the variables that the executor writes
/// itself; all others are the client's, found in `declared`. `literals` have the numbers that the
/// operation names.
pub fn template(
    operation: &SubgraphFetchOperation,
    declared: &[String],
    representations: &[&[u8]],
    literals: &Literals,
) -> RequestTemplate {
    let text = literals.put_back(&operation.document_str);
    let mut head = String::from("{\"query\":");
    write::string(&mut head, &text);
    let variables: Vec<(Box<[u8]>, usize)> = operation
        .document
        .operation
        .variable_definitions
        .iter()
        .flatten()
        .filter_map(|definition| {
            let index = declared.iter().position(|name| *name == definition.name)?;
            let name = format!("\"{}\":", definition.name)
                .into_bytes()
                .into_boxed_slice();
            let is_ours = representations
                .iter()
                .any(|variable| variable.starts_with(&name));
            (!is_ours).then_some((name, index))
        })
        .collect();
    let is_constant = variables.is_empty() && representations.is_empty();
    RequestTemplate {
        operation: text.into(),
        constant: is_constant.then(|| Bytes::from(format!("{head}}}"))),
        head: Bytes::from(head),
        variables,
    }
}
