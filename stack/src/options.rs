//! What the stack can be told.

use std::path::PathBuf;

/// Starts Rejoinder on this machine: MongoDB, the posts and comments services, the gateway, and
/// sample posts on an empty database. Ctrl-C stops everything.
///
/// The services take their other settings from the environment: see .env.sample.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "stack", version)]
pub struct Options {
    /// A running replica set to use, instead of starting a mongod. Its path names the database
    /// (default: rejoinder).
    #[arg(long, env = "MONGO_URI", value_name = "URI")]
    pub mongo_uri: Option<String>,
    /// The gateway's port; posts and comments take the two after it. 0 takes free ones.
    #[arg(long, env = "PORT", default_value_t = 4000, value_parser = clap::value_parser!(u16).range(..=65533))]
    pub port: u16,
    /// The gateway's port for metrics; posts and comments take the two after it. 0 takes free ones. Without
    /// it they are on each service's own port.
    #[arg(long, env = "OPERATIONS_PORT", value_parser = clap::value_parser!(u16).range(..=65533))]
    pub operations_port: Option<u16>,
    /// Where MongoDB keeps its data; a second start goes on with it.
    #[arg(long, env = "DATA_DIR", default_value = "data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
    /// Add no sample posts to an empty database.
    #[arg(long)]
    pub no_sample: bool,
    /// Do not build the web pages, even when npm is there and their build is stale.
    #[arg(long)]
    pub no_web: bool,
}
