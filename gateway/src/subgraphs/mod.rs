//! One request to one subgraph, over kept connections.
