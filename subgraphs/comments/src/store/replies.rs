//! Replies: which comments may be replied to, and how many replies comments have.
//!
//! A reply is a comment with the field `parentId`. It belongs to its parent only where both are of one post; other
//! programs may write anything there. See `docs/decisions/replies.md`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use changefeed::{SendAction, read_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use subgraph::stored_comment::{SHAPE, of_posts};
use subgraph::turns::{TurnLimits, Turns};
use subgraph::{Overloaded, Written, reference};

use super::{CALLS_AT_ONCE, Idempotency, Store};
use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::post::PostId;

/// How long a query counts replies.
pub(super) const COUNT_TIME_MAX: Duration = Duration::from_secs(3);
/// Queries that count replies at the same time, also for a list by their number. They are slow where a post has many
/// comments, and each keeps a connection from others.
const COUNTS_MAX: usize = 4;
const COUNT_TURNS: TurnLimits = TurnLimits {
    waiting_max: 200,
    wait_max: Duration::from_secs(3),
};
/// Comments whose replies one query counts.
const PARENTS_IN_A_QUERY_MAX: usize = 1_000;

/// The turns of queries that count replies.
pub(super) fn count_turns() -> Turns {
    Turns::new(COUNTS_MAX, COUNT_TURNS)
}

/// A comment that others may reply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parent {
    pub post: PostId,
    pub comment: CommentId,
}

impl Store {
    /// Makes sure that a new comment may reply to its parent, if it has one. The parent may be deleted or hidden the
    /// next moment; its replies stay.
    ///
    /// # Errors
    /// [`Error::ParentNotFound`] and [`Error::ParentIsReply`].
    pub async fn require_parent(&self, reply: &Comment) -> Result<(), Error> {
        let Some(id) = reply.parent_id else {
            return Ok(());
        };
        let of_post = async |id| {
            let comment = self.comments_by_id(&[id]).await?.pop();
            Ok::<_, Error>(comment.filter(|it| it.post_id == reply.post_id))
        };
        let Some(parent) = of_post(id).await? else {
            return Err(Error::ParentNotFound(id));
        };
        let Some(above) = parent.parent_id else {
            return Ok(());
        };
        // It may have gone, and another program may have written anything.
        let above = of_post(above).await?;
        let above = above.filter(|above| above.parent_id.is_none());
        Err(Error::ParentIsReply {
            reply: id,
            parent: above.map(|above| above.id),
        })
    }

    /// The comment that a key has created, also where its request is just inserting it; without one, the refusal.
    ///
    /// # Errors
    /// The refusal, or [`Error::IdempotencyKeyReused`].
    pub async fn first_or(
        &self,
        refusal: Error,
        idempotency: Option<Idempotency>,
    ) -> Result<Written<Comment>, Error> {
        let is_about_parent = matches!(
            refusal,
            Error::ParentNotFound(_) | Error::ParentIsReply { .. }
        );
        match idempotency.filter(|_| is_about_parent) {
            Some(key) => self.comment_of_key_soon(key).await?.ok_or(refusal),
            None => Err(refusal),
        }
    }

    /// How many replies each of the comments has; those without any are left out.
    ///
    /// # Errors
    /// [`Error::TooManyReplies`] when they cannot be counted in [`COUNT_TIME_MAX`].
    pub async fn reply_counts(&self, parents: &[Parent]) -> Result<HashMap<Parent, u64>, Error> {
        let chunks = parents.chunks(PARENTS_IN_A_QUERY_MAX).map(<[_]>::to_vec);
        let chunks: Vec<_> = chunks.collect();
        stream::iter(chunks)
            .map(|parents| self.reply_counts_of(parents))
            .buffer_unordered(CALLS_AT_ONCE)
            .try_concat()
            .await
            .map(|counts: Vec<_>| counts.into_iter().collect())
    }

    async fn reply_counts_of(&self, parents: Vec<Parent>) -> Result<Vec<(Parent, u64)>, Error> {
        let mut replies = replies_to(parents.iter().copied());
        replies.extend(SHAPE.filter());
        let stages = vec![
            doc! { "$match": replies },
            doc! { "$group": {
                "_id": { "post": reference::expression("postId"), "comment": "$parentId" },
                "count": { "$sum": 1 },
            } },
        ];
        let turn = self.counts.take().await?;
        let count = self.calls.run(|collections| async move {
            // Until the server has answered, also after the client has left.
            let _turn = turn;
            let counted = collections.comments.aggregate(stages);
            let counted = counted.max_time(COUNT_TIME_MAX);
            let counted = counted.with_type::<RawDocumentBuf>().send();
            let counted = counted.await.map_err(too_many)?;
            let counted = read_all(counted).await.map_err(too_many)?;
            Ok(counted.iter().filter_map(|it| count_of(it)).collect())
        });
        count.await
    }
}

/// The failure of a query that counts replies, where it took too long.
pub(super) fn too_many(failure: mongodb::error::Error) -> Error {
    match Error::from(failure) {
        Error::Overloaded(Overloaded::WaitedTooLong) => Error::TooManyReplies(COUNT_TIME_MAX),
        failure => failure,
    }
}

/// The replies to some comments, and perhaps documents that cannot be read. Where the comments are of several posts, a
/// reply may name a comment of another one.
pub(super) fn replies_to(parents: impl IntoIterator<Item = Parent>) -> Document {
    let (mut posts, mut comments) = (HashSet::new(), Vec::new());
    for Parent { post, comment } in parents {
        posts.insert(post.object_id());
        comments.push(comment.object_id());
    }
    let mut filter = of_posts(posts);
    filter.insert("parentId", doc! { "$in": comments });
    not_in_lists(&mut filter);
    filter
}

/// The replies to all comments of a post, and perhaps documents that cannot be read.
pub(super) fn replies_of(post: PostId) -> Document {
    let mut filter = of_posts([post.object_id()]);
    filter.insert("parentId", any_parent());
    not_in_lists(&mut filter);
    filter
}

/// Any ObjectId.
pub(crate) fn any_parent() -> Document {
    doc! { "$gte": ObjectId::from_bytes([0; 12]) }
}

/// A list with an id in it names no parent.
fn not_in_lists(filter: &mut Document) {
    filter.insert("$nor", [doc! { "parentId": { "$type": "array" } }]);
}

fn count_of(group: &RawDocument) -> Option<(Parent, u64)> {
    let of = group.get_document("_id").ok()?;
    let parent = Parent {
        post: of.get_object_id("post").ok()?.into(),
        comment: of.get_object_id("comment").ok()?.into(),
    };
    let count = match group.get("count").ok()?? {
        RawBsonRef::Int32(count) => u64::try_from(count),
        RawBsonRef::Int64(count) => u64::try_from(count),
        _ => return None,
    };
    Some((parent, count.ok()?))
}
