//! Deletes the comments of deleted posts.
//!
//! The posts subgraph writes a mark before it deletes a post. This module checks every mark until five
//! minutes after the deletion. So no comment is left over when a process crashes, or when a comment is
//! written while its post is deleted. All steps may be repeated, by any number of instances.
//!
//! A sweep reads one page of the newest marks, so that a post that was just deleted loses its comments
//! at once, and one page of the others in turn, however many there are.

use std::collections::HashSet;
use std::time::Duration;

use changefeed::WithCauses;
use service::Lifecycle;
use subgraph::DateTime;
use tokio_util::sync::CancellationToken;

use crate::known_posts::KnownPosts;
use crate::post::PostId;
use crate::store::DeletedPost;
use crate::{Error, Store};

/// The pause after the last page of marks.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long after the deletion a mark is checked. No request that started before the deletion runs that
/// long, so no comment can arrive later.
const FOLLOWED_FOR: Duration = Duration::from_secs(5 * 60);
/// Marks that one query reads.
const PAGE: usize = 500;

/// Follows the marks for as long as the process lives.
pub fn start(store: Store, known: KnownPosts, lifecycle: &Lifecycle) {
    let shutdown = lifecycle.shutdown().clone();
    lifecycle.spawn("the deletion of deleted posts' comments", async move {
        follow(Sweeper::new(store, known), shutdown).await;
        Ok(())
    });
}

/// A database that cannot be reached is tried again.
async fn follow(mut sweeper: Sweeper, shutdown: CancellationToken) {
    loop {
        let more = sweeper.sweep(DateTime::now()).await;
        let more = more.unwrap_or_else(|error| {
            tracing::warn!(
                error = %WithCauses(&error),
                retry_in_ms = INTERVAL.as_millis(),
                "the comments of deleted posts could not be deleted, will retry"
            );
            false
        });
        if more && !shutdown.is_cancelled() {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Deletes the comments of all marked posts that are gone, some pages of marks at a time.
pub struct Sweeper {
    store: Store,
    known: KnownPosts,
    /// Where the next page begins; none at the first mark.
    place: Option<PostId>,
}

impl Sweeper {
    /// Begins at the first mark.
    pub fn new(store: Store, known: KnownPosts) -> Self {
        Self {
            store,
            known,
            place: None,
        }
    }

    /// Looks at the newest marks and at the next page of the others. Returns whether more pages come
    /// before the first mark's turn again.
    ///
    /// # Errors
    /// When the database fails; the next sweep goes on with the page after.
    pub async fn sweep(&mut self, now: DateTime) -> Result<bool, Error> {
        let newest = self.store.newest_deleted_posts(PAGE).await?;
        let page = self.store.deleted_posts_after(self.place, PAGE).await?;
        self.place = page.next;
        let seen: HashSet<_> = newest.iter().map(|mark| mark.id).collect();
        let mut others = page.marks;
        others.retain(|mark| !seen.contains(&mark.id));
        // A page that fails stops no other.
        let followed = self.follow_page(&newest, now).await;
        self.follow_page(&others, now).await.and(followed)?;
        Ok(self.place.is_some())
    }

    /// A post that is still there has a mark without a deletion: the posts subgraph was stopped in
    /// between, or is about to delete the post.
    async fn follow_page(&self, marks: &[DeletedPost], now: DateTime) -> Result<(), Error> {
        if marks.is_empty() {
            return Ok(());
        }
        let mut gone: Vec<_> = marks.iter().map(|mark| mark.id).collect();
        self.known.forget_marked(&gone);
        let existing = self.store.existing_posts(&gone).await?;
        let existing: HashSet<_> = existing.into_iter().collect();
        gone.retain(|post| !existing.contains(post));
        if !gone.is_empty() {
            let deleted = self.store.delete_comments_of(&gone).await?;
            if deleted > 0 {
                tracing::info!(deleted, "deleted comments of deleted posts");
            }
        }
        let mut over = marks.to_vec();
        over.retain(|mark| is_over(mark, now));
        self.store.forget_deleted_posts(&over).await
    }
}

/// Whether a mark was followed for long enough.
fn is_over(mark: &DeletedPost, now: DateTime) -> bool {
    let age_ms = now.timestamp_millis() - mark.followed_from().timestamp_millis();
    age_ms > i64::try_from(FOLLOWED_FOR.as_millis()).unwrap_or(i64::MAX)
}
