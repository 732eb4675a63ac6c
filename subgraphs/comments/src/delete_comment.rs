//! The mutation `deleteComment`.

use async_graphql::{Context, InputObject, Object, SimpleObject};

use crate::comment::CommentId;
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
        if ctx.data_unchecked::<Store>().delete_comment(input.id).await? {
            Ok(DeleteCommentPayload { id: input.id })
        } else {
            Err(Error::CommentNotFound(input.id))
        }
    }
}
