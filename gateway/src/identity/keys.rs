//! The keys of all JWK sets, read again at intervals and when a token names a key that they do not have.
//!
//! One task reads the sets, so that a request that leaves cancels nothing, and all requests wait for the same
//! reading. A reading that fails changes nothing: known keys go on.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use graphql_transport::ClientKey;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    algorithm::Algorithm, key::Key, metrics::IdentityMetrics, refused::Refused, source::Source,
};
use crate::subgraphs::Tls;

/// The largest number of requests that wait for a reading. One client may have as many of them as are free.
const WAITING_MAX: usize = 1_024;
/// The largest number of key ids to remember as missing.
const MISSING_MAX: usize = 1_024;
/// The largest number of keys to try for a token that names none, or one that several sets have.
const CANDIDATES_MAX: usize = 8;

/// The keys of all sets after one reading.
#[derive(Default)]
pub(super) struct KeySet {
    /// In the order of the sources.
    sets: Vec<Vec<Arc<Key>>>,
    /// Counts the readings that took a key away: what was verified before it may not be valid any more.
    pub epoch: u64,
}

/// What is known of the readings.
#[derive(Clone, Copy, Debug, Default)]
struct Readings {
    begun: u64,
    ended: u64,
    last_began: Option<Instant>,
    /// Whether the last one that ended failed for any set.
    has_failed: bool,
}

/// The settings of readings.
pub(super) struct ReadingTimes {
    pub refresh: Duration,
    pub pause: Duration,
    pub limit: Duration,
}

/// All JWK sets.
pub(super) struct Keys {
    sources: Vec<Source>,
    tls: Tls,
    times: ReadingTimes,
    current: RwLock<Arc<KeySet>>,
    /// That of the current keys, for those who need nothing else of them.
    epoch: AtomicU64,
    readings: watch::Sender<Readings>,
    /// Wakes the task that reads.
    wanted: Notify,
    waiting: Mutex<Waiting>,
    missing: Mutex<Missing>,
    hasher: RandomState,
    metrics: IdentityMetrics,
}

#[derive(Default)]
struct Waiting {
    all: usize,
    clients: HashMap<ClientKey, usize>,
}

/// Key ids that a reading did not find, by their hashes.
#[derive(Default)]
struct Missing {
    reading: u64,
    ids: HashSet<u64>,
}

/// What a set of keys has for a token.
pub(super) enum Candidates {
    Some(Vec<Arc<Key>>),
    /// No key has the id.
    UnknownId,
    /// A key has it, or the token names none, but no key fits.
    Unfit,
}

impl Keys {
    pub(super) fn new(
        sources: Vec<Source>,
        tls: Tls,
        times: ReadingTimes,
        metrics: IdentityMetrics,
    ) -> Self {
        Self {
            current: RwLock::new(Arc::new(KeySet {
                sets: sources.iter().map(|_| Vec::new()).collect(),
                epoch: 0,
            })),
            epoch: AtomicU64::new(0),
            sources,
            tls,
            times,
            readings: watch::Sender::default(),
            wanted: Notify::new(),
            waiting: Mutex::default(),
            missing: Mutex::default(),
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// The keys as they are now.
    pub(super) fn current(&self) -> Arc<KeySet> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// The epoch of the keys as they are now.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Says which sets have no keys yet, for `/health/ready`.
    pub(super) fn check(&self) -> Result<(), String> {
        let current = self.current();
        let empty = current.sets.iter().zip(&self.sources);
        let empty = empty.filter(|(keys, _)| keys.is_empty());
        let empty: Vec<&str> = empty.map(|(_, source)| source.shown()).collect();
        match empty.is_empty() {
            true => Ok(()),
            false => Err(format!("no key has been read from {}", empty.join(", "))),
        }
    }

    /// The keys that may have signed a token.
    pub(super) fn candidates(
        &self,
        set: &KeySet,
        id: Option<&str>,
        algorithm: Algorithm,
        issuer: Option<&str>,
    ) -> Candidates {
        let mut is_known = id.is_none();
        let mut fitting = Vec::new();
        for (keys, source) in set.sets.iter().zip(&self.sources) {
            let is_bound_to_another = source.issuer.is_some() && source.issuer.as_deref() != issuer;
            if is_bound_to_another {
                continue;
            }
            for key in keys {
                if id.is_some() && key.id.as_deref() != id {
                    continue;
                }
                is_known = true;
                if key.fits(algorithm) && fitting.len() < CANDIDATES_MAX {
                    fitting.push(Arc::clone(key));
                }
            }
        }
        match (fitting.is_empty(), is_known) {
            (false, _) => Candidates::Some(fitting),
            (true, false) => Candidates::UnknownId,
            (true, true) => Candidates::Unfit,
        }
    }

    /// Waits until the sets have been read after this call, and `found` says that the key is there, or that it
    /// is not.
    ///
    /// # Errors
    /// `UnknownKey` if it is not there; `Unavailable` if the sets could not be read, or too many requests wait.
    pub(super) async fn wait_for(
        &self,
        id: Option<&str>,
        client: ClientKey,
        found: impl Fn(&KeySet) -> bool,
    ) -> Result<(), Refused> {
        let id = id.map(|id| self.hasher.hash_one(id));
        self.refuse_at_once(id)?;
        let _place = self.enter(client)?;
        let mut readings = self.readings.subscribe();
        // A reading that runs may have the key, or may have begun before the provider had it.
        for _ in 0..2 {
            let now = *readings.borrow();
            let is_running = now.begun > now.ended;
            let awaited = if is_running { now.begun } else { now.begun + 1 };
            if !is_running {
                self.wanted.notify_one();
            }
            let ended = readings.wait_for(|readings| readings.ended >= awaited);
            let limit = self.times.pause + self.times.limit + Duration::from_secs(1);
            match timeout(limit, ended).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return Err(Refused::Unavailable),
            }
            if found(&self.current()) {
                return Ok(());
            }
            if !is_running {
                break;
            }
        }
        let readings = *self.readings.borrow();
        if readings.has_failed {
            return Err(Refused::Unavailable);
        }
        if let Some(id) = id {
            let mut missing = lock(&self.missing);
            if missing.reading != readings.ended {
                missing.ids.clear();
                missing.reading = readings.ended;
            }
            if missing.ids.len() < MISSING_MAX {
                missing.ids.insert(id);
            }
        }
        Err(Refused::UnknownKey)
    }

    /// Refuses while the last reading says all that the next would: within the pause after it, if it failed, or
    /// did not find this key.
    fn refuse_at_once(&self, id: Option<u64>) -> Result<(), Refused> {
        let readings = *self.readings.borrow();
        let is_recent = readings
            .last_began
            .is_some_and(|began| began.elapsed() < self.times.pause);
        if !is_recent || readings.begun > readings.ended {
            return Ok(());
        }
        if readings.has_failed {
            return Err(Refused::Unavailable);
        }
        let missing = lock(&self.missing);
        match missing.reading == readings.ended && id.is_some_and(|id| missing.ids.contains(&id)) {
            true => Err(Refused::UnknownKey),
            false => Ok(()),
        }
    }

    fn enter(&self, client: ClientKey) -> Result<Place<'_>, Refused> {
        let mut waiting = lock(&self.waiting);
        let own = waiting.clients.get(&client).copied().unwrap_or_default();
        if own >= WAITING_MAX - waiting.all {
            return Err(Refused::Unavailable);
        }
        waiting.all += 1;
        waiting.clients.insert(client, own + 1);
        Ok(Place { keys: self, client })
    }

    /// Reads the sets until shutdown: now, at intervals, and when a request wants it.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.read_forever()).await;
    }

    async fn read_forever(&self) {
        loop {
            let began = Instant::now();
            let all_were_read = self.read().await;
            let next = match all_were_read {
                true => self.times.refresh,
                false => self.times.pause.min(self.times.refresh),
            };
            tokio::select! {
                () = sleep_until(began + next) => {}
                () = async {
                    self.wanted.notified().await;
                    sleep_until(began + self.times.pause).await;
                } => {}
            }
        }
    }

    async fn read(&self) -> bool {
        self.readings.send_modify(|readings| {
            readings.begun += 1;
            readings.last_began = Some(Instant::now());
        });
        let reading = self
            .sources
            .iter()
            .map(|source| source.read(&self.tls, self.times.limit));
        let read = join_all(reading).await;
        let has_failed = read.iter().any(Result::is_err);
        self.take(read);
        self.readings.send_modify(|readings| {
            readings.ended = readings.begun;
            readings.has_failed = has_failed;
        });
        !has_failed
    }

    fn take(&self, read: Vec<Result<Vec<Arc<Key>>, String>>) {
        let before = self.current();
        let mut sets = Vec::with_capacity(read.len());
        let mut has_lost_one = false;
        for ((read, before), source) in read.into_iter().zip(&before.sets).zip(&self.sources) {
            match read {
                Ok(keys) => {
                    self.metrics.read(true);
                    let is_kept = |key: &Arc<Key>| keys.iter().any(|it| it.is_same(key));
                    has_lost_one |= !before.iter().all(is_kept);
                    if keys.is_empty() {
                        tracing::warn!(
                            set = source.shown(),
                            "a JWK set has no key that can be used"
                        );
                    }
                    sets.push(keys);
                }
                Err(reason) => {
                    self.metrics.read(false);
                    tracing::warn!(
                        set = source.shown(),
                        reason,
                        keys = before.len(),
                        "a JWK set could not be read, its known keys stay, will read it again"
                    );
                    sets.push(before.clone());
                }
            }
        }
        let count = sets.iter().map(Vec::len).sum::<usize>();
        self.metrics.keys.set(count as i64);
        let epoch = before.epoch + u64::from(has_lost_one);
        let current = self.current.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(KeySet { sets, epoch });
        self.epoch.store(epoch, Ordering::Release);
    }
}

/// A request that waits, until dropped.
struct Place<'k> {
    keys: &'k Keys,
    client: ClientKey,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.keys.waiting);
        waiting.all -= 1;
        if let Some(own) = waiting.clients.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                waiting.clients.remove(&self.client);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
