//! Lists a supergraph's subgraphs with their addresses.

use std::sync::Arc;

use federation::{SubgraphInfo, Supergraph};

use super::{Settings, SupergraphError};
use crate::{
    config::address_key,
    subgraphs::{Subgraph, endpoints, listed_addresses},
};

/// All mistakes in the addresses of a subgraph, where [`read`] ends at the first one. `own` are those of the settings.
pub fn mistakes(info: &SubgraphInfo, own: Option<&str>) -> Vec<String> {
    let urls = addresses(info, own);
    let each = urls
        .iter()
        .filter_map(|url| endpoints(&info.name, &[url]).err());
    let mut mistakes: Vec<String> = each.collect();
    if mistakes.is_empty() {
        mistakes.extend(endpoints(&info.name, &urls).err());
    }
    mistakes
}

/// The addresses of a subgraph. That of a supergraph is one address: a comma is a part of it.
fn addresses<'a>(info: &'a SubgraphInfo, own: Option<&'a str>) -> Vec<&'a str> {
    match own {
        Some(list) => listed_addresses(list),
        None => {
            let url = info.url.as_deref().filter(|url| !url.is_empty());
            url.into_iter().collect()
        }
    }
}

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
        let urls = addresses(info, own.map(String::as_str));
        let subgraph = Subgraph::new(name, &urls, &settings.of(name), tls, subgraph_metrics)
            .map_err(|reason| SupergraphError::Address {
                subgraph: name.to_owned(),
                reason,
            })?;
        subgraphs.push(Arc::new(subgraph));
    }
    for name in settings.timeouts.names() {
        if !subgraphs.iter().any(|subgraph| subgraph.name() == name) {
            tracing::warn!(
                subgraph = name,
                "SUBGRAPH_TIMEOUTS names a subgraph that the supergraph does not have"
            );
        }
    }
    Ok(subgraphs)
}

/// The addresses for subscriptions of each subgraph that has others for these.
pub fn read_for_subscriptions(
    supergraph: &Supergraph,
    settings: &Settings,
) -> Result<Vec<Option<Arc<Subgraph>>>, SupergraphError> {
    let Settings {
        subgraphs: settings,
        tls,
        subgraph_metrics,
        ..
    } = settings;
    let read = |info: &SubgraphInfo| {
        let name = &*info.name;
        let Some(own) = settings.subscription_addresses.get(&address_key(name)) else {
            return Ok(None);
        };
        let urls = listed_addresses(own);
        let subgraph = Subgraph::new(name, &urls, settings, tls, subgraph_metrics);
        let subgraph = subgraph.map_err(|reason| SupergraphError::Address {
            subgraph: name.to_owned(),
            reason: of_subscriptions(&reason),
        });
        subgraph.map(|subgraph| Some(Arc::new(subgraph)))
    };
    supergraph.subgraph_infos().iter().map(read).collect()
}

/// What is wrong with the addresses for subscriptions, by the name of their variable.
pub fn of_subscriptions(reason: &str) -> String {
    let reason = reason.replace("SUBGRAPH_URL_", "SUBSCRIPTION_URL_");
    format!("for subscriptions: {reason}")
}
