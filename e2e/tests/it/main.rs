//! The whole system: from one command to a comment that arrives at every subscriber, and what happens when
//! parts of it are killed.

mod bad_input;
mod chaos;
mod failover;
mod flow;
mod hostile_clients;
mod kills;
mod leaving_clients;
mod live;
mod live_faults;
mod moderation;
mod odd_documents;
mod operator;
mod outage;
mod owners;
mod pages;
mod projection_faults;
mod projection_lag;
mod restored;
mod roles;
mod rolling_restart;
mod rust_client;
mod signed_requests;
mod stack;
mod tutorial;
mod writer;

/// The stack and, called by their names, its services.
const PROGRAM: &str = env!("CARGO_BIN_EXE_e2e");
