//! The newest comments of posts, as they were at one time that is known.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Document, Timestamp, doc};
use changefeed::WithCauses;
use mongodb::error::ErrorKind;
use mongodb::options::SessionOptions;
use subgraph::database_error::code;
use subgraph::stored_comment::of_posts;

use super::{Collections, Store};
use crate::Error;
use crate::comment::Comment;
use crate::post::PostId;

/// The comments of each post, the newest first.
type Newest = HashMap<PostId, Vec<Arc<Comment>>>;

/// What a read of the newest comments from a snapshot brought.
pub enum NewestRead {
    /// They, and the time at which they were so.
    At(Newest, Timestamp),
    /// The server has no snapshot to read, which lasts for a while.
    NoSnapshot,
    /// The server failed for another reason.
    Refused,
}

/// The server's codes where it has no snapshot of a collection: `InvalidOptions` (it offers none), `SnapshotTooOld`,
/// `SnapshotUnavailable` (the collection is capped, say).
const NO_SNAPSHOT: [i32; 3] = [72, 239, 246];

impl Store {
    /// The newest `size` comments of each of the posts, from one snapshot.
    pub async fn newest_comments(
        &self,
        posts: Vec<PostId>,
        size: usize,
    ) -> Result<NewestRead, Error> {
        let read = self.calls.run(|collections| async move {
            match collections.newest_at_snapshot(&posts, size).await {
                Err(error) if matches!(*error.kind, ErrorKind::Command(_)) => {
                    tracing::debug!(error = %WithCauses(&error), "the newest comments could not be read from a snapshot");
                    let has_none = code(&error).is_some_and(|code| NO_SNAPSHOT.contains(&code));
                    Ok(match has_none {
                        true => NewestRead::NoSnapshot,
                        false => NewestRead::Refused,
                    })
                }
                read => Ok(read?),
            }
        });
        read.await
    }
}

impl Collections {
    async fn newest_at_snapshot(
        &self,
        posts: &[PostId],
        size: usize,
    ) -> mongodb::error::Result<NewestRead> {
        let mut options = SessionOptions::default();
        options.snapshot = Some(true);
        let session = self.comments.client().start_session();
        let mut session = session.with_options(options).await?;
        let branches = |readable: &Document| {
            let mut branches = posts.iter().map(|post| branch(*post, size, readable));
            let mut stages = branches.next().unwrap_or_default();
            let name = self.comments.name();
            stages.extend(
                branches.map(|branch| doc! { "$unionWith": { "coll": name, "pipeline": branch } }),
            );
            stages
        };
        let found = self.readable_in(&mut session, None, branches).await?;
        let mut newest = Newest::with_capacity(posts.len());
        for comment in found {
            let of_post = newest.entry(comment.post_id).or_default();
            of_post.push(Arc::new(comment));
        }
        Ok(match session.snapshot_time() {
            Some(as_of) => NewestRead::At(newest, as_of),
            None => NewestRead::NoSnapshot,
        })
    }
}

/// The newest comments of a post.
fn branch(post: PostId, size: usize, readable: &Document) -> Vec<Document> {
    let mut filter = of_posts([post.object_id()]);
    filter.extend(readable.clone());
    vec![
        doc! { "$match": filter },
        doc! { "$sort": { "createdAt": -1, "_id": -1 } },
        doc! { "$limit": i64::try_from(size).unwrap_or(i64::MAX) },
    ]
}
