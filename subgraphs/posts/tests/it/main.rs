//! The posts subgraph as its clients see it, on a real MongoDB.

mod bad_input;
mod doctor;
mod hostile;
mod incomplete_documents;
mod indexes;
mod live;
mod moderation;
mod mutations;
mod odd_collections;
mod older_documents;
mod owners;
mod pages;
mod projection;
mod random_batches;
mod roles;
mod search;
mod service;
mod traces;
mod vanished;
