//! A real MongoDB for tests, benchmarks and local stacks.
//!
#![doc = include_str!("../README.md")]
//!
//! # Layout of the source
//!
//! - [`locate`](mod@locate) finds the program; `download` fetches it where there is none, with pip in a
//!   [`ProcessGroup`].
//! - `guard` runs it so that it ends with its owner, however the owner ends.
//! - `node` is one mongod, [`ReplicaSet`] one or three of them. [`ReplicaSet::open`] keeps its data between runs.
//! - `shared_server` is the one that all processes of a test run share, `test_database` a database on it.
//! - `cache_size` suits a cache to the machine, `remembered_port` keeps the port of a kept data folder, `scratch` finds a
//!   place for data that nobody keeps.

mod cache_size;
mod download;
mod error;
mod guard;
mod locate;
mod node;
mod process_group;
mod remembered_port;
mod rename;
mod replica_set;
mod scratch;
mod shared_server;
mod test_database;

pub use error::Error;
pub use locate::locate;
pub use process_group::ProcessGroup;
pub use rename::rename_collection;
pub use replica_set::{Options, ReplicaSet};
pub use test_database::{TestDatabase, test_database};
