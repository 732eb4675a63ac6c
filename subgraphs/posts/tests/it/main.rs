//! The posts subgraph as its clients see it, on a real MongoDB.

mod bad_input;
mod mutations;
mod pages;
mod service;
