//! Exports the subgraphs' schemas, composes and checks them.
