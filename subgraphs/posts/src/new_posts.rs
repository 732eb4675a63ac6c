//! Posts that are inserted after their comments: by an import in that order, or because a post is restored.
//!
//! The projection writes its state only into posts that exist. For a post that is inserted later, the state
//! is computed once. Every instance checks, because the leader may change in between; doing it twice is
//! harmless.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, RawDocument, RawDocumentBuf, doc};
use changefeed::{Projector, SendAction, WithCauses, for_each};
use mongodb::{Collection, Database};
use service::Lifecycle;
use subgraph::reference;
use subgraph::stored_comment::of_posts;
use tokio::sync::mpsc;

/// New posts that one query looks up.
const AT_ONCE_MAX: usize = 1_000;
/// New posts that wait to be looked up; the reader of the posts' changes waits where there is no room.
const WAITING_MAX: usize = 4_096;
/// How long a look-up waits for more posts to join it.
const LINGER: Duration = Duration::from_millis(50);
/// The wait before a failed look-up is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The channel for the ids of new posts.
pub(crate) type NewPosts = mpsc::Sender<ObjectId>;

/// Looks after new posts for as long as the process lives.
pub(crate) fn start(database: &Database, projector: Projector, lifecycle: &Lifecycle) -> NewPosts {
    let (sender, mut posts) = mpsc::channel(WAITING_MAX);
    let comments = database.collection("comments");
    let drained = lifecycle.drained().clone();
    lifecycle.spawn("the look-up of new posts' comments", async move {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                count = posts.recv_many(&mut batch, AT_ONCE_MAX) => if count == 0 { return Ok(()) },
                () = drained.cancelled() => return Ok(()),
            }
            tokio::time::sleep(LINGER).await;
            while batch.len() < AT_ONCE_MAX
                && let Ok(post) = posts.try_recv()
            {
                batch.push(post);
            }
            while let Err(error) = mark(&comments, &projector, &batch).await {
                tracing::warn!(
                    error = %WithCauses(error.as_ref()),
                    posts = batch.len(),
                    "the comments of new posts could not be looked up, will retry"
                );
                tokio::select! {
                    () = tokio::time::sleep(RETRY_PAUSE) => {}
                    () = drained.cancelled() => return Ok(()),
                }
            }
            batch.clear();
        }
    });
    sender
}

/// Marks those of the posts that have comments already.
async fn mark(
    comments: &Collection<RawDocumentBuf>,
    projector: &Projector,
    posts: &[ObjectId],
) -> anyhow::Result<()> {
    let stages = [
        doc! { "$match": of_posts(posts.iter().copied()) },
        doc! { "$group": { "_id": reference::expression("postId") } },
    ];
    let found = comments.aggregate(stages).with_type::<RawDocumentBuf>();
    let mut with_comments = Vec::new();
    let mut take = |group: &RawDocument| {
        with_comments.extend(group.get_object_id("_id").ok().map(Bson::from));
    };
    for_each(found.send().await?, &mut take).await?;
    Ok(projector.mark_for_repair(with_comments).await?)
}
