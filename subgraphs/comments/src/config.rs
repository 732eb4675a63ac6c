//! The settings of the comments subgraph, from flags or the environment.

use std::time::Duration;

use changefeed::HubSettings;
use clap::builder::RangedU64ValueParser;
use subgraph::HostSettings;
use subgraph::LimitSettings;
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
    /// Changes of one post that stay in memory. A subscriber that is further behind ends with
    /// `SUBSCRIPTION_LAGGED`.
    #[arg(long, env = "FEED_RING_CHANGES_MAX", default_value_t = 1024, value_parser = at_least_one())]
    pub feed_ring_changes_max: usize,
    /// Bytes of one post's changes that stay in memory; the newest one stays whatever its size.
    #[arg(long, env = "FEED_RING_BYTES_MAX", default_value_t = 4_194_304, value_parser = at_least_one())]
    pub feed_ring_bytes_max: usize,
    /// Seconds that a change stays in memory.
    #[arg(long, env = "FEED_RING_SECONDS_MAX", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub feed_ring_seconds_max: u64,
    /// Bytes of all posts' changes together that stay in memory.
    #[arg(long, env = "FEED_BYTES_MAX", default_value_t = 268_435_456, value_parser = at_least_one())]
    pub feed_bytes_max: usize,
    /// Seconds of the past that are read into memory at the start, for subscribers that come back.
    #[arg(long, env = "FEED_START_SECONDS", default_value_t = 30)]
    pub feed_start_seconds: u64,
    /// Readings of the database's history that may run at the same time, each for all subscribers that
    /// wait for it: one for cursors of less than 2 minutes, one for less than 16, and so on, times 8; the
    /// last but one for all older cursors, and the last one for those that were slower than a reading.
    #[arg(long, env = "FEED_CATCH_UP_READERS_MAX", default_value_t = 4, value_parser = at_least_one())]
    pub feed_catch_up_readers_max: usize,
    /// Seconds that such a reading goes on while others wait for the next one of its kind; then these
    /// come along.
    #[arg(long, env = "FEED_CATCH_UP_TURN_SECONDS_MAX", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub feed_catch_up_turn_seconds_max: u64,
    /// Changes from such readings that wait for one subscriber; one that takes nothing waits for another
    /// reading then.
    #[arg(long, env = "FEED_CATCH_UP_BUFFER_CHANGES_MAX", default_value_t = 4096, value_parser = at_least_one())]
    pub feed_catch_up_buffer_changes_max: usize,
    /// Bytes of them; a single larger change still passes.
    #[arg(long, env = "FEED_CATCH_UP_BUFFER_BYTES_MAX", default_value_t = 1 << 20)]
    pub feed_catch_up_buffer_bytes_max: usize,
    /// Bytes of changes from such readings that wait for subscribers, all together. Beyond it, the
    /// fullest buffers are emptied, and filled again when their subscribers read on.
    #[arg(long, env = "FEED_CATCH_UP_BYTES_MAX", default_value_t = 64 << 20)]
    pub feed_catch_up_bytes_max: usize,
    /// Changes that one subscriber gets so; one that needs more ends with `RESYNC_REQUIRED`.
    #[arg(long, env = "FEED_CATCH_UP_CHANGES_MAX", default_value_t = 100_000, value_parser = at_least_one())]
    pub feed_catch_up_changes_max: usize,
    /// Seconds that its reading may stand still before it ends with `SUBSCRIPTION_LAGGED`.
    #[arg(long, env = "FEED_CATCH_UP_SECONDS_MAX", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub feed_catch_up_seconds_max: u64,
    /// Seconds that it waits for its turn before it ends with `SUBSCRIPTION_LAGGED`.
    #[arg(long, env = "FEED_CATCH_UP_WAIT_SECONDS_MAX", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub feed_catch_up_wait_seconds_max: u64,
}

impl From<&FeedSettings> for HubSettings {
    fn from(settings: &FeedSettings) -> Self {
        Self {
            ring_count_max: settings.feed_ring_changes_max,
            ring_bytes_max: settings.feed_ring_bytes_max,
            ring_age_max: Duration::from_secs(settings.feed_ring_seconds_max),
            total_bytes_max: settings.feed_bytes_max,
            start_before: Duration::from_secs(settings.feed_start_seconds),
            catch_up_readers_max: settings.feed_catch_up_readers_max,
            catch_up_turn_max: Duration::from_secs(settings.feed_catch_up_turn_seconds_max),
            catch_up_buffer_count_max: settings.feed_catch_up_buffer_changes_max,
            catch_up_buffer_bytes_max: settings.feed_catch_up_buffer_bytes_max,
            catch_up_bytes_max: settings.feed_catch_up_bytes_max,
            catch_up_time_max: Duration::from_secs(settings.feed_catch_up_seconds_max),
            catch_up_wait_max: Duration::from_secs(settings.feed_catch_up_wait_seconds_max),
            catch_up_count_max: settings.feed_catch_up_changes_max,
        }
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
    fn the_feed_has_the_hubs_own_limits_unless_told_otherwise() {
        assert_eq!(hub(&[]), HubSettings::default());
        let told = hub(&[
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
        let expected = HubSettings {
            ring_count_max: 1,
            ring_bytes_max: 2,
            ring_age_max: Duration::from_secs(3),
            total_bytes_max: 4,
            start_before: Duration::from_secs(5),
            catch_up_readers_max: 6,
            catch_up_count_max: 7,
            catch_up_time_max: Duration::from_secs(8),
            catch_up_wait_max: Duration::from_secs(9),
            catch_up_turn_max: Duration::from_secs(10),
            catch_up_bytes_max: 11,
            catch_up_buffer_count_max: 12,
            catch_up_buffer_bytes_max: 13,
        };
        assert_eq!(told, expected);
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
