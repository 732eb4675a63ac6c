//! Writes a `createdAt` into documents that have none: the time in their id.
//!
//! Lists are ordered by `createdAt`, so it has to be in the document, and other programs may leave it out.
//! The service searches for documents without it at the start, and then every second.

use std::collections::HashSet;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, RawDocumentBuf, doc};
use changefeed::{SendAction, WithCauses, read_all};
use futures_util::future::BoxFuture;
use mongodb::Collection;
use mongodb::error::Result;
use service::Lifecycle;

/// How often the service searches for such documents. An index has them, so the search costs next to nothing.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause after the database has refused to date them.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// Documents that one update dates at most.
const BATCH_MAX: i64 = 1000;
/// Documents that are remembered as refused, so that they do not delay the others. With more, all
/// are tried again.
const REFUSED_MAX: usize = 10_000;

/// How long the start waits for the first time. A transaction that a dead process left open may hold it up
/// for a minute, and what ends that transaction is started after this.
const FIRST_TIME_LIMIT: Duration = Duration::from_secs(2);

/// Dates what is undated now, and goes on to do so for as long as the process lives. Returns after the first
/// time, or after two seconds.
pub fn start(collection: Collection<Document>, lifecycle: &Lifecycle) -> BoxFuture<'_, ()> {
    // Boxed, because an `async fn` is compiled in the crate that awaits it.
    Box::pin(start_dating(collection, lifecycle))
}

async fn start_dating(collection: Collection<Document>, lifecycle: &Lifecycle) {
    let (first, is_done) = tokio::sync::oneshot::channel();
    let shutdown = lifecycle.shutdown().clone();
    lifecycle.spawn("the dating of documents", async move {
        let mut refused = HashSet::new();
        let mut pause = date_all(&collection, &mut refused).await;
        // The start may not wait any more.
        let _ = first.send(());
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = date_all(&collection, &mut refused).await,
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    });
    let _ = tokio::time::timeout(FIRST_TIME_LIMIT, is_done).await;
}

/// Returns the pause until the next time. A failure is no fault of the service: undated documents
/// are read as if they had the date of their id, and merely stay at the end of their list.
async fn date_all(collection: &Collection<Document>, refused: &mut HashSet<ObjectId>) -> Duration {
    let known = refused.len();
    match date(collection, refused).await {
        Ok(dated) => {
            if dated > 0 {
                tracing::info!(
                    dated,
                    collection = collection.name(),
                    "documents without createdAt got the time of their id"
                );
            }
            if refused.len() > known && dated == 0 {
                REFUSED_PAUSE
            } else {
                INTERVAL
            }
        }
        Err(error) => {
            tracing::warn!(error = %WithCauses(&error), collection = collection.name(), "createdAt could not be added to documents without it");
            REFUSED_PAUSE
        }
    }
}

async fn date(collection: &Collection<Document>, refused: &mut HashSet<ObjectId>) -> Result<u64> {
    let mut dated = 0;
    loop {
        if refused.len() >= REFUSED_MAX {
            refused.clear();
        }
        let mut undated = undated();
        undated.insert(
            "_id",
            doc! { "$type": "objectId", "$nin": refused.iter().collect::<Vec<_>>() },
        );
        let raw = collection.clone_with_type::<RawDocumentBuf>();
        let found = raw
            .find(undated)
            .projection(doc! { "_id": 1 })
            .limit(BATCH_MAX);
        let found = read_all(found.send().await?).await?;
        let ids = found
            .iter()
            .filter_map(|found| found.get_object_id("_id").ok());
        let ids: Vec<ObjectId> = ids.collect();
        if ids.is_empty() {
            return Ok(dated);
        }
        let modified = date_these(collection, &ids, refused).await?;
        if modified == 0 {
            // Another instance did it, or the server refuses. The next time will show.
            return Ok(dated);
        }
        dated += modified;
    }
}

/// Matches documents without a date.
fn undated() -> Document {
    // A null in a list is no missing date: such a document cannot be read, and is left alone.
    let no_list = doc! { "$not": { "$type": "array" } };
    doc! { "createdAt": Bson::Null, "$and": [{ "createdAt": no_list }] }
}

/// Dates these documents as far as the server takes it, and returns how many were.
///
/// No pipeline computes the date: one that meets a document with `createdAt` twice ends mongod
/// (6.0), where a plain `$set` dates the first and leaves the second.
async fn date_these(
    collection: &Collection<Document>,
    ids: &[ObjectId],
    refused: &mut HashSet<ObjectId>,
) -> Result<u64> {
    let statements = ids.iter().map(|id| {
        let mut still = undated();
        still.insert("_id", id);
        doc! { "q": still, "u": { "$set": { "createdAt": id.timestamp() } } }
    });
    let update = doc! {
        "update": collection.name(),
        "updates": statements.collect::<Vec<_>>(),
        "ordered": false,
        "writeConcern": { "w": "majority" },
    };
    let namespace = collection.namespace();
    let database = collection.client().database(&namespace.db);
    let reply = database.run_command(update).await?;
    let errors = reply
        .get_array("writeErrors")
        .map_or(&[][..], Vec::as_slice);
    let errors: Vec<&Document> = errors.iter().filter_map(Bson::as_document).collect();
    if let Some(first) = errors.first() {
        tracing::warn!(
            refused = errors.len(),
            reason = first.get_str("errmsg").unwrap_or("no reason given"),
            collection = collection.name(),
            "createdAt could not be added to documents without it"
        );
    }
    let indexes = errors
        .iter()
        .filter_map(|error| error.get_i32("index").ok());
    let refused_now = indexes.filter_map(|index| ids.get(usize::try_from(index).ok()?));
    refused.extend(refused_now);
    let modified = reply.get_i32("nModified").unwrap_or(0);
    Ok(u64::try_from(modified).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, cstr};
    use embedded_mongo::{Options, ReplicaSet};
    use mongodb::Client;

    use super::*;

    fn id(second: u32) -> ObjectId {
        ObjectId::from_parts(second, [0; 5], [0; 3])
    }

    #[tokio::test]
    async fn neither_a_date_that_stands_twice_nor_a_refused_one_stops_the_others() {
        let server = ReplicaSet::start(Options::default())
            .await
            .expect("a server");
        let client = Client::with_uri_str(server.uri()).await.expect("a client");
        let database = client.database("undated");
        let validator = doc! { "title": { "$type": "string" } };
        let create = doc! { "create": "posts", "validator": validator };
        database.run_command(create).await.expect("created");
        let mut twice = RawDocumentBuf::new();
        twice.append(cstr!("_id"), id(1));
        twice.append(cstr!("title"), "Dated twice");
        twice.append(cstr!("createdAt"), bson::RawBson::Null);
        twice.append(cstr!("createdAt"), bson::RawBson::Null);
        let refused = RawDocumentBuf::try_from(&doc! { "_id": id(2) }).expect("a document");
        let plain = doc! { "_id": id(3), "title": "Plain" };
        let plain = RawDocumentBuf::try_from(&plain).expect("a document");
        let posts = database.collection::<RawDocumentBuf>("posts");
        let insert = posts.insert_many([twice, refused, plain]);
        let stored = insert.bypass_document_validation(true).await;
        stored.expect("stored");

        let (posts, mut known) = (database.collection("posts"), HashSet::new());
        let dated = date(&posts, &mut known).await.expect("the server lives");
        assert_eq!((dated, known), (2, HashSet::from([id(2)])));
        for second in [1, 3] {
            let found = doc! { "_id": id(second), "createdAt": id(second).timestamp() };
            let found = posts.count_documents(found).await.expect("counted");
            assert_eq!(found, 1, "the post of second {second}");
        }
    }
}
