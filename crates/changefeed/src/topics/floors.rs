//! What a hub remembers of topics without a ring: after which place each has had no change.
//!
//! A hub sees every change of its collection. When a ring goes, its floor stays here, for much longer than a ring keeps
//! a change. So a subscriber that returns to a topic without changes since its cursor needs nothing from the database.
//! A topic takes 24 bytes and its share of a hash table: the place of its last change as a time and a fingerprint.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use bson::{Bson, Timestamp};

use crate::position::{Position, first_after};

/// Fingerprints are of this process alone: nobody outside can choose topics or places with the same one.
static FINGERPRINTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
/// The part of the topics that is forgotten when there are too many, so that looking for the oldest is rare.
const FORGOTTEN_PART: usize = 8;

/// A place after which every change of a topic is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    At(Position),
    /// At the last change of the topic.
    Trace(Trace),
}

/// The place of a change, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    time: Timestamp,
    place: u64,
}

/// The floors of topics.
pub(crate) struct Floors {
    /// A topic that is not known has had no change after this place.
    base: Position,
    known: HashMap<u64, Trace>,
    count_max: usize,
}

impl Floor {
    /// Whether a place is the floor, or after it.
    pub fn is_reached_at(&self, place: &Position) -> bool {
        match self {
            Self::At(floor) => *floor <= *place,
            // Places of one time cannot be compared in short: another one counts as before the floor.
            Self::Trace(trace) => {
                place.time > trace.time
                    || (place.time == trace.time && fingerprint(place) == trace.place)
            }
        }
    }
}

impl Floors {
    /// Nothing is known but that no topic has had a change after this place.
    pub fn new(base: Position, count_max: usize) -> Self {
        Self {
            base,
            known: HashMap::new(),
            count_max,
        }
    }

    /// The floor of a topic.
    pub fn of(&self, topic: &Bson) -> Floor {
        match self.known.get(&fingerprint_of(topic)) {
            Some(trace) => Floor::Trace(*trace),
            None => Floor::At(self.base.clone()),
        }
    }

    /// From where on the last changes of all topics are known.
    pub fn base(&self) -> &Position {
        &self.base
    }

    /// The number of topics that are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// The topic has had no change after this floor.
    pub fn remember(&mut self, topic: &Bson, floor: Floor) {
        let trace = match floor {
            Floor::At(place) if place <= self.base => return,
            Floor::At(place) => Trace {
                time: place.time,
                place: fingerprint(&place),
            },
            Floor::Trace(trace) => trace,
        };
        if trace.time >= self.base.time {
            self.put(fingerprint_of(topic), trace);
            self.keep_within_bound();
        }
    }

    /// Each topic may have had a change at this place.
    pub fn raise(&mut self, place: &Position) {
        // Beyond all places of the same time: traces do not tell which of them are before it.
        let base = Position::before(first_after(place.time));
        if base > self.base {
            self.known.retain(|_, trace| trace.time >= base.time);
            // Going through a large table takes long, however little is in it.
            if self.known.len() < self.known.capacity() / FORGOTTEN_PART {
                self.known.shrink_to_fit();
            }
            self.base = base;
        }
    }

    /// Adds what `past` knows of the time up to the base of this one.
    pub fn extend_back(&mut self, mut past: Self) {
        // What is known here is later.
        past.known
            .retain(|topic, _| !self.known.contains_key(topic));
        // First: the table would stay as large as it once was.
        past.count_max = self.count_max.saturating_sub(self.known.len());
        past.keep_within_bound();
        self.known.extend(past.known);
        self.base = past.base;
    }

    fn put(&mut self, topic: u64, trace: Trace) {
        let known = self.known.entry(topic).or_insert(trace);
        // Of two topics with one fingerprint, the later change counts for both.
        if trace.time >= known.time {
            *known = trace;
        }
    }

    /// Forgets the topics whose last changes are the oldest.
    fn keep_within_bound(&mut self) {
        let excess = self.known.len().saturating_sub(self.count_max);
        if excess == 0 {
            return;
        }
        let mut times: Vec<Timestamp> = self.known.values().map(|trace| trace.time).collect();
        let forgotten = excess.max(self.count_max / FORGOTTEN_PART).min(times.len());
        let (_, last, _) = times.select_nth_unstable(forgotten - 1);
        let last = Position::before(*last);
        self.raise(&last);
    }
}

/// The fingerprint of a topic. The hash of a value leaves out its type: those of null and of the least key are the same.
fn fingerprint_of(topic: &Bson) -> u64 {
    fingerprint((topic.element_type() as u8, topic))
}

fn fingerprint(value: impl std::hash::Hash) -> u64 {
    FINGERPRINTS.hash_one(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResumeToken;

    fn at(time: u32, key: &str) -> Position {
        let data = format!("82{time:08X}{:08X}{key}", 1);
        Position::of(&ResumeToken::from_data(&data)).expect("a place")
    }

    fn before(time: u32) -> Position {
        Position::before(Timestamp { time, increment: 0 })
    }

    fn topic(number: i64) -> Bson {
        Bson::from(number)
    }

    /// Whether nothing of the topic is missing after a place.
    fn is_level(floors: &Floors, number: i64, place: &Position) -> bool {
        floors.of(&topic(number)).is_reached_at(place)
    }

    #[test]
    fn a_topic_is_level_from_its_last_change_on() {
        let mut floors = Floors::new(before(10), 100);
        floors.remember(&topic(1), Floor::At(at(20, "02")));
        for (number, place, expected) in [
            (1, at(20, "02"), true),
            (1, at(21, ""), true),
            (1, at(19, "ff"), false),
            // The same time, and it is not known which is later.
            (1, at(20, "01"), false),
            (1, at(20, "03"), false),
            (2, at(10, ""), true),
            (2, at(9, ""), false),
        ] {
            assert_eq!(is_level(&floors, number, &place), expected, "{place:?}");
        }
        // An earlier floor of the same topic changes nothing.
        floors.remember(&topic(1), Floor::At(at(15, "")));
        assert!(!is_level(&floors, 1, &at(16, "")));
    }

    #[test]
    fn the_oldest_are_forgotten_and_never_taken_for_quiet() {
        let mut floors = Floors::new(before(0), 8);
        for number in 1..=9_u32 {
            floors.remember(&topic(number.into()), Floor::At(at(number * 10, "01")));
        }
        assert_eq!(floors.len(), 8);
        assert!(
            !is_level(&floors, 1, &at(10, "01")),
            "it is not known any more"
        );
        assert!(
            !is_level(&floors, 77, &at(9, "")),
            "nor what others had then"
        );
        assert!(is_level(&floors, 77, &at(11, "")));
        assert!(is_level(&floors, 2, &at(20, "01")));
        assert!(!is_level(&floors, 9, &at(89, "")));
    }

    #[test]
    fn a_change_of_an_unknown_topic_may_be_one_of_each() {
        let mut floors = Floors::new(before(0), 8);
        floors.remember(&topic(1), Floor::At(at(10, "01")));
        floors.remember(&topic(2), Floor::At(at(30, "01")));
        floors.raise(&at(20, "01"));
        for number in [1, 2, 3] {
            assert!(!is_level(&floors, number, &at(19, "")), "{number}");
        }
        assert!(is_level(&floors, 1, &at(21, "")));
        assert!(!is_level(&floors, 2, &at(21, "")));
    }

    #[test]
    fn values_of_different_types_are_different_topics() {
        let topics = [
            Bson::Null,
            Bson::Undefined,
            Bson::MinKey,
            Bson::MaxKey,
            Bson::String("1".to_owned()),
            Bson::Symbol("1".to_owned()),
            Bson::JavaScriptCode("1".to_owned()),
            Bson::Int64(1),
            Bson::DateTime(bson::DateTime::from_millis(1)),
        ];
        let fingerprints: std::collections::HashSet<_> =
            topics.iter().map(fingerprint_of).collect();
        assert_eq!(fingerprints.len(), topics.len());
    }

    #[test]
    fn two_full_tables_become_one_that_is_no_larger() {
        let count_max = 100;
        let full = |first: u32| {
            let mut floors = Floors::new(before(first), count_max);
            for number in first..first + 100 {
                floors.remember(&topic(number.into()), Floor::At(at(number, "01")));
            }
            assert_eq!(floors.len(), count_max);
            floors
        };
        let (past, mut floors) = (full(1_000), full(2_000));
        let capacity = floors.known.capacity();
        floors.extend_back(past);
        assert_eq!(
            (floors.len(), floors.known.capacity()),
            (count_max, capacity)
        );
        assert!(is_level(&floors, 2_000, &at(2_000, "01")));
        assert!(!is_level(&floors, 1_099, &at(1_098, "")), "it is forgotten");

        let mut some = Floors::new(before(2_000), count_max);
        for number in 2_000..2_060_u32 {
            some.remember(&topic(number.into()), Floor::At(at(number, "01")));
        }
        some.extend_back(full(1_000));
        assert_eq!(some.len(), count_max);
        assert!(is_level(&some, 1_099, &at(1_099, "01")));
        assert!(is_level(&some, 7, &at(1_060, "")));
        assert!(
            !is_level(&some, 1_059, &at(1_058, "")),
            "the oldest are forgotten"
        );
    }

    #[test]
    fn the_past_is_added_below_what_is_known() {
        let mut floors = Floors::new(before(100), 8);
        floors.remember(&topic(1), Floor::At(at(110, "01")));
        let mut past = Floors::new(before(50), 8);
        past.remember(&topic(1), Floor::At(at(60, "01")));
        past.remember(&topic(2), Floor::At(at(70, "01")));
        floors.extend_back(past);
        assert!(
            !is_level(&floors, 1, &at(61, "")),
            "its last change is later"
        );
        assert!(is_level(&floors, 2, &at(70, "01")));
        assert!(!is_level(&floors, 2, &at(69, "")));
        assert!(is_level(&floors, 3, &at(50, "")));
        assert!(!is_level(&floors, 3, &at(49, "")));
    }
}
