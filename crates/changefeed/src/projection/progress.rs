//! What this process knows of how far the projection has come.

use bson::{DateTime, Timestamp};

use super::Slot;
use super::checkpoint::Checkpoint;

/// How far the projection has come, as this process knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Progress {
    /// The epoch of the leader that this was heard of.
    pub epoch: i64,
    /// Every change up to this time is in the serving state.
    pub passed: Option<Timestamp>,
    /// The generation that readers use.
    pub serving: Option<i64>,
    /// How many partitions maintain it, where it is divided.
    pub partitions: Option<u32>,
    /// When the serving state was last known to be level with the source, on the server's clock.
    pub level: DateTime,
    /// Whether this process writes.
    pub leading: bool,
    /// What keeps this process from building the state, for operators.
    pub trouble: Option<String>,
}

impl Progress {
    /// Nothing is known at this time of the server's.
    pub fn unknown(now: DateTime) -> Self {
        Self {
            epoch: 0,
            passed: None,
            serving: None,
            partitions: None,
            level: now,
            leading: false,
            trouble: None,
        }
    }

    /// What a checkpoint says of the progress. `leading`: whether this process wrote it.
    pub fn from_checkpoint(checkpoint: &Checkpoint, leading: bool) -> Self {
        Self {
            epoch: checkpoint.epoch,
            passed: Some(checkpoint.position)
                .filter(|_| checkpoint.serving.is_some() && checkpoint.intact),
            serving: checkpoint.serving,
            partitions: checkpoint.partitions,
            level: checkpoint.level,
            leading,
            trouble: None,
        }
    }

    /// Whether this is newer than what was known. What was read before a process began to lead may
    /// arrive after its end.
    pub fn is_news_to(&self, known: &Self) -> bool {
        let older = self.epoch < known.epoch
            || (self.epoch == known.epoch && self.passed.is_some() && self.passed < known.passed);
        !older && self != known
    }

    /// The place of the state that readers use.
    pub fn slot(&self, field: &str) -> Option<Slot> {
        self.serving
            .map(|generation| Slot::new(field, generation, self.partitions))
    }
}
