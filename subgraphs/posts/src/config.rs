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
    /// What every binary has.
    #[command(flatten)]
    pub service: service::Settings,
}
