//! The settings of the comments subgraph, from flags or the environment.

use subgraph::database::DatabaseSettings;

/// The comments subgraph of Rejoinder: comments, posts' lists of them, and their live feed.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "comments", version)]
pub struct Config {
    /// Where the data is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Seconds that the live feed may hear nothing of the database's changes, not even that there
    /// are none, before `/health/ready` fails.
    #[arg(long, env = "READY_LAG_SECONDS_MAX", default_value_t = 30)]
    pub ready_lag_seconds_max: u64,
    /// What every binary has.
    #[command(flatten)]
    pub service: service::Settings,
}
