//! A cache of the posts that exist, so that `createComment` need not query for its post.
//!
//! A post is looked up in MongoDB once and then known for a minute. The change stream of the posts reports
//! deletions, whichever program makes them, and a deleted post is forgotten at once. A comment that was
//! accepted just before that is deleted with the others if the post has a mark ([`crate::deleted_posts`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use changefeed::{KeyChange, KeyStream, Operation, Source};
use service::Lifecycle;
use service::prometheus_client::metrics::gauge::Gauge;

use crate::post::PostId;
use crate::{Error, Store};

/// How long a post is known to exist after it was looked up, in case the change stream stalls.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// The pause between two looks for deleted posts. An import of posts costs the server a fifth of a core
/// less with it than with a stream that waits for each of its writes.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// The posts known to exist. Clones share them.
#[derive(Clone)]
pub struct KnownPosts {
    store: Store,
    seen: Arc<Mutex<Seen>>,
    posts_max: usize,
    /// Shows how many posts are known.
    shown: Gauge,
}

#[derive(Default)]
struct Seen {
    posts: HashMap<PostId, Instant>,
    /// Counts what was forgotten: what was looked up meanwhile may be gone since.
    forgotten: u64,
}

impl KnownPosts {
    /// Starts with no known post. At most `posts_max` are known at a time, none with 0; `shown` shows how many.
    pub fn new(store: Store, posts_max: usize, shown: Gauge) -> Self {
        Self {
            store,
            seen: Arc::default(),
            posts_max,
            shown,
        }
    }

    /// Makes sure that a post exists.
    ///
    /// # Errors
    /// [`Error::PostNotFound`] when it does not.
    pub async fn require(&self, post: PostId) -> Result<(), Error> {
        if self.knows(post) {
            return Ok(());
        }
        let forgotten = self.lock().forgotten;
        if self.store.existing_posts(&[post]).await?.is_empty() {
            return Err(Error::PostNotFound(post));
        }
        self.learn(post, Instant::now(), forgotten);
        Ok(())
    }

    /// Forgets deleted posts for as long as the process lives, if any are known. `posts` is their collection, with a
    /// client for change streams alone.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn follow_deletions(
        &self,
        posts: &Source,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<()> {
        if self.posts_max == 0 {
            return Ok(());
        }
        let deletions = KeyStream::start_with_pauses(posts, &[Operation::Delete], LOOK_PAUSE).await;
        let mut deletions = deletions.context("cannot follow the posts")?;
        let (known, drained) = (self.clone(), lifecycle.drained().clone());
        lifecycle.spawn("the following of deleted posts", async move {
            loop {
                let change = tokio::select! {
                    change = deletions.next() => change?,
                    () = drained.cancelled() => return Ok(()),
                };
                match change {
                    KeyChange::Document { key, .. } => {
                        if let Some(id) = key.as_object_id() {
                            known.forget(id.into());
                        }
                    }
                    KeyChange::Gap { .. } => known.forget_all(),
                }
            }
        });
        Ok(())
    }

    /// Forgets a post: the next comment looks it up again.
    pub fn forget(&self, post: PostId) {
        let mut seen = self.lock();
        seen.posts.remove(&post);
        seen.forgotten += 1;
        self.show(&seen);
    }

    /// Forgets posts that have a mark, which is looked at again and again: a post that is being looked up
    /// right now is forgotten the next time. So any number of marks keeps no other post from being known.
    pub fn forget_marked(&self, posts: &[PostId]) {
        let mut seen = self.lock();
        for post in posts {
            if seen.posts.remove(post).is_some() {
                seen.forgotten += 1;
            }
        }
        self.show(&seen);
    }

    fn forget_all(&self) {
        let mut seen = self.lock();
        seen.posts.clear();
        seen.forgotten += 1;
        self.show(&seen);
    }

    fn knows(&self, post: PostId) -> bool {
        self.lock()
            .posts
            .get(&post)
            .is_some_and(|seen| seen.elapsed() < KNOWN_FOR)
    }

    /// Remembers what was looked up when so many were forgotten.
    fn learn(&self, post: PostId, now: Instant, forgotten: u64) {
        let mut seen = self.lock();
        if seen.forgotten != forgotten || self.posts_max == 0 {
            return;
        }
        let posts = &mut seen.posts;
        if posts.len() >= self.posts_max {
            posts.retain(|_, at| now.duration_since(*at) < KNOWN_FOR);
        }
        if posts.len() >= self.posts_max {
            posts.clear();
        }
        posts.insert(post, now);
        self.show(&seen);
    }

    fn show(&self, seen: &Seen) {
        self.shown.set(seen.posts.len() as i64);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
