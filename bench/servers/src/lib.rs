//! The servers of `bench gateway`: the subgraphs behind the gateways, and a bare reverse proxy beside them. And that of
//! `bench live`: a subgraph of live messages.
//!
//! They are a crate of their own because GraphQL schemas and HTTP servers take long to compile: a change of the
//! benchmarks compiles none of them again. So that none of their code is compiled with the benchmarks, what serves
//! returns a boxed future.

mod data;
pub mod live;
pub mod proxy;
pub mod subgraphs;
