//! What both subgraphs share: typed ids, Relay pages, errors, the GraphQL endpoints.
