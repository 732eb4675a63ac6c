//! A loaded supergraph: API schema, planner, subgraphs, costs, introspection.

pub mod costs;
pub(crate) mod introspection_answers;
pub(crate) mod resumable_fields;
pub(crate) mod settings;
pub(crate) mod subgraph_table;
pub(crate) mod viewer_fields;

use std::sync::Arc;

use apollo_compiler::{
    Name, Schema, collections::HashMap, schema::Implementers, validation::Valid,
};
use federation::{SubgraphIndex, Supergraph, TypeTable};
use graphql_transport::Signer;

use crate::subgraphs::Subgraph;
use costs::Costs;
use introspection_answers::IntrospectionAnswers;
use resumable_fields::ResumableFields;
pub use settings::Settings;
use viewer_fields::ViewerFields;

/// Why a supergraph cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SupergraphError {
    /// It cannot be read, or queries cannot be planned for it.
    #[error(transparent)]
    Supergraph(#[from] federation::SupergraphError),
    /// A subgraph has no usable address, neither in the SDL nor in the settings.
    #[error("subgraph {subgraph}: {reason}")]
    Address {
        /// The subgraph's name in the supergraph.
        subgraph: String,
        /// What is wrong with the address.
        reason: String,
    },
}

/// A supergraph that is ready to answer operations.
pub struct Graph {
    pub(crate) settings: Settings,
    pub(crate) implementers: HashMap<Name, Implementers>,
    /// The costs of fields and types, and the lengths of lists.
    pub(crate) costs: Costs,
    /// The API schema, the type table, and the planner's model of the subgraphs.
    pub(crate) supergraph: Supergraph,
    pub(crate) subgraphs: Vec<Arc<Subgraph>>,
    /// Those that have other addresses for subscriptions, by the same numbers.
    pub(crate) subscriptions: Vec<Option<Arc<Subgraph>>>,
    /// The subscription fields that can resume after a cursor.
    pub(crate) resumable: ResumableFields,
    /// The fields whose values depend on who asks.
    pub(crate) viewer_fields: ViewerFields,
    /// The introspection answers so far.
    pub(crate) introspections: IntrospectionAnswers,
}

impl Graph {
    /// Reads a standard supergraph SDL (join specification v0.3 to v0.5). Takes some
    /// milliseconds; run it off the event loop.
    ///
    /// # Errors
    /// If the SDL is not a supergraph that can be served.
    pub fn load(sdl: &str, settings: Settings) -> Result<Self, SupergraphError> {
        let schema = Schema::parse(sdl, "supergraph.graphql")
            .map_err(|invalid| federation::SupergraphError::Invalid(invalid.errors.to_string()))?;
        let supergraph = Supergraph::read(&schema)?;
        let subgraphs = subgraph_table::read(&supergraph, &settings)?;
        let subscriptions = subgraph_table::read_for_subscriptions(&supergraph, &settings)?;
        Ok(Self {
            costs: Costs::of(&schema),
            resumable: ResumableFields::of(&supergraph, &schema),
            viewer_fields: ViewerFields::of(&supergraph, &schema, &settings.viewer_tags),
            implementers: supergraph.api_schema().implementers_map(),
            introspections: IntrospectionAnswers::new(
                settings.introspection_answers_max,
                settings.introspection_answers_bytes_max,
                settings.prepare_metrics.clone(),
            ),
            supergraph,
            subgraphs,
            subscriptions,
            settings,
        })
    }

    /// The settings with which it was loaded.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The API schema: what clients see.
    pub(crate) fn api(&self) -> &Valid<Schema> {
        self.supergraph.api_schema()
    }

    /// The composite types by number.
    pub(crate) fn types(&self) -> &TypeTable {
        self.supergraph.types()
    }

    /// The API schema as SDL.
    pub fn api_sdl(&self) -> String {
        self.api().to_string()
    }

    /// The name and the address of a subgraph.
    pub fn subgraph(&self, index: SubgraphIndex) -> SubgraphAddress<'_> {
        SubgraphAddress::of(&self.subgraphs[usize::from(index.0)])
    }

    /// The same, where its subscriptions run.
    pub fn subscriptions_of(&self, index: SubgraphIndex) -> SubgraphAddress<'_> {
        match &self.subscriptions[usize::from(index.0)] {
            Some(subgraph) => SubgraphAddress::of(subgraph),
            None => self.subgraph(index),
        }
    }
}

/// The name and the address of a subgraph, as in the graph's settings.
#[derive(Clone, Copy)]
pub struct SubgraphAddress<'a> {
    /// Its name in the supergraph (`posts`).
    pub name: &'a str,
    /// Its addresses, without user information.
    pub url: &'a str,
    /// Its addresses with user information, never to be logged.
    pub(crate) full_url: &'a str,
    /// Signs the requests to it.
    pub(crate) signer: &'a Signer,
    /// Knows which of its addresses are up.
    pub(crate) subgraph: &'a Subgraph,
}

impl<'a> SubgraphAddress<'a> {
    fn of(subgraph: &'a Subgraph) -> Self {
        Self {
            name: subgraph.name(),
            url: subgraph.url(),
            full_url: subgraph.full_url(),
            signer: subgraph.signer(),
            subgraph,
        }
    }
}

/// The rest follows from these.
impl PartialEq for SubgraphAddress<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.full_url) == (other.name, other.full_url)
    }
}
