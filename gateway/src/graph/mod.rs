//! A supergraph made ready: API schema, what the planner knows, subgraphs, introspection.

mod api_schema;
pub mod costs;
mod features;
pub mod planned_fields;
mod subgraph_table;
pub mod types;

use std::sync::Arc;

use apollo_compiler::{
    Name, Schema, collections::HashMap, schema::Implementers, validation::Valid,
};

use crate::{
    planner::supergraph::Supergraph,
    prepare::{
        cache::PreparedCache, in_preparation::InPreparation, introspection::IntrospectionAnswers,
        resume::ResumableFields, rollout::Rollout, turns::Turns,
    },
    settings::Settings,
    subgraphs::Subgraph,
};
use costs::Costs;
use planned_fields::PlannedFields;
use types::TypeTable;

/// The answers of introspection may have this part of what prepared operations may, beside it.
const INTROSPECTION_SHARE: usize = 8;

/// Why a supergraph cannot be served. The text names the place in the SDL where it can.
#[derive(Debug, thiserror::Error)]
pub enum SupergraphError {
    /// Not GraphQL SDL, or not a schema that holds together.
    #[error("the supergraph is not valid SDL: {0}")]
    Invalid(String),
    /// SDL without the join specification's parts.
    #[error("this is not a supergraph: {0}")]
    NotASupergraph(&'static str),
    /// A specification that has to be followed, and that the gateway does not know: without it the
    /// supergraph would be served in another way than it is meant, or unprotected.
    #[error("the supergraph needs {url} for {purpose}, which this gateway does not know")]
    UnknownFeature {
        /// The specification.
        url: String,
        /// `SECURITY` or `EXECUTION`.
        purpose: String,
    },
    /// A field whose argument comes from a context of a type above it.
    #[error("{0} takes an argument from a context, which this gateway does not give")]
    ContextArgument(String),
    /// A subgraph without a usable address, neither in the SDL nor in the settings.
    #[error("subgraph {subgraph}: {reason}")]
    Address {
        /// Its name.
        subgraph: String,
        /// What is wrong with the address.
        reason: String,
    },
    /// The planner cannot work on it.
    #[error("the planner refuses the supergraph: {0}")]
    Planner(String),
}

/// A supergraph made ready to answer operations.
pub struct Graph {
    pub(crate) settings: Settings,
    pub(crate) api: Valid<Schema>,
    pub(crate) implementers: HashMap<Name, Implementers>,
    pub(crate) types: TypeTable,
    pub(crate) planned_fields: PlannedFields,
    /// What fields and types cost, and how long lists are.
    pub(crate) costs: Costs,
    /// What the planner knows of the subgraphs.
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
}

impl Graph {
    /// Reads a standard supergraph SDL (join specification v0.3 to v0.5). Takes some
    /// milliseconds; run it off the event loop.
    ///
    /// # Errors
    /// When the SDL is not a supergraph that can be served.
    pub fn load(sdl: &str, settings: Settings) -> Result<Self, SupergraphError> {
        let supergraph = Schema::parse(sdl, "supergraph.graphql")
            .map_err(|invalid| SupergraphError::Invalid(invalid.errors.to_string()))?;
        features::check(&supergraph)?;
        let subgraphs = subgraph_table::read(&supergraph, &settings.subgraphs)?;
        let api = api_schema::api_schema(&supergraph)
            .validate()
            .map_err(|invalid| SupergraphError::Invalid(invalid.errors.to_string()))?;
        let types = TypeTable::new(&supergraph, &api);
        let for_planner =
            Supergraph::read(&supergraph, &types).map_err(SupergraphError::Planner)?;
        Ok(Self {
            rollout: Rollout::new(for_planner.percentages()),
            types,
            supergraph: for_planner,
            planned_fields: PlannedFields::of(&supergraph),
            costs: Costs::of(&supergraph),
            implementers: api.implementers_map(),
            resumable: ResumableFields::of(&supergraph),
            prepared: PreparedCache::new(
                settings.prepared_operations_max,
                settings.prepared_bytes_max,
                &settings.prepare_metrics,
            ),
            introspections: IntrospectionAnswers::new(
                settings.prepared_bytes_max / INTROSPECTION_SHARE,
            ),
            in_preparation: InPreparation::default(),
            preparing: Turns::new(
                // More at once would only be slower each.
                std::thread::available_parallelism().map_or(1, usize::from),
                settings.limits.prepare_queue_max,
                settings.prepare_metrics.waiting.clone(),
            ),
            api,
            subgraphs,
            settings,
        })
    }

    /// As it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What clients see, as SDL.
    pub fn api_sdl(&self) -> String {
        self.api.to_string()
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

/// A subgraph's place in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubgraphIndex(pub u16);

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
