//! The queues of subscribers that wait for a reading, by the age of their cursors.
//!
//! A lane has one reading at a time. The ages within a lane differ by a factor at most, so that no subscriber
//! waits for a reading that is much longer than its own, however old the cursors of others are. The last lane is
//! for subscribers that were slower than a reading, whatever their age: the others never wait for them.

use std::sync::Arc;

use bson::Timestamp;

use crate::position::Position;

use super::member::{CatchUpEnd, Member};

/// Seconds of history that a reading of the first lane goes through at most. A hub's rings keep a minute
/// by default: whoever was away for a little longer is in this lane.
const FIRST_LANE_SECONDS: u32 = 120;
/// Each lane takes what is so many times as old.
const LANE_FACTOR: u64 = 8;

/// A member and the turn that it waits for, or has.
pub(super) struct Seat<T> {
    pub member: Arc<Member<T>>,
    pub turn: u64,
}

/// The lanes of a hub, the youngest cursors first, and last the one for slow subscribers.
pub(super) struct Lanes<T> {
    lanes: Vec<Lane<T>>,
    /// The history is lost up to this time at least.
    lost_until: Timestamp,
}

/// What waits for one reader.
struct Lane<T> {
    is_running: bool,
    waiting: Vec<Seat<T>>,
    /// Where the last reading made way for those who waited. The next one goes on from here; who waits
    /// with an older place comes after it, or would send everyone back again and again.
    resume_at: Option<Position>,
    /// The present when the first of these readings made way. They end here, even where more is written
    /// than they read, or a ring forgets faster than they reach it.
    sweep_end: Option<Timestamp>,
    /// Whether the last reading began before the history that is kept.
    was_lost: bool,
}

impl<T> Lanes<T> {
    pub fn new(count: usize) -> Self {
        let lane = || Lane {
            is_running: false,
            waiting: Vec::new(),
            resume_at: None,
            sweep_end: None,
            was_lost: false,
        };
        let lost_until = Timestamp {
            time: 0,
            increment: 0,
        };
        Self {
            lanes: (0..count.max(1)).map(|_| lane()).collect(),
            lost_until,
        }
    }

    /// Adds one that waits. Returns its lane, and whether a reader has to be started for it.
    pub fn add(&mut self, seat: Seat<T>, now: Timestamp) -> (usize, bool) {
        let place = seat.member.place(seat.turn);
        let age = place.map_or(0, |place| now.time.saturating_sub(place.time.time));
        let ages = (self.lanes.len() - 1).max(1);
        let index = match seat.member.is_slow() {
            true => self.lanes.len() - 1,
            false => lane_of(age, ages),
        };
        let lane = &mut self.lanes[index];
        lane.waiting.push(seat);
        (index, !std::mem::replace(&mut lane.is_running, true))
    }

    /// Removes one that does not wait any more.
    pub fn remove(&mut self, member: &Arc<Member<T>>) {
        for lane in &mut self.lanes {
            lane.waiting
                .retain(|seat| !Arc::ptr_eq(&seat.member, member));
        }
    }

    /// The number of members that wait, in all lanes.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).sum()
    }

    /// Whether anyone waits for the next reading of a lane.
    pub fn is_awaited(&self, index: usize) -> bool {
        !self.lanes[index].waiting.is_empty()
    }

    /// The members of the next reading of a lane, the oldest place first, and never empty. `None` when
    /// none waits: the reader has ended.
    pub fn next(&mut self, index: usize) -> Option<Vec<(Position, Seat<T>)>> {
        let lost_until = self.lost_until;
        let lane = &mut self.lanes[index];
        let waiting = std::mem::take(&mut lane.waiting).into_iter();
        let mut seats: Vec<_> = waiting
            .filter_map(|seat| Some((seat.member.place(seat.turn)?, seat)))
            .collect();
        seats.retain(|(place, seat)| {
            let is_lost = place.time <= lost_until;
            if is_lost {
                seat.member.end(seat.turn, CatchUpEnd::HistoryLost);
            }
            !is_lost
        });
        seats.sort_by(|(one, _), (other, _)| one.cmp(other));
        let first = lane.first_of(&seats);
        let chosen = seats.split_off(first);
        lane.waiting = seats.into_iter().map(|(_, seat)| seat).collect();
        lane.is_running = !chosen.is_empty();
        (!chosen.is_empty()).then_some(chosen)
    }

    /// A reading made way for those who wait, and goes on from here, unless it has come to what was the
    /// present when it first did so.
    pub fn made_way(&mut self, index: usize, at: Position, now: Timestamp) {
        let lane = &mut self.lanes[index];
        let end = *lane.sweep_end.get_or_insert(now);
        lane.resume_at = (at.time < end).then_some(at);
    }

    /// The history up to this time turned out to be lost.
    pub fn lost(&mut self, index: usize, until: Timestamp) {
        self.lost_until = self.lost_until.max(until);
        self.lanes[index].was_lost = true;
    }

    /// A lane's reader has ended by a defect.
    pub fn stopped(&mut self, index: usize) {
        self.lanes[index].is_running = false;
    }
}

impl<T> Lane<T> {
    /// Which of those who wait, sorted by place, is the first that the next reading serves.
    fn first_of(&mut self, seats: &[(Position, Seat<T>)]) -> usize {
        // Each attempt finds out about half of the places: hundreds of different ones that are too old
        // take a handful of attempts.
        if std::mem::take(&mut self.was_lost) {
            self.resume_at = None;
            return seats.len() / 2;
        }
        let at = self.resume_at.take();
        let first = at.map(|at| seats.partition_point(|(place, _)| *place < at));
        match first.filter(|first| *first < seats.len()) {
            Some(first) => first,
            None => {
                self.sweep_end = None;
                0
            }
        }
    }
}

/// The lane for an age in seconds, of so many. The last one of them takes all that is older.
fn lane_of(age: u32, count: usize) -> usize {
    let mut limit = u64::from(FIRST_LANE_SECONDS);
    let mut lane = 0;
    while lane + 1 < count && u64::from(age) >= limit {
        limit = limit.saturating_mul(LANE_FACTOR);
        lane += 1;
    }
    lane
}

#[cfg(test)]
mod tests {
    use bson::Bson;

    use super::super::super::floors::Floor;
    use super::super::super::ring::Topic;
    use super::super::member::Bounds;
    use super::*;

    const NOW: Timestamp = at(1_000_000);
    const BOUNDS: Bounds = Bounds {
        count_max: 1,
        waiting_count_max: 1,
        waiting_bytes_max: 1,
    };

    const fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 0 }
    }

    /// Adds one who has been away since this time.
    fn add(lanes: &mut Lanes<()>, time: u32) -> (Arc<Member<()>>, usize) {
        let place = Position::before(at(time));
        let topic = Arc::new(Topic::new(Bson::Null, Floor::At(place.clone())));
        let member = Arc::new(Member::new(topic, place, BOUNDS));
        let seat = Seat {
            turn: member.ask(),
            member: member.clone(),
        };
        let (lane, _) = lanes.add(seat, NOW);
        (member, lane)
    }

    fn times(chosen: Option<Vec<(Position, Seat<()>)>>) -> Vec<u32> {
        let chosen = chosen.into_iter().flatten();
        chosen.map(|(place, _)| place.time.time).collect()
    }

    #[test]
    fn a_short_absence_never_waits_for_a_long_one() {
        for (age, lane) in [
            (0, 0),
            (119, 0),
            (120, 1),
            (959, 1),
            (960, 2),
            (u32::MAX, 2),
        ] {
            assert_eq!(lane_of(age, 3), lane, "{age}");
        }
        assert_eq!(lane_of(u32::MAX, 1), 0);
        assert_eq!(lane_of(u32::MAX, 100), 9);
    }

    #[test]
    fn whoever_comes_never_waits_for_those_that_were_slow() {
        let mut lanes = Lanes::new(3);
        let (member, lane) = add(&mut lanes, NOW.time - 10);
        assert_eq!(lane, 0);
        let turn = member.ask();
        member.end_turn_as_slow(turn);
        let seat = Seat {
            turn: member.ask(),
            member: member.clone(),
        };
        assert_eq!(lanes.add(seat, NOW).0, 2);
        assert_eq!(add(&mut lanes, NOW.time - 10).1, 0);
        assert_eq!(add(&mut lanes, 10).1, 1, "all that is older");
        // A single lane is for all.
        let mut lanes = Lanes::new(1);
        let seat = Seat {
            turn: member.ask(),
            member,
        };
        assert_eq!(lanes.add(seat, NOW).0, 0);
    }

    #[test]
    fn one_reading_serves_all_who_wait() {
        let mut lanes = Lanes::new(1);
        for time in [30, 10, 20, 10] {
            add(&mut lanes, time);
        }
        assert_eq!(times(lanes.next(0)), [10, 10, 20, 30]);
        assert!(lanes.next(0).is_none());
    }

    #[test]
    fn who_has_left_does_not_wait() {
        let mut lanes = Lanes::new(1);
        let (gone, _) = add(&mut lanes, 10);
        let (quiet, _) = add(&mut lanes, 10);
        add(&mut lanes, 20);
        quiet.leave();
        lanes.remove(&gone);
        assert_eq!(times(lanes.next(0)), [20]);
    }

    #[test]
    fn a_reading_that_made_way_is_not_sent_back_by_older_places() {
        let mut lanes = Lanes::new(1);
        lanes.made_way(0, Position::before(at(20)), NOW);
        for time in [10, 20, 30] {
            add(&mut lanes, time);
        }
        assert_eq!(times(lanes.next(0)), [20, 30]);
        assert_eq!(times(lanes.next(0)), [10], "their turn comes after it");
    }

    #[test]
    fn readings_that_never_reach_the_present_do_not_keep_older_places_from_their_turn() {
        let mut lanes = Lanes::new(1);
        add(&mut lanes, 100);
        assert_eq!(times(lanes.next(0)), [100]);
        add(&mut lanes, 10);
        // One that reads a topic in which more is written all the time.
        for time in [110, 119] {
            let present = at(time + 10);
            lanes.made_way(0, Position::before(at(time)), present);
            add(&mut lanes, time);
            assert_eq!(times(lanes.next(0)), [time]);
        }
        lanes.made_way(0, Position::before(at(121)), at(140));
        add(&mut lanes, 121);
        assert_eq!(times(lanes.next(0)), [10, 121]);
        // The next ones are others' turn again.
        lanes.made_way(0, Position::before(at(130)), at(150));
        for time in [20, 130] {
            add(&mut lanes, time);
        }
        assert_eq!(times(lanes.next(0)), [130]);
    }

    #[test]
    fn places_that_are_too_old_are_found_in_few_attempts() {
        let mut lanes = Lanes::new(1);
        for time in 1..=1000 {
            add(&mut lanes, time);
        }
        let (mut attempts, mut served) = (0, 0);
        while let Some(chosen) = lanes.next(0) {
            attempts += 1;
            let first = chosen[0].0.time;
            if first <= at(900) {
                lanes.lost(0, first);
                for (_, seat) in chosen {
                    lanes.add(seat, NOW);
                }
            } else {
                served += chosen.len();
            }
        }
        assert_eq!(served, 100);
        assert!(attempts <= 20, "{attempts}");
    }
}
