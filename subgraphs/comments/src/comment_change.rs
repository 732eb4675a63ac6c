//! What `commentChanges` delivers: a comment added, edited or deleted, with the cursor to resume.

use async_graphql::{SimpleObject, Union};

use crate::comment::{Comment, CommentId};
use crate::post::PostId;

/// One change among a post's comments. Each change has a `cursor`: subscribe with it as `after`
/// to go on behind that change.
#[derive(Clone, Debug, Union)]
pub enum CommentChange {
    Added(CommentAdded),
    Edited(CommentEdited),
    Deleted(CommentDeleted),
}

/// A comment was added.
#[derive(Clone, Debug, SimpleObject)]
pub struct CommentAdded {
    /// Where to resume behind this change. Opaque.
    pub cursor: String,
    /// The new comment.
    pub comment: Comment,
}

/// A comment's text was changed.
#[derive(Clone, Debug, SimpleObject)]
pub struct CommentEdited {
    /// Where to resume behind this change. Opaque.
    pub cursor: String,
    /// The comment after the change.
    pub comment: Comment,
}

/// A comment was deleted.
#[derive(Clone, Debug, SimpleObject)]
pub struct CommentDeleted {
    /// Where to resume behind this change. Opaque.
    pub cursor: String,
    /// The id of the comment that is gone.
    pub comment_id: CommentId,
    /// The post that it was about.
    pub post_id: PostId,
}
