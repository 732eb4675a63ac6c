//! The errors of the comments subgraph, each with the code that clients receive.

use std::time::Duration;

use async_graphql::ErrorExtensionValues;
use changefeed::{CursorError, TopicError};
use subgraph::database_error::{StoreError, is_out_of_time};
use subgraph::{AccessError, Code, CodedError, InputError, Overloaded};

use crate::comment::CommentId;
use crate::post::PostId;

/// The `extensions.reason` of [`Code::ResyncRequired`]: MongoDB no longer has the changes after a cursor, or
/// after the last change of a running subscription.
const HISTORY_LOST: &str = "HISTORY_LOST";
/// The `extensions.reason` of [`Error::CommentHidden`].
const COMMENT_HIDDEN: &str = "COMMENT_HIDDEN";
/// The `extensions.reason` of [`Error::TooManyReplies`].
const TOO_MANY_REPLIES: &str = "TOO_MANY_REPLIES";

/// An error of the comments subgraph.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The client's input cannot be accepted.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The text is no operation time of ours.
    #[error("operationTime is invalid: pass the text that a mutation returned, unchanged")]
    OperationTime,
    /// The time is later than everything in the database.
    #[error(
        "operationTime is later than everything in the database: pass the text that a mutation returned, unchanged"
    )]
    OperationTimeFuture,
    /// The database that answers does not have the change of the operation time yet.
    #[error("the comments do not show the change of operationTime yet: try again")]
    NotThereYet,
    /// The client may not write, or not change this.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The post does not exist, or no longer.
    #[error("the post {0} does not exist")]
    PostNotFound(PostId),
    /// The comment does not exist, or no longer.
    #[error("the comment {0} does not exist")]
    CommentNotFound(CommentId),
    /// The comment to reply to is not there, or is not visible, or is one of another post.
    #[error("there is no comment {0} of this post to reply to: it may have been deleted or hidden")]
    ParentNotFound(CommentId),
    /// The comment to reply to is itself a reply.
    #[error("the comment {reply} is itself a reply: {}", instead_of_reply(*parent))]
    ParentIsReply {
        /// The comment that was named.
        reply: CommentId,
        /// What it replies to, if that can be replied to.
        parent: Option<CommentId>,
    },
    /// A post has more comments, or comments more replies, than can be counted in time.
    #[error("the replies could not be counted in {} s: leave out replyCount, and use another orderBy", .0.as_secs())]
    TooManyReplies(Duration),
    /// The comment was changed after the client had read it.
    #[error(
        "the comment {0} was changed after ifUpdatedAt: read it again, and decide with its present text"
    )]
    CommentChanged(CommentId),
    /// A moderator has hidden the comment that its author would change.
    #[error("a moderator has hidden the comment {0}: it can be deleted, and not edited")]
    CommentHidden(CommentId),
    /// Another program keeps something else where the counts of reactions would be.
    #[error(
        "nobody can react to the comment {0}: its field reactions has something of another program"
    )]
    ForeignReactions(CommentId),
    /// An idempotency key came again with another input.
    #[error(
        "the idempotencyKey was used before with another input: use a new key for a new comment"
    )]
    IdempotencyKeyReused,
    /// The writer has written too many comments of late: another one may come after so many seconds.
    #[error("too many comments in a minute: try again in {0} s")]
    TooManyComments(u64),
    /// The writer has written the same text of late: it may come again after so many seconds.
    #[error("the same text was written a short while ago: it is accepted again in {0} s")]
    RepeatedComment(u64),
    /// The text of a new author has too many links.
    #[error(
        "there are too many links in the text, or in a guest's name: new authors, and guests, may use at most {max}"
    )]
    TooManyLinks {
        /// The most that it may have.
        max: usize,
    },
    /// A cursor to resume from was refused.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A subscription missed something or ended.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The instance has no live feed.
    #[error("this instance has no live feed (LIVE_FEED is false): subscribe at one that has")]
    LiveFeedOff,
    /// The database cannot keep up. The call was not started.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// MongoDB refused an operation or could not be reached.
    #[error("the database failed")]
    Database(mongodb::error::Error),
}

/// What a client does that would reply to a reply.
fn instead_of_reply(parent: Option<CommentId>) -> String {
    match parent {
        Some(parent) => format!("reply to {parent}, the comment that it replies to"),
        None => "what it replies to is not there, so leave out parentId".to_owned(),
    }
}

impl From<mongodb::error::Error> for Error {
    /// A write that has waited too long for a document that a transaction holds may be sent again.
    fn from(error: mongodb::error::Error) -> Self {
        match is_out_of_time(&error) {
            true => Self::Overloaded(Overloaded::WaitedTooLong),
            false => Self::Database(error),
        }
    }
}

impl StoreError for Error {
    fn database(&self) -> Option<&mongodb::error::Error> {
        match self {
            Self::Database(error) => Some(error),
            _ => None,
        }
    }
}

impl Error {
    /// Whether a limit of [`crate::FairUse`] is reached.
    pub(crate) fn is_about_fair_use(&self) -> bool {
        matches!(
            self,
            Self::TooManyComments(_) | Self::RepeatedComment(_) | Self::TooManyLinks { .. }
        )
    }

    /// What tells it from other errors of the same code, for `extensions.reason`.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Cursor(CursorError::Stopped) => None,
            Self::Cursor(error) => Some(error.code()),
            Self::Topic(TopicError::ResyncRequired) => Some(HISTORY_LOST),
            Self::Access(error) => error.reason(),
            Self::CommentHidden(_) => Some(COMMENT_HIDDEN),
            Self::TooManyReplies(_) => Some(TOO_MANY_REPLIES),
            _ => None,
        }
    }
}

impl CodedError for Error {
    fn code(&self) -> Code {
        match self {
            Self::Input(_)
            | Self::OperationTime
            | Self::OperationTimeFuture
            | Self::TooManyLinks { .. }
            | Self::ParentIsReply { .. } => Code::BadUserInput,
            Self::TooManyComments(_) | Self::RepeatedComment(_) => Code::TooManyComments,
            Self::Access(error) => error.code(),
            Self::PostNotFound(_) | Self::CommentNotFound(_) | Self::ParentNotFound(_) => {
                Code::NotFound
            }
            Self::CommentHidden(_) => Code::Forbidden,
            Self::NotThereYet => Code::ProjectionBehind,
            Self::IdempotencyKeyReused | Self::CommentChanged(_) | Self::ForeignReactions(_) => {
                Code::Conflict
            }
            Self::Overloaded(_) | Self::TooManyReplies(_) => Code::Overloaded,
            Self::Cursor(CursorError::Future | CursorError::Restored)
            | Self::Topic(TopicError::ResyncRequired) => Code::ResyncRequired,
            Self::Cursor(CursorError::Stopped) | Self::Topic(TopicError::Stopped { .. }) => {
                Code::FeedStopped
            }
            Self::Cursor(_) => Code::BadUserInput,
            Self::LiveFeedOff => Code::LiveFeedOff,
            Self::Topic(TopicError::Lagged { .. }) => Code::SubscriptionLagged,
            Self::Topic(_) | Self::Database(_) => Code::InternalServerError,
        }
    }

    fn add_extensions(&self, extensions: &mut ErrorExtensionValues) {
        if let Some(reason) = self.reason() {
            extensions.set("reason", reason);
        }
        if let Self::TooManyComments(seconds) | Self::RepeatedComment(seconds) = self {
            extensions.set("retryAfter", *seconds);
        }
        if let Self::Topic(error) = self {
            if let Some(cursor) = error.cursor() {
                extensions.set("cursor", cursor.as_str());
            }
            if let TopicError::Lagged { missed, .. } = error {
                extensions.set("missed", *missed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_explained() {
        let page = include_str!("../../../docs/errors.md");
        for error in [
            Error::Cursor(CursorError::Malformed),
            Error::Cursor(CursorError::UnknownVersion(2)),
            Error::Cursor(CursorError::Foreign("topic")),
            Error::Cursor(CursorError::Forged),
            Error::Cursor(CursorError::Future),
            Error::Cursor(CursorError::Restored),
            Error::Topic(TopicError::ResyncRequired),
            Error::Access(AccessError::Blocked),
            Error::CommentHidden(CommentId::new()),
            Error::TooManyReplies(Duration::ZERO),
        ] {
            let reason = error.reason().expect("a reason");
            assert!(page.contains(&format!("- `{reason}`:")), "{reason}");
        }
    }
}
