//! States computed from the source as it was at one point in time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bson::{Bson, Document, Timestamp};
use mongodb::ClientSession;

use crate::Error;
use crate::server_codes::{SNAPSHOT_TOO_OLD, SNAPSHOT_UNAVAILABLE, server_code};

use super::Slot;
use super::any_projection::AnyProjection;
use super::fold::{Statement, Unsendable, replacement};
use super::store::ProjectionStore;

/// Attempts to read from a snapshot that the server does not have yet.
const ATTEMPTS: u32 = 50;
/// The pause between two of these attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes of states that are computed at once, about.
const BYTES_AT_ONCE: usize = 4 << 20;
/// Bytes that a state is taken to have before one was computed.
const STATE_BYTES_FIRST: usize = 256 << 10;

/// Which point in time to compute at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// The newest that is committed by a majority, and not before this one.
    NotBefore(Timestamp),
    /// Exactly this one, as long as the server keeps it (`minSnapshotHistoryWindowInSeconds`, 5 minutes).
    Exactly(Timestamp),
}

/// The states of some targets, all as of one time.
pub(crate) struct Computed {
    pub states: HashMap<Bson, Document>,
    pub as_of: Timestamp,
}

impl Computed {
    /// The updates that store the states of these targets in the slots, in this order; what no
    /// command can hold comes apart.
    pub fn into_statements(
        mut self,
        targets: &[Bson],
        slots: &[Slot],
    ) -> (Vec<Statement>, Vec<Unsendable>) {
        let (mut statements, mut unsendable) = (Vec::new(), Vec::new());
        for target in targets {
            // A target may be named twice.
            let Some(state) = self.states.remove(target) else {
                continue;
            };
            for slot in slots {
                match replacement(slot, target, state.clone(), self.as_of) {
                    Ok(statement) => statements.push(statement),
                    Err(large) => unsendable.push(large),
                }
            }
        }
        (statements, unsendable)
    }
}

/// How large the states of a projection are, learned from those that were computed last: it bounds how
/// many are computed at once.
#[derive(Debug)]
pub(crate) struct StateBytes(AtomicUsize);

impl StateBytes {
    pub fn new() -> Self {
        Self(AtomicUsize::new(STATE_BYTES_FIRST))
    }

    /// Targets whose states take about [`BYTES_AT_ONCE`] together; one at least.
    pub fn targets_at_once(&self) -> usize {
        (BYTES_AT_ONCE / self.0.load(Ordering::Relaxed)).max(1)
    }

    /// Learns from the statements of computed targets, and returns their bytes.
    pub fn learn(&self, targets: usize, statements: &[Statement]) -> usize {
        let bytes: usize = statements.iter().map(Statement::bytes).sum();
        let each = bytes / targets.max(1);
        // Larger ones count at once, smaller ones step by step: the next ones may be large again.
        let known = self.0.load(Ordering::Relaxed);
        self.0.store(each.max(known / 4).max(1), Ordering::Relaxed);
        bytes
    }
}

/// Computes the states of some targets in a snapshot session. `Ok(None)`: the snapshot that was
/// asked for is no longer kept.
pub(crate) async fn compute(
    projection: &dyn AnyProjection,
    store: &ProjectionStore,
    targets: &[Bson],
    at: At,
) -> Result<Option<Computed>, Error> {
    let failed = |source| Error::Database {
        doing: "computing states from the source",
        source,
    };
    for _ in 0..ATTEMPTS {
        let mut session = snapshot(store, at).await.map_err(failed)?;
        match projection.compute(targets, &mut session).await {
            Ok(computed) => {
                // A node that was elected just now may not know yet that what we have applied is
                // committed: an older snapshot would undo it.
                let as_of = session.snapshot_time().filter(|time| match at {
                    At::NotBefore(earliest) => *time >= earliest,
                    At::Exactly(_) => true,
                });
                if let Some(as_of) = as_of {
                    return Ok(Some(Computed {
                        states: complete(projection, targets, computed),
                        as_of,
                    }));
                }
            }
            Err(error)
                if server_code(&error) == Some(SNAPSHOT_TOO_OLD)
                    && matches!(at, At::Exactly(_)) =>
            {
                return Ok(None);
            }
            Err(error)
                if matches!(
                    server_code(&error),
                    Some(SNAPSHOT_UNAVAILABLE | SNAPSHOT_TOO_OLD)
                ) => {}
            Err(error) => return Err(failed(error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

async fn snapshot(store: &ProjectionStore, at: At) -> mongodb::error::Result<ClientSession> {
    let mut options = mongodb::options::SessionOptions::default();
    options.snapshot = Some(true);
    if let At::Exactly(time) = at {
        options.snapshot_time = Some(time);
    }
    store.client().start_session().with_options(options).await
}

/// Adds the empty state of each target that has no source document. A target may be named twice.
fn complete(
    projection: &dyn AnyProjection,
    targets: &[Bson],
    computed: Vec<(Bson, Document)>,
) -> HashMap<Bson, Document> {
    let mut states: HashMap<Bson, Document> = computed.into_iter().collect();
    for target in targets {
        states
            .entry(target.clone())
            .or_insert_with(|| projection.empty());
    }
    states
}
