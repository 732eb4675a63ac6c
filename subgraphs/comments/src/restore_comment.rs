//! The mutation `restoreComment`: a moderator finds that everybody may see a comment.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::moderation_acts::REASON;
use subgraph::{Blocks, DateTime, Moderator, Viewer, Written};

use crate::comment::{Comment, CommentId};
use crate::{Error, NewestComments, Store};

/// The comment to show.
#[derive(InputObject)]
pub struct RestoreCommentInput {
    /// The id of the comment to show.
    id: CommentId,
    /// Why, for the record: at most 500 characters, at least one of them visible.
    reason: Option<String>,
    /// The comment's `updatedAt` when you read it. If its text was changed since, the mutation changes nothing and
    /// fails with CONFLICT: read the queue again. Without it you show whatever the author has written by now.
    if_updated_at: Option<DateTime>,
}

/// The result of `restoreComment`.
#[derive(SimpleObject)]
pub struct RestoreCommentPayload {
    /// The comment, which everybody sees now.
    comment: Comment,
    /// Opaque: the time of the change on the database's clock. Pass it as `operationTime` to `post`
    /// or `posts`: their response then shows the change in `commentCount` and `latestComments`. A post's `comments` take
    /// it, too.
    operation_time: String,
}

#[derive(Default)]
pub struct RestoreComment;

#[Object]
impl RestoreComment {
    /// Shows a comment that is held or hidden: it is back at its place, and subscribers get CommentAdded. The reports
    /// of a comment are settled by this too, also where it was visible all the time. To restore a visible comment
    /// without reports changes nothing. Fails with NOT_FOUND if the comment or its post does not exist, with
    /// BAD_USER_INPUT if the reason is too long, and with CONFLICT if the text was changed after `ifUpdatedAt`. Only
    /// moderators may: others get FORBIDDEN, or UNAUTHENTICATED if they are not signed in.
    async fn restore_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment to show.")] input: RestoreCommentInput,
    ) -> Result<RestoreCommentPayload, Error> {
        let blocks = ctx.data_unchecked::<Blocks>();
        let by = Moderator::from(blocks.require_moderator::<Error>(&Viewer::of(ctx)).await?);
        let reason = REASON.check_optional(input.reason)?;
        let Written {
            value: comment,
            operation_time,
        } = ctx
            .data_unchecked::<Store>()
            .restore_comment(input.id, by, reason, input.if_updated_at)
            .await?;
        let comment = comment.ok_or(Error::CommentNotFound(input.id))?;
        ctx.data_unchecked::<NewestComments>()
            .wrote(Some(comment.post_id), &operation_time);
        Ok(RestoreCommentPayload {
            comment,
            operation_time,
        })
    }
}
