//! Prepared operations, found by their whole text.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Prepared, rollout::Group};

/// Texts of documents that are kept at the most, in bytes: what is prepared of a document grows with
/// its text, and a comment may be as long as a request.
const DOCUMENTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A map from (document, operation name, group of requests) to what was made of it, bounded by count
/// and by the documents' bytes. The hash only finds the bucket: entries are compared by text, so that
/// no two operations are ever taken for each other.
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
    /// Of all entries' documents.
    bytes: usize,
}

struct Entry<T> {
    document: Box<str>,
    operation_name: Option<Box<str>>,
    group: Group,
    prepared: Arc<T>,
    /// Set by a hit, cleared by the eviction's hand: one more round for what is in use.
    used: AtomicBool,
}

impl<T> PreparedCache<T> {
    /// A cache of at most `entries_max` operations (at least one).
    pub fn new(entries_max: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            entries_max: entries_max.max(1),
            bytes_max: DOCUMENTS_BYTES_MAX,
            buckets: RwLock::new(Buckets {
                by_hash: HashMap::new(),
                queue: VecDeque::new(),
                bytes: 0,
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

    /// Keeps `prepared`, in the place of something unused if the cache is full.
    pub fn insert(
        &self,
        document: &str,
        operation_name: Option<&str>,
        group: Group,
        prepared: Arc<T>,
    ) {
        if self.get(document, operation_name, group).is_some() {
            return;
        }
        let hash = self.hasher.hash_one((document, operation_name, group));
        let entry = Arc::new(Entry {
            document: document.into(),
            operation_name: operation_name.map(Box::from),
            group,
            prepared,
            used: AtomicBool::new(false),
        });
        let mut buckets = self
            .buckets
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let is_full = |buckets: &Buckets<T>| {
            buckets.queue.len() >= self.entries_max
                || buckets.bytes + document.len() > self.bytes_max
        };
        while is_full(&buckets) && !buckets.queue.is_empty() {
            buckets.evict_one();
        }
        buckets.bytes += document.len();
        buckets
            .by_hash
            .entry(hash)
            .or_default()
            .push(Arc::clone(&entry));
        buckets.queue.push_back((hash, entry));
    }
}

impl<T> Buckets<T> {
    fn evict_one(&mut self) {
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
            self.bytes -= entry.document.len();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::rollout::Group;

    fn keep(cache: &PreparedCache<()>, document: &str) {
        cache.insert(document, None, Group::default(), Arc::new(()));
    }

    fn has(cache: &PreparedCache<()>, document: &str) -> bool {
        cache.get(document, None, Group::default()).is_some()
    }

    #[test]
    fn what_was_used_outlives_what_was_not() {
        let cache = PreparedCache::new(2);
        keep(&cache, "{ a }");
        keep(&cache, "{ b }");
        assert!(has(&cache, "{ a }"));
        keep(&cache, "{ c }");
        assert!(has(&cache, "{ a }") && has(&cache, "{ c }"));
        assert!(!has(&cache, "{ b }"));
    }

    #[test]
    fn long_documents_make_room_for_each_other() {
        let mut cache = PreparedCache::new(100);
        cache.bytes_max = 1_000;
        let documents: Vec<String> = (0..10)
            .map(|number| format!("{{ a{number} }} #{}", "-".repeat(390)))
            .collect();
        for document in &documents {
            keep(&cache, document);
        }
        let kept = documents.iter().filter(|document| has(&cache, document));
        assert_eq!(kept.count(), 2);
        assert!(has(&cache, &documents[9]));
    }
}
