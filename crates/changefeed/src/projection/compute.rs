//! States computed from the source as it was at one point in time.

use std::collections::HashMap;
use std::time::Duration;

use bson::{Bson, Document, Timestamp};
use mongodb::ClientSession;

use crate::Error;
use crate::source::server_code;

use super::fold::{Statement, replacement};
use super::store::Store;
use super::{Projection, Slot};

/// The server's codes for a snapshot that is too old, or not there yet for a collection.
const SNAPSHOT_TOO_OLD: i32 = 239;
const SNAPSHOT_UNAVAILABLE: i32 = 246;
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Which point in time to compute at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// The newest that is committed by a majority, and not before this one.
    NotBefore(Timestamp),
    /// Exactly this one.
    Exactly(Timestamp),
}

/// The states of some targets, all as of one time.
pub(crate) struct Computed {
    pub states: HashMap<Bson, Document>,
    pub as_of: Timestamp,
}

impl Computed {
    /// The updates that store the states in a slot.
    pub fn replacements(&self, slot: &Slot) -> impl Iterator<Item = Statement> {
        self.states
            .iter()
            .map(move |(target, state)| replacement(slot, target, state, self.as_of))
    }
}

/// Computes the states of some targets in a snapshot session. `Ok(None)`: the snapshot that was
/// asked for is no longer kept.
pub(crate) async fn compute<P: Projection>(
    projection: &P,
    store: &Store,
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

async fn snapshot(store: &Store, at: At) -> mongodb::error::Result<ClientSession> {
    let mut options = mongodb::options::SessionOptions::default();
    options.snapshot = Some(true);
    if let At::Exactly(time) = at {
        options.snapshot_time = Some(time);
    }
    store.client().start_session().with_options(options).await
}

/// Adds the empty state of each target that has no source document. A target may be named twice.
fn complete<P: Projection>(
    projection: &P,
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
