//! Follows the posts' collection for the live feed: which posts were added, which have changed.
//!
//! Unlike the change feed's hub, this needs no documents and no images of them: the posts' own
//! projection writes them all the time, and an image of every such write would cost more than the
//! write. See `docs/decisions/live-posts.md`.

use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf, doc};
use changefeed::{Projector, Slot};
use mongodb::Collection;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::ErrorKind;
use service::Lifecycle;
use tokio_util::sync::CancellationToken;

use crate::Feed;
use crate::comment_projection::CommentProjection;
use crate::post::PostId;

/// How long the server waits for changes before it says that there are none.
const AWAIT_TIME: Duration = Duration::from_millis(500);
/// The wait before a stream that has failed is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The server's codes after which a stream cannot go on from its place: `CloseChangeStream`,
/// `InvalidResumeToken`, `ChangeStreamFatalError`, `ChangeStreamHistoryLost`.
const LOST_CODES: [i32; 4] = [222, 260, 280, 286];

/// Tells the feed of every change for as long as the process lives.
pub fn follow(
    posts: Collection<RawDocumentBuf>,
    projector: Projector<CommentProjection>,
    feed: Feed,
    lifecycle: &Lifecycle,
) {
    let shutdown = lifecycle.shutdown().clone();
    lifecycle.spawn("the feed of posts", async move {
        let serving = projector.serving();
        let mut follower = Follower {
            posts,
            projector,
            serving,
            feed,
            resume: None,
        };
        while !shutdown.is_cancelled() {
            if let Err(error) = follower.read(&shutdown).await {
                follower.recover(&error);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Ok(())
    });
}

struct Follower {
    posts: Collection<RawDocumentBuf>,
    projector: Projector<CommentProjection>,
    /// The generation of the projection that the posts were last seen with.
    serving: Option<Slot>,
    feed: Feed,
    /// Where to go on; none at the start, and after the history was lost.
    resume: Option<ResumeToken>,
}

impl Follower {
    /// Reads until the shutdown, the end of the collection, or a fault.
    async fn read(&mut self, shutdown: &CancellationToken) -> mongodb::error::Result<()> {
        let mut stream = self.open().await?;
        // The driver's streams must not be dropped while they wait, so they wait for a short time
        // and the shutdown is looked at in between.
        while !shutdown.is_cancelled() {
            let event = stream.next_if_any().await?;
            self.resume = stream.resume_token();
            self.notice_generation();
            let Some(event) = event else {
                if !stream.is_alive() {
                    // The collection was dropped or renamed: its successor begins anew.
                    self.lose_history();
                    return Ok(());
                }
                continue;
            };
            self.tell(&event);
        }
        Ok(())
    }

    async fn open(&self) -> mongodb::error::Result<ChangeStream<RawDocumentBuf>> {
        let stages = [
            doc! { "$match": { "operationType": {
                "$in": ["insert", "update", "replace", "delete", "drop", "rename", "invalidate"],
            } } },
            doc! { "$project": { "operationType": 1, "documentKey": 1 } },
        ];
        let watch = self
            .posts
            .watch()
            .pipeline(stages)
            .max_await_time(AWAIT_TIME);
        Ok(watch.resume_after(self.resume.clone()).await?.with_type())
    }

    fn tell(&self, event: &RawDocument) {
        let id = event
            .get_document("documentKey")
            .ok()
            .and_then(|key| key.get_object_id("_id").ok());
        let (Some(id), Ok(operation)) = (id, event.get_str("operationType")) else {
            return;
        };
        let id = PostId::from(id);
        match operation {
            "insert" => self.feed.added(id),
            _ => self.feed.changed(id),
        }
    }

    /// Another generation of the projection changes what every post shows, and writes none of them.
    fn notice_generation(&mut self) {
        let serving = self.projector.serving();
        if serving != self.serving {
            self.serving = serving;
            self.feed.all_changed();
        }
    }

    fn recover(&mut self, error: &mongodb::error::Error) {
        if is_lost(error) {
            tracing::warn!(%error, "the live feed of posts has missed changes: its subscribers are told");
            self.lose_history();
        } else {
            tracing::warn!(%error, "the live feed of posts is interrupted: trying again");
        }
    }

    fn lose_history(&mut self) {
        self.resume = None;
        self.feed.gap();
    }
}

fn is_lost(error: &mongodb::error::Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => LOST_CODES.contains(&error.code),
        _ => false,
    }
}
