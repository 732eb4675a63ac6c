//! Prepared operations, found by their whole text.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Prepared, rollout::Group};

/// A bounded map from (document, operation name, group of requests) to what was made of it. The hash only finds the
/// bucket: entries are compared by text, so that no two operations are ever taken for each other.
pub struct PreparedCache {
    hasher: RandomState,
    entries_max: usize,
    buckets: RwLock<Buckets>,
}

#[derive(Default)]
struct Buckets {
    by_hash: HashMap<u64, Vec<Arc<Entry>>>,
    /// All entries in the order in which they are looked at for eviction.
    queue: std::collections::VecDeque<(u64, Arc<Entry>)>,
}

struct Entry {
    document: Box<str>,
    operation_name: Option<Box<str>>,
    group: Group,
    prepared: Arc<Prepared>,
    /// Set by a hit, cleared by the eviction's hand: one more round for what is in use.
    used: AtomicBool,
}

impl PreparedCache {
    /// A cache of at most `entries_max` operations (at least one).
    pub fn new(entries_max: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            entries_max: entries_max.max(1),
            buckets: RwLock::default(),
        }
    }

    /// What was made of this document and name before.
    pub fn get(
        &self,
        document: &str,
        operation_name: Option<&str>,
        group: Group,
    ) -> Option<Arc<Prepared>> {
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
        entry.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&entry.prepared))
    }

    /// Keeps `prepared`, in the place of something unused if the cache is full.
    pub fn insert(
        &self,
        document: &str,
        operation_name: Option<&str>,
        group: Group,
        prepared: Arc<Prepared>,
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
        while buckets.queue.len() >= self.entries_max {
            buckets.evict_one();
        }
        buckets
            .by_hash
            .entry(hash)
            .or_default()
            .push(Arc::clone(&entry));
        buckets.queue.push_back((hash, entry));
    }
}

impl Buckets {
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
            return;
        }
    }
}
