//! The index by which replies are found.
//!
//! It is made in the background, because that takes minutes for a large collection. Until it is there, replies are found
//! by the comments of their post, more slowly. See `docs/decisions/replies.md`.

use std::time::Duration;

use bson::{Document, doc};
use changefeed::WithCauses;
use futures_util::future::BoxFuture;
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};
use service::prometheus_client::metrics::gauge::Gauge;
use service::{Lifecycle, Metrics};
use subgraph::database_error::{NAMESPACE_NOT_FOUND, code};

use crate::store;

/// The index's name.
const NAME: &str = "replies";
/// How often the service looks whether the index is there: the collection may have been replaced.
const INTERVAL: Duration = Duration::from_secs(10);
/// The first pause before an index that could not be made is tried again; doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(10);
/// A refused index costs a look at the whole collection each time.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10 * 60);

/// Makes the index, and makes it again when it is gone, until shutdown. Returns at once.
pub fn start(database: &Database, lifecycle: &Lifecycle, metrics: &Metrics) {
    let missing = metrics.register(
        "comments_replies_unindexed",
        "1 while comments have no index of replies, so that these are slow to find",
        Gauge::default(),
    );
    missing.set(1);
    let mut keeper = Keeper {
        comments: database.collection("comments"),
        missing,
        pause: RETRY_PAUSE_MIN,
    };
    let shutdown = lifecycle.shutdown().clone();
    lifecycle.spawn("the keeping of the index of replies", async move {
        loop {
            // In a task of its own: at shutdown the server may be busy with the index for minutes, and a call is never
            // dropped.
            let look = tokio::spawn(async move {
                let pause = keeper.look().await;
                (keeper, pause)
            });
            let pause;
            tokio::select! {
                looked = look => (keeper, pause) = looked?,
                () = shutdown.cancelled() => return Ok(()),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    });
}

struct Keeper {
    comments: Collection<Document>,
    missing: Gauge,
    pause: Duration,
}

impl Keeper {
    /// Looks once, and returns the pause until the next time.
    async fn look(&mut self) -> Duration {
        match make(&self.comments).await {
            Ok(()) => {
                self.missing.set(0);
                self.pause = RETRY_PAUSE_MIN;
                INTERVAL
            }
            Err(error) => {
                let pause = self.pause;
                self.pause = (pause * 2).min(RETRY_PAUSE_MAX);
                self.missing.set(1);
                tracing::warn!(
                    error = %WithCauses(&error),
                    retry_in_ms = pause.as_millis(),
                    "comments have no index of replies, and none can be made: they are slow to find, will retry"
                );
                pause
            }
        }
    }
}

/// Makes the index unless it is there. Boxed, because an `async fn` is compiled in the crate that awaits it.
fn make(comments: &Collection<Document>) -> BoxFuture<'_, mongodb::error::Result<()>> {
    Box::pin(async move {
        let names = match comments.list_index_names().await {
            Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => Vec::new(),
            names => names?,
        };
        if !names.iter().any(|name| name == NAME) {
            comments.create_index(index()).await?;
        }
        Ok(())
    })
}

fn index() -> IndexModel {
    let options = IndexOptions::builder()
        .name(NAME.to_owned())
        // It has replies alone. The queries say the same, so that the server knows that it has all of them.
        .partial_filter_expression(doc! { "parentId": store::any_parent() })
        .build();
    IndexModel::builder()
        .keys(doc! { "postId": 1, "parentId": 1, "createdAt": 1, "_id": 1 })
        .options(options)
        .build()
}
