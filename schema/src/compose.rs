//! Joins the subgraphs' schemas into one supergraph.

use anyhow::{Context, anyhow};
use graphql_composition::Subgraphs;

use crate::Subgraph;
use crate::supergraph::complete;

/// Composes subgraphs into a supergraph in the schema language of the join specification 0.3,
/// which every Federation 2 router reads.
///
/// # Errors
/// When a schema cannot be parsed, or the subgraphs contradict each other.
pub fn compose(subgraphs: &[Subgraph]) -> anyhow::Result<String> {
    let mut ingested = Subgraphs::default();
    for subgraph in subgraphs {
        ingested
            .ingest_str(&subgraph.sdl, &subgraph.name, Some(&subgraph.url))
            .map_err(|error| anyhow!("{}.graphql cannot be read: {error:#}", subgraph.name))?;
    }
    let result = graphql_composition::compose(&mut ingested);
    let graph = result.into_result().map_err(|diagnostics| {
        let reasons: Vec<_> = diagnostics.iter_messages().collect();
        anyhow!("the subgraphs do not compose:\n{}", reasons.join("\n"))
    })?;
    let composed = graphql_composition::render_federated_sdl(&graph)
        .context("the supergraph cannot be written")?;
    complete(&composed, subgraphs)
}
