//! The newest comments of posts, as they were at one time that is known.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use changefeed::{SendAction, WithCauses, for_each_in_session};
use mongodb::ClientSession;
use mongodb::error::ErrorKind;
use mongodb::options::SessionOptions;
use subgraph::readable;
use subgraph::stored_comment::{SHAPE, of_posts};

use super::{Collections, Store};
use crate::Error;
use crate::comment::Comment;
use crate::post::PostId;

/// The comments of each post, the newest first, and the time at which they were so.
pub type NewestAt = (HashMap<PostId, Vec<Arc<Comment>>>, Timestamp);

impl Store {
    /// The newest `size` comments of each of the posts, from one snapshot; none if the server has no snapshot to read.
    pub async fn newest_comments(
        &self,
        posts: Vec<PostId>,
        size: usize,
    ) -> Result<Option<NewestAt>, Error> {
        let read = self.calls.run(|collections| async move {
            match collections.newest_at_snapshot(&posts, size).await {
                Err(error) if matches!(*error.kind, ErrorKind::Command(_)) => {
                    tracing::debug!(error = %WithCauses(&error), "the newest comments could not be read from a snapshot");
                    Ok(None)
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
    ) -> mongodb::error::Result<Option<NewestAt>> {
        let mut options = SessionOptions::default();
        options.snapshot = Some(true);
        let session = self.comments.client().start_session();
        let mut session = session.with_options(options).await?;
        // Most posts have no document that cannot be read: they are left out at the server only where there is one.
        let (mut found, left_out) = self.newest(posts, size, None, &mut session).await?;
        if left_out {
            let readable = Some(SHAPE.filter());
            (found, _) = self.newest(posts, size, readable, &mut session).await?;
        }
        Ok(session.snapshot_time().map(|as_of| (found, as_of)))
    }

    /// And whether there were documents that cannot be read.
    async fn newest(
        &self,
        posts: &[PostId],
        size: usize,
        readable: Option<Document>,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<(HashMap<PostId, Vec<Arc<Comment>>>, bool)> {
        let readable = readable.unwrap_or_default();
        let mut branches = posts.iter().map(|post| branch(*post, size, &readable));
        let mut stages = branches.next().unwrap_or_default();
        let name = self.comments.name();
        stages.extend(
            branches.map(|branch| doc! { "$unionWith": { "coll": name, "pipeline": branch } }),
        );
        let found = self.comments.aggregate(stages);
        let found = found.with_type::<RawDocumentBuf>().session(&mut *session);
        let found = found.send().await?;

        let mut comments: HashMap<PostId, Vec<Arc<Comment>>> = HashMap::with_capacity(posts.len());
        let mut left_out = false;
        let mut take =
            |document: &RawDocument| match readable::one::<Comment>(document, &self.unreadables) {
                Some(comment) => {
                    let of_post = comments.entry(comment.post_id).or_default();
                    of_post.push(Arc::new(comment));
                }
                None => left_out = true,
            };
        for_each_in_session(found, session, &mut take).await?;
        Ok((comments, left_out))
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
