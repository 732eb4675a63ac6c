//! The subgraphs that a supergraph names, from its `join__Graph` enumeration.

use std::sync::Arc;

use apollo_compiler::Schema;

use super::SupergraphError;
use crate::{
    settings::{SubgraphSettings, address_key},
    subgraphs::Subgraph,
};

/// Every subgraph with its address: the settings' if they have one, else the supergraph's.
pub fn read(
    supergraph: &Schema,
    settings: &SubgraphSettings,
) -> Result<Vec<Arc<Subgraph>>, SupergraphError> {
    let graphs = supergraph
        .get_enum("join__Graph")
        .ok_or(SupergraphError::NotASupergraph(
            "it has no enum join__Graph",
        ))?;
    let mut subgraphs = Vec::new();
    for value in graphs.values.values() {
        let join = value
            .directives
            .get("join__graph")
            .ok_or(SupergraphError::NotASupergraph(
                "a join__Graph value has no @join__graph",
            ))?;
        let argument = |name: &str| {
            join.specified_argument_by_name(name)
                .and_then(|value| value.as_str())
        };
        let name = argument("name").ok_or(SupergraphError::NotASupergraph(
            "a @join__graph has no name",
        ))?;
        let url = settings
            .addresses
            .get(&address_key(name))
            .map(String::as_str)
            .or(argument("url"))
            .unwrap_or_default();
        let subgraph =
            Subgraph::new(name, url, settings).map_err(|reason| SupergraphError::Address {
                subgraph: name.to_owned(),
                reason,
            })?;
        subgraphs.push(Arc::new(subgraph));
    }
    Ok(subgraphs)
}
