//! A cache of prepared operations, found by their whole text.
//!
//! An operation that was requested once is new. New operations have a small part of the cache for
//! some seconds, which clients share evenly. An operation that is requested again is kept, and only
//! other kept operations replace it, the least used first. So new documents, however many one
//! client sends, never displace one that is in use. (After S3-FIFO,
//! <https://doi.org/10.1145/3600006.3613147>.) An operation that is always refused stays new, however
//! often it is requested.

mod segments;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use graphql_transport::ClientKey;

use super::{prepared::Prepared, rollout::RolloutGroup};
use crate::metrics::PrepareMetrics;
use segments::Segments;

/// Bytes that an entry takes in addition to its document and the prepared operation.
const ENTRY_BYTES: usize = 256;

/// How much a cache keeps, and for how long.
#[derive(Clone, Debug)]
pub struct CacheBounds {
    /// The largest number of operations, at least 2. A quarter of them may be new.
    pub entries_max: usize,
    /// The largest number of bytes that all operations hold together.
    pub bytes_max: usize,
    /// The bytes of these for new operations. A larger operation is kept when it is requested
    /// again.
    pub new_bytes_max: usize,
    /// How long a new operation stays without a second request.
    pub new_time: Duration,
    /// How long an operation is kept after its last request.
    pub unused_time: Duration,
}

impl Default for CacheBounds {
    fn default() -> Self {
        Self {
            entries_max: 2_000,
            bytes_max: 64 * 1024 * 1024,
            new_bytes_max: 8 * 1024 * 1024,
            new_time: Duration::from_secs(10),
            unused_time: Duration::from_secs(600),
        }
    }
}

/// A map from (document, operation name, group of requests) to the prepared operation. The hash
/// only finds the bucket: entries are compared by text, so that two operations are never confused.
pub struct PreparedCache<T = Prepared> {
    hasher: RandomState,
    bounds: CacheBounds,
    began: Instant,
    /// Seconds since the cache was created, as of the last [`PreparedCache::forget_unused`].
    clock: AtomicU32,
    segments: RwLock<Segments<T>>,
}

/// What an operation that is requested again becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It is kept.
    Lasting,
    /// It stays new: it is always refused, so that nothing but the refusal is quicker the next time.
    Brief,
}

struct Entry<T> {
    hash: u64,
    document: Box<str>,
    operation_name: Option<Box<str>>,
    group: RolloutGroup,
    /// The client that requested it first.
    client: ClientKey,
    worth: Worth,
    prepared: Arc<T>,
    /// Bytes of memory, with all that it refers to.
    bytes: usize,
    /// Set by a hit, and cleared when an eviction passes the entry instead of evicting it.
    is_used: AtomicBool,
    /// The clock at the last hit.
    used_at: AtomicU32,
}

impl<T> Entry<T> {
    /// Reads before it writes: a cache line that every hit writes would move between processors.
    fn hit(&self, now: u32) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        if self.used_at.load(Ordering::Relaxed) != now {
            self.used_at.store(now, Ordering::Relaxed);
        }
    }

    /// Whether it was requested again, and is kept for that.
    fn has_become_worth_keeping(&self) -> bool {
        self.worth == Worth::Lasting && self.is_used.swap(false, Ordering::Relaxed)
    }

    fn is(&self, document: &str, operation_name: Option<&str>, group: RolloutGroup) -> bool {
        *self.document == *document
            && self.operation_name.as_deref() == operation_name
            && self.group == group
    }
}

/// An operation that was requested a short time ago.
pub struct Recent<T> {
    entry: Arc<Entry<T>>,
    is_kept: bool,
    used_at: u32,
}

impl<T> Recent<T> {
    /// Distinguishes the operations of one cache.
    pub fn number(&self) -> u64 {
        self.entry.hash
    }

    /// The whole text.
    pub fn document(&self) -> &str {
        &self.entry.document
    }

    /// The name by which it was requested.
    pub fn operation_name(&self) -> Option<&str> {
        self.entry.operation_name.as_deref()
    }

    /// The requests for which it has its plan.
    pub fn group(&self) -> RolloutGroup {
        self.entry.group
    }

    /// The client that requested it first.
    pub fn client(&self) -> ClientKey {
        self.entry.client
    }

    /// The prepared operation.
    pub fn prepared(&self) -> &Arc<T> {
        &self.entry.prepared
    }

    /// Whether it was requested more than once.
    pub fn is_kept(&self) -> bool {
        self.is_kept
    }
}

/// Entries that were evicted. Dropping one frees thousands of allocations.
#[must_use]
pub struct Forgotten<T>(Vec<Arc<Entry<T>>>);

impl<T> Forgotten<T> {
    /// Whether no entry was evicted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> PreparedCache<T> {
    /// An empty cache with these bounds.
    pub fn new(bounds: CacheBounds, metrics: &PrepareMetrics) -> Self {
        Self {
            hasher: RandomState::new(),
            segments: RwLock::new(Segments::new(&bounds, metrics)),
            bounds,
            began: Instant::now(),
            clock: AtomicU32::new(0),
        }
    }

    /// The prepared operation of this document, name and group, if it is kept.
    pub fn get(
        &self,
        document: &str,
        operation_name: Option<&str>,
        group: RolloutGroup,
    ) -> Option<Arc<T>> {
        let entry = self.find(document, operation_name, group)?;
        entry.hit(self.clock.load(Ordering::Relaxed));
        Some(Arc::clone(&entry.prepared))
    }

    /// The same, which counts as no use of the operation.
    pub fn look(
        &self,
        document: &str,
        operation_name: Option<&str>,
        group: RolloutGroup,
    ) -> Option<Arc<T>> {
        let entry = self.find(document, operation_name, group)?;
        Some(Arc::clone(&entry.prepared))
    }

    fn find(
        &self,
        document: &str,
        operation_name: Option<&str>,
        group: RolloutGroup,
    ) -> Option<Arc<Entry<T>>> {
        let hash = self.hasher.hash_one((document, operation_name, group));
        let segments = self
            .segments
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let entry = segments.find(hash, |entry| entry.is(document, operation_name, group))?;
        Some(Arc::clone(entry))
    }

    /// Adds `prepared`, which holds `bytes` bytes, for `client`, and evicts others if the cache is
    /// full. An operation larger than the whole cache is not added.
    pub fn insert(
        &self,
        client: ClientKey,
        document: &str,
        operation_name: Option<&str>,
        group: RolloutGroup,
        prepared: (Arc<T>, usize),
        worth: Worth,
    ) {
        if self.get(document, operation_name, group).is_some() {
            return;
        }
        let entry = self.entry(client, document, operation_name, group, prepared, worth);
        let mut forgotten = Vec::new();
        self.write().insert(Arc::new(entry), &mut forgotten);
        // Dropped after the lock is released.
        drop(forgotten);
    }

    /// Sets the clock, and removes operations that were not requested for their time. Must be
    /// called every second; otherwise nothing ever becomes too old.
    pub fn forget_unused(&self, now: Instant) -> Forgotten<T> {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let clock = seconds(now.duration_since(self.began));
        self.clock.store(clock, Ordering::Relaxed);
        let before = |time| clock.checked_sub(seconds(time));
        let (new, kept) = (
            before(self.bounds.new_time),
            before(self.bounds.unused_time),
        );
        let mut forgotten = Vec::new();
        self.write().forget_unused(new, kept, &mut forgotten);
        Forgotten(forgotten)
    }

    /// Adds an operation as one that was requested again, for `client`. It is evicted like the others.
    pub fn keep(
        &self,
        client: ClientKey,
        document: &str,
        operation_name: Option<&str>,
        group: RolloutGroup,
        prepared: (Arc<T>, usize),
    ) {
        if self.look(document, operation_name, group).is_some() {
            return;
        }
        let entry = self.entry(
            client,
            document,
            operation_name,
            group,
            prepared,
            Worth::Lasting,
        );
        entry.is_used.store(true, Ordering::Relaxed);
        let mut forgotten = Vec::new();
        self.write().insert_kept(Arc::new(entry), &mut forgotten);
        drop(forgotten);
    }

    /// The operations that were requested within `time` and are not always refused: those that were requested again
    /// first, the latest first.
    pub fn recent(&self, time: Duration) -> Vec<Recent<T>> {
        let clock = self.clock.load(Ordering::Relaxed);
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let since = clock.saturating_sub(seconds);
        let segments = self.segments.read();
        let segments = segments.unwrap_or_else(|poisoned| poisoned.into_inner());
        let all = segments.entries();
        let mut recent: Vec<Recent<T>> = all
            .map(|(entry, is_kept)| Recent {
                is_kept: is_kept || entry.is_used.load(Ordering::Relaxed),
                used_at: entry.used_at.load(Ordering::Relaxed),
                entry: Arc::clone(entry),
            })
            .filter(|it| it.entry.worth == Worth::Lasting && it.used_at >= since)
            .collect();
        drop(segments);
        recent.sort_by_key(|it| std::cmp::Reverse((it.is_kept, it.used_at)));
        recent
    }

    fn entry(
        &self,
        client: ClientKey,
        document: &str,
        operation_name: Option<&str>,
        group: RolloutGroup,
        (prepared, bytes): (Arc<T>, usize),
        worth: Worth,
    ) -> Entry<T> {
        Entry {
            hash: self.hasher.hash_one((document, operation_name, group)),
            document: document.into(),
            operation_name: operation_name.map(Box::from),
            group,
            client,
            worth,
            prepared,
            bytes: bytes + document.len() + operation_name.map_or(0, str::len) + ENTRY_BYTES,
            is_used: AtomicBool::new(false),
            used_at: AtomicU32::new(self.clock.load(Ordering::Relaxed)),
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Segments<T>> {
        self.segments
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> ClientKey {
        ClientKey::of([10, 0, 0, number].into())
    }

    /// A cache of so many bytes, of which new operations have a quarter.
    fn cache(bytes_max: usize, metrics: &PrepareMetrics) -> PreparedCache<()> {
        let bounds = CacheBounds {
            entries_max: 100,
            bytes_max,
            new_bytes_max: bytes_max / 4,
            ..CacheBounds::default()
        };
        PreparedCache::new(bounds, metrics)
    }

    /// With its text and its entry it takes 1,000 bytes.
    fn keep(cache: &PreparedCache<()>, client: ClientKey, document: &str) {
        let bytes = 1_000 - ENTRY_BYTES - document.len();
        let group = RolloutGroup::default();
        let prepared = (Arc::new(()), bytes);
        cache.insert(client, document, None, group, prepared, Worth::Lasting);
    }

    /// Asks twice: it is kept.
    fn keep_used(cache: &PreparedCache<()>, client: ClientKey, document: &str) {
        keep(cache, client, document);
        assert!(has(cache, document));
    }

    /// Whether it is there, which counts as a use.
    fn has(cache: &PreparedCache<()>, document: &str) -> bool {
        cache.get(document, None, RolloutGroup::default()).is_some()
    }

    /// The same, which counts as none.
    fn holds(cache: &PreparedCache<()>, document: &str) -> bool {
        let group = RolloutGroup::default();
        cache.look(document, None, group).is_some()
    }

    #[test]
    fn what_was_asked_for_again_outlives_any_number_of_new_documents() {
        let cache = cache(16_000, &PrepareMetrics::default());
        for document in ["{ a }", "{ b }", "{ c }"] {
            keep_used(&cache, client(1), document);
        }
        for number in 0..1_000 {
            keep(&cache, client(1), &format!("{{ x{number}: a }}"));
        }
        for document in ["{ a }", "{ b }", "{ c }"] {
            assert!(holds(&cache, document), "{document}");
        }
        assert!(holds(&cache, "{ x999: a }"));
        assert!(!holds(&cache, "{ x0: a }"));
    }

    #[test]
    fn a_document_that_comes_back_after_it_gave_way_is_kept() {
        let cache = cache(16_000, &PrepareMetrics::default());
        keep(&cache, client(1), "{ a }");
        let fill = |prefix| {
            for number in 0..10 {
                keep(&cache, client(1), &format!("{{ {prefix}{number}: a }}"));
            }
        };
        fill('x');
        assert!(!holds(&cache, "{ a }"));
        keep(&cache, client(1), "{ a }");
        fill('y');
        assert!(holds(&cache, "{ a }"));
    }

    #[test]
    fn a_client_with_many_new_documents_leaves_those_of_others() {
        let cache = cache(16_000, &PrepareMetrics::default());
        keep(&cache, client(2), "{ modest }");
        for number in 0..100 {
            keep(&cache, client(1), &format!("{{ x{number}: a }}"));
        }
        assert!(holds(&cache, "{ modest }"));
        assert!(holds(&cache, "{ x99: a }"));
    }

    #[test]
    fn of_what_is_kept_the_unused_gives_way() {
        let cache = cache(16_000, &PrepareMetrics::default());
        // Twelve find room, and become old by being passed.
        for number in 0..12 {
            keep_used(&cache, client(1), &format!("{{ a{number}: a }}"));
        }
        let _ = cache.forget_unused(Instant::now());
        assert!(has(&cache, "{ a0: a }"));
        keep_used(&cache, client(1), "{ b: a }");
        let _ = cache.forget_unused(Instant::now());
        assert!(holds(&cache, "{ a0: a }") && holds(&cache, "{ b: a }"));
        assert!(!holds(&cache, "{ a1: a }"));
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_in_time() {
        let metrics = PrepareMetrics::default();
        let cache = cache(16_000, &metrics);
        let after = |seconds| cache.began + Duration::from_secs(seconds);
        keep(&cache, client(1), "{ once }");
        keep_used(&cache, client(1), "{ twice }");
        assert!(cache.forget_unused(after(10)).is_empty());
        let forgotten = cache.forget_unused(after(11));
        assert_eq!(forgotten.0.len(), 1);
        assert!(!holds(&cache, "{ once }") && has(&cache, "{ twice }"));
        assert!(cache.forget_unused(after(611)).is_empty(), "used at 11");
        assert_eq!(cache.forget_unused(after(612)).0.len(), 1);
        assert_eq!((metrics.kept.get(), metrics.kept_bytes.get()), (0, 0));
        keep(&cache, client(1), "{ once }");
        let _ = cache.forget_unused(after(1_000));
        assert!(holds(&cache, "{ once }"), "it had come back: it is kept");
    }

    #[test]
    fn what_is_always_refused_stays_new() {
        let metrics = PrepareMetrics::default();
        let cache = cache(16_000, &metrics);
        let after = |seconds| cache.began + Duration::from_secs(seconds);
        let refuse = || {
            let prepared = (Arc::new(()), 500);
            let group = RolloutGroup::default();
            cache.insert(
                client(1),
                "{ refused }",
                None,
                group,
                prepared,
                Worth::Brief,
            );
        };
        refuse();
        assert!(has(&cache, "{ refused }"));
        assert!(cache.forget_unused(after(8)).is_empty());
        assert!(has(&cache, "{ refused }"), "used at 8");
        assert!(cache.forget_unused(after(18)).is_empty());
        assert_eq!(cache.forget_unused(after(19)).0.len(), 1);
        // It comes back, is used, and gives way to other new ones.
        refuse();
        assert!(has(&cache, "{ refused }"));
        for number in 0..10 {
            keep(&cache, client(1), &format!("{{ x{number}: a }}"));
        }
        assert!(!holds(&cache, "{ refused }"));
    }

    #[test]
    fn entries_make_room_for_each_other_by_what_they_hold() {
        let metrics = PrepareMetrics::default();
        let shown = || (metrics.kept.get(), metrics.kept_bytes.get());
        let cache = cache(16_000, &metrics);
        for number in 0..10 {
            keep(&cache, client(1), &format!("{{ a{number}: a }}"));
        }
        assert_eq!(shown(), (4, 4_000));
        for number in 0..100 {
            keep_used(&cache, client(1), &format!("{{ b{number}: a }}"));
        }
        assert_eq!(shown(), (16, 16_000));
        let large = |bytes| {
            let group = RolloutGroup::default();
            let prepared = (Arc::new(()), bytes);
            let worth = Worth::Lasting;
            cache.insert(client(1), "{ large }", None, group, prepared, worth);
        };
        large(5_000);
        assert!(!holds(&cache, "{ large }"), "it is new");
        large(5_000);
        assert!(holds(&cache, "{ large }"));
        assert!(shown().1 <= 16_000);
        drop(cache);
        assert_eq!(shown(), (0, 0));
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_kept() {
        let cache = cache(16_000, &PrepareMetrics::default());
        keep_used(&cache, client(1), "{ a }");
        let group = RolloutGroup::default();
        for _ in 0..3 {
            let prepared = (Arc::new(()), 20_000);
            let worth = Worth::Lasting;
            cache.insert(client(1), "{ large }", None, group, prepared, worth);
        }
        assert!(!holds(&cache, "{ large }") && holds(&cache, "{ a }"));
    }
}
