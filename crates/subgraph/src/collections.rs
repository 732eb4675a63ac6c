//! The indexes and pre-images of a service's collections, created again whenever a collection is new.
//!
//! A collection that was dropped, replaced (`$out`, a rename) or never there comes without its indexes
//! and without pre-images. Every collection has a UUID of its own, so a look at the list of collections
//! shows which is new, whatever happened to the old one and whether or not a change stream was open.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bson::{Bson, Document, doc};
use changefeed::{SendAction, Source, WithCauses};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use mongodb::{Collection, Database};
use service::prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::Subgraph;

/// How often the service checks for new collections.
const INTERVAL: Duration = Duration::from_secs(1);
/// The first pause before a preparation that failed is tried again; doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
/// A refused index costs a look at the whole collection each time.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Creates indexes at the start. Without one, queries are slow and the service is still of use, so a failure
/// is only logged.
pub async fn create_if_possible(indexes: impl Future<Output = mongodb::error::Result<()>>) {
    if let Err(error) = indexes.await {
        tracing::warn!(error = %WithCauses(&error), "an index could not be created: queries are slow without it");
    }
}

/// Whether a filter matches any document.
///
/// # Errors
/// When the database fails.
pub async fn exists<T: Send + Sync>(
    collection: &Collection<T>,
    filter: Document,
) -> mongodb::error::Result<bool> {
    let ids = collection.clone_with_type::<Document>();
    let found = ids
        .find_one(filter)
        .projection(doc! { "_id": 1 })
        .send()
        .await?;
    Ok(found.is_some())
}

/// Enables the pre-images and creates the indexes now, and again whenever one of the collections `names` is new,
/// until shutdown. Both may run at any time, in any number of instances. A failure is logged, shown in the metric
/// `collections_unprepared`, and retried; it never stops the service. When the change stream of `followed`
/// reports that its collection is gone, the collections are checked at once. Returns after the first
/// preparation.
pub async fn keep<P, I>(
    subgraph: &Subgraph,
    names: &'static [&'static str],
    followed: Source,
    enable_pre_images: impl Fn() -> P + Send + Sync + 'static,
    create_indexes: impl Fn(Database) -> I + Send + Sync + 'static,
) where
    P: Future<Output = Result<(), changefeed::Error>> + Send + 'static,
    I: Future<Output = mongodb::error::Result<()>> + Send + 'static,
{
    let database = subgraph.database.clone();
    let prepare: Prepare = Box::new(move || {
        let (pre_images, indexes) = (enable_pre_images(), create_indexes(database.clone()));
        Box::pin(async move {
            // The pre-images first: they take less time than an index.
            pre_images.await?;
            Ok(indexes.await?)
        })
    });
    keep_prepared(subgraph, names, followed, prepare).await;
}

type Prepare = Box<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// Boxed, because an `async fn` is compiled in the crate that awaits it, and with it what the driver needs to read
/// the list of collections.
fn keep_prepared<'a>(
    subgraph: &'a Subgraph,
    names: &'static [&'static str],
    followed: Source,
    prepare: Prepare,
) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        let unprepared = subgraph.metrics.register(
            "collections_unprepared",
            "1 while an index or another thing that the service needs of its collections is missing and cannot be made",
            Gauge::default(),
        );
        let mut keeper = Keeper {
            database: subgraph.database.clone(),
            names,
            prepare,
            unprepared,
            prepared: None,
            failed: None,
        };
        keeper.look().await;
        let shutdown = subgraph.lifecycle.shutdown().clone();
        let keeping = async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = followed.gone() => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
                keeper.look().await;
            }
        };
        let lifecycle = &subgraph.lifecycle;
        lifecycle.spawn("the keeping of collections", keeping);
    })
}

struct Keeper {
    database: Database,
    names: &'static [&'static str],
    prepare: Prepare,
    unprepared: Gauge,
    /// The collections as they were when they were last prepared.
    prepared: Option<Uuids>,
    failed: Option<Failed>,
}

/// The UUIDs of the collections that are there, and whether their images are kept, by name.
type Uuids = BTreeMap<String, Bson>;

/// A preparation that failed.
struct Failed {
    uuids: Uuids,
    pause: Duration,
    retry_at: Instant,
}

impl Keeper {
    async fn look(&mut self) {
        let uuids = match uuids(&self.database, self.names).await {
            Ok(uuids) => uuids,
            Err(error) => {
                tracing::debug!(error = %WithCauses(&error), "the collections could not be listed, will retry");
                // What failed in an outage may go well after it.
                self.failed = None;
                return;
            }
        };
        if self.prepared.as_ref() == Some(&uuids) {
            return;
        }
        let failed = self.failed.take_if(|failed| failed.uuids == uuids);
        if let Some(failed) = failed
            .as_ref()
            .filter(|failed| failed.retry_at > Instant::now())
        {
            self.failed = Some(Failed { uuids, ..*failed });
            return;
        }
        match (self.prepare)().await {
            Ok(()) => {
                if self.prepared.is_some() {
                    tracing::info!(
                        "a collection was replaced: its indexes and pre-images are restored"
                    );
                }
                self.unprepared.set(0);
                // What was made just now shows at the next look, and is prepared once more.
                self.prepared = Some(uuids);
            }
            Err(error) => {
                let pause = failed.map_or(RETRY_PAUSE_MIN, |failed| {
                    (failed.pause * 2).min(RETRY_PAUSE_MAX)
                });
                tracing::warn!(
                    error = %WithCauses(error.as_ref()),
                    retry_in_ms = pause.as_millis(),
                    "indexes or pre-images of a collection could not be created, will retry"
                );
                self.unprepared.set(1);
                self.failed = Some(Failed {
                    uuids,
                    pause,
                    retry_at: Instant::now() + pause,
                });
            }
        }
    }
}

/// The UUIDs of those of the collections that are there.
async fn uuids(database: &Database, names: &[&str]) -> mongodb::error::Result<Uuids> {
    let ours = doc! { "name": { "$in": names } };
    let collections = database.list_collections().filter(ours).await?;
    let uuids = collections.map_ok(|collection| {
        let uuid = collection.info.uuid.map_or(Bson::Null, Bson::Binary);
        let images = collection.options.change_stream_pre_and_post_images;
        let has_images = images.is_some_and(|images| images.enabled);
        (
            collection.name,
            doc! { "uuid": uuid, "images": has_images }.into(),
        )
    });
    uuids.try_collect().await
}
