//! The mutation `updateComment`.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::DateTime;

use crate::comment::{Comment, CommentId, TEXT};
use crate::written::Written;
use crate::{Error, Store};

/// What `updateComment` needs.
#[derive(InputObject)]
pub struct UpdateCommentInput {
    /// The comment to change.
    id: CommentId,
    /// The new text: 1 to 5,000 characters, of which some must show. White space at the ends is dropped;
    /// control characters other than line breaks and tabs are refused.
    text: String,
}

/// What `updateComment` returns.
#[derive(SimpleObject)]
pub struct UpdateCommentPayload {
    /// The comment after the change.
    comment: Comment,
    /// When the change happened, on the database's clock; opaque. Pass it as `operationTime` to
    /// `post` or `posts` to see the change in `commentCount` and `latestComments` for sure.
    operation_time: String,
}

#[derive(Default)]
pub struct UpdateComment;

#[Object]
impl UpdateComment {
    /// Changes a comment's text. An unknown comment is NOT_FOUND; a blank or over-long text is
    /// BAD_USER_INPUT.
    async fn update_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment and its new text.")] input: UpdateCommentInput,
    ) -> Result<UpdateCommentPayload, Error> {
        let text = TEXT.check(input.text)?;
        let Written {
            value: comment,
            operation_time,
        } = ctx
            .data_unchecked::<Store>()
            .update_comment(input.id, text, DateTime::now())
            .await?
            .ok_or(Error::CommentNotFound(input.id))?;
        Ok(UpdateCommentPayload {
            comment,
            operation_time,
        })
    }
}
