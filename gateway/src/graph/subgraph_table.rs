//! Lists a supergraph's subgraphs with their addresses.

use std::sync::Arc;

use federation::Supergraph;

use super::{Settings, SupergraphError};
use crate::{
    config::address_key,
    subgraphs::{Subgraph, listed_addresses},
};

/// All subgraphs, each with its addresses in the settings, or else that in the supergraph.
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
        let own = settings.addresses.get(&address_key(name));
        // That of a supergraph is one address: a comma is a part of it.
        let urls = match own {
            Some(list) => listed_addresses(list),
            None => info
                .url
                .as_deref()
                .filter(|url| !url.is_empty())
                .into_iter()
                .collect(),
        };
        let subgraph =
            Subgraph::new(name, &urls, settings, tls, subgraph_metrics).map_err(|reason| {
                SupergraphError::Address {
                    subgraph: name.to_owned(),
                    reason,
                }
            })?;
        subgraphs.push(Arc::new(subgraph));
    }
    Ok(subgraphs)
}
