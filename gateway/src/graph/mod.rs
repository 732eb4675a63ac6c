//! A supergraph made ready: API schema, planner, subgraphs, introspection.

use crate::settings::Settings;

/// Why a supergraph cannot be served. The text names the place in the SDL where it can.
#[derive(Debug, thiserror::Error)]
pub enum SupergraphError {
    /// Not GraphQL SDL, or not a schema that holds together.
    #[error("the supergraph is not valid SDL: {0}")]
    Invalid(String),
    /// SDL without the join specification's parts.
    #[error("the supergraph names no subgraphs: {0}")]
    NotASupergraph(String),
    /// A subgraph without an address, neither in the SDL nor in the settings.
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
    settings: Settings,
}

impl Graph {
    /// Reads a standard supergraph SDL (join specification v0.3 to v0.5). Takes some
    /// milliseconds; run it off the event loop.
    ///
    /// # Errors
    /// When the SDL is not a supergraph that can be served.
    pub fn load(_sdl: &str, settings: Settings) -> Result<Self, SupergraphError> {
        Ok(Self { settings })
    }

    /// As it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A subgraph's name and address, by its place in the graph.
    pub fn subgraph(&self, _index: SubgraphIndex) -> SubgraphAddress<'_> {
        SubgraphAddress { name: "", url: "" }
    }
}

/// A subgraph's place in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubgraphIndex(pub u16);

/// Where a subgraph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubgraphAddress<'a> {
    /// Its name in the supergraph (`posts`).
    pub name: &'a str,
    /// Its GraphQL endpoint.
    pub url: &'a str,
}
