//! The limits and intervals of both halves, with their defaults.

use std::time::Duration;

use crate::stream::{ANSWER_BYTES_MAX, BYTES_AHEAD_MAX};

/// How a projection runs. Start from [`Default`] and change what you need.
#[derive(Clone, Debug)]
pub struct ProjectorSettings {
    /// Changes a transaction takes at most. Default 32768. A process begins with a small part of this and
    /// of the next two, and its transactions grow while they commit in less than half of
    /// [`ProjectorSettings::commit_aim`].
    pub batch_count_max: usize,
    /// Distinct targets a transaction takes at most. Default 4096.
    pub batch_targets_max: usize,
    /// Bytes a transaction writes at most, as estimated from its events and the number of its targets.
    /// Default 8 MiB. A single larger change still passes.
    pub batch_bytes_max: usize,
    /// How long a transaction should take: a slower one makes the next ones smaller. Default 300 ms.
    pub commit_aim: Duration,
    /// How long a batch waits for more changes after its first one. Default 2 ms.
    pub batch_linger: Duration,
    /// The same while the projection is more than a second behind: what is late already gains more
    /// from a larger batch than it loses by waiting for it. Default 250 ms.
    pub batch_linger_behind: Duration,
    /// Events read ahead while a batch commits, with those of the batch. Default 65536.
    pub prefetch_count_max: usize,
    /// Bytes of the same. Default 12 MiB. One answer of the server, 16 MB at most, comes on top.
    pub prefetch_bytes_max: usize,
    /// How long a leader may be silent before another instance takes over. Default 10 s.
    pub lease: Duration,
    /// How often a standing-by instance looks whether the lease is free, a leader renews it and
    /// everyone reads the checkpoint. Default 1 s.
    pub heartbeat: Duration,
    /// How often the position of a quiet stream is stored. Default 5 s.
    pub idle_checkpoint: Duration,
    /// How often a batch is tried before the changes that stop it become dead letters. Default 3.
    pub attempts_max: u32,
    /// Targets built in one transaction of a rebuild, or repaired in one, at most. Default 200. Their
    /// number follows [`ProjectorSettings::commit_aim`] and the size of their states.
    pub build_chunk: usize,
    /// How often the auditor takes a sample. Default 30 s; zero turns it off.
    pub audit_interval: Duration,
    /// Targets in a sample. Default 10.
    pub audit_sample: u32,
    /// How far behind the projection may be to count as ready. Default 30 s.
    pub ready_lag_max: Duration,
}

impl Default for ProjectorSettings {
    fn default() -> Self {
        Self {
            batch_count_max: 32_768,
            batch_targets_max: 4_096,
            batch_bytes_max: 8 << 20,
            commit_aim: Duration::from_millis(300),
            batch_linger: Duration::from_millis(2),
            batch_linger_behind: Duration::from_millis(250),
            prefetch_count_max: 65_536,
            prefetch_bytes_max: 12 << 20,
            lease: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
            idle_checkpoint: Duration::from_secs(5),
            attempts_max: 3,
            build_chunk: 200,
            audit_interval: Duration::from_secs(30),
            audit_sample: 10,
            ready_lag_max: Duration::from_secs(30),
        }
    }
}

/// How live topics are kept. Start from [`Default`] and change what you need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSettings {
    /// Changes a topic's ring keeps at most. Default 1024.
    pub ring_count_max: usize,
    /// Bytes of changes a topic's ring keeps at most. Default 4 MiB.
    pub ring_bytes_max: usize,
    /// How long a ring keeps a change. Default 60 s.
    pub ring_age_max: Duration,
    /// Bytes of changes that all rings together keep at most. Default 256 MiB.
    pub total_bytes_max: usize,
    /// How much of the past is read into the rings at the start, so that subscribers that
    /// reconnect after a restart are served from memory. Default 30 s.
    pub start_before: Duration,
    /// Readings of the database's history that may run at once, each for all who wait for it. There
    /// is one for cursors of less than 2 minutes, one for less than 16, one for less than 128, and so on; the
    /// last but one is for all older cursors, and the last one for those that were slower than a reading.
    /// Default 4.
    pub catch_up_readers_max: usize,
    /// How long a reading goes on while others wait for the next one of its kind; then these get their
    /// turn, and whoever is not through yet comes along. Default 5 s.
    pub catch_up_turn_max: Duration,
    /// How long a reading may stand still, as that of a server that says nothing, before a subscriber
    /// ends as one that lagged, with its last cursor. Default 60 s.
    pub catch_up_time_max: Duration,
    /// How long a subscriber waits for its turn before it ends as one that lagged, with its last cursor.
    /// Default 60 s.
    pub catch_up_wait_max: Duration,
    /// Changes that wait for one subscriber that catches up. One that is fuller when the reading has more
    /// for it, and takes nothing for a moment, waits for another reading. Default 4096.
    pub catch_up_buffer_count_max: usize,
    /// Bytes of them; a single larger change still passes. Default 1 MiB.
    pub catch_up_buffer_bytes_max: usize,
    /// Bytes of changes that wait for subscribers that catch up, all together. Beyond it, the fullest
    /// buffers are emptied, those of subscribers that take nothing first, and filled again when these
    /// read on. Default 64 MiB.
    pub catch_up_bytes_max: usize,
    /// Changes one catch-up delivers at most before the subscriber has to query again. Default 100000.
    pub catch_up_count_max: usize,
}

impl HubSettings {
    /// Bytes of events that a hub holds at most, as the server sent them: all rings, what is read
    /// ahead of them, and one answer of the server. Decoded changes may take a few times as much as
    /// the events that they come from. Catching up comes on top: [`HubSettings::catch_up_bytes_max`], and
    /// up to two answers of the server for each reading.
    pub fn event_bytes_max(&self) -> usize {
        self.total_bytes_max + BYTES_AHEAD_MAX + ANSWER_BYTES_MAX
    }
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            ring_count_max: 1024,
            ring_bytes_max: 4 << 20,
            ring_age_max: Duration::from_secs(60),
            total_bytes_max: 256 << 20,
            start_before: Duration::from_secs(30),
            catch_up_readers_max: 4,
            catch_up_turn_max: Duration::from_secs(5),
            catch_up_time_max: Duration::from_secs(60),
            catch_up_wait_max: Duration::from_secs(60),
            catch_up_buffer_count_max: 4096,
            catch_up_buffer_bytes_max: 1 << 20,
            catch_up_bytes_max: 64 << 20,
            catch_up_count_max: 100_000,
        }
    }
}
