//! The rules of every protocol, held against both services: a subgraph, and the gateway in front of
//! one.
//!
//! Beside these, `web/tests/protocols.test.ts` runs the protocols' own clients and audits.

mod client;
mod http;
mod streams;
mod support;
mod websocket;
