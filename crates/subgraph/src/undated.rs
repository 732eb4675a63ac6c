//! Documents without a date of creation get the one that their id holds.
//!
//! Lists are ordered by that date, so it has to be in the document. Whoever writes documents beside
//! us may leave it out; so this is done at the start, and again and again.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::error::Result;
use service::Lifecycle;

/// How often such documents are looked for. An index has them, so it costs next to nothing.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause after the database has refused to date them.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// Documents that one update dates at most.
const BATCH_MAX: i64 = 1000;

/// How long the start waits for the first time. A transaction that a dead process left open may hold it up
/// for a minute, and what ends that transaction is started after this.
const FIRST_TIME_LIMIT: Duration = Duration::from_secs(2);

/// Dates what is undated now, and goes on to do so for as long as the process lives. Returns after the first
/// time, or after two seconds.
pub async fn start(collection: Collection<Document>, lifecycle: &Lifecycle) {
    let (first, is_done) = tokio::sync::oneshot::channel();
    let shutdown = lifecycle.shutdown().clone();
    lifecycle.spawn("the dating of documents", async move {
        let mut pause = date_all(&collection).await;
        // The start may not wait any more.
        let _ = first.send(());
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = date_all(&collection).await,
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    });
    let _ = tokio::time::timeout(FIRST_TIME_LIMIT, is_done).await;
}

/// Returns the pause until the next time. A failure is no fault of the service: undated documents
/// are read as if they had the date of their id, and merely stay at the end of their list.
async fn date_all(collection: &Collection<Document>) -> Duration {
    match date(collection).await {
        Ok(dated) => {
            if dated > 0 {
                tracing::info!(
                    dated,
                    collection = collection.name(),
                    "documents without a date of creation got that of their id"
                );
            }
            INTERVAL
        }
        Err(error) => {
            tracing::warn!(%error, collection = collection.name(), "documents without a date of creation cannot be given one");
            REFUSED_PAUSE
        }
    }
}

async fn date(collection: &Collection<Document>) -> Result<u64> {
    // A null in a list is no missing date: such a document cannot be read, and is left alone.
    let no_list = doc! { "$not": { "$type": "array" } };
    let undated = doc! {
        "createdAt": Bson::Null, "$and": [{ "createdAt": no_list }], "_id": { "$type": "objectId" },
    };
    let mut dated = 0;
    loop {
        let found = collection
            .find(undated.clone())
            .projection(doc! { "_id": 1 })
            .limit(BATCH_MAX);
        let found: Vec<Document> = found.await?.try_collect().await?;
        let ids: Vec<&Bson> = found.iter().filter_map(|found| found.get("_id")).collect();
        if ids.is_empty() {
            return Ok(dated);
        }
        let still = doc! { "_id": { "$in": ids }, "createdAt": Bson::Null };
        let date = vec![doc! { "$set": { "createdAt": { "$toDate": "$_id" } } }];
        let updated = collection.update_many(still, date).await?;
        if updated.modified_count == 0 {
            // Another instance did it. The next time will show.
            return Ok(dated);
        }
        dated += updated.modified_count;
    }
}
