//! The crate's own collections, and the target's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bson::{Bson, Document, doc};
use mongodb::options::{CollectionOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection, Database};

use crate::Error;
use crate::server_codes::{NAMESPACE_EXISTS, server_code};

use super::checkpoint::Checkpoint;
use super::dead_letter::DeadLetter;

/// The collections of the projections of one database. All of them write with majority.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionStore {
    pub database: Database,
    pub checkpoints: Collection<Checkpoint>,
    pub leases: Collection<Document>,
    pub dead_letters: Collection<DeadLetter>,
    /// Targets to compute again: `_id: { projection, target }`.
    pub repairs: Collection<Document>,
    pub requests: Collection<Document>,
    /// Where projections are divided: their sets of partitions, and the instances.
    pub sets: Collection<Document>,
    pub targets: Collection<Document>,
    /// Whether the user may pass a validator of the targets by, as far as is known.
    bypasses_validation: Arc<AtomicBool>,
}

impl ProjectionStore {
    pub fn new(database: &Database, target: &str) -> Self {
        Self {
            database: database.clone(),
            checkpoints: majority(database, "changefeed_checkpoints"),
            leases: majority(database, "changefeed_leases"),
            dead_letters: majority(database, "changefeed_dead_letters"),
            repairs: majority(database, "changefeed_repairs"),
            requests: majority(database, "changefeed_requests"),
            sets: majority(database, "changefeed_partitions"),
            targets: majority(database, target),
            bypasses_validation: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Whether writes of targets pass a validator by.
    pub fn bypasses_validation(&self) -> bool {
        self.bypasses_validation.load(Ordering::Relaxed)
    }

    /// The user has no right to: writes do without from now on. Returns whether this is news.
    pub fn respect_validation(&self) -> bool {
        self.bypasses_validation.swap(false, Ordering::Relaxed)
    }

    pub fn client(&self) -> &Client {
        self.database.client()
    }

    /// Creates the collections that transactions write, so that no transaction has to.
    pub async fn create(&self) -> Result<(), Error> {
        let names = [
            self.checkpoints.name(),
            self.leases.name(),
            self.dead_letters.name(),
            self.repairs.name(),
            self.requests.name(),
            self.sets.name(),
            self.targets.name(),
        ];
        for name in names {
            match self.database.create_collection(name).await {
                Ok(()) => {}
                Err(error) if server_code(&error) == Some(NAMESPACE_EXISTS) => {}
                Err(source) => {
                    return Err(Error::Database {
                        doing: "creating the projection's collections",
                        source,
                    });
                }
            }
        }
        Ok(())
    }
}

/// The `_id` of a target's repair.
pub(crate) fn repair_id(projection: &str, target: &Bson) -> Document {
    doc! { "projection": projection, "target": target.clone() }
}

fn majority<T: Send + Sync>(database: &Database, name: &str) -> Collection<T> {
    let mut options = CollectionOptions::default();
    options.write_concern = Some(WriteConcern::majority());
    options.read_concern = Some(ReadConcern::majority());
    database.collection_with_options(name, options)
}
