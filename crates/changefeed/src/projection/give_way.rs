//! While others write faster than the projection can follow, it leaves them half of the time.
//!
//! In an import the projection falls behind whatever it does, and its transactions take from the server
//! what the import needs. It rests after each of them for as long as it took, and catches up afterwards. The
//! server's clock says how much is written: its increment counts the entries of the oplog in a second.

use std::time::Duration;

use bson::Timestamp;

/// Others are faster when they write so many times the changes that were applied meanwhile.
const FASTER: usize = 2;
/// Below this age of the last applied change, nothing is to be caught up.
pub(crate) const AGE_MIN: Duration = Duration::from_secs(1);
/// From this age on it does not rest: the oplog has an end.
const AGE_MAX: Duration = Duration::from_secs(60);
/// The longest rest, so that a stop and a heartbeat are not late.
const REST_MAX: Duration = Duration::from_millis(300);

/// What was seen after the last batch.
#[derive(Debug, Default)]
pub(crate) struct GiveWay {
    seen: Option<Timestamp>,
}

impl GiveWay {
    /// How long to rest after a batch of so many `changes` whose transaction `took` so long. `age` is that
    /// of its last change, `now` the server's time.
    pub fn rest(
        &mut self,
        now: Timestamp,
        changes: usize,
        age: Duration,
        took: Duration,
    ) -> Duration {
        let Some(seen) = self.seen.replace(now) else {
            return Duration::ZERO;
        };
        // Of an earlier second it is not known how many entries it had: no more than these are certain.
        let written = match now.time == seen.time {
            true => now.increment.saturating_sub(seen.increment),
            false => now.increment,
        };
        let written = usize::try_from(written).unwrap_or(usize::MAX);
        let is_outpaced = written > FASTER * changes && (AGE_MIN..AGE_MAX).contains(&age);
        match is_outpaced {
            true => took.min(REST_MAX),
            false => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(100);
    const AGE: Duration = Duration::from_secs(5);

    fn at(time: u32, increment: u32) -> Timestamp {
        Timestamp { time, increment }
    }

    fn rests(from: Timestamp, to: Timestamp, changes: usize, age: Duration) -> Duration {
        let mut give_way = GiveWay::default();
        assert_eq!(give_way.rest(from, changes, age, TOOK), Duration::ZERO);
        give_way.rest(to, changes, age, TOOK)
    }

    #[test]
    fn it_rests_while_others_write_faster_than_it_applies() {
        assert_eq!(rests(at(1, 1_000), at(1, 4_000), 1_000, AGE), TOOK);
        assert_eq!(rests(at(1, 9_000), at(2, 2_500), 1_000, AGE), TOOK);
    }

    #[test]
    fn it_catches_up_at_full_speed_when_the_writing_ends() {
        assert_eq!(
            rests(at(1, 1_000), at(1, 1_002), 1_000, AGE),
            Duration::ZERO
        );
        assert_eq!(rests(at(1, 1_000), at(2, 2), 1_000, AGE), Duration::ZERO);
    }

    #[test]
    fn it_rests_neither_when_it_is_level_nor_when_it_is_far_behind() {
        for age in [Duration::ZERO, AGE_MAX] {
            assert_eq!(rests(at(1, 0), at(1, 9_000), 1_000, age), Duration::ZERO);
        }
    }
}
