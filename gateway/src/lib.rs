//! A general Federation v2 gateway.
//!
//! A request takes the same way whatever brought it here (POST, GET, WebSocket, SSE, multipart):
//! read -> prepare -> coerce variables -> execute -> respond; [`pipeline`] is that way, one short
//! function. Transports, settings and the life of the process stand around it.
//!
//! | module | gives |
//! |---|---|
//! | [`pipeline`] | the way of every request |
//! | [`request`], [`response`], [`error`] | what goes in, what comes out, every error code |
//! | [`graph`] | a supergraph made ready: API schema, planner, subgraphs, introspection |
//! | [`prepare`] | text -> parsed, checked, planned, projected; kept in one cache |
//! | [`variables`] | the client's variables, checked against the API schema |
//! | [`execute`] | a prepared operation -> response bytes |
//! | [`subgraphs`] | one request to one subgraph, over kept connections |
//! | [`json`] | reading and writing JSON without unescaping it |
//! | [`settings`] | what the modules above can be told |
//! | [`headers`] | which headers travel between clients and subgraphs |

pub mod error;
pub mod execute;
pub mod graph;
pub mod headers;
pub mod json;
pub mod pipeline;
pub mod prepare;
pub mod request;
pub mod response;
pub mod settings;
pub mod subgraphs;
pub mod variables;
