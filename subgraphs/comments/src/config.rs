//! The settings of the comments subgraph, from flags or the environment.

use std::time::Duration;

use changefeed::HubSettings;
use clap::builder::RangedU64ValueParser;
use subgraph::HostSettings;
use subgraph::LimitSettings;
use subgraph::database::DatabaseSettings;

/// Serves the comments subgraph of Rejoinder: comments, each post's list of them, and their live feed.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "comments", version)]
pub struct Config {
    /// Where the data is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Fail `/health/ready` when the live feed has received nothing from the database for this many seconds,
    /// not even that there are no changes.
    #[arg(long, env = "READY_LAG_SECONDS_MAX", default_value_t = 30)]
    pub ready_lag_seconds_max: u64,
    /// How much of the past the live feed keeps.
    #[command(flatten)]
    pub feed: FeedSettings,
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

/// How much of the past the live feed keeps in memory, and how much of it one subscriber may read
/// from the database again.
#[derive(Clone, Debug, clap::Args)]
pub struct FeedSettings {
    /// Keep at most this many changes of one post in memory. A subscriber that lags further behind ends with
    /// `SUBSCRIPTION_LAGGED`.
    #[arg(long, env = "FEED_RING_CHANGES_MAX", default_value_t = 1024, value_parser = at_least_one())]
    pub feed_ring_changes_max: usize,
    /// Keep at most this many bytes of one post's changes in memory. The newest change is kept whatever its
    /// size.
    #[arg(long, env = "FEED_RING_BYTES_MAX", default_value_t = 4_194_304, value_parser = at_least_one())]
    pub feed_ring_bytes_max: usize,
    /// Keep a change in memory for at most this many seconds.
    #[arg(long, env = "FEED_RING_SECONDS_MAX", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub feed_ring_seconds_max: u64,
    /// Keep at most this many bytes of all posts' changes in memory.
    #[arg(long, env = "FEED_BYTES_MAX", default_value_t = 268_435_456, value_parser = at_least_one())]
    pub feed_bytes_max: usize,
    /// Read the changes of the last so many seconds into memory at the start, for subscribers that resume.
    #[arg(long, env = "FEED_START_SECONDS", default_value_t = 30)]
    pub feed_start_seconds: u64,
    /// Limit the readings of the database's history that run at the same time. Each serves all waiting
    /// subscribers of its kind: one those with cursors younger than 2 minutes, one those younger than 16, and
    /// so on, times 8; the last but one all older cursors, and the last one those that were slower than a
    /// reading.
    #[arg(long, env = "FEED_CATCH_UP_READERS_MAX", default_value_t = 4, value_parser = at_least_one())]
    pub feed_catch_up_readers_max: usize,
    /// End a reading of the history after this many seconds if others wait for the next one of its kind; the
    /// next one continues for all of them.
    #[arg(long, env = "FEED_CATCH_UP_TURN_SECONDS_MAX", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub feed_catch_up_turn_seconds_max: u64,
    /// Limit the past changes that wait for one subscriber. One that takes none waits for another reading.
    #[arg(long, env = "FEED_CATCH_UP_BUFFER_CHANGES_MAX", default_value_t = 4096, value_parser = at_least_one())]
    pub feed_catch_up_buffer_changes_max: usize,
    /// Limit the bytes of these; a single larger change still passes.
    #[arg(long, env = "FEED_CATCH_UP_BUFFER_BYTES_MAX", default_value_t = 1 << 20)]
    pub feed_catch_up_buffer_bytes_max: usize,
    /// Limit the bytes of past changes that wait for subscribers, of all together. Beyond it the fullest
    /// buffers are emptied, and filled again when their subscribers read.
    #[arg(long, env = "FEED_CATCH_UP_BYTES_MAX", default_value_t = 64 << 20)]
    pub feed_catch_up_bytes_max: usize,
    /// Limit the past changes that one subscriber gets; one that needs more ends with `RESYNC_REQUIRED`.
    #[arg(long, env = "FEED_CATCH_UP_CHANGES_MAX", default_value_t = 100_000, value_parser = at_least_one())]
    pub feed_catch_up_changes_max: usize,
    /// End a subscriber that catches up with `SUBSCRIPTION_LAGGED` when its reading makes no progress for this
    /// many seconds.
    #[arg(long, env = "FEED_CATCH_UP_SECONDS_MAX", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub feed_catch_up_seconds_max: u64,
    /// End a subscriber with `SUBSCRIPTION_LAGGED` when it has waited this many seconds for its turn to catch
    /// up.
    #[arg(long, env = "FEED_CATCH_UP_WAIT_SECONDS_MAX", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub feed_catch_up_wait_seconds_max: u64,
}

impl From<&FeedSettings> for HubSettings {
    fn from(settings: &FeedSettings) -> Self {
        Self::default()
            .ring_count_max(settings.feed_ring_changes_max)
            .ring_bytes_max(settings.feed_ring_bytes_max)
            .ring_age_max(Duration::from_secs(settings.feed_ring_seconds_max))
            .total_bytes_max(settings.feed_bytes_max)
            .start_before(Duration::from_secs(settings.feed_start_seconds))
            .catch_up_readers_max(settings.feed_catch_up_readers_max)
            .catch_up_turn_max(Duration::from_secs(settings.feed_catch_up_turn_seconds_max))
            .catch_up_buffer_count_max(settings.feed_catch_up_buffer_changes_max)
            .catch_up_buffer_bytes_max(settings.feed_catch_up_buffer_bytes_max)
            .catch_up_bytes_max(settings.feed_catch_up_bytes_max)
            .catch_up_time_max(Duration::from_secs(settings.feed_catch_up_seconds_max))
            .catch_up_wait_max(Duration::from_secs(settings.feed_catch_up_wait_seconds_max))
            .catch_up_count_max(settings.feed_catch_up_changes_max)
    }
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn hub(flags: &[&str]) -> HubSettings {
        let arguments = ["comments"].iter().chain(flags);
        HubSettings::from(&Config::parse_from(arguments).feed)
    }

    #[test]
    fn the_feed_has_the_hubs_own_limits_by_default() {
        assert_eq!(hub(&[]), HubSettings::default());
        let set = hub(&[
            "--feed-ring-changes-max=1",
            "--feed-ring-bytes-max=2",
            "--feed-ring-seconds-max=3",
            "--feed-bytes-max=4",
            "--feed-start-seconds=5",
            "--feed-catch-up-readers-max=6",
            "--feed-catch-up-changes-max=7",
            "--feed-catch-up-seconds-max=8",
            "--feed-catch-up-wait-seconds-max=9",
            "--feed-catch-up-turn-seconds-max=10",
            "--feed-catch-up-bytes-max=11",
            "--feed-catch-up-buffer-changes-max=12",
            "--feed-catch-up-buffer-bytes-max=13",
        ]);
        let expected = HubSettings::default()
            .ring_count_max(1)
            .ring_bytes_max(2)
            .ring_age_max(Duration::from_secs(3))
            .total_bytes_max(4)
            .start_before(Duration::from_secs(5))
            .catch_up_readers_max(6)
            .catch_up_count_max(7)
            .catch_up_time_max(Duration::from_secs(8))
            .catch_up_wait_max(Duration::from_secs(9))
            .catch_up_turn_max(Duration::from_secs(10))
            .catch_up_bytes_max(11)
            .catch_up_buffer_count_max(12)
            .catch_up_buffer_bytes_max(13);
        assert_eq!(set, expected);
    }

    #[test]
    fn a_ring_without_room_is_refused() {
        for flag in ["--feed-ring-changes-max=0", "--feed-ring-seconds-max=0"] {
            assert!(
                Config::try_parse_from(["comments", flag]).is_err(),
                "{flag}"
            );
        }
    }
}
