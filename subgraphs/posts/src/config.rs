//! The settings of the posts subgraph, from flags or the environment.

use std::time::Duration;

use changefeed::ProjectorSettings;
use clap::builder::RangedU64ValueParser;
use subgraph::HostSettings;
use subgraph::LimitSettings;
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
    /// Changes of comments that one transaction applies at most. Transactions begin small and grow
    /// while they are quick: this and the next two bound them.
    #[arg(long, env = "PROJECTION_BATCH_CHANGES_MAX", default_value_t = 32_768, value_parser = at_least_one())]
    pub projection_batch_changes_max: u64,
    /// Posts that one transaction writes at most.
    #[arg(long, env = "PROJECTION_BATCH_POSTS_MAX", default_value_t = 4_096, value_parser = at_least_one())]
    pub projection_batch_posts_max: u64,
    /// Bytes that one transaction writes at most, as estimated; a single larger comment still passes.
    #[arg(long, env = "PROJECTION_BATCH_BYTES_MAX", default_value_t = 8_388_608, value_parser = at_least_one())]
    pub projection_batch_bytes_max: u64,
    /// Milliseconds that a transaction should take: a slower one makes the next ones smaller.
    #[arg(long, env = "PROJECTION_COMMIT_MILLISECONDS_AIM", default_value_t = 300, value_parser = at_least_one())]
    pub projection_commit_milliseconds_aim: u64,
    /// Posts that a rebuild or a repair computes in one transaction at most; large ones are fewer.
    #[arg(long, env = "PROJECTION_REBUILD_POSTS_MAX", default_value_t = 200, value_parser = at_least_one())]
    pub projection_rebuild_posts_max: u64,
    /// Bytes of the comments' changes that are read ahead at most. One answer of MongoDB, 16 MB at
    /// most, comes on top.
    #[arg(long, env = "PROJECTION_READ_AHEAD_BYTES_MAX", default_value_t = 12_582_912, value_parser = at_least_one())]
    pub projection_read_ahead_bytes_max: u64,
    /// Serves nothing: has what the posts keep of their comments built anew beside what serves, waits
    /// until that serves, and ends. The running instance that leads does the work, or else this one.
    #[arg(long, conflicts_with = "replay_dead_letters")]
    pub rebuild: bool,
    /// Serves nothing: has the changes tried again that could not be applied, tells how many still
    /// cannot, and ends. The running instance that leads does the work, or else this one.
    #[arg(long)]
    pub replay_dead_letters: bool,
    /// What one request may ask for.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// Which hosts it answers to.
    #[command(flatten)]
    pub hosts: HostSettings,
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
            batch_count_max: size(self.projection_batch_changes_max),
            batch_targets_max: size(self.projection_batch_posts_max),
            batch_bytes_max: size(self.projection_batch_bytes_max),
            commit_aim: Duration::from_millis(self.projection_commit_milliseconds_aim),
            build_chunk: size(self.projection_rebuild_posts_max),
            prefetch_bytes_max: size(self.projection_read_ahead_bytes_max),
            ..ProjectorSettings::default()
        }
    }
}

fn at_least_one() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
