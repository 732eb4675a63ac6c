//! The mutation `deleteComment`.

use async_graphql::{Context, InputObject, Object, SimpleObject};

use crate::comment::CommentId;
use crate::written::Written;
use crate::{Error, Store};

/// What `deleteComment` needs.
#[derive(InputObject)]
pub struct DeleteCommentInput {
    /// The comment to delete.
    id: CommentId,
}

/// What `deleteComment` returns.
#[derive(SimpleObject)]
pub struct DeleteCommentPayload {
    /// The id of the deleted comment.
    id: CommentId,
    /// When the change happened, on the database's clock; opaque. Pass it as `operationTime` to
    /// `post` or `posts` to see the change in `commentCount` and `latestComments` for sure.
    operation_time: String,
}

#[derive(Default)]
pub struct DeleteComment;

#[Object]
impl DeleteComment {
    /// Deletes a comment. An unknown comment is NOT_FOUND.
    async fn delete_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment to delete.")] input: DeleteCommentInput,
    ) -> Result<DeleteCommentPayload, Error> {
        let deleted = ctx
            .data_unchecked::<Store>()
            .delete_comment(input.id)
            .await?;
        let Written { operation_time, .. } = deleted.ok_or(Error::CommentNotFound(input.id))?;
        Ok(DeleteCommentPayload {
            id: input.id,
            operation_time,
        })
    }
}
