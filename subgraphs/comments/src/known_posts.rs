//! Which posts exist, so that a comment needs no look-up of its post.
//!
//! A post is looked up in MongoDB once and then known for a while. A deleted post is forgotten as
//! soon as its mark is seen ([`crate::deleted_posts`]); a comment that slips in before that is
//! deleted with the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::post::PostId;
use crate::{Error, Store};

/// How long a post is known to exist after it was looked up.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// Posts known at most: some 6 MB.
const MAX_KNOWN: usize = 100_000;

/// The posts known to exist. Clones share them.
#[derive(Clone)]
pub struct KnownPosts {
    store: Store,
    seen: Arc<Mutex<HashMap<PostId, Instant>>>,
}

impl KnownPosts {
    /// Knows nothing yet.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            seen: Arc::default(),
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
        if self.store.existing_posts(&[post]).await?.is_empty() {
            return Err(Error::PostNotFound(post));
        }
        self.learn(post, Instant::now());
        Ok(())
    }

    /// Forgets a post: the next comment looks it up again.
    pub fn forget(&self, post: PostId) {
        self.lock().remove(&post);
    }

    fn knows(&self, post: PostId) -> bool {
        self.lock()
            .get(&post)
            .is_some_and(|seen| seen.elapsed() < KNOWN_FOR)
    }

    fn learn(&self, post: PostId, now: Instant) {
        let mut seen = self.lock();
        if seen.len() >= MAX_KNOWN {
            seen.retain(|_, at| now.duration_since(*at) < KNOWN_FOR);
        }
        if seen.len() >= MAX_KNOWN {
            seen.clear();
        }
        seen.insert(post, now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PostId, Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
