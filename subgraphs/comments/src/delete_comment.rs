//! The mutation `deleteComment`: deletes one document.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::moderation_acts::REASON;
use subgraph::{Blocks, Viewer, Written};

use crate::comment::CommentId;
use crate::store::Delete;
use crate::{Error, NewestComments, Store};

/// The comment to delete.
#[derive(InputObject)]
pub struct DeleteCommentInput {
    /// The id of the comment to delete.
    id: CommentId,
    /// Why, for the record, if you are a moderator and this is not yours: 1 to 500 characters, at least one of them
    /// visible. It counts for nothing else.
    reason: Option<String>,
}

/// The id of the deleted comment.
#[derive(SimpleObject)]
pub struct DeleteCommentPayload {
    /// The id of the deleted comment.
    id: CommentId,
    /// Opaque: the time of the change on the database's clock. Pass it as `operationTime` to `post`
    /// or `posts`: their response then shows the change in `commentCount` and `latestComments`. A post's `comments` take
    /// it, too.
    operation_time: String,
}

#[derive(Default)]
pub struct DeleteComment;

#[Object]
impl DeleteComment {
    /// Deletes a comment. Fails with NOT_FOUND if the comment does not exist, and with BAD_USER_INPUT if the
    /// reason is blank or too long. Only its author and moderators may: others get FORBIDDEN, or UNAUTHENTICATED if
    /// they are not signed in. They may also delete it while it is held or hidden. Nothing brings a deleted comment
    /// back.
    async fn delete_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment to delete.")] input: DeleteCommentInput,
    ) -> Result<DeleteCommentPayload, Error> {
        let viewer = Viewer::of(ctx);
        viewer.require_any_change()?;
        let reason = REASON.check_optional(input.reason)?;
        let blocks = ctx.data_unchecked::<Blocks>();
        let viewer = blocks.without_blocked_rights::<Error>(viewer).await?;
        let Written {
            value: post,
            operation_time,
        } = ctx
            .data_unchecked::<Store>()
            .delete_comment(Delete {
                id: input.id,
                viewer,
                reason,
            })
            .await?;
        let Some(post) = post else {
            return Err(Error::CommentNotFound(input.id));
        };
        ctx.data_unchecked::<NewestComments>()
            .wrote(Some(post), &operation_time);
        Ok(DeleteCommentPayload {
            id: input.id,
            operation_time,
        })
    }
}
