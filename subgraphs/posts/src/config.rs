//! The settings of the posts subgraph, from flags or the environment.

use subgraph::database::DatabaseSettings;

/// The posts subgraph of Rejoinder: posts, each with its newest comments and their number.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "posts", version)]
pub struct Config {
    /// Where the data is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Seconds that the comments shown with a post may be behind before `/health/ready` fails.
    #[arg(long, env = "READY_LAG_SECONDS_MAX", default_value_t = 30)]
    pub ready_lag_seconds_max: u64,
    /// Seconds that the instance which keeps the comments of the posts may be silent before
    /// another one takes over.
    #[arg(long, env = "PROJECTION_LEASE_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub projection_lease_seconds: u64,
    /// What every binary has.
    #[command(flatten)]
    pub service: service::Settings,
}
