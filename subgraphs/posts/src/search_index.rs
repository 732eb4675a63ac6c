//! The text index by which posts are searched.
//!
//! It is made in the background, because that takes minutes for a large collection; until it is there, searches fail
//! with `SEARCH_UNAVAILABLE`, and everything else works. MongoDB allows one text index for a collection: where there is
//! one already, whoever made it, it is used if it has nothing but the texts that guests may read. See `docs/decisions/search.md`.

use std::time::Duration;

use bson::{Document, doc};
use changefeed::WithCauses;
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use mongodb::options::{Collation, IndexOptions, TextIndexVersion};
use mongodb::{Collection, Database, IndexModel};
use service::prometheus_client::metrics::gauge::Gauge;
use service::{Lifecycle, Metrics};
use subgraph::database_error::{NAMESPACE_NOT_FOUND, code};
use subgraph::viewer::exact;

/// The index's name.
const NAME: &str = "search";
/// How much more a word in the title counts than one in the content.
const TITLE_WEIGHT: i32 = 10;
/// How often the service looks whether the index is there: the collection may have been replaced.
const INTERVAL: Duration = Duration::from_secs(10);
/// The first pause before an index that could not be made is tried again; doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(10);
/// A refused index costs a look at the whole collection each time.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10 * 60);
/// MongoDB's code for a text that is not UTF-8, which a text index of version 3 does not take.
const NOT_UTF8: i32 = 28_755;
/// The field by which a document chooses its language. No document shall have it: MongoDB refuses one whose language it
/// does not know, and the default, `language`, is a field that other programs use.
const LANGUAGE_OVERRIDE: &str = "rejoinderSearchLanguage";

/// Makes the index, and makes it again when it is gone, until shutdown. Returns at once.
pub fn start(database: &Database, lifecycle: &Lifecycle, metrics: &Metrics) {
    let missing = metrics.register(
        "posts_search_unavailable",
        "1 while posts have no text index that searches can use",
        Gauge::default(),
    );
    missing.set(1);
    let posts = database.collection::<Document>("posts");
    let shutdown = lifecycle.shutdown().clone();
    lifecycle.spawn("the keeping of the text index", async move {
        let mut keeper = Keeper {
            posts,
            missing,
            known: None,
            pause: RETRY_PAUSE_MIN,
        };
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
    posts: Collection<Document>,
    missing: Gauge,
    /// What was found last, to report each news once.
    known: Option<Found>,
    pause: Duration,
}

/// The text index that a collection has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// One that this service has made.
    Ours,
    /// One of another program, with this name.
    Other(String),
    /// One of another program that is in the way of ours. It begins with another field, so that no search can use it; or
    /// it has other fields than the posts' texts, in which nobody may search.
    Unusable(String),
}

impl Found {
    fn is_usable(&self) -> bool {
        !matches!(self, Self::Unusable(_))
    }
}

/// The fields in which everybody may search.
const SEARCHED: [&str; 2] = ["title", "content"];

impl Keeper {
    /// Looks once, and returns the pause until the next time.
    async fn look(&mut self) -> Duration {
        let found = match find(&self.posts).await {
            Ok(Some(found)) => found,
            Ok(None) => match create(&self.posts).await {
                Ok(()) => {
                    tracing::info!("posts have a text index now: they can be searched");
                    Found::Ours
                }
                Err(error) => return self.retry_after(&error),
            },
            Err(error) => return self.retry_after(&error),
        };
        self.pause = RETRY_PAUSE_MIN;
        self.missing.set(i64::from(!found.is_usable()));
        if self.known.as_ref() != Some(&found) {
            match &found {
                Found::Ours => {}
                Found::Other(index) => tracing::info!(
                    index,
                    "posts have a text index of another program: searches use it"
                ),
                Found::Unusable(index) => tracing::warn!(
                    index,
                    "posts have a text index that begins with another field, or has more than title and content: posts cannot be searched until it is dropped"
                ),
            }
            self.known = Some(found);
        }
        INTERVAL
    }

    fn retry_after(&mut self, error: &mongodb::error::Error) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_PAUSE_MAX);
        self.missing.set(1);
        self.known = None;
        tracing::warn!(
            error = %WithCauses(error),
            retry_in_ms = pause.as_millis(),
            "posts have no text index, and none can be made: posts cannot be searched, will retry"
        );
        pause
    }
}

/// Boxed, because an `async fn` is compiled in the crate that awaits it.
fn find<T: Send + Sync>(
    posts: &Collection<T>,
) -> BoxFuture<'static, mongodb::error::Result<Option<Found>>> {
    let posts = posts.clone_with_type::<Document>();
    Box::pin(async move {
        let mut indexes = match posts.list_indexes().await {
            Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => return Ok(None),
            indexes => indexes?,
        };
        while let Some(index) = indexes.try_next().await? {
            if !index.keys.contains_key("_fts") {
                continue;
            }
            let options = index.options.unwrap_or_default();
            let name = options.name.unwrap_or_default();
            let is_first = index.keys.keys().next().is_some_and(|key| key == "_fts");
            // A wildcard has `$**` here.
            let has_texts_alone = options.weights.is_some_and(|weights| {
                weights
                    .keys()
                    .all(|field| SEARCHED.contains(&field.as_str()))
            });
            return Ok(Some(match is_first && has_texts_alone {
                true if name == NAME => Found::Ours,
                true => Found::Other(name),
                false => Found::Unusable(name),
            }));
        }
        Ok(None)
    })
}

/// Whether searches may use the text index that is there. Where there is none, the server says so.
///
/// # Errors
/// When the database fails.
pub async fn is_usable<T: Send + Sync>(posts: &Collection<T>) -> mongodb::error::Result<bool> {
    Ok(find(posts).await?.is_none_or(|found| found.is_usable()))
}

/// Makes the index. An older kind of index takes texts that are not UTF-8, but knows upper and lower case of ASCII
/// alone.
async fn create(posts: &Collection<Document>) -> mongodb::error::Result<()> {
    match posts.create_index(index(TextIndexVersion::V3)).await {
        Err(error) if code(&error) == Some(NOT_UTF8) => {
            tracing::warn!(
                "a post has a text that is not UTF-8: the search distinguishes capital letters outside of ASCII"
            );
            posts.create_index(index(TextIndexVersion::V2)).await?;
        }
        created => drop(created?),
    }
    Ok(())
}

fn index(version: TextIndexVersion) -> IndexModel {
    let simple: Collation = exact();
    let options = IndexOptions::builder()
        .name(NAME.to_owned())
        .weights(doc! { "title": TITLE_WEIGHT, "content": 1 })
        // Words as they are written: posts may be in any language.
        .default_language("none".to_owned())
        .language_override(LANGUAGE_OVERRIDE.to_owned())
        .text_index_version(version)
        // A text index takes no other.
        .collation(simple)
        .build();
    IndexModel::builder()
        .keys(doc! { "title": "text", "content": "text" })
        .options(options)
        .build()
}
