//! The buckets of all clients, in bounded memory: for each client a hash and one time.
//!
//! A client's hash decides in which set of [`WAYS`] places its bucket is. A bucket whose time has passed is full, which
//! is what a client without a place has: its place is free, and nothing has to clean up. If a set has no free place, a
//! client that comes takes the place with the earliest time, so the least is forgiven. `docs/decisions/rate-limit.md`
//! says why that is safe.

use std::sync::{Mutex, PoisonError};

/// Places of a set. With two places for each client, a set overflows for about one client in 100,000.
const WAYS: usize = 32;
/// A lock is held for less than a microsecond; with so many, two threads rarely want the same.
const SHARDS_MAX: usize = 1024;

/// The buckets of all clients, by the hashes of their identities.
pub struct Table {
    shards: Box<[Mutex<Shard>]>,
    sets_per_shard: usize,
    sets: usize,
}

/// Empty until the first of its clients comes.
#[derive(Default)]
struct Shard(Box<[Set]>);

#[derive(Clone)]
struct Set {
    keys: [u64; WAYS],
    /// When each bucket is full again, in nanoseconds; 0 in an empty place.
    full_at: [u64; WAYS],
}

const EMPTY: Set = Set {
    keys: [0; WAYS],
    full_at: [0; WAYS],
};

/// What has become of a client's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updated {
    /// Whether another client's bucket was forgotten for it.
    pub has_displaced: bool,
}

impl Table {
    /// An empty table for so many clients. It has twice as many places.
    pub fn new(keys_max: usize) -> Self {
        let sets = (2 * keys_max).div_ceil(WAYS).max(1);
        let sets_per_shard = sets.div_ceil(SHARDS_MAX);
        let shards = sets.div_ceil(sets_per_shard);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            sets_per_shard,
            sets,
        }
    }

    /// Replaces the time of a client's bucket by what `charge` makes of it.
    ///
    /// # Errors
    /// That of `charge`; then nothing changes.
    pub fn update<E>(
        &self,
        key: u64,
        now: u64,
        charge: impl FnOnce(u64) -> Result<u64, E>,
    ) -> Result<Updated, E> {
        // The upper bits choose the set, without a division.
        let at = ((u128::from(key) * self.sets as u128) >> 64) as usize;
        let shard = &self.shards[at / self.sets_per_shard];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.0.is_empty() {
            shard.0 = vec![EMPTY; self.sets_per_shard].into();
        }
        let set = &mut shard.0[at % self.sets_per_shard];
        if let Some(place) = set.keys.iter().position(|it| *it == key) {
            set.full_at[place] = charge(set.full_at[place])?;
            return Ok(Updated {
                has_displaced: false,
            });
        }
        let full_at = charge(0)?;
        let place = set.earliest();
        let has_displaced = set.full_at[place] > now;
        set.keys[place] = key;
        set.full_at[place] = full_at;
        Ok(Updated { has_displaced })
    }

    /// How many clients have used up a part of their limit, shard by shard: each item looks at all places of one.
    pub fn used(&self, now: u64) -> impl Iterator<Item = usize> {
        self.shards.iter().map(move |shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let times = shard.0.iter().flat_map(|set| &set.full_at);
            times.filter(|full_at| **full_at > now).count()
        })
    }
}

impl Set {
    fn earliest(&self) -> usize {
        let mut earliest = 0;
        for place in 1..WAYS {
            if self.full_at[place] < self.full_at[earliest] {
                earliest = place;
            }
        }
        earliest
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    const NOW: u64 = 1_000;

    /// Sets a bucket's time, and returns the one before.
    fn set(table: &Table, key: u64, full_at: u64) -> (u64, bool) {
        let mut before = 0;
        let updated = table.update::<()>(key, NOW, |found| {
            before = found;
            Ok(full_at)
        });
        (before, updated.expect("charged").has_displaced)
    }

    #[test]
    fn all_clients_up_to_the_bound_have_a_place() {
        let clients = 100_000;
        let table = Table::new(clients);
        let hasher = RandomState::new();
        let key = |number: usize| hasher.hash_one(number);
        let mut displaced = 0;
        for number in 0..clients {
            displaced += usize::from(set(&table, key(number), NOW + 1).1);
        }
        // Two in 100,000 are expected.
        assert!(displaced < 30, "{displaced}");
        assert_eq!(table.used(NOW).sum::<usize>(), clients - displaced);
        assert_eq!(table.used(NOW + 1).sum::<usize>(), 0);
        let has_place = |number: &usize| table.update(key(*number), NOW, Err) == Err(NOW + 1);
        assert_eq!((0..clients).filter(has_place).count(), clients - displaced);
    }

    #[test]
    fn a_full_table_forgets_who_has_used_the_least() {
        let table = Table::new(1);
        for key in 0..WAYS as u64 {
            assert_eq!(set(&table, key + 1, NOW + 10 + key), (0, false));
        }
        // Each newcomer is served, and takes the place of the newcomer before it; large debts stay.
        assert_eq!(set(&table, 100, NOW + 1), (0, true));
        for key in 101..200 {
            assert_eq!(set(&table, key, NOW + 1), (0, true));
        }
        for key in 1..WAYS as u64 {
            assert_eq!(
                set(&table, key + 1, NOW + 10 + key),
                (NOW + 10 + key, false)
            );
        }
    }

    #[test]
    fn a_bucket_that_is_full_again_leaves_its_place() {
        let table = Table::new(1);
        for key in 0..1_000 {
            assert_eq!(set(&table, key + 1, NOW), (0, false));
        }
    }

    #[test]
    fn what_is_not_charged_takes_no_place() {
        let table = Table::new(1);
        assert_eq!(table.update(7, NOW, |_| Err("no")), Err("no"));
        assert_eq!(table.used(0).sum::<usize>(), 0);
    }
}
