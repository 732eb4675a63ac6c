//! The settings of the posts subgraph, from flags or the environment.

use std::time::Duration;

use changefeed::ProjectorSettings;
use clap::builder::RangedU64ValueParser;
use subgraph::HostSettings;
use subgraph::LimitSettings;
use subgraph::database::DatabaseSettings;

/// Serves the posts subgraph of Rejoinder: posts with their newest comments and comment counts.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "posts", version)]
pub struct Config {
    /// Where the data is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Fail `/health/ready` when the comments shown with posts lag by more than this many seconds.
    #[arg(long, env = "READY_LAG_SECONDS_MAX", default_value_t = 30)]
    pub ready_lag_seconds_max: u64,
    /// Let another instance take over the projection when its leader has been silent for this many seconds.
    #[arg(long, env = "PROJECTION_LEASE_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub projection_lease_seconds: u64,
    /// Compare a sample of the posts with their comments, and repair differences, every this many seconds; 0
    /// turns this off.
    #[arg(long, env = "PROJECTION_AUDIT_SECONDS", default_value_t = 30)]
    pub projection_audit_seconds: u64,
    /// Limit the changes of comments in one transaction of the projection. Transactions start small and grow
    /// while they are fast; this and the next two settings bound them.
    #[arg(long, env = "PROJECTION_BATCH_CHANGES_MAX", default_value_t = 32_768, value_parser = at_least_one())]
    pub projection_batch_changes_max: u64,
    /// Limit the posts that one transaction writes.
    #[arg(long, env = "PROJECTION_BATCH_POSTS_MAX", default_value_t = 4_096, value_parser = at_least_one())]
    pub projection_batch_posts_max: u64,
    /// Limit the estimated bytes that one transaction writes. A single comment that is larger is still applied.
    #[arg(long, env = "PROJECTION_BATCH_BYTES_MAX", default_value_t = 8_388_608, value_parser = at_least_one())]
    pub projection_batch_bytes_max: u64,
    /// Aim at this many milliseconds per transaction: a slower one makes the next ones smaller.
    #[arg(long, env = "PROJECTION_COMMIT_MILLISECONDS_AIM", default_value_t = 300, value_parser = at_least_one())]
    pub projection_commit_milliseconds_aim: u64,
    /// Limit the posts that a rebuild or a repair computes in one transaction. Large posts make it fewer.
    #[arg(long, env = "PROJECTION_REBUILD_POSTS_MAX", default_value_t = 200, value_parser = at_least_one())]
    pub projection_rebuild_posts_max: u64,
    /// Limit the bytes of comments' changes that are read ahead. One batch of MongoDB, at most 16 MB, comes on
    /// top.
    #[arg(long, env = "PROJECTION_READ_AHEAD_BYTES_MAX", default_value_t = 12_582_912, value_parser = at_least_one())]
    pub projection_read_ahead_bytes_max: u64,
    /// Rebuild the posts' comment counts and newest comments in the background, switch to them when complete,
    /// and exit. The running instance that leads does the work; if none runs, this one does.
    #[arg(long, conflicts_with = "replay_dead_letters")]
    pub rebuild: bool,
    /// Retry the changes that could not be applied, print how many still fail, and exit. The running instance
    /// that leads does the work; if none runs, this one does.
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
        ProjectorSettings::default()
            .ready_lag_max(Duration::from_secs(self.ready_lag_seconds_max))
            .lease(Duration::from_secs(self.projection_lease_seconds))
            .audit_interval(Duration::from_secs(self.projection_audit_seconds))
            .batch_count_max(size(self.projection_batch_changes_max))
            .batch_targets_max(size(self.projection_batch_posts_max))
            .batch_bytes_max(size(self.projection_batch_bytes_max))
            .commit_aim(Duration::from_millis(
                self.projection_commit_milliseconds_aim,
            ))
            .build_chunk(size(self.projection_rebuild_posts_max))
            .prefetch_bytes_max(size(self.projection_read_ahead_bytes_max))
    }
}

fn at_least_one() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
