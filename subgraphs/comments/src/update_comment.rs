//! The mutation `updateComment`: replaces the text, unless it was changed after `ifUpdatedAt`.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::moderation_acts::REASON;
use subgraph::{Blocks, DateTime, Viewer, Written};

use crate::comment::{Comment, CommentId, TEXT};
use crate::store::Edit;
use crate::{Error, FairUse, HoldComments, NewestComments, Store};

/// The comment to change, and its new text.
#[derive(InputObject)]
pub struct UpdateCommentInput {
    /// The id of the comment to change.
    id: CommentId,
    /// The new text: 1 to 5,000 characters, at least one of them visible. White space at both ends is removed.
    /// Control characters other than line breaks and tabs fail with BAD_USER_INPUT.
    text: String,
    /// The comment's `updatedAt` when you read the text that you edited. If the comment was changed since, the
    /// mutation changes nothing and fails with CONFLICT: read `comment` and let the author decide. Without it
    /// the new text replaces whatever is there.
    if_updated_at: Option<DateTime>,
    /// Why, for the record, if you are a moderator and this is not yours: 1 to 500 characters, at least one of them
    /// visible. It counts for nothing else.
    reason: Option<String>,
}

/// The result of `updateComment`.
#[derive(SimpleObject)]
pub struct UpdateCommentPayload {
    /// The comment after the change.
    comment: Comment,
    /// Opaque: the time of the change on the database's clock. Pass it as `operationTime` to `post`
    /// or `posts`: their response then shows the change in `commentCount` and `latestComments`. A post's `comments` take
    /// it, too.
    operation_time: String,
}

#[derive(Default)]
pub struct UpdateComment;

#[Object]
impl UpdateComment {
    /// Changes a comment's text. Fails with NOT_FOUND if the comment does not exist, with BAD_USER_INPUT
    /// if the text or the reason is blank or too long, and with CONFLICT if it was changed after `ifUpdatedAt`. Only
    /// its author and moderators may: others get FORBIDDEN, or UNAUTHENTICATED if they are not signed in. An edit of a
    /// comment that is held leaves it held. Where your new comments would be held, an edit of a visible one is, too:
    /// its `status` is HELD then, and subscribers get CommentDeleted. A comment that a moderator has hidden cannot be
    /// edited (FORBIDDEN with `reason` COMMENT_HIDDEN), and nobody whom one has blocked may edit (AUTHOR_BLOCKED).
    async fn update_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment and its new text.")] input: UpdateCommentInput,
    ) -> Result<UpdateCommentPayload, Error> {
        let viewer = Viewer::of(ctx);
        viewer.require_any_change()?;
        let text = TEXT.check(input.text)?;
        let reason = REASON.check_optional(input.reason)?;
        let blocks = ctx.data_unchecked::<Blocks>();
        blocks.require_unblocked::<Error>(&viewer).await?;
        ctx.data_unchecked::<FairUse>()
            .allow_edit(&viewer, input.id, &text)
            .await?;
        let store = ctx.data_unchecked::<Store>();
        let hold = ctx.data_unchecked::<HoldComments>();
        let is_held = hold.holds(&viewer, Some(input.id), store).await?;
        let edit = Edit {
            id: input.id,
            text,
            viewer,
            now: DateTime::now(),
            if_updated_at: input.if_updated_at,
            is_held,
            reason,
        };
        let Written {
            value: comment,
            operation_time,
        } = store.update_comment(edit).await?;
        let comment = comment.ok_or(Error::CommentNotFound(input.id))?;
        ctx.data_unchecked::<NewestComments>()
            .wrote(Some(comment.post_id), &operation_time);
        Ok(UpdateCommentPayload {
            comment,
            operation_time,
        })
    }
}
