//! The two segments of the cache of prepared operations: those requested once, and those requested
//! again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use graphql_transport::ClientKey;
use prometheus_client::metrics::gauge::Gauge;

use super::{CacheBounds, Entry, Worth};
use crate::{metrics::PrepareMetrics, sparse::ShrinkIfSparse};

type Entries<T> = Vec<Arc<Entry<T>>>;

/// All entries, by their hash and in two segments.
pub(super) struct Segments<T> {
    by_hash: HashMap<u64, Entries<T>>,
    /// Operations requested once, the oldest first.
    new: Segment<T>,
    /// The bytes of new operations, by the client that requested them.
    new_of_clients: BTreeMap<ClientKey, usize>,
    /// Operations requested again, in the order in which they are considered for eviction.
    kept: Segment<T>,
    /// The hashes of evicted new operations, which are kept if they are requested again.
    seen: Seen,
    /// The gauges of the cache, which several caches may share.
    shown: Shown,
}

struct Segment<T> {
    queue: VecDeque<Arc<Entry<T>>>,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
}

struct Shown {
    entries: Gauge,
    bytes: Gauge,
}

struct Seen {
    order: VecDeque<u64>,
    hashes: BTreeSet<u64>,
    max: usize,
}

impl<T> Segments<T> {
    pub(super) fn new(bounds: &CacheBounds, metrics: &PrepareMetrics) -> Self {
        let entries_max = bounds.entries_max.max(2);
        let new_entries_max = (entries_max / 4).max(1);
        let new_bytes_max = bounds.new_bytes_max.min(bounds.bytes_max);
        Self {
            by_hash: HashMap::new(),
            new: Segment::new(new_entries_max, new_bytes_max),
            new_of_clients: BTreeMap::new(),
            kept: Segment::new(
                entries_max - new_entries_max,
                bounds.bytes_max - new_bytes_max,
            ),
            seen: Seen {
                order: VecDeque::new(),
                hashes: BTreeSet::new(),
                max: entries_max,
            },
            shown: Shown {
                entries: metrics.kept.clone(),
                bytes: metrics.kept_bytes.clone(),
            },
        }
    }

    pub(super) fn find(
        &self,
        hash: u64,
        is_it: impl Fn(&Entry<T>) -> bool,
    ) -> Option<&Arc<Entry<T>>> {
        let bucket = self.by_hash.get(&hash)?;
        bucket.iter().find(|entry| is_it(entry))
    }

    /// Adds an entry. Evicted entries are moved to `forgotten`.
    pub(super) fn insert(&mut self, entry: Arc<Entry<T>>, forgotten: &mut Entries<T>) {
        let comes_back = self.seen.remove(entry.hash);
        if comes_back && entry.worth == Worth::Lasting {
            self.add(&entry);
            return self.keep(entry, forgotten);
        }
        if entry.bytes > self.new.bytes_max {
            self.seen.add(entry.hash);
            return;
        }
        while !self.new.has_room_for(entry.bytes) {
            if !self.make_room_for_new(forgotten) {
                return;
            }
        }
        self.add(&entry);
        *self.new_of_clients.entry(entry.client).or_default() += entry.bytes;
        self.new.push(entry);
    }

    /// Adds an entry to those that were requested again. Evicted entries are moved to `forgotten`.
    pub(super) fn insert_kept(&mut self, entry: Arc<Entry<T>>, forgotten: &mut Entries<T>) {
        self.add(&entry);
        self.keep(entry, forgotten);
    }

    /// All entries, and whether each was requested again.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Arc<Entry<T>>, bool)> {
        let new = self.new.queue.iter().map(|entry| (entry, false));
        new.chain(self.kept.queue.iter().map(|entry| (entry, true)))
    }

    /// Removes new operations from before the time `new`, and kept ones not requested since the
    /// time `kept`.
    pub(super) fn forget_unused(
        &mut self,
        new: Option<u32>,
        kept: Option<u32>,
        forgotten: &mut Entries<T>,
    ) {
        let is_old = |entry: &Entry<T>, since: Option<u32>| {
            let used_at = entry.used_at.load(Ordering::Relaxed);
            since.is_some_and(|since| used_at < since)
        };
        for _ in 0..self.new.queue.len() {
            let Some(entry) = self.take_new(0) else { break };
            if entry.has_become_worth_keeping() {
                self.keep(entry, forgotten);
            } else if is_old(&entry, new) {
                self.forget_new(entry, forgotten);
            } else {
                *self.new_of_clients.entry(entry.client).or_default() += entry.bytes;
                self.new.push(entry);
            }
        }
        for _ in 0..self.kept.queue.len() {
            let Some(entry) = self.kept.take(0) else {
                break;
            };
            if is_old(&entry, kept) {
                self.forget(entry, forgotten);
            } else {
                self.kept.push(entry);
            }
        }
        self.by_hash.shrink_if_sparse();
    }

    /// Evicts the oldest new entry of the client that has the most, or keeps it if it was requested
    /// again. Returns false if there is no new entry.
    fn make_room_for_new(&mut self, forgotten: &mut Entries<T>) -> bool {
        let clients = self.new_of_clients.iter();
        let Some((&client, _)) = clients.max_by_key(|(_, bytes)| **bytes) else {
            return false;
        };
        let mut queue = self.new.queue.iter();
        let place = queue.position(|entry| entry.client == client);
        let Some(entry) = place.and_then(|place| self.take_new(place)) else {
            return false;
        };
        if entry.has_become_worth_keeping() {
            self.keep(entry, forgotten);
        } else {
            self.forget_new(entry, forgotten);
        }
        true
    }

    fn take_new(&mut self, place: usize) -> Option<Arc<Entry<T>>> {
        let entry = self.new.take(place)?;
        if let Some(bytes) = self.new_of_clients.get_mut(&entry.client) {
            *bytes -= entry.bytes;
            if *bytes == 0 {
                self.new_of_clients.remove(&entry.client);
            }
        }
        Some(entry)
    }

    fn forget_new(&mut self, entry: Arc<Entry<T>>, forgotten: &mut Entries<T>) {
        self.seen.add(entry.hash);
        self.forget(entry, forgotten);
    }

    /// Moves an entry to the kept ones. If they are too many, evicts the first one that was not
    /// used since it was last considered.
    fn keep(&mut self, entry: Arc<Entry<T>>, forgotten: &mut Entries<T>) {
        if entry.bytes > self.kept.bytes_max {
            return self.forget(entry, forgotten);
        }
        while !self.kept.has_room_for(entry.bytes) {
            let Some(first) = self.kept.take(0) else {
                break;
            };
            if first.is_used.swap(false, Ordering::Relaxed) {
                self.kept.push(first);
            } else {
                self.forget(first, forgotten);
            }
        }
        self.kept.push(entry);
    }

    fn add(&mut self, entry: &Arc<Entry<T>>) {
        let bucket = self.by_hash.entry(entry.hash).or_default();
        bucket.push(Arc::clone(entry));
        self.shown.entries.inc();
        self.shown.bytes.inc_by(entry.bytes as i64);
    }

    fn forget(&mut self, entry: Arc<Entry<T>>, forgotten: &mut Entries<T>) {
        if let Some(bucket) = self.by_hash.get_mut(&entry.hash) {
            bucket.retain(|other| !Arc::ptr_eq(other, &entry));
            if bucket.is_empty() {
                self.by_hash.remove(&entry.hash);
            }
        }
        self.shown.entries.dec();
        self.shown.bytes.dec_by(entry.bytes as i64);
        forgotten.push(entry);
    }
}

impl<T> Drop for Segments<T> {
    fn drop(&mut self) {
        let (new, kept) = (&self.new, &self.kept);
        let entries = new.queue.len() + kept.queue.len();
        self.shown.entries.dec_by(entries as i64);
        self.shown.bytes.dec_by((new.bytes + kept.bytes) as i64);
    }
}

impl<T> Segment<T> {
    fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            entries_max,
            bytes_max,
        }
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        self.queue.len() < self.entries_max && self.bytes + bytes <= self.bytes_max
    }

    fn push(&mut self, entry: Arc<Entry<T>>) {
        self.bytes += entry.bytes;
        self.queue.push_back(entry);
    }

    fn take(&mut self, place: usize) -> Option<Arc<Entry<T>>> {
        let entry = self.queue.remove(place)?;
        self.bytes -= entry.bytes;
        Some(entry)
    }
}

impl Seen {
    fn add(&mut self, hash: u64) {
        if !self.hashes.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.hashes.remove(&oldest);
            }
        }
    }

    /// Removes a hash, and returns whether it was present. Its position in the order stays until
    /// its turn.
    fn remove(&mut self, hash: u64) -> bool {
        self.hashes.remove(&hash)
    }
}
