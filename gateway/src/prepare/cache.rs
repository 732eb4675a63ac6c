//! Prepared operations, found by their whole text.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus_client::metrics::gauge::Gauge;

use super::{prepared::Prepared, rollout::Group};
use crate::metrics::PrepareMetrics;

/// What an entry takes beside its document and what was made of it.
const ENTRY_BYTES: usize = 256;

/// A map from (document, operation name, group of requests) to what was made of it, bounded by count
/// and by the bytes that the entries hold. The hash only finds the bucket: entries are compared by text,
/// so that no two operations are ever taken for each other.
pub struct PreparedCache<T = Prepared> {
    hasher: RandomState,
    entries_max: usize,
    bytes_max: usize,
    buckets: RwLock<Buckets<T>>,
}

struct Buckets<T> {
    by_hash: HashMap<u64, Vec<Arc<Entry<T>>>>,
    /// All entries in the order in which they are looked at for eviction.
    queue: VecDeque<(u64, Arc<Entry<T>>)>,
    /// Of all entries.
    bytes: usize,
    /// Shown to others; several caches may share them.
    shown: Shown,
}

struct Shown {
    entries: Gauge,
    bytes: Gauge,
}

struct Entry<T> {
    document: Box<str>,
    operation_name: Option<Box<str>>,
    group: Group,
    prepared: Arc<T>,
    /// With all that it holds.
    bytes: usize,
    /// Set by a hit, cleared by the eviction's hand: one more round for what is in use.
    used: AtomicBool,
}

impl<T> PreparedCache<T> {
    /// A cache of at most `entries_max` operations (at least one) that hold at most `bytes_max` bytes
    /// together.
    pub fn new(entries_max: usize, bytes_max: usize, metrics: &PrepareMetrics) -> Self {
        Self {
            hasher: RandomState::new(),
            entries_max: entries_max.max(1),
            bytes_max,
            buckets: RwLock::new(Buckets {
                by_hash: HashMap::new(),
                queue: VecDeque::new(),
                bytes: 0,
                shown: Shown {
                    entries: metrics.kept.clone(),
                    bytes: metrics.kept_bytes.clone(),
                },
            }),
        }
    }

    /// What was made of this document and name before.
    pub fn get(
        &self,
        document: &str,
        operation_name: Option<&str>,
        group: Group,
    ) -> Option<Arc<T>> {
        let hash = self.hasher.hash_one((document, operation_name, group));
        let buckets = self
            .buckets
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let entry = buckets.by_hash.get(&hash)?.iter().find(|entry| {
            *entry.document == *document
                && entry.operation_name.as_deref() == operation_name
                && entry.group == group
        })?;
        // Read first: a line that every hit writes to would travel between the processors.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&entry.prepared))
    }

    /// Keeps `prepared`, which holds `bytes` bytes, in the place of something unused if the cache is full.
    /// What is larger than the whole cache is not kept.
    pub fn insert(
        &self,
        document: &str,
        operation_name: Option<&str>,
        group: Group,
        prepared: Arc<T>,
        bytes: usize,
    ) {
        let bytes = bytes + document.len() + operation_name.map_or(0, str::len) + ENTRY_BYTES;
        if bytes > self.bytes_max || self.get(document, operation_name, group).is_some() {
            return;
        }
        let hash = self.hasher.hash_one((document, operation_name, group));
        let entry = Arc::new(Entry {
            document: document.into(),
            operation_name: operation_name.map(Box::from),
            group,
            prepared,
            bytes,
            used: AtomicBool::new(false),
        });
        // Freed after the lock: an operation is thousands of allocations.
        let mut evicted = Vec::new();
        let mut buckets = self.write();
        while buckets.queue.len() >= self.entries_max || buckets.bytes + bytes > self.bytes_max {
            match buckets.evict_one() {
                Some(entry) => evicted.push(entry),
                None => break,
            }
        }
        buckets.count(1, bytes as i64);
        buckets
            .by_hash
            .entry(hash)
            .or_default()
            .push(Arc::clone(&entry));
        buckets.queue.push_back((hash, entry));
        drop(buckets);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Buckets<T>> {
        self.buckets
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T> Buckets<T> {
    fn count(&mut self, entries: i64, bytes: i64) {
        self.bytes = self.bytes.saturating_add_signed(bytes as isize);
        self.shown.entries.inc_by(entries);
        self.shown.bytes.inc_by(bytes);
    }

    fn evict_one(&mut self) -> Option<Arc<Entry<T>>> {
        while let Some((hash, entry)) = self.queue.pop_front() {
            if entry.used.swap(false, Ordering::Relaxed) {
                self.queue.push_back((hash, entry));
                continue;
            }
            if let Some(bucket) = self.by_hash.get_mut(&hash) {
                bucket.retain(|other| !Arc::ptr_eq(other, &entry));
                if bucket.is_empty() {
                    self.by_hash.remove(&hash);
                }
            }
            self.count(-1, -(entry.bytes as i64));
            return Some(entry);
        }
        None
    }
}

impl<T> Drop for Buckets<T> {
    fn drop(&mut self) {
        let entries = self.queue.len() as i64;
        let bytes = self.bytes as i64;
        self.count(-entries, -bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::rollout::Group;

    fn keep(cache: &PreparedCache<()>, document: &str, bytes: usize) {
        cache.insert(document, None, Group::default(), Arc::new(()), bytes);
    }

    fn has(cache: &PreparedCache<()>, document: &str) -> bool {
        cache.get(document, None, Group::default()).is_some()
    }

    #[test]
    fn what_was_used_outlives_what_was_not() {
        let cache = PreparedCache::new(2, usize::MAX, &PrepareMetrics::default());
        keep(&cache, "{ a }", 1);
        keep(&cache, "{ b }", 1);
        assert!(has(&cache, "{ a }"));
        keep(&cache, "{ c }", 1);
        assert!(has(&cache, "{ a }") && has(&cache, "{ c }"));
        assert!(!has(&cache, "{ b }"));
    }

    #[test]
    fn entries_make_room_for_each_other_by_what_they_hold() {
        let metrics = PrepareMetrics::default();
        let shown = || (metrics.kept.get(), metrics.kept_bytes.get());
        let cache = PreparedCache::new(100, 10_000, &metrics);
        // With their text and their entry 4,000 each.
        let bytes = 4_000 - ENTRY_BYTES - 5;
        for document in ["{ a }", "{ b }", "{ c }", "{ d }"] {
            keep(&cache, document, bytes);
            assert!(has(&cache, document));
        }
        assert_eq!(shown(), (2, 8_000));
        keep(&cache, "{ small }", 1);
        assert_eq!(shown().0, 3);
        keep(&cache, "{ large }", 10_000);
        assert!(!has(&cache, "{ large }"));
        assert_eq!(shown().0, 3);
        drop(cache);
        assert_eq!(shown(), (0, 0));
    }
}
