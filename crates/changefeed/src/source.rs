//! The collection whose changes are followed, and the client that its streams use.

use mongodb::{Client, Database};

/// A collection whose changes are followed.
#[derive(Clone)]
pub struct Source {
    stream: Client,
    database: Database,
    collection: String,
}

impl Source {
    /// `stream` should be a client of its own: each open stream keeps one of its connections busy
    /// all the time. `database` is used for everything else.
    pub fn new(stream: Client, database: Database, collection: impl Into<String>) -> Self {
        Self {
            stream,
            database,
            collection: collection.into(),
        }
    }
}
