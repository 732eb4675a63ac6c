//! The settings of the posts subgraph, from flags or the environment.

use std::time::Duration;

use changefeed::ProjectorSettings;
use clap::ArgAction;
use clap::builder::RangedU64ValueParser;
use service::{duration, duration_from};

/// Partitions that the projection can have.
pub(crate) const PARTITIONS_MAX: u32 = 64;

/// Serves the posts subgraph of Rejoinder: posts with their newest comments and comment counts.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "posts", version)]
pub struct Config {
    /// Fail `/health/ready` when the comments shown with posts lag by more than this.
    #[arg(long, env = "READY_LAG_MAX", alias = "ready-lag-seconds-max", default_value = "30s", value_parser = duration)]
    pub ready_lag_max: Duration,
    /// Follow the changes for live clients. Without it, an instance answers queries and mutations alone, and costs the
    /// database no change stream; subscriptions fail with `LIVE_FEED_OFF`, so give the gateways the other instances in
    /// `SUBSCRIPTION_URL_*`.
    #[arg(long, env = "LIVE_FEED", default_value_t = true, action = ArgAction::Set)]
    pub live_feed: bool,
    /// Do what one instance does for all: make indexes, that for searches too, write missing dates, delete the comments of
    /// deleted posts. Turn it off where several other instances do it.
    #[arg(long, env = "UPKEEP", default_value_t = true, action = ArgAction::Set)]
    pub upkeep: bool,
    /// Take part in the projection: lead it, or partitions of it, when it is this instance's turn. An instance without it
    /// shows what the others have written, and is not ready while none of them lives.
    #[arg(long, env = "PROJECTION", default_value_t = true, action = ArgAction::Set)]
    pub projection: bool,
    /// Let another instance take over the projection when its leader has been silent for this long. Readers who wait
    /// for their write give up after 5 s: with a longer time they fail while there is no leader.
    #[arg(long, env = "PROJECTION_LEASE", alias = "projection-lease-seconds", default_value = "3s", value_parser = duration_from(Duration::from_secs(1)))]
    pub projection_lease: Duration,
    /// Compare a sample of the posts with their comments, and repair differences, this often; `0s` turns this
    /// off.
    #[arg(long, env = "PROJECTION_AUDIT_INTERVAL", alias = "projection-audit-seconds", default_value = "30s", value_parser = duration)]
    pub projection_audit_interval: Duration,
    /// Divide the projection into so many partitions of the posts, each written by one of the running instances, where one
    /// writer is too slow. Another number is built in the background beside the one that serves. Give all instances the
    /// same: the one that starts last decides.
    #[arg(long, env = "PROJECTION_PARTITIONS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(PARTITIONS_MAX)))]
    pub projection_partitions: u32,
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
    /// Aim at transactions that take this long: a slower one makes the next ones smaller. The default is far
    /// below the 60 s after which MongoDB aborts a transaction.
    #[arg(long, env = "PROJECTION_COMMIT_AIM", alias = "projection-commit-milliseconds-aim", default_value = "300ms", value_parser = duration_from(Duration::from_millis(1)))]
    pub projection_commit_aim: Duration,
    /// Limit the posts that a rebuild or a repair computes in one transaction. Large posts make it fewer.
    #[arg(long, env = "PROJECTION_REBUILD_POSTS_MAX", default_value_t = 200, value_parser = at_least_one())]
    pub projection_rebuild_posts_max: u64,
    /// Limit the bytes of comments' changes that are read ahead. One batch of MongoDB, at most 16 MB, comes on
    /// top.
    #[arg(long, env = "PROJECTION_READ_AHEAD_BYTES_MAX", default_value_t = 12_582_912, value_parser = at_least_one())]
    pub projection_read_ahead_bytes_max: u64,
    /// Rebuild the posts' comment counts and newest comments in the background, switch to them when complete,
    /// and exit. The running instance that leads does the work; if none runs, this one does.
    #[arg(long, conflicts_with_all = ["replay_dead_letters", "doctor"])]
    pub rebuild: bool,
    /// Retry the changes that could not be applied, print how many still fail, and exit. The running instance
    /// that leads does the work; if none runs, this one does.
    #[arg(long, conflicts_with = "doctor")]
    pub replay_dead_letters: bool,
    /// What all subgraphs have.
    #[command(flatten)]
    pub subgraph: subgraph::SubgraphSettings,
}

impl Config {
    pub(crate) fn projector(&self) -> ProjectorSettings {
        ProjectorSettings::default()
            .partitions(self.projection_partitions)
            .leads(self.projection)
            .ready_lag_max(self.ready_lag_max)
            .lease(self.projection_lease)
            .audit_interval(self.projection_audit_interval)
            .batch_count_max(size(self.projection_batch_changes_max))
            .batch_targets_max(size(self.projection_batch_posts_max))
            .batch_bytes_max(size(self.projection_batch_bytes_max))
            .commit_aim(self.projection_commit_aim)
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
