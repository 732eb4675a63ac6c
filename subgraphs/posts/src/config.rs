//! The settings of the posts subgraph, from flags or the environment.

use std::time::Duration;

use changefeed::ProjectorSettings;
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
    /// How often a sample of the posts is compared with their comments and repaired, in seconds; 0
    /// turns that off.
    #[arg(long, env = "PROJECTION_AUDIT_SECONDS", default_value_t = 30)]
    pub projection_audit_seconds: u64,
    /// Serves nothing: has what the posts keep of their comments built anew beside what serves, waits
    /// until that serves, and ends. The running instance that leads does the work, or else this one.
    #[arg(long, conflicts_with = "replay_dead_letters")]
    pub rebuild: bool,
    /// Serves nothing: has the changes tried again that could not be applied, tells how many still
    /// cannot, and ends. The running instance that leads does the work, or else this one.
    #[arg(long)]
    pub replay_dead_letters: bool,
    /// What every binary has.
    #[command(flatten)]
    pub service: service::Settings,
}

impl Config {
    pub(crate) fn projector(&self) -> ProjectorSettings {
        ProjectorSettings {
            ready_lag_max: Duration::from_secs(self.ready_lag_seconds_max),
            lease: Duration::from_secs(self.projection_lease_seconds),
            audit_interval: Duration::from_secs(self.projection_audit_seconds),
            ..ProjectorSettings::default()
        }
    }
}
