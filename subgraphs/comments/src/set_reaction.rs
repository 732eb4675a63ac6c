//! The mutation `setReaction`: what the viewer feels about a comment.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::{AccessError, Blocks, Viewer, Written};

use crate::comment::{Comment, CommentId};
use crate::reaction::Reaction;
use crate::store::PersonOnComment;
use crate::{Error, NewestComments, Store};

/// The comment, and your reaction to it.
#[derive(InputObject)]
pub struct SetReactionInput {
    /// The id of the comment.
    comment_id: CommentId,
    /// Your reaction, in the place of any that you had. Null removes it.
    reaction: Option<Reaction>,
}

/// The result of `setReaction`.
#[derive(SimpleObject)]
pub struct SetReactionPayload {
    /// The comment with its reactions after the change.
    comment: Comment,
}

#[derive(Default)]
pub struct SetReaction;

#[Object]
impl SetReaction {
    /// Sets your reaction to a comment: one for each person and comment. The same mutation again changes nothing, so it
    /// can be retried. Subscribers of `commentChanges(reactions: true)` get CommentReactionsChanged. Fails with
    /// NOT_FOUND if the comment does not exist, or is held or hidden, with UNAUTHENTICATED if you are not signed in,
    /// with FORBIDDEN if a moderator has blocked you, with CONFLICT if another program uses the comment's field for
    /// reactions, and with OVERLOADED if too many people react to the comment at the same moment.
    async fn set_reaction(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment, and your reaction to it.")] input: SetReactionInput,
    ) -> Result<SetReactionPayload, Error> {
        let viewer = Viewer::of(ctx);
        let person = viewer.person().ok_or(AccessError::GuestReacts)?.id.clone();
        let blocks = ctx.data_unchecked::<Blocks>();
        blocks.require_unblocked::<Error>(&viewer).await?;
        let store = ctx.data_unchecked::<Store>();
        let of = PersonOnComment {
            comment: input.comment_id,
            person,
        };
        let Written {
            value: comment,
            operation_time,
        } = store.set_reaction(of, input.reaction).await?;
        let comment = comment.ok_or(Error::CommentNotFound(input.comment_id))?;
        ctx.data_unchecked::<NewestComments>()
            .wrote(Some(comment.post_id), &operation_time);
        Ok(SetReactionPayload { comment })
    }
}
