//! Deletes the comments of deleted posts.
//!
//! The posts subgraph writes a mark before it deletes a post. Here every mark is followed until
//! long after the post is gone, so that neither a crash on either side nor a comment written in
//! the same moment leaves comments behind. All steps may be repeated, by any number of instances.

use std::time::Duration;

use service::Lifecycle;
use subgraph::DateTime;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::known_posts::KnownPosts;
use crate::store::DeletedPost;
use crate::{Error, Store};

/// How often marks are looked for.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a mark is followed. No request that started before the deletion lives that long, so
/// no comment can come after it.
const FOLLOWED_FOR: Duration = Duration::from_secs(5 * 60);

/// Follows the marks for as long as the process lives.
pub fn start(store: Store, known: KnownPosts, lifecycle: &Lifecycle) {
    let shutdown = lifecycle.shutdown().clone();
    lifecycle.spawn("the deletion of deleted posts' comments", async move {
        follow(store, known, shutdown).await;
        Ok(())
    });
}

/// A database that cannot be reached is tried again.
async fn follow(store: Store, known: KnownPosts, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = shutdown.cancelled() => return,
        }
        if let Err(error) = sweep(&store, &known, DateTime::now()).await {
            tracing::warn!(%error, "the comments of deleted posts could not be deleted: trying again");
        }
    }
}

/// Deletes the comments of all marked posts that are gone. A mark that fails stops no other.
async fn sweep(store: &Store, known: &KnownPosts, now: DateTime) -> Result<(), Error> {
    let marks = store.deleted_posts().await?;
    if marks.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = marks.iter().map(|mark| mark.id).collect();
    let existing = store.existing_posts(&ids).await?;
    for mark in marks {
        known.forget(mark.id);
        let gone = !existing.contains(&mark.id);
        if let Err(error) = follow_mark(store, mark, gone, now).await {
            tracing::warn!(%error, post.id = %mark.id, "the comments of a deleted post could not be deleted: trying again");
        }
    }
    Ok(())
}

/// `gone` is false for a mark without a deletion: the posts subgraph was stopped in between, or is
/// about to delete the post.
async fn follow_mark(
    store: &Store,
    mark: DeletedPost,
    gone: bool,
    now: DateTime,
) -> Result<(), Error> {
    if gone {
        let deleted = store.delete_comments_of(mark.id).await?;
        if deleted > 0 {
            tracing::info!(post.id = %mark.id, deleted, "deleted the comments of a deleted post");
        }
    }
    let age_ms = now.timestamp_millis() - mark.marked_at.timestamp_millis();
    if age_ms > i64::try_from(FOLLOWED_FOR.as_millis()).unwrap_or(i64::MAX) {
        store.forget_deleted_post(mark).await?;
    }
    Ok(())
}
