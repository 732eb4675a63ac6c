//! The events of `moderationChanges`: a comment came into the queue, changed there, or left it.

use async_graphql::{SimpleObject, Union};

use crate::comment::CommentId;
use crate::moderation::ModerationEntry;

/// One change of the comments that wait for a moderator. Each change has a `cursor`: subscribe with it as `after`
/// to receive the changes that follow.
#[derive(Clone, Debug, Union)]
pub enum ModerationChange {
    Entered(ModerationEntered),
    Changed(ModerationChanged),
    Left(ModerationLeft),
}

/// A comment waits for a moderator: it is held, or was reported.
#[derive(Clone, Debug, SimpleObject)]
pub struct ModerationEntered {
    /// Opaque. Pass it as `after` to resume after this change.
    pub cursor: String,
    /// The comment in the queue.
    pub entry: ModerationEntry,
}

/// A comment that waits for a moderator was reported once more, or edited while it was held. Treat one that you do
/// not know as one that has entered.
#[derive(Clone, Debug, SimpleObject)]
pub struct ModerationChanged {
    /// Opaque. Pass it as `after` to resume after this change.
    pub cursor: String,
    /// The comment in the queue, after the change.
    pub entry: ModerationEntry,
}

/// A comment no longer waits for a moderator: one of them has decided, or it was deleted. It may be one that you do
/// not know.
#[derive(Clone, Debug, SimpleObject)]
pub struct ModerationLeft {
    /// Opaque. Pass it as `after` to resume after this change.
    pub cursor: String,
    /// The id of the comment.
    pub comment_id: CommentId,
}
