//! The newest comments of the posts that are read, from memory.
//!
//! The process reads every change of the comments anyway, for its live feed. So it keeps the first page of posts' lists
//! and applies the changes to it. A reader gets it from memory if it surely has what the reader has to see: what this
//! process has written, and what the reader's `operationTime` names. In all other cases the database is asked. See
//! `docs/decisions/newest-page-from-memory.md`.

mod metrics;
mod page;
mod pages;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::dataloader::{DataLoader, Loader};
use bson::Timestamp;
use changefeed::{Follower, Hub, OperationTime, UnknownLag};
use futures_util::{StreamExt, TryStreamExt, stream};
use service::Metrics;
use subgraph::{BeyondCursors, Order, Page, PageRequest};
use tokio::time::{Instant, timeout, timeout_at};

use crate::comment::Comment;
use crate::loaders::BATCH_WINDOW;
use crate::post::PostId;
use crate::store::{CALLS_AT_ONCE, LISTS_IN_A_QUERY_MAX, NewestRead};
use crate::{Error, Store};

use metrics::{PageMetrics, ReadFrom};
use pages::{Look, Pages};

/// How far the stream may be behind. If it is further, the database is asked.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// How old the place may be that the stream has reached: on a cluster without writes, it is up to 20 s. A server that is
/// cut off from the others stands still.
const HEAD_AGE_MAX: Duration = Duration::from_secs(30);
/// How long a reader waits for the stream to show what it has to see.
const WAIT_MAX: Duration = Duration::from_millis(25);
/// How long a reader waits for another one's load, and how often.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(1);
const LOAD_WAITS_MAX: usize = 3;
/// Comments that are read beyond those that were asked for: so many may be deleted before the page is read again.
const SPARE: usize = 5;

/// The pages that a hub keeps up to date. It follows the hub, so it is made first.
#[derive(Clone)]
pub struct NewestPages(Arc<Pages>);

impl NewestPages {
    /// No page; they will hold at most `bytes_max` bytes of memory. 0 turns them off; so does a stream that does not know
    /// how late it is, because then nobody knows how old a page is.
    pub fn new(bytes_max: usize, unknown_lag: Option<UnknownLag>, metrics: &Metrics) -> Self {
        let metrics = PageMetrics::register(metrics);
        let bytes_max = match unknown_lag {
            Some(reason) if bytes_max > 0 => {
                tracing::info!(
                    %reason,
                    "the newest comments are not kept in memory: each page is read from the database"
                );
                0
            }
            _ => bytes_max,
        };
        Self(Arc::new(Pages::new(bytes_max, metrics)))
    }

    /// What has to follow the hub; none if they are off.
    pub fn follower(&self) -> Option<Arc<dyn Follower<Comment>>> {
        let pages: Arc<dyn Follower<Comment>> = self.0.clone();
        self.0.is_on().then_some(pages)
    }
}

/// The newest comments of the posts that are read.
pub struct NewestComments {
    pages: Arc<Pages>,
    /// None where there is no live feed: then there are no pages.
    hub: Option<Hub<Comment>>,
    loader: DataLoader<PageLoader>,
}

impl NewestComments {
    /// Reads the pages that follow this hub; those that are missing come from the store.
    pub fn new(pages: NewestPages, hub: Option<Hub<Comment>>, store: Store) -> Self {
        let NewestPages(pages) = pages;
        let loader = PageLoader {
            pages: pages.clone(),
            store,
        };
        Self {
            pages,
            hub,
            loader: DataLoader::new(loader, subgraph::spawn_in_trace).delay(BATCH_WINDOW),
        }
    }

    /// The page that a request asks for, with every change up to `seen` and everything that this process has written to
    /// the post; none if the database has to be asked.
    pub async fn page(
        &self,
        post: PostId,
        request: &PageRequest,
        seen: Option<OperationTime>,
    ) -> Result<Option<Page<Arc<Comment>>>, Error> {
        if !self.pages.is_on() || !request.is_start_of(Order::NewestFirst) {
            return Ok(None);
        }
        let count = usize::try_from(request.limit()).unwrap_or(usize::MAX);
        let seen = seen.map(OperationTime::timestamp);
        let (found, from) = match self.find(post, count, seen).await? {
            Some((found, from)) => (Some(found), from),
            None => (None, ReadFrom::Database),
        };
        self.pages.metrics.read(from);
        Ok(found.map(|comments| request.page(comments, BeyondCursors::default())))
    }

    /// This process has written to a post, or to one that is not known. Call it before the client is told.
    pub fn wrote(&self, post: Option<PostId>, operation_time: &str) {
        // Without a time, nobody can wait for it: every answer of a replica set has one.
        if let Ok(time) = operation_time.parse::<OperationTime>() {
            self.pages.wrote(post, time.timestamp());
        }
    }

    async fn find(
        &self,
        post: PostId,
        count: usize,
        seen: Option<Timestamp>,
    ) -> Result<Option<(Vec<Arc<Comment>>, ReadFrom)>, Error> {
        let deadline = Instant::now() + WAIT_MAX;
        for _ in 0..LOAD_WAITS_MAX {
            let Some(hub) = &self.hub else {
                return Ok(None);
            };
            // First of all: a look tells that the page is in use.
            let look = self.pages.look(post, count, seen);
            if !is_current(hub.behind(), hub.head_age()) {
                return Ok(None);
            }
            match look {
                Look::Found(comments) => return Ok(Some((comments, ReadFrom::Memory))),
                Look::Off => return Ok(None),
                Look::Behind(required) => {
                    let reached = timeout_at(deadline, self.pages.reaches(required));
                    if reached.await.is_err() {
                        return Ok(None);
                    }
                }
                Look::Loading(mut done) => {
                    if timeout(LOAD_WAIT_MAX, done.changed()).await.is_err() {
                        return Ok(None);
                    }
                }
                Look::Missing(required) => {
                    let loaded = self.loader.load_one(FirstOf { post, count }).await?;
                    let loaded = loaded.filter(|loaded| loaded.as_of >= required);
                    return Ok(loaded.map(|loaded| {
                        let comments = loaded.comments.iter().take(count).cloned();
                        (comments.collect(), ReadFrom::Load)
                    }));
                }
            }
        }
        Ok(None)
    }
}

/// Whether what the hub has shown is good enough for readers.
fn is_current(behind: Duration, head_age: Duration) -> bool {
    behind <= BEHIND_MAX && head_age <= HEAD_AGE_MAX
}

/// So many comments of a post, from the start of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FirstOf {
    post: PostId,
    count: usize,
}

/// What was read.
#[derive(Clone)]
struct Loaded {
    comments: Arc<[Arc<Comment>]>,
    as_of: Timestamp,
}

/// Loads pages into memory, those of several posts in one query.
struct PageLoader {
    pages: Arc<Pages>,
    store: Store,
}

impl Loader<FirstOf> for PageLoader {
    type Value = Loaded;
    type Error = Error;

    async fn load(&self, wanted: &[FirstOf]) -> Result<HashMap<FirstOf, Loaded>, Error> {
        let mut posts_by_count: HashMap<usize, Vec<PostId>> = HashMap::new();
        for FirstOf { post, count } in wanted {
            posts_by_count.entry(*count).or_default().push(*post);
        }
        let chunks = posts_by_count.iter().flat_map(|(count, posts)| {
            let chunks = posts.chunks(LISTS_IN_A_QUERY_MAX);
            chunks.map(|posts| (*count, posts.to_vec()))
        });
        let chunks: Vec<_> = chunks.collect();
        stream::iter(chunks)
            .map(|(count, posts)| self.load_posts(count, posts))
            .buffer_unordered(CALLS_AT_ONCE)
            .try_concat()
            .await
            .map(|loaded: Vec<_>| loaded.into_iter().collect())
    }
}

impl PageLoader {
    /// Nothing if the server has no snapshot, or refuses to read: the query without one tells why.
    async fn load_posts(
        &self,
        count: usize,
        posts: Vec<PostId>,
    ) -> Result<Vec<(FirstOf, Loaded)>, Error> {
        // First of all: what changes from now on is kept.
        let loading = self.pages.begin(&posts);
        let size = count + SPARE;
        let (mut read, as_of) = match self.store.newest_comments(posts.clone(), size).await? {
            NewestRead::At(read, as_of) => (read, as_of),
            NewestRead::NoSnapshot => {
                self.pages.refuse();
                return Ok(Vec::new());
            }
            NewestRead::Refused => return Ok(Vec::new()),
        };
        loading.finish(&read, size, as_of);
        let loaded = posts.into_iter().map(|post| {
            let comments = read.remove(&post).unwrap_or_default().into();
            (FirstOf { post, count }, Loaded { comments, as_of })
        });
        Ok(loaded.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_or_stands_still_is_not_good_enough() {
        const MORE: Duration = Duration::from_millis(1);
        assert!(is_current(BEHIND_MAX, HEAD_AGE_MAX));
        assert!(!is_current(BEHIND_MAX + MORE, Duration::ZERO));
        assert!(!is_current(Duration::ZERO, HEAD_AGE_MAX + MORE));
    }
}
