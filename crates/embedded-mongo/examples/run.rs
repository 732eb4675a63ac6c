//! Runs a throwaway replica set until Ctrl-C, and prints its connection string.
//!
//! ```sh
//! cargo run -p embedded-mongo --example run      # one node
//! cargo run -p embedded-mongo --example run -- 3 # three nodes
//! ```

use embedded_mongo::{Options, ReplicaSet};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let nodes = std::env::args().nth(1).map_or(Ok(1), |nodes| nodes.parse());
    let set = ReplicaSet::start(Options::default().nodes(nodes?)).await?;
    println!("{}", set.uri());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
