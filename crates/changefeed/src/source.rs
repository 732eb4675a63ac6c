//! The collection whose changes are followed, and the client that its streams use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, Timestamp, doc};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use mongodb::options::{
    CreateCollectionOptions, DatabaseOptions, ReadPreference, SelectionCriteria,
};
use mongodb::{Client, Collection, Database};
use tokio::sync::Notify;

use crate::Error;
use crate::server_codes::{
    INDEX_BUILD_IN_PROGRESS, NAMESPACE_EXISTS, NAMESPACE_NOT_FOUND, server_code,
};

/// The pause before a collection with an index build is altered again.
const INDEX_BUILD_PAUSE: Duration = Duration::from_millis(100);

/// Why a stream does not know how far it is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownLag {
    /// It may be read at a secondary, which says that there is nothing more while it is itself behind.
    Secondaries,
    /// It is read at the router of a sharded cluster, which keeps a change back until all shards have come so far: one
    /// without writes does so every ten seconds.
    Router,
}

impl fmt::Display for UnknownLag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Secondaries => "change streams may be read at secondaries (readPreference)",
            Self::Router => "change streams are read at the router of a sharded cluster",
        })
    }
}

/// A collection whose changes are followed.
#[derive(Clone, Debug)]
pub struct Source {
    stream: Client,
    database: Database,
    collection: String,
    kept: Vec<String>,
    gone: Arc<Notify>,
}

impl Source {
    /// `stream` should be a client of its own: each open stream keeps one of its connections busy
    /// all the time; they are read where its read preference says. `database` is used for everything else, and read at
    /// the primary, whatever its read preference is: what is read there decides what is written.
    pub fn new(stream: Client, database: Database, collection: impl Into<String>) -> Self {
        Self {
            stream,
            database: at_primary(&database),
            collection: collection.into(),
            kept: Vec::new(),
            gone: Arc::default(),
        }
    }

    /// Names the fields by which a document's topic or target is found. Of documents that are too large for an
    /// event, the server sends only these fields, and of them only those below 1 KiB. (An update comes with the
    /// document before and after it: it is too large from 8 MB on.) A [`crate::Hub`] adds its topic field. A
    /// projection computes the target of such a document again: all fields that
    /// [`crate::Projection::SourceDocument`] is read from must be among these.
    #[must_use]
    pub fn keeping<F: Into<String>>(self, fields: impl IntoIterator<Item = F>) -> Self {
        let kept = fields.into_iter().map(Into::into).collect();
        Self { kept, ..self }
    }

    /// Why a stream of this source does not know how far it is behind; none where it does: at the primary of a replica set.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn unknown_lag(&self) -> Result<Option<UnknownLag>, Error> {
        let criteria = self.stream.selection_criteria();
        let is_at_primary = |criteria: &SelectionCriteria| {
            *criteria == SelectionCriteria::ReadPreference(ReadPreference::Primary)
        };
        if !criteria.is_none_or(is_at_primary) {
            return Ok(Some(UnknownLag::Secondaries));
        }
        let hello = self.database.run_command(doc! { "hello": 1 }).await;
        let hello = hello.map_err(|source| Error::Database {
            doing: "asking what kind of server it is",
            source,
        })?;
        Ok(is_router(&hello).then_some(UnknownLag::Router))
    }

    /// Returns when a stream of this source, or of a clone of it, has found the collection dropped,
    /// renamed or replaced, or lost its place for another reason. For one waiting caller.
    pub async fn gone(&self) {
        self.gone.notified().await;
    }

    /// Wakes who waits for the end of the collection.
    pub(crate) fn tell_gone(&self) {
        self.gone.notify_one();
    }

    /// The fields to keep of what is too large.
    pub(crate) fn kept(&self) -> &[String] {
        &self.kept
    }

    /// The database of the source, for reads and writes.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn collection(&self) -> &str {
        &self.collection
    }

    /// The collection, through the client that is kept for streams.
    pub(crate) fn watched(&self) -> Collection<Document> {
        self.stream
            .database(self.database.name())
            .collection(&self.collection)
    }

    /// Makes the server keep each document as it was before and after a change, so that a deletion
    /// includes the deleted document. Creates the collection when it does not exist; waits for as long as
    /// an index of it is being built.
    pub(crate) async fn enable_images(&self) -> Result<(), Error> {
        let enabled = doc! { "enabled": true };
        let failed = |source| Error::Database {
            doing: "enabling pre- and post-images",
            source,
        };
        // Creating and altering may each lose a race against another instance: two rounds settle it.
        let mut rounds = 2;
        while rounds > 0 {
            if self.keeps_images().await.map_err(failed)? {
                return Ok(());
            }
            let alter =
                doc! { "collMod": &self.collection, "changeStreamPreAndPostImages": &enabled };
            match self.database.run_command(alter).await {
                Ok(_) => return Ok(()),
                Err(error) if server_code(&error) == Some(NAMESPACE_NOT_FOUND) => {}
                Err(error) if server_code(&error) == Some(INDEX_BUILD_IN_PROGRESS) => {
                    tracing::debug!(
                        collection = self.collection,
                        "enabling pre- and post-images waits for an index build"
                    );
                    tokio::time::sleep(INDEX_BUILD_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            }
            rounds -= 1;
            let create =
                doc! { "create": &self.collection, "changeStreamPreAndPostImages": &enabled };
            match self.database.run_command(create).await {
                Ok(_) => return Ok(()),
                Err(error) if server_code(&error) == Some(NAMESPACE_EXISTS) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    async fn keeps_images(&self) -> mongodb::error::Result<bool> {
        let options = self.options().await?;
        let images = options.and_then(|options| options.change_stream_pre_and_post_images);
        Ok(images.is_some_and(|images| images.enabled))
    }

    /// The collection's options; none where it does not exist. Boxed, because an `async fn` is compiled in the crate
    /// that awaits it, and with it how all options are read.
    fn options(&self) -> BoxFuture<'_, mongodb::error::Result<Option<CreateCollectionOptions>>> {
        let named = doc! { "name": &self.collection };
        Box::pin(async move {
            let mut found = self.database.list_collections().filter(named).await?;
            Ok(found.try_next().await?.map(|found| found.options))
        })
    }

    /// Why the server takes no snapshot of the collection, where that is known.
    pub(crate) async fn reason_without_snapshot(&self) -> mongodb::error::Result<Option<String>> {
        let options = self.options().await?;
        let is_capped = options.is_some_and(|options| options.capped == Some(true));
        Ok(is_capped.then(|| {
            format!(
                "the collection {} is capped: MongoDB takes no snapshots of it, and documents leave it \
                 without a change: copy them into a collection that is not capped",
                self.collection
            )
        }))
    }

    /// A point in time that every change after this call comes after, on the cluster's clock.
    pub(crate) async fn now(&self) -> Result<Timestamp, Error> {
        let reply = self.ping().await?;
        let time = reply.get_timestamp("operationTime");
        time.map_err(|_| Error::NotReplicated)
    }

    /// The latest time on the cluster's clock that the answering server has heard of. A primary that is cut off, or
    /// a router of a sharded cluster, may be some time behind the others.
    pub(crate) async fn latest(&self) -> Result<Timestamp, Error> {
        let reply = self.ping().await?;
        let operation = reply.get_timestamp("operationTime");
        let operation = operation.map_err(|_| Error::NotReplicated)?;
        let cluster = reply.get_document("$clusterTime");
        let cluster = cluster.and_then(|cluster| cluster.get_timestamp("clusterTime"));
        Ok(cluster.map_or(operation, |cluster| cluster.max(operation)))
    }

    async fn ping(&self) -> Result<Document, Error> {
        let reply = self.database.run_command(doc! { "ping": 1 }).await;
        reply.map_err(|source| Error::Database {
            doing: "reading the cluster's time",
            source,
        })
    }
}

/// Whether a server that answers `hello` so is the router of a sharded cluster.
fn is_router(hello: &Document) -> bool {
    hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid")
}

/// The same database, read at the primary.
fn at_primary(database: &Database) -> Database {
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let options = DatabaseOptions::builder()
        .selection_criteria(primary)
        .read_concern(database.read_concern().cloned())
        .write_concern(database.write_concern().cloned())
        .build();
    let client = database.client();
    client.database_with_options(database.name(), options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_says_that_it_is_one() {
        assert!(is_router(&doc! { "msg": "isdbgrid", "ok": 1 }));
        assert!(!is_router(&doc! { "setName": "rs", "ok": 1 }));
    }
}
