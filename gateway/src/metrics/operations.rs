//! Metrics by the name of the operation and by client. Both come from clients, so the number of series is bounded.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use rustc_hash::FxHashMap;
use service::Metrics;

/// The label of all that have no series of their own. No operation and no client can have this name.
pub const OTHER: &str = "(other)";

/// A name that has not come for this long gives its series to another one, in seconds.
const UNUSED_SECONDS: u64 = 10 * 60;
/// How often a name that finds no room looks for one that is not used any more, in seconds.
const LOOK_SECONDS: u64 = 1;
/// Upper limits of the buckets of durations, in seconds. Few, because each operation has them.
const BUCKETS: [f64; 7] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was executed without an error.
    Executed,
    /// It was executed, and its response has an error.
    Failed,
    /// It was refused before it was executed.
    Refused,
    /// It is a subscription that began.
    Subscribed,
    /// Its client left, or its time was over.
    Unfinished,
}

impl Ending {
    const ALL: [Self; 5] = [
        Self::Executed,
        Self::Failed,
        Self::Refused,
        Self::Subscribed,
        Self::Unfinished,
    ];

    /// As in labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Subscribed => "subscribed",
            Self::Unfinished => "unfinished",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: String,
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperationAndOutcome {
    operation: String,
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClientAndOutcome {
    client: String,
    version: String,
    outcome: &'static str,
}

/// Counts operations by name and by client.
pub struct OperationMetrics {
    operations: Bounded<OperationSeries>,
    clients: Bounded<ClientSeries>,
}

impl OperationMetrics {
    /// Registers the metrics, with at most `max` names of operations and `max` clients; `None` if that is 0.
    pub fn register(metrics: &Metrics, max: usize) -> Option<Self> {
        let buckets: fn() -> Histogram = || Histogram::new(BUCKETS);
        let operations = OperationFamilies {
            counts: metrics.register(
                "gateway_operations",
                "Operations by name, kind and outcome; OPERATION_METRICS_MAX bounds the names",
                Family::default(),
            ),
            seconds: metrics.register(
                "gateway_operation_seconds",
                "Time from an operation read to its answer ready, by name and kind",
                Family::new_with_constructor(buckets),
            ),
        };
        let clients = metrics.register(
            "gateway_client_operations",
            "Operations by the client's name and version, and outcome; OPERATION_METRICS_MAX bounds the clients",
            Family::default(),
        );
        (max > 0).then(|| Self {
            operations: Bounded::new(operations, max),
            clients: Bounded::new(clients, max),
        })
    }

    /// Counts an operation. Its name and those of the client are plain texts (`watch::plain`).
    pub fn ended(
        &self,
        [name, kind]: [&str; 2],
        client: [&str; 2],
        ending: Ending,
        took: Duration,
    ) {
        let series = self.operations.series([name, kind]);
        series.counts[ending as usize].inc();
        if ending != Ending::Refused {
            series.seconds.observe(took.as_secs_f64());
        }
        self.clients.series(client).0[ending as usize].inc();
    }
}

/// The series of one name.
trait Series: Sized {
    /// Where its series are registered.
    type Families;

    fn new(families: &Self::Families, name: [&str; 2]) -> Self;

    fn remove(families: &Self::Families, name: [&str; 2]);
}

struct OperationFamilies {
    counts: Family<ByOperationAndOutcome, Counter>,
    seconds: Family<ByOperation, Histogram>,
}

struct OperationSeries {
    counts: [Counter; 5],
    seconds: Histogram,
}

impl OperationSeries {
    fn labels([operation, kind]: [&str; 2]) -> ByOperation {
        ByOperation {
            operation: operation.to_owned(),
            kind: kind.to_owned(),
        }
    }

    fn labels_of([operation, kind]: [&str; 2], ending: Ending) -> ByOperationAndOutcome {
        ByOperationAndOutcome {
            operation: operation.to_owned(),
            kind: kind.to_owned(),
            outcome: ending.as_str(),
        }
    }
}

impl Series for OperationSeries {
    type Families = OperationFamilies;

    fn new(families: &OperationFamilies, name: [&str; 2]) -> Self {
        let count = |ending| {
            families
                .counts
                .get_or_create_owned(&Self::labels_of(name, ending))
        };
        Self {
            counts: Ending::ALL.map(count),
            seconds: families.seconds.get_or_create_owned(&Self::labels(name)),
        }
    }

    fn remove(families: &OperationFamilies, name: [&str; 2]) {
        for ending in Ending::ALL {
            families.counts.remove(&Self::labels_of(name, ending));
        }
        families.seconds.remove(&Self::labels(name));
    }
}

struct ClientSeries([Counter; 5]);

impl ClientSeries {
    fn labels_of([client, version]: [&str; 2], ending: Ending) -> ByClientAndOutcome {
        ByClientAndOutcome {
            client: client.to_owned(),
            version: version.to_owned(),
            outcome: ending.as_str(),
        }
    }
}

impl Series for ClientSeries {
    type Families = Family<ByClientAndOutcome, Counter>;

    fn new(families: &Self::Families, name: [&str; 2]) -> Self {
        let count = |ending| families.get_or_create_owned(&Self::labels_of(name, ending));
        Self(Ending::ALL.map(count))
    }

    fn remove(families: &Self::Families, name: [&str; 2]) {
        for ending in Ending::ALL {
            families.remove(&Self::labels_of(name, ending));
        }
    }
}

/// Series of at most `max` names, and one for all others.
struct Bounded<S: Series> {
    families: S::Families,
    max: usize,
    hasher: RandomState,
    /// By the hash of the name. Of two names with one hash, the second is counted among the others.
    known: RwLock<FxHashMap<u64, Arc<Known<S>>>>,
    other: Arc<Known<S>>,
    began: Instant,
    /// When a name may next look for one that is not used any more.
    look_at: AtomicU64,
}

struct Known<S> {
    name: [Box<str>; 2],
    series: S,
    /// In seconds since the beginning.
    used_at: AtomicU64,
}

impl<S> std::ops::Deref for Known<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.series
    }
}

impl<S: Series> Bounded<S> {
    fn new(families: S::Families, max: usize) -> Self {
        let other = Arc::new(Known {
            series: S::new(&families, [OTHER, OTHER]),
            name: [OTHER.into(), OTHER.into()],
            used_at: AtomicU64::new(0),
        });
        Self {
            families,
            max,
            hasher: RandomState::new(),
            known: RwLock::default(),
            other,
            began: Instant::now(),
            look_at: AtomicU64::new(0),
        }
    }

    fn series(&self, name: [&str; 2]) -> Arc<Known<S>> {
        self.series_at(name, self.began.elapsed().as_secs())
    }

    fn series_at(&self, name: [&str; 2], now: u64) -> Arc<Known<S>> {
        let hash = self.hasher.hash_one(name);
        let is_same = |known: &Known<S>| known.name.each_ref().map(|part| &**part) == name;
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = known.get(&hash) {
                if !is_same(found) {
                    return Arc::clone(&self.other);
                }
                found.used_at.store(now, Relaxed);
                return Arc::clone(found);
            }
            if known.len() >= self.max && now < self.look_at.load(Relaxed) {
                return Arc::clone(&self.other);
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been first.
        if let Some(found) = known.get(&hash) {
            return match is_same(found) {
                true => Arc::clone(found),
                false => Arc::clone(&self.other),
            };
        }
        if known.len() >= self.max {
            self.look_at.store(now + LOOK_SECONDS, Relaxed);
            let oldest = known
                .iter()
                .min_by_key(|(_, known)| known.used_at.load(Relaxed));
            let unused = oldest.filter(|(_, oldest)| {
                now.saturating_sub(oldest.used_at.load(Relaxed)) >= UNUSED_SECONDS
            });
            let Some(unused) = unused.map(|(hash, _)| *hash) else {
                return Arc::clone(&self.other);
            };
            if let Some(unused) = known.remove(&unused) {
                S::remove(&self.families, unused.name.each_ref().map(|part| &**part));
            }
        }
        let new = Arc::new(Known {
            series: S::new(&self.families, name),
            name: name.map(Into::into),
            used_at: AtomicU64::new(now),
        });
        known.insert(hash, Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(max: usize) -> Bounded<ClientSeries> {
        Bounded::new(Family::default(), max)
    }

    fn name(known: &Known<ClientSeries>) -> &str {
        &known.name[0]
    }

    #[test]
    fn names_beyond_the_bound_share_one_series() {
        let clients = clients(2);
        for index in 0..10_000 {
            let client = format!("client{index}");
            let series = clients.series_at([&client, ""], 0);
            let expected = if index < 2 { &client } else { OTHER };
            assert_eq!(name(&series), expected);
            series.0[0].inc();
        }
        assert_eq!(clients.other.0[0].get(), 9_998);
        assert_eq!(name(&clients.series_at(["client1", ""], 1)), "client1");
    }

    #[test]
    fn a_name_that_is_not_used_any_more_makes_room_for_another() {
        let clients = clients(2);
        clients.series_at(["old", "1"], 0);
        clients.series_at(["used", "1"], 0);
        clients.series_at(["used", "1"], UNUSED_SECONDS - 1);
        let early = clients.series_at(["new", "1"], UNUSED_SECONDS - 1);
        assert_eq!(name(&early), OTHER);
        // It looks once a second at most.
        let series = clients.series_at(["new", "1"], UNUSED_SECONDS);
        assert_eq!(name(&series), "new");
        assert_eq!(
            name(&clients.series_at(["used", "1"], UNUSED_SECONDS)),
            "used"
        );
        assert_eq!(
            name(&clients.series_at(["old", "1"], UNUSED_SECONDS)),
            OTHER
        );
        let labels = ClientSeries::labels_of(["old", "1"], Ending::Executed);
        assert!(!clients.families.remove(&labels), "its series are gone");
    }

    #[test]
    fn versions_of_a_client_are_counted_apart() {
        let clients = clients(3);
        clients.series_at(["web", "1"], 0).0[0].inc();
        clients.series_at(["web", "2"], 0).0[0].inc();
        assert_eq!(clients.series_at(["web", "1"], 0).0[0].get(), 1);
    }
}
