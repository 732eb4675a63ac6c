//! The comments subgraph.
