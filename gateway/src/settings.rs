//! What a graph can be told: limits, subgraph traffic, what clients may see.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::headers::HeaderRules;

/// Everything that [`crate::graph::Graph::load`] needs beside the supergraph itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What an operation and its variables may cost.
    pub limits: Limits,
    /// How subgraphs are spoken to.
    pub subgraphs: SubgraphSettings,
    /// Whether `__schema` and `__type` are answered.
    pub introspection: bool,
    /// Whether the messages and extensions of subgraph errors are hidden from clients. The code
    /// and the subgraph's name stay.
    pub mask_subgraph_errors: bool,
    /// How many distinct operations stay prepared.
    pub prepared_operations_max: usize,
    /// Which headers travel between clients and subgraphs.
    pub header_rules: Arc<HeaderRules>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            subgraphs: SubgraphSettings::default(),
            introspection: true,
            mask_subgraph_errors: false,
            prepared_operations_max: 2_000,
            header_rules: Arc::default(),
        }
    }
}

/// How subgraphs are spoken to.
#[derive(Clone, Debug)]
pub struct SubgraphSettings {
    /// Addresses that replace those of the supergraph. The key is the subgraph's name as
    /// [`address_key`] writes it.
    pub addresses: HashMap<String, String>,
    /// From the first byte sent to the last byte received.
    pub timeout: Duration,
    /// To open a connection.
    pub connect_timeout: Duration,
    /// A kept connection that was quiet for longer is not used again; below the keep-alive time
    /// of common servers (5 s).
    pub idle_timeout: Duration,
    /// The largest response body, in bytes.
    pub body_bytes_max: usize,
    /// Whether identical queries in flight to one subgraph share one request.
    pub deduplicate_in_flight: bool,
}

impl Default for SubgraphSettings {
    fn default() -> Self {
        Self {
            addresses: HashMap::new(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            body_bytes_max: 64 * 1024 * 1024,
            deduplicate_in_flight: false,
        }
    }
}

/// The subgraph's name as environment variables can spell it: `my-posts` becomes `MY_POSTS`.
pub fn address_key(subgraph: &str) -> String {
    subgraph
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}

/// What an operation and its variables may cost. Each has its own error code (`error.rs`).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Lexical tokens of the document.
    pub tokens_max: usize,
    /// Nesting of selection sets, with fragments followed.
    pub depth_max: usize,
    /// Aliases, with fragments followed.
    pub aliases_max: usize,
    /// Fields at the root of the operation, with fragments followed.
    pub root_fields_max: usize,
    /// Directives on one element of the document.
    pub directives_max: usize,
    /// Selections after every fragment is written out where it is spread.
    pub selections_max: usize,
    /// Entity representations in one subgraph request.
    pub representations_max: usize,
    /// The variables' JSON text, in bytes.
    pub variables_bytes_max: usize,
    /// Nesting of lists and objects in the variables.
    pub variables_depth_max: usize,
    /// Entries of one list in the variables.
    pub variables_list_max: usize,
    /// Parsing, validating and planning together.
    pub prepare_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tokens_max: 15_000,
            depth_max: 32,
            aliases_max: 200,
            root_fields_max: 100,
            directives_max: 20,
            selections_max: 5_000,
            representations_max: 50_000,
            variables_bytes_max: 2 * 1024 * 1024,
            variables_depth_max: 32,
            variables_list_max: 10_000,
            prepare_timeout: Duration::from_secs(2),
        }
    }
}
