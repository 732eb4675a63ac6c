//! Lists a supergraph's subgraphs with their addresses.

use std::sync::Arc;

use federation::Supergraph;

use super::{Settings, SupergraphError};
use crate::{config::address_key, subgraphs::Subgraph};

/// All subgraphs, each with its address in the settings, or else that in the supergraph.
pub fn read(
    supergraph: &Supergraph,
    settings: &Settings,
) -> Result<Vec<Arc<Subgraph>>, SupergraphError> {
    let Settings {
        subgraphs: settings,
        tls,
        subgraph_metrics,
        ..
    } = settings;
    let mut subgraphs = Vec::new();
    for info in supergraph.subgraph_infos() {
        let name = &*info.name;
        let url = settings
            .addresses
            .get(&address_key(name))
            .or(info.url.as_ref())
            .map(String::as_str)
            .unwrap_or_default();
        let subgraph =
            Subgraph::new(name, url, settings, tls, subgraph_metrics).map_err(|reason| {
                SupergraphError::Address {
                    subgraph: name.to_owned(),
                    reason,
                }
            })?;
        subgraphs.push(Arc::new(subgraph));
    }
    Ok(subgraphs)
}
