#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! | module | gives |
//! |---|---|
//! | `client` | where the server is, how it is spoken to, what a subscription asks for |
//! | `subscription`, `item` | the application's side: a stream of items |
//! | `driver` | the task of a subscription: connects, reads, tries again |
//! | `resume` | the states of a subscription over all of its tries, without sockets and timers |
//! | `contract`, `failure`, `pause` | the contract's words, errors, and times |
//! | `queue` | what lies between the task and the application, bounded |
//! | `store` | where cursors are kept |
//! | `connect`, `transport` | TCP and TLS; the three transports on them |
//!
//! To add a transport, write what [`Transport`]'s other ones have in `transport`: `open`, and `next`, which may be
//! dropped at any time.

mod client;
mod connect;
mod contract;
mod driver;
mod errors;
mod failure;
mod item;
mod pause;
mod queue;
mod resume;
mod store;
mod subscription;
mod transport;

pub use client::{Client, Guarantee, InvalidClient, Request, Resync, Transport};
pub use failure::{Failure, is_final_code};
pub use item::{Event, Gap, Item};
pub use store::{BoxError, CursorStore, FileStore, MemoryStore};
pub use subscription::Subscription;
