//! Maps that give memory back when a crowd has left.
//!
//! A hash map keeps the room for the most that it ever held, in one large block. Where its keys have an order and it is
//! not on the way of each request, a `BTreeMap` is simpler: it frees its nodes one by one.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
};

/// A map with room for at most this many entries never shrinks.
const ROOM_KEPT: usize = 64;

/// A map shrinks when it has room for more than so many times its entries.
const SPARSE_RATIO: usize = 8;

/// To be called after entries were removed.
pub(crate) trait ShrinkIfSparse {
    /// Gives room back if hardly any of it is used: to twice what is used. So entries that come and go move the others
    /// rarely, and cost a constant time each.
    fn shrink_if_sparse(&mut self);
}

impl<K: Eq + Hash, V, S: BuildHasher> ShrinkIfSparse for HashMap<K, V, S> {
    fn shrink_if_sparse(&mut self) {
        let used = self.len();
        if self.capacity() > ROOM_KEPT.max(SPARSE_RATIO * used) {
            self.shrink_to((2 * used).max(ROOM_KEPT / 2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_crowd_is_given_back_when_it_leaves() {
        let mut map: HashMap<usize, ()> = (0..10_000).map(|number| (number, ())).collect();
        for number in 10..10_000 {
            map.remove(&number);
            map.shrink_if_sparse();
            assert!(map.capacity() <= ROOM_KEPT.max(2 * SPARSE_RATIO * map.len()));
        }
        assert_eq!(map.len(), 10);
        assert!(map.capacity() <= ROOM_KEPT, "{}", map.capacity());
    }

    #[test]
    fn a_map_in_use_keeps_its_room() {
        let mut map: HashMap<usize, ()> = (0..10_000).map(|number| (number, ())).collect();
        for number in 0..5_000 {
            map.remove(&number);
            map.shrink_if_sparse();
        }
        assert!(map.capacity() >= 10_000, "{}", map.capacity());
    }
}
