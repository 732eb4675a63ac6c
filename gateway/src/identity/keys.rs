//! The keys of all JWK sets, read again at intervals and when a token fits none of the keys that they have.
//!
//! One task per set reads it, so that a request that leaves cancels nothing, all requests wait for the same
//! reading, and a provider that is down or slow keeps nobody waiting for the keys of another. A reading that
//! fails changes nothing: known keys go on.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::join_all,
    stream::{self, select_all},
};
use graphql_transport::ClientKey;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{key::Key, metrics::IdentityMetrics, refused::Refused, source::Source, token::Token};
use crate::subgraphs::Tls;

/// The largest number of requests that wait for a reading.
const REQUESTS_MAX: usize = 4_096;
/// The largest number of different key ids that requests wait for, counted by client.
const IDS_MAX: usize = 1_024;
/// The largest number of keys of one set to try for a token that names none.
const CANDIDATES_MAX: usize = 8;

/// The keys of all sets.
#[derive(Clone, Default)]
pub(super) struct KeySet {
    /// In the order of the sources.
    sets: Vec<Arc<[Arc<Key>]>>,
    /// Counts the readings that took a key away: what was verified before it may not be valid any more.
    pub epoch: u64,
}

/// What is known of the readings of one set.
#[derive(Clone, Copy, Debug, Default)]
struct Readings {
    begun: u64,
    ended: u64,
    last_began: Option<Instant>,
    /// Whether the last one that ended failed.
    has_failed: bool,
}

impl Readings {
    fn is_running(self) -> bool {
        self.begun > self.ended
    }

    /// Whether one has failed a moment ago, so that it is not tried again yet.
    fn fails(self, pause: Duration) -> bool {
        let is_recent = self.last_began.is_some_and(|it| it.elapsed() < pause);
        self.has_failed && is_recent && !self.is_running()
    }
}

/// The settings of readings.
#[derive(Clone, Copy)]
pub(super) struct ReadingTimes {
    pub refresh: Duration,
    pub pause: Duration,
    pub limit: Duration,
}

/// The keys of all JWK sets, which are read again at intervals and when a token names an unknown key.
pub(super) struct Keys {
    sources: Vec<ReadSource>,
    tls: Tls,
    times: ReadingTimes,
    current: RwLock<Arc<KeySet>>,
    /// That of the current keys, for those who need nothing else of them.
    epoch: AtomicU64,
    waiting: Mutex<Waiting>,
    hasher: RandomState,
    metrics: IdentityMetrics,
}

/// A JWK set with its readings.
struct ReadSource {
    source: Source,
    readings: watch::Sender<Readings>,
    /// The number of the last reading that a request waits for.
    wanted: watch::Sender<u64>,
}

/// The requests that wait for a reading. The id of a key counts once for each client, however many of its
/// requests wait for it: a crowd behind one address takes one place for a new key.
#[derive(Default)]
struct Waiting {
    requests: usize,
    clients: HashMap<ClientKey, WaitingClient>,
    /// Ids of all clients.
    ids: usize,
}

#[derive(Default)]
struct WaitingClient {
    requests: usize,
    /// How many requests wait for an id, by its hash; `None` for tokens without one.
    ids: HashMap<Option<u64>, usize>,
}

impl Keys {
    pub(super) fn new(
        sources: Vec<Source>,
        tls: Tls,
        times: ReadingTimes,
        metrics: IdentityMetrics,
    ) -> Self {
        let sources: Vec<ReadSource> = sources.into_iter().map(ReadSource::new).collect();
        Self {
            current: RwLock::new(Arc::new(KeySet {
                sets: sources.iter().map(|_| Arc::default()).collect(),
                epoch: 0,
            })),
            epoch: AtomicU64::new(0),
            sources,
            tls,
            times,
            waiting: Mutex::default(),
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
        let empty: Vec<&str> = empty.map(|(_, it)| it.source.shown()).collect();
        match empty.is_empty() {
            true => Ok(()),
            false => Err(format!("no key has been read from {}", empty.join(", "))),
        }
    }

    /// Checks a token's signature with the keys that there are. Returns their epoch.
    ///
    /// # Errors
    /// `UnknownKey` if no key can have signed it, `Signature` if none of those that can has.
    fn verify_now(&self, token: &Token<'_>) -> Result<u64, Refused> {
        let current = self.current();
        let mut refused = Refused::UnknownKey;
        for (keys, it) in current.sets.iter().zip(&self.sources) {
            if !it.signs_for(token) {
                continue;
            }
            let id = token.key_id.as_ref();
            let fitting = keys
                .iter()
                .filter(|key| (id.is_none() || key.id.as_ref() == id) && key.fits(token.algorithm));
            for key in fitting.take(CANDIDATES_MAX) {
                if key.verifies(token.algorithm, token.signed, &token.signature) {
                    return Ok(current.epoch);
                }
                refused = Refused::Signature;
            }
        }
        Err(refused)
    }

    /// Checks a token's signature; if it is not that of a known key, again with the keys of readings that begin
    /// after this call. Returns the epoch of the keys.
    ///
    /// # Errors
    /// As of such a reading, `UnknownKey` or `Signature`. `Unavailable` if a set of the token's issuer could not
    /// be read, or too many requests wait.
    pub(super) async fn verify(
        &self,
        token: &Token<'_>,
        client: ClientKey,
    ) -> Result<u64, Refused> {
        let mut refused = match self.verify_now(token) {
            Err(refused) => refused,
            verified => return verified,
        };
        let sources = || self.sources.iter().filter(|it| it.signs_for(token));
        let fails = |it: &ReadSource| it.readings.borrow().fails(self.times.pause);
        if sources().all(fails) {
            return Err(match sources().next() {
                Some(_) => Refused::Unavailable,
                None => refused,
            });
        }
        let _place = self.enter(client, token.key_id.as_deref())?;
        // A reading that runs may have the key, or may have begun before the provider had it.
        let awaited = sources().map(|it| {
            let now = *it.readings.borrow();
            let last = now.begun + 1;
            stream::iter((now.ended + 1).min(last)..=last)
                .then(move |number| it.ended(number))
                .boxed()
        });
        let mut ended = select_all(awaited);
        // The one that runs, the pause, and the next one.
        let limit = self.times.pause + 2 * self.times.limit + Duration::from_secs(1);
        let verified = async {
            while let Some(()) = ended.next().await {
                match self.verify_now(token) {
                    Err(again) => refused = again,
                    verified => return verified,
                }
            }
            let has_failed = sources().any(|it| it.readings.borrow().has_failed);
            Err(if has_failed {
                Refused::Unavailable
            } else {
                refused
            })
        };
        let verified = timeout(limit, verified).await;
        verified.unwrap_or(Err(Refused::Unavailable))
    }

    fn enter(&self, client: ClientKey, id: Option<&str>) -> Result<Place<'_>, Refused> {
        let id = id.map(|id| self.hasher.hash_one(id));
        lock(&self.waiting).enter(client, id)?;
        Ok(Place {
            keys: self,
            client,
            id,
        })
    }

    /// Reads the sets until shutdown: now, at intervals, and when a request wants it.
    pub(super) async fn run(&self, reloads: watch::Receiver<u64>, shutdown: CancellationToken) {
        let reading =
            (0..self.sources.len()).map(|index| self.read_forever(index, reloads.clone()));
        shutdown.run_until_cancelled(join_all(reading)).await;
    }

    async fn read_forever(&self, index: usize, mut reloads: watch::Receiver<u64>) {
        let it = &self.sources[index];
        let mut wanted = it.wanted.subscribe();
        loop {
            let began = Instant::now();
            let next = match self.read(index).await {
                true => self.times.refresh,
                false => self.times.pause.min(self.times.refresh),
            };
            tokio::select! {
                () = sleep_until(began + next) => {}
                Ok(()) = reloads.changed() => {}
                () = async {
                    let begun = it.readings.borrow().begun;
                    // Its sender lives as long as this.
                    let _ = wanted.wait_for(|wanted| *wanted > begun).await;
                    sleep_until(began + self.times.pause).await;
                } => {}
            }
        }
    }

    async fn read(&self, index: usize) -> bool {
        let it = &self.sources[index];
        it.readings.send_modify(|readings| {
            readings.begun += 1;
            readings.last_began = Some(Instant::now());
        });
        let read = it.source.read(&self.tls, self.times.limit).await;
        let has_failed = read.is_err();
        self.metrics.read(!has_failed);
        match read {
            Ok(keys) => self.publish(index, keys),
            Err(reason) => tracing::warn!(
                set = it.source.shown(),
                reason,
                "a JWK set could not be read, its known keys stay, will read it again"
            ),
        }
        it.readings.send_modify(|readings| {
            readings.ended = readings.begun;
            readings.has_failed = has_failed;
        });
        !has_failed
    }

    /// Replaces the keys of one set.
    fn publish(&self, index: usize, keys: Vec<Arc<Key>>) {
        let current = self.current.write();
        let mut current = current.unwrap_or_else(PoisonError::into_inner);
        let mut changed = KeySet::clone(&current);
        let is_kept = |key: &Arc<Key>| keys.iter().any(|it| it.is_same(key));
        let has_lost_one = !changed.sets[index].iter().all(is_kept);
        changed.epoch += u64::from(has_lost_one);
        let epoch = changed.epoch;
        changed.sets[index] = keys.into();
        let count = changed.sets.iter().map(|keys| keys.len()).sum::<usize>();
        self.metrics.keys.set(count as i64);
        *current = Arc::new(changed);
        self.epoch.store(epoch, Ordering::Release);
    }
}

impl ReadSource {
    fn new(source: Source) -> Self {
        Self {
            source,
            readings: watch::Sender::default(),
            wanted: watch::Sender::default(),
        }
    }

    /// Whether its keys may sign tokens of this token's issuer.
    fn signs_for(&self, token: &Token<'_>) -> bool {
        let issuer = self.source.issuer.as_deref();
        issuer.is_none_or(|issuer| token.issuer() == Some(issuer))
    }

    /// Waits until the reading of this number has ended, and has it begin if it is not running.
    async fn ended(&self, number: u64) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = *wanted < number;
            *wanted = number.max(*wanted);
            is_new
        });
        // Its sender lives as long as this.
        let mut readings = self.readings.subscribe();
        let _ = readings.wait_for(|readings| readings.ended >= number).await;
    }
}

impl Waiting {
    /// Takes a place. One client may have as many as are free: others always find one.
    fn enter(&mut self, client: ClientKey, id: Option<u64>) -> Result<(), Refused> {
        let (requests, ids, is_new_id) = match self.clients.get(&client) {
            Some(own) => (own.requests, own.ids.len(), !own.ids.contains_key(&id)),
            None => (0, 0, true),
        };
        let is_full = requests >= REQUESTS_MAX - self.requests;
        if is_full || (is_new_id && ids >= IDS_MAX - self.ids) {
            return Err(Refused::Unavailable);
        }
        self.requests += 1;
        self.ids += usize::from(is_new_id);
        let own = self.clients.entry(client).or_default();
        own.requests += 1;
        *own.ids.entry(id).or_default() += 1;
        Ok(())
    }

    fn leave(&mut self, client: ClientKey, id: Option<u64>) {
        let Some(own) = self.clients.get_mut(&client) else {
            return;
        };
        self.requests -= 1;
        own.requests -= 1;
        if let Some(count) = own.ids.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                own.ids.remove(&id);
                self.ids -= 1;
            }
        }
        if own.requests == 0 {
            self.clients.remove(&client);
        }
    }
}

/// A request that waits, until dropped.
struct Place<'k> {
    keys: &'k Keys,
    client: ClientKey,
    id: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.keys.waiting).leave(self.client, self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> ClientKey {
        ClientKey::of([127, 0, 0, last].into())
    }

    #[test]
    fn a_crowd_that_waits_for_one_key_takes_one_place() {
        let mut waiting = Waiting::default();
        for id in 0..IDS_MAX as u64 / 2 {
            assert!(waiting.enter(client(1), Some(id)).is_ok());
        }
        let more = Some(u64::MAX);
        assert_eq!(waiting.enter(client(1), more), Err(Refused::Unavailable));
        // Those who wait for the same key, and other clients, are not in the way of it.
        for _ in 0..1_000 {
            assert!(waiting.enter(client(1), Some(0)).is_ok());
            assert!(waiting.enter(client(2), None).is_ok());
        }
        let (own, ids) = (waiting.clients[&client(2)].requests, waiting.ids);
        assert_eq!((own, ids), (1_000, IDS_MAX / 2 + 1));
        for _ in 0..1_000 {
            waiting.leave(client(2), None);
        }
        assert!(!waiting.clients.contains_key(&client(2)));
        waiting.leave(client(1), Some(1));
        assert!(waiting.enter(client(1), more).is_ok());
    }
}
