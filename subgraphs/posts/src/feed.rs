//! Live posts.

use changefeed::Projector;
use futures_util::{Stream, stream};
use service::{Health, Lifecycle};

use crate::Error;
use crate::comment_projection::CommentProjection;
use crate::post::{Post, PostId};

/// Live posts.
#[derive(Clone, Debug, Default)]
pub struct Feed;

impl Feed {
    /// Each new post.
    pub fn post_added(&self) -> impl Stream<Item = Result<Post, Error>> + use<> {
        stream::empty()
    }

    /// One post's changes.
    pub async fn post_updated(&self, _: PostId) -> Result<impl Stream<Item = Result<Post, Error>> + use<>, Error> {
        Ok(stream::empty())
    }
}

/// Ties the projection to the process: it stops with it, its fault is the process's, and readiness
/// depends on how far it is behind.
pub fn supervise(
    projector: &Projector<CommentProjection>,
    lifecycle: &Lifecycle,
    health: &Health,
) {
    let (running, shutdown) = (projector.clone(), lifecycle.shutdown().clone());
    lifecycle.spawn("the projection of comments", async move {
        tokio::select! {
            finished = running.finished() => finished?,
            () = shutdown.cancelled() => running.stop().await,
        }
        Ok(())
    });
    let projector = projector.clone();
    health.register("comments projection", move || std::future::ready(projector.ready()));
}
