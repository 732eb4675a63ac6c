//! A supergraph made ready: API schema, what the planner knows, subgraphs, introspection.

pub mod costs;
mod subgraph_table;

use std::sync::Arc;

use apollo_compiler::{
    Name, Schema, collections::HashMap, schema::Implementers, validation::Valid,
};
use federation::{SubgraphIndex, Supergraph, TypeTable};

use crate::{
    prepare::{
        cache::PreparedCache,
        in_preparation::InPreparation,
        introspection::IntrospectionAnswers,
        resume::ResumableFields,
        rollout::Rollout,
        turns::{self, Turns},
        workers::Workers,
    },
    settings::Settings,
    subgraphs::Subgraph,
};
use costs::Costs;

/// The answers of introspection may have this part of what prepared operations may, beside it.
const INTROSPECTION_SHARE: usize = 8;

/// Why a supergraph cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SupergraphError {
    /// It cannot be read, or not be planned for.
    #[error(transparent)]
    Supergraph(#[from] federation::SupergraphError),
    /// A subgraph without a usable address, neither in the SDL nor in the settings.
    #[error("subgraph {subgraph}: {reason}")]
    Address {
        /// Its name.
        subgraph: String,
        /// What is wrong with the address.
        reason: String,
    },
}

/// A supergraph made ready to answer operations.
pub struct Graph {
    pub(crate) settings: Settings,
    pub(crate) implementers: HashMap<Name, Implementers>,
    /// What fields and types cost, and how long lists are.
    pub(crate) costs: Costs,
    /// API schema, type table, and what the planner knows of the subgraphs.
    pub(crate) supergraph: Supergraph,
    pub(crate) rollout: Rollout,
    pub(crate) subgraphs: Vec<Arc<Subgraph>>,
    /// Subscription fields that can continue where they were.
    pub(crate) resumable: ResumableFields,
    pub(crate) prepared: PreparedCache,
    pub(crate) introspections: IntrospectionAnswers,
    /// Operations that are being prepared.
    pub(crate) in_preparation: InPreparation,
    /// A turn for each operation being prepared.
    pub(crate) preparing: Arc<Turns>,
    /// The threads on which that happens.
    pub(crate) preparers: Arc<Workers>,
}

impl Graph {
    /// Reads a standard supergraph SDL (join specification v0.3 to v0.5). Takes some
    /// milliseconds; run it off the event loop.
    ///
    /// # Errors
    /// When the SDL is not a supergraph that can be served.
    pub fn load(sdl: &str, settings: Settings) -> Result<Self, SupergraphError> {
        let schema = Schema::parse(sdl, "supergraph.graphql")
            .map_err(|invalid| federation::SupergraphError::Invalid(invalid.errors.to_string()))?;
        let supergraph = Supergraph::read(&schema)?;
        let preparing_per_client = turns::places_per_client();
        let subgraphs = subgraph_table::read(&supergraph, &settings.subgraphs)?;
        Ok(Self {
            rollout: Rollout::new(supergraph.percentages()),
            costs: Costs::of(&schema),
            implementers: supergraph.api_schema().implementers_map(),
            resumable: ResumableFields::of(&supergraph, &schema),
            prepared: PreparedCache::new(settings.prepared.clone(), &settings.prepare_metrics),
            introspections: IntrospectionAnswers::new(
                settings.prepared.bytes_max / INTROSPECTION_SHARE,
            ),
            in_preparation: InPreparation::default(),
            preparing: Turns::new(
                preparing_per_client,
                settings.limits.prepare_queue_max,
                settings.prepare_metrics.waiting.clone(),
            ),
            preparers: Arc::new(Workers::new(
                preparing_per_client + 1,
                settings.limits.prepare_niceness,
            )),
            supergraph,
            subgraphs,
            settings,
        })
    }

    /// The settings that it was loaded with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What clients see.
    pub(crate) fn api(&self) -> &Valid<Schema> {
        self.supergraph.api_schema()
    }

    /// The composite types by number.
    pub(crate) fn types(&self) -> &TypeTable {
        self.supergraph.types()
    }

    /// What clients see, as SDL.
    pub fn api_sdl(&self) -> String {
        self.api().to_string()
    }

    /// A subgraph's name and address, by its place in the graph.
    pub fn subgraph(&self, index: SubgraphIndex) -> SubgraphAddress<'_> {
        let subgraph = &self.subgraphs[usize::from(index.0)];
        SubgraphAddress {
            name: subgraph.name(),
            url: subgraph.url(),
            full_url: subgraph.full_url(),
        }
    }
}

/// Where a subgraph is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubgraphAddress<'a> {
    /// Its name in the supergraph (`posts`).
    pub name: &'a str,
    /// Its GraphQL endpoint, without user information.
    pub url: &'a str,
    /// Its GraphQL endpoint with user information, never to be logged.
    pub(crate) full_url: &'a str,
}
