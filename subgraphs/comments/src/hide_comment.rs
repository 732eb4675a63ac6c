//! The mutation `hideComment`: moves a comment out of everybody's sight.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::moderation_acts::REASON;
use subgraph::{Blocks, Moderator, Viewer, Written};

use crate::comment::{Comment, CommentId};
use crate::{Error, NewestComments, Store};

/// The comment to hide.
#[derive(InputObject)]
pub struct HideCommentInput {
    /// The id of the comment to hide.
    id: CommentId,
    /// Why, for other moderators to read: 1 to 500 characters, at least one of them visible.
    reason: String,
}

/// The result of `hideComment`.
#[derive(SimpleObject)]
pub struct HideCommentPayload {
    /// The comment, which moderators alone see now.
    comment: Comment,
    /// Opaque: the time of the change on the database's clock. Pass it as `operationTime` to `post`
    /// or `posts`: their response then shows the change in `commentCount` and `latestComments`. A post's `comments` take
    /// it, too.
    operation_time: String,
}

#[derive(Default)]
pub struct HideComment;

#[Object]
impl HideComment {
    /// Hides a comment that is visible or held: it is in no list and no count any more, and subscribers get
    /// CommentDeleted. `restoreComment` brings it back. To hide a hidden comment changes nothing. Fails with NOT_FOUND
    /// if the comment does not exist, and with BAD_USER_INPUT if the reason is blank or too long. Only moderators may:
    /// others get FORBIDDEN, or UNAUTHENTICATED if they are not signed in.
    async fn hide_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment to hide, and why.")] input: HideCommentInput,
    ) -> Result<HideCommentPayload, Error> {
        let blocks = ctx.data_unchecked::<Blocks>();
        let by = Moderator::from(blocks.require_moderator::<Error>(&Viewer::of(ctx)).await?);
        let reason = REASON.check(input.reason)?;
        let Written {
            value: comment,
            operation_time,
        } = ctx
            .data_unchecked::<Store>()
            .hide_comment(input.id, by, reason)
            .await?;
        let comment = comment.ok_or(Error::CommentNotFound(input.id))?;
        ctx.data_unchecked::<NewestComments>()
            .wrote(Some(comment.post_id), &operation_time);
        Ok(HideCommentPayload {
            comment,
            operation_time,
        })
    }
}
