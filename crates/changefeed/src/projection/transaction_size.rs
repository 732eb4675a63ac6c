//! How much one transaction takes: what the server commits within the time that is aimed at.
//!
//! The server ends a transaction after 60 s, or refuses it as a write conflict when its cache cannot
//! hold what was written. The same transaction tried again fails again. So the size follows what the
//! server takes: it begins small, grows while full transactions commit within the time, shrinks in
//! proportion when one takes longer, and is halved by each failure, down to one change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A commit makes the size at most so much larger.
const GROWTH_MAX: f64 = 2.0;
/// How far beyond the time a transaction may get by growing. Its time grows less than its size where
/// many changes meet the same targets, and only trying shows.
const OVERSHOOT: f64 = 1.5;
const FAILURE_DIVISOR: f64 = 2.0;
/// One slow transaction leaves at least this part of the size.
const SLOW_SHARE_MIN: f64 = 0.25;

/// What a transaction takes, or may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Changes of the source.
    pub changes: usize,
    /// Distinct target documents that it updates.
    pub targets: usize,
    /// Bytes of what is written, as estimated.
    pub bytes: usize,
}

impl Size {
    pub const NOTHING: Self = Self {
        changes: 0,
        targets: 0,
        bytes: 0,
    };

    /// Targets that are computed, whatever the number of their source documents.
    pub fn of_targets(targets: usize) -> Self {
        Self {
            targets,
            ..Self::NOTHING
        }
    }

    /// So many times as much.
    pub fn times(self, count: u32) -> Self {
        let times = |size: usize| size.saturating_mul(count as usize);
        Self {
            changes: times(self.changes),
            targets: times(self.targets),
            bytes: times(self.bytes),
        }
    }

    /// Whether nothing more fits: one of the bounds is reached.
    pub fn fills(&self, room: &Self) -> bool {
        self.changes >= room.changes || self.targets >= room.targets || self.bytes >= room.bytes
    }
}

/// The size of one instance's transactions, as a share of the most that the settings allow. One share
/// moves all three bounds, so each transaction is cut by the one that it reaches first.
#[derive(Debug)]
pub(crate) struct TransactionSize {
    most: Size,
    first_share: f64,
    aim: Duration,
    /// The bits of an `f64`, above 0 and at most 1.
    share: AtomicU64,
}

impl TransactionSize {
    /// A size that begins with a part of `most` and never exceeds it; `aim` is the time that a
    /// transaction should take.
    pub fn new(most: Size, first_share: f64, aim: Duration) -> Self {
        let most = Size {
            changes: most.changes.max(1),
            targets: most.targets.max(1),
            bytes: most.bytes.max(1),
        };
        Self {
            most,
            first_share,
            aim,
            share: AtomicU64::new(first_share.to_bits()),
        }
    }

    /// What the next transaction may take. A single change passes whatever its bytes.
    pub fn room(&self) -> Size {
        let part = |most: usize| ((most as f64 * self.share()) as usize).max(1);
        Size {
            changes: part(self.most.changes),
            targets: part(self.most.targets),
            bytes: part(self.most.bytes),
        }
    }

    /// A transaction of this size took so long; `full` when it was cut because it filled its room.
    pub fn committed(&self, used: Size, took: Duration, full: bool) {
        let share = self.share();
        if took > self.aim {
            // One that is slow for another reason than its size must not make all of them tiny.
            let floor = share.min(self.first_share);
            let part = self.aim.as_secs_f64() / took.as_secs_f64();
            let less = share.min(self.share_of(used)) * part.max(SLOW_SHARE_MIN);
            self.set(less.max(floor));
        } else if full && took < self.aim {
            let growth = OVERSHOOT * self.aim.as_secs_f64() / took.as_secs_f64();
            self.set(share * growth.min(GROWTH_MAX));
        }
    }

    /// A transaction of this size failed.
    pub fn failed(&self, used: Size) {
        self.set(self.share().min(self.share_of(used)) / FAILURE_DIVISOR);
    }

    fn share(&self) -> f64 {
        f64::from_bits(self.share.load(Ordering::Relaxed))
    }

    fn set(&self, share: f64) {
        // With this one a transaction takes a single change of a single target.
        let least = 1.0 / self.most.changes.max(self.most.targets) as f64;
        let share = share.clamp(least, 1.0);
        self.share.store(share.to_bits(), Ordering::Relaxed);
    }

    fn share_of(&self, used: Size) -> f64 {
        let part = |used: usize, most: usize| used as f64 / most as f64;
        part(used.changes, self.most.changes)
            .max(part(used.targets, self.most.targets))
            .max(part(used.bytes, self.most.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AIM: Duration = Duration::from_millis(300);
    const QUICK: Duration = Duration::from_millis(20);
    const MOST: Size = Size {
        changes: 32_768,
        targets: 4_096,
        bytes: 8 << 20,
    };

    fn beginning() -> TransactionSize {
        TransactionSize::new(MOST, 1.0 / 256.0, AIM)
    }

    fn grown() -> TransactionSize {
        let size = beginning();
        (0..20).for_each(|_| size.committed(size.room(), QUICK, true));
        size
    }

    #[test]
    fn it_begins_small_and_grows_with_full_and_quick_commits_up_to_the_most() {
        let size = beginning();
        let first = size.room();
        assert_eq!((first.changes, first.targets), (128, 16));
        size.committed(first, QUICK, false);
        size.committed(first, AIM, true);
        assert_eq!(size.room(), first, "neither full nor quick");
        size.committed(first, QUICK, true);
        assert_eq!(size.room().targets, 32);
        assert_eq!(grown().room(), MOST);
    }

    #[test]
    fn a_slow_commit_shrinks_it_in_proportion_but_not_below_its_beginning() {
        let size = grown();
        size.committed(MOST, AIM * 3 / 2, true);
        assert_eq!(size.room().targets, 2_730);
        (0..20).for_each(|_| size.committed(size.room(), AIM * 100, true));
        assert_eq!(size.room(), beginning().room());
    }

    #[test]
    fn a_failure_halves_what_was_used_down_to_one_change() {
        let size = grown();
        let used = Size {
            changes: 1_000,
            targets: 1_000,
            bytes: 1 << 20,
        };
        size.failed(used);
        assert_eq!(size.room().targets, 500);
        for _ in 0..20 {
            let room = size.room();
            size.failed(room);
            assert!(size.room().changes <= (room.changes / 2).max(1));
        }
        let least = size.room();
        assert_eq!((least.changes, least.targets), (1, 1));
        (0..20).for_each(|_| size.committed(size.room(), QUICK, true));
        assert_eq!(size.room(), MOST, "it grows back");
    }

    #[test]
    fn one_large_change_that_fails_does_not_stop_the_halving() {
        let size = grown();
        let large = Size {
            changes: 1,
            targets: 1,
            bytes: 64 << 20,
        };
        size.failed(large);
        assert_eq!(size.room().targets, 2_048, "at least half");
    }
}
