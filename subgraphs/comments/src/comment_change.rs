//! The events of `commentChanges`: a comment was added, edited or deleted, or people reacted to it. Each has a cursor to resume from.

use async_graphql::{SimpleObject, Union};

use crate::comment::{Comment, CommentId};
use crate::post::PostId;

/// One change of a post's comments. Each change has a `cursor`: subscribe with it as `after` to
/// receive the changes that follow.
#[derive(Clone, Debug, Union)]
pub enum CommentChange {
    Added(CommentAdded),
    Edited(CommentEdited),
    Deleted(CommentDeleted),
    ReactionsChanged(CommentReactionsChanged),
}

/// A comment was added.
#[derive(Clone, Debug, SimpleObject)]
pub struct CommentAdded {
    /// Opaque. Pass it as `after` to resume after this change.
    pub cursor: String,
    /// The comment as it was created.
    pub comment: Comment,
}

/// A comment's text was changed.
#[derive(Clone, Debug, SimpleObject)]
pub struct CommentEdited {
    /// Opaque. Pass it as `after` to resume after this change.
    pub cursor: String,
    /// The comment after the change.
    pub comment: Comment,
}

/// People reacted to a comment, and nothing else of it has changed. Only subscribers of
/// `commentChanges(reactions: true)` receive it.
#[derive(Clone, Debug, SimpleObject)]
pub struct CommentReactionsChanged {
    /// Opaque. Pass it as `after` to resume after this change.
    pub cursor: String,
    /// The comment after the change.
    pub comment: Comment,
}

/// A comment was deleted.
#[derive(Clone, Debug, SimpleObject)]
pub struct CommentDeleted {
    /// Opaque. Pass it as `after` to resume after this change.
    pub cursor: String,
    /// The id of the deleted comment.
    pub comment_id: CommentId,
    /// The id of the post that the comment was about.
    pub post_id: PostId,
}
