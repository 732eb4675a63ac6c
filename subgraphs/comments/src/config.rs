//! The settings of the comments subgraph, from flags or the environment.

use std::time::Duration;

use changefeed::HubSettings;
use clap::ArgAction;
use clap::builder::RangedU64ValueParser;
use service::{duration, duration_from};

use crate::FairUseSettings;
use crate::holding::HoldComments;
use crate::store::OptionalIndexes;

/// Serves the comments subgraph of Rejoinder: comments, each post's list of them, and their live feed.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "comments", version)]
pub struct Config {
    /// Fail `/health/ready` when the live feed has received nothing from the database for this long, not even
    /// that there are no changes.
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
    /// Remember at most this many posts that exist, each for a minute, so that a new comment need not look for its
    /// post in the database. The default takes about 6 MB. 0 turns it off, and with it the change stream of
    /// deleted posts.
    #[arg(long, env = "KNOWN_POSTS_MAX", default_value_t = 100_000)]
    pub known_posts_max: usize,
    /// Hold at most this many bytes of memory for the newest comments of the posts that are read, so that the first page
    /// of a list needs no query. The default has room for the newest 20 comments of some 6,000 posts. 0 turns it off: each
    /// page is read from the database, as it is where change streams may be read at secondaries (`readPreference` in
    /// `MONGO_URI`), on a sharded cluster, and without the live feed.
    #[arg(long, env = "NEWEST_COMMENTS_BYTES_MAX", default_value_t = 64 << 20)]
    pub newest_comments_bytes_max: usize,
    /// Hold new and edited comments until a moderator shows them: `never`, `first` (those of authors who have no other
    /// visible comment, and of guests) or `always`. Comments of moderators are never held.
    #[arg(long, env = "HOLD_COMMENTS", value_enum, default_value_t)]
    pub hold_comments: HoldComments,
    /// How much of the past the live feed keeps.
    #[command(flatten)]
    pub feed: FeedSettings,
    /// How much one writer may write.
    #[command(flatten)]
    pub fair_use: FairUseSettings,
    /// What all subgraphs have.
    #[command(flatten)]
    pub subgraph: subgraph::SubgraphSettings,
}

/// How much of the past the live feed keeps in memory, and how much of it one subscriber may read
/// from the database again.
#[derive(Clone, Debug, clap::Args)]
pub struct FeedSettings {
    /// Keep at most this many changes of one post in memory. A subscriber that lags further behind ends with
    /// `SUBSCRIPTION_LAGGED`.
    #[arg(long, env = "FEED_RING_CHANGES_MAX", default_value_t = 1024, value_parser = at_least_one())]
    pub feed_ring_changes_max: usize,
    /// Hold at most this many bytes of memory for one post's changes. The newest change is kept whatever its
    /// size.
    #[arg(long, env = "FEED_RING_BYTES_MAX", default_value_t = 4_194_304, value_parser = at_least_one())]
    pub feed_ring_bytes_max: usize,
    /// Keep a change in memory for at most this long. Older changes are read from the database's history.
    #[arg(long, env = "FEED_RING_AGE_MAX", alias = "feed-ring-seconds-max", default_value = "60s", value_parser = duration_from(Duration::from_secs(1)))]
    pub feed_ring_age_max: Duration,
    /// Hold at most this many bytes of memory for all posts' changes.
    #[arg(long, env = "FEED_BYTES_MAX", default_value_t = 268_435_456, value_parser = at_least_one())]
    pub feed_bytes_max: usize,
    /// Read the changes of this last period into memory at the start, so that subscribers that resume after a
    /// restart need no reading of the database's history.
    #[arg(long, env = "FEED_START_HISTORY", alias = "feed-start-seconds", default_value = "30s", value_parser = duration)]
    pub feed_start_history: Duration,
    /// Look through the changes of this period in the background at the start, for the last change of each post.
    /// Subscribers that resume on posts without changes since their cursor then need no reading of the database's
    /// history. 0s turns it off.
    #[arg(long, env = "FEED_LOOK_BACK", default_value = "10m", value_parser = duration)]
    pub feed_look_back: Duration,
    /// Remember the last change of at most this many posts, in 25 to 60 bytes each. Those with the oldest changes
    /// are forgotten first, and subscribers that resume from before them need a reading of the history.
    #[arg(long, env = "FEED_REMEMBERED_POSTS_MAX", default_value_t = 400_000)]
    pub feed_remembered_posts_max: usize,
    /// Limit the readers of the database's history that run at the same time. Each serves a group of waiting
    /// subscribers: the first those with cursors of the last 2 minutes, the next those of the last 16, and so
    /// on, times 8; the last but one all older cursors, and the last one subscribers that were slower than
    /// their reader.
    #[arg(long, env = "FEED_CATCH_UP_READERS_MAX", default_value_t = 4, value_parser = at_least_one())]
    pub feed_catch_up_readers_max: usize,
    /// End a reader of the history after this time if other subscribers wait in its group; the next reader
    /// continues for all of them.
    #[arg(long, env = "FEED_CATCH_UP_TURN_MAX", alias = "feed-catch-up-turn-seconds-max", default_value = "5s", value_parser = duration_from(Duration::from_secs(1)))]
    pub feed_catch_up_turn_max: Duration,
    /// Limit the past changes that wait for one subscriber. If it reads none of them, it waits for another
    /// reader.
    #[arg(long, env = "FEED_CATCH_UP_BUFFER_CHANGES_MAX", default_value_t = 4096, value_parser = at_least_one())]
    pub feed_catch_up_buffer_changes_max: usize,
    /// Limit the bytes of the past changes that wait for one subscriber; a single larger change still passes.
    #[arg(long, env = "FEED_CATCH_UP_BUFFER_BYTES_MAX", default_value_t = 1 << 20)]
    pub feed_catch_up_buffer_bytes_max: usize,
    /// Limit the bytes of past changes that wait for subscribers, of all together. Beyond it the fullest
    /// buffers are emptied, and filled again when their subscribers read.
    #[arg(long, env = "FEED_CATCH_UP_BYTES_MAX", default_value_t = 64 << 20)]
    pub feed_catch_up_bytes_max: usize,
    /// Limit the past changes that one subscriber gets; one that needs more ends with `RESYNC_REQUIRED`.
    #[arg(long, env = "FEED_CATCH_UP_CHANGES_MAX", default_value_t = 100_000, value_parser = at_least_one())]
    pub feed_catch_up_changes_max: usize,
    /// End a subscriber that catches up with `SUBSCRIPTION_LAGGED` when its reader makes no progress for this
    /// long.
    #[arg(long, env = "FEED_CATCH_UP_STALL_MAX", alias = "feed-catch-up-seconds-max", default_value = "60s", value_parser = duration_from(Duration::from_secs(1)))]
    pub feed_catch_up_stall_max: Duration,
    /// End a subscriber with `SUBSCRIPTION_LAGGED` when it has waited this long for its turn to catch up.
    #[arg(long, env = "FEED_CATCH_UP_WAIT_MAX", alias = "feed-catch-up-wait-seconds-max", default_value = "60s", value_parser = duration_from(Duration::from_secs(1)))]
    pub feed_catch_up_wait_max: Duration,
}

impl Config {
    /// The room for the newest comments in memory: none without the live feed, which keeps them up to date.
    pub fn newest_comments_room(&self) -> usize {
        match self.live_feed {
            true => self.newest_comments_bytes_max,
            false => 0,
        }
    }

    /// The indexes that these settings need besides those of every service.
    pub fn optional_indexes(&self) -> OptionalIndexes {
        let holds_first = self.hold_comments == HoldComments::First;
        OptionalIndexes {
            authors: holds_first || self.fair_use.looks_for_authors(),
            writers: self.fair_use.counts_writers(),
        }
    }
}

impl From<&FeedSettings> for HubSettings {
    fn from(settings: &FeedSettings) -> Self {
        Self::default()
            .ring_count_max(settings.feed_ring_changes_max)
            .ring_bytes_max(settings.feed_ring_bytes_max)
            .ring_age_max(settings.feed_ring_age_max)
            .total_bytes_max(settings.feed_bytes_max)
            .start_before(settings.feed_start_history)
            .look_back(settings.feed_look_back)
            .remembered_topics_max(settings.feed_remembered_posts_max)
            .catch_up_readers_max(settings.feed_catch_up_readers_max)
            .catch_up_turn_max(settings.feed_catch_up_turn_max)
            .catch_up_buffer_count_max(settings.feed_catch_up_buffer_changes_max)
            .catch_up_buffer_bytes_max(settings.feed_catch_up_buffer_bytes_max)
            .catch_up_bytes_max(settings.feed_catch_up_bytes_max)
            .catch_up_time_max(settings.feed_catch_up_stall_max)
            .catch_up_wait_max(settings.feed_catch_up_wait_max)
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
            "--feed-ring-age-max=3s",
            "--feed-bytes-max=4",
            "--feed-start-history=5s",
            "--feed-look-back=0s",
            "--feed-remembered-posts-max=14",
            "--feed-catch-up-readers-max=6",
            "--feed-catch-up-changes-max=7",
            "--feed-catch-up-stall-max=8s",
            "--feed-catch-up-wait-max=9s",
            "--feed-catch-up-turn-max=10s",
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
            .look_back(Duration::ZERO)
            .remembered_topics_max(14)
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
    fn without_the_live_feed_no_pages_are_in_memory() {
        let room = |flag: &str| Config::parse_from(["comments", flag]).newest_comments_room();
        assert!(room("--live-feed=true") > 0);
        assert_eq!(room("--live-feed=false"), 0);
        assert!(Config::try_parse_from(["comments", "--live-feed=perhaps"]).is_err());
    }

    #[test]
    fn a_ring_without_room_is_refused() {
        for flag in ["--feed-ring-changes-max=0", "--feed-ring-age-max=0s"] {
            assert!(
                Config::try_parse_from(["comments", flag]).is_err(),
                "{flag}"
            );
        }
    }
}
