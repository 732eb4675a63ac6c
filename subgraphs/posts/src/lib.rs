//! The posts subgraph.
