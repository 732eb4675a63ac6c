//! The limits and intervals of both halves, with their defaults.

use std::time::Duration;

use crate::stream::{ANSWER_BYTES_MAX, BYTES_AHEAD_MAX};
use crate::topics::look_back;

/// Makes a struct of settings, its defaults, and a method for each setting that returns the settings with
/// another value.
macro_rules! settings {
    ($(#[$doc:meta])* pub struct $name:ident {
        $($(#[$of_field:meta])* $field:ident: $type:ty = $default:expr,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            $(pub(crate) $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            $($(#[$of_field])* #[must_use] pub fn $field(self, $field: $type) -> Self {
                Self { $field, ..self }
            })*
        }
    };
}

settings! {
    /// How a projection runs. Each method returns the settings with one of them changed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let settings = changefeed::ProjectorSettings::default()
    ///     .lease(Duration::from_secs(5))
    ///     .audit_interval(Duration::ZERO);
    /// ```
    pub struct ProjectorSettings {
        /// Partitions of the projection, each with a leader of its own: they share the work where one transaction after
        /// the other is too slow. Another number than that of the present ones is built beside what serves. What counts
        /// is the number that the instance asks for that started last. The target collection must not have a collation of
        /// its own. Default 1; 64 at most.
        partitions: u32 = 1,
        /// Whether this process runs a command for operators. Then it asks for no number of partitions, but follows what
        /// is there, and leads none of them while other instances live. Default false.
        for_command: bool = false,
        /// Whether this process leads partitions. One that does not only reads how far the others have come, with two
        /// queries for each heartbeat, and asks for no number of partitions. Default true.
        leads: bool = true,
        /// Changes a transaction takes at most. Default 32768. A process begins with a small part of this and
        /// of the next two, and its transactions grow while they commit in less than half of
        /// [`ProjectorSettings::commit_aim`].
        batch_count_max: usize = 32_768,
        /// Distinct targets a transaction takes at most. Default 4096.
        batch_targets_max: usize = 4_096,
        /// Bytes a transaction writes at most, as estimated from its events and the number of its targets.
        /// Default 8 MiB. A single larger change still passes.
        batch_bytes_max: usize = 8 << 20,
        /// How long a transaction should take: a slower one makes the next ones smaller. Default 300 ms.
        commit_aim: Duration = Duration::from_millis(300),
        /// How long a batch waits for more changes after its first one, while changes are rare. Default 2 ms.
        batch_linger: Duration = Duration::from_millis(2),
        /// How long a batch waits at most when many changes come: 0.1 ms for each of those of the last second. A
        /// reader who waits at a barrier of the leading instance ends the wait. Default 50 ms.
        batch_linger_max: Duration = Duration::from_millis(50),
        /// How long a batch waits for more changes while the projection is more than a second behind: changes
        /// that are late already gain more from a larger batch than they lose by waiting. Default 250 ms.
        batch_linger_behind: Duration = Duration::from_millis(250),
        /// Events read ahead while a batch commits, with those of the batch. Default 65536.
        prefetch_count_max: usize = 65_536,
        /// Bytes of events read ahead while a batch commits, with those of the batch. Default 12 MiB. The partitions
        /// that a process leads when their streams are opened share them, but each has 2 MiB. One answer of the server
        /// for each, 16 MB at most, comes on top.
        prefetch_bytes_max: usize = 12 << 20,
        /// How long a leader may be silent before another instance takes over. Default 3 s: less than a reader
        /// should wait at a barrier ([`crate::Projector::wait_until_passed`]).
        lease: Duration = Duration::from_secs(3),
        /// The interval at which the leader renews its lease (or a third of the lease, if that is less), the other
        /// instances look at it, and all of them read the checkpoint. Default 1 s.
        heartbeat: Duration = Duration::from_secs(1),
        /// The interval at which the position of a quiet stream is stored, so that it does not fall out of the
        /// oplog. Default 5 s.
        idle_checkpoint: Duration = Duration::from_secs(5),
        /// Attempts to apply a batch before the changes that stop it become dead letters. Default 3.
        attempts_max: u32 = 3,
        /// Targets that one transaction of a rebuild or of a repair stores at most. Default 200. Their number
        /// follows [`ProjectorSettings::commit_aim`] and the size of their states.
        build_chunk: usize = 200,
        /// The interval at which the auditor compares a sample of targets with the source. Default 30 s; zero
        /// turns it off.
        audit_interval: Duration = Duration::from_secs(30),
        /// Targets that the auditor compares at each interval. Default 10.
        audit_sample: u32 = 10,
        /// The lag up to which [`crate::Projector::ready`] reports the projection as ready. Default 30 s.
        ready_lag_max: Duration = Duration::from_secs(30),
    }
}

settings! {
    /// How live topics are kept. Each method returns the settings with one of them changed.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let settings = changefeed::HubSettings::default()
    ///     .ring_age_max(Duration::from_secs(120))
    ///     .total_bytes_max(64 << 20);
    /// ```
    pub struct HubSettings {
        /// Changes a topic's ring keeps at most. Default 1024.
        ring_count_max: usize = 1024,
        /// Bytes of memory that a topic's ring holds at most. Its newest change is kept whatever its size. Default 4 MiB.
        ring_bytes_max: usize = 4 << 20,
        /// How long a ring keeps a change. Default 60 s.
        ring_age_max: Duration = Duration::from_secs(60),
        /// Bytes of memory that all rings together hold at most, with the changes that were decoded for subscribers
        /// ([`crate::FromDocument::HEAP_PER_BYTE`]). Default 256 MiB.
        total_bytes_max: usize = 256 << 20,
        /// How much of the past is read into the rings at the start, so that subscribers that
        /// reconnect after a restart are served from memory. Default 30 s.
        start_before: Duration = Duration::from_secs(30),
        /// Topics without a ring of which the hub remembers the last change, so that a subscriber that returns to a
        /// quiet one needs no reading of the history. Each takes 25 to 60 bytes. Beyond it, those with the oldest
        /// changes are forgotten. Default 400000, in 13 MiB.
        remembered_topics_max: usize = 400_000,
        /// How much of the past the hub looks through in the background at its start, for the last change of each
        /// topic. Zero turns it off. Default 10 min.
        look_back: Duration = Duration::from_secs(600),
        /// Readings of the database's history that may run at once, each for all who wait for it. There
        /// is one for cursors of less than 2 minutes, one for less than 16, one for less than 128, and so on; the
        /// last but one is for all older cursors, and the last one for those that were slower than a reading.
        /// Default 4.
        catch_up_readers_max: usize = 4,
        /// How long a reading goes on while others wait for the next one of its kind; then these get their
        /// turn, and whoever is not through yet comes along. Default 5 s.
        catch_up_turn_max: Duration = Duration::from_secs(5),
        /// How long a reading may stand still, as that of a server that says nothing, before a subscriber
        /// ends as one that lagged, with its last cursor. Default 60 s.
        catch_up_time_max: Duration = Duration::from_secs(60),
        /// How long a subscriber waits for its turn before it ends as one that lagged, with its last cursor.
        /// Default 60 s.
        catch_up_wait_max: Duration = Duration::from_secs(60),
        /// Changes that wait for one subscriber that catches up. One that is fuller when the reading has more
        /// for it, and takes nothing for a moment, waits for another reading. Default 4096.
        catch_up_buffer_count_max: usize = 4096,
        /// Bytes of changes that wait for one subscriber that catches up; a single larger change still passes.
        /// Default 1 MiB.
        catch_up_buffer_bytes_max: usize = 1 << 20,
        /// Bytes of changes that wait for subscribers that catch up, all together. Beyond it, the fullest
        /// buffers are emptied, those of subscribers that take nothing first, and filled again when these
        /// read on. Default 64 MiB.
        catch_up_bytes_max: usize = 64 << 20,
        /// Changes one catch-up delivers at most before the subscriber has to query again. Default 100000.
        catch_up_count_max: usize = 100_000,
    }
}

impl HubSettings {
    /// Bytes that a hub holds of changes at most: all rings, what is read ahead of them, and one answer of the
    /// server; the same for the look back at its start. Catching up comes on top: [`HubSettings::catch_up_bytes_max`], and up to two answers of the server
    /// for each reading.
    pub fn event_bytes_max(&self) -> usize {
        let look_back = match self.look_back.is_zero() {
            true => 0,
            false => look_back::AHEAD_BYTES_MAX + ANSWER_BYTES_MAX,
        };
        self.total_bytes_max + BYTES_AHEAD_MAX + ANSWER_BYTES_MAX + look_back
    }
}
