//! The mutation `deletePost`: deletes the post and marks its comments, which the comments subgraph deletes.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::moderation_acts::REASON;
use subgraph::{Blocks, Viewer};

use crate::post::PostId;
use crate::store::Delete;
use crate::{Error, Store};

/// The post to delete.
#[derive(InputObject)]
pub struct DeletePostInput {
    /// The id of the post to delete.
    id: PostId,
    /// Why, for the record, if you are a moderator and this is not yours: 1 to 500 characters, at least one of them
    /// visible. It counts for nothing else.
    reason: Option<String>,
}

/// The id of the deleted post.
#[derive(SimpleObject)]
pub struct DeletePostPayload {
    /// The id of the deleted post.
    id: PostId,
}

#[derive(Default)]
pub struct DeletePost;

#[Object]
impl DeletePost {
    /// Deletes a post. The comments subgraph then deletes the post's comments, usually within a second.
    /// Fails with NOT_FOUND if the post does not exist, and with BAD_USER_INPUT if the reason is blank or too long.
    /// Only its author and moderators may: others get FORBIDDEN, or UNAUTHENTICATED if they are not signed in.
    async fn delete_post(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The post to delete.")] input: DeletePostInput,
    ) -> Result<DeletePostPayload, Error> {
        let viewer = Viewer::of(ctx);
        viewer.require_any_change()?;
        let reason = REASON.check_optional(input.reason)?;
        let blocks = ctx.data_unchecked::<Blocks>();
        let viewer = blocks.without_blocked_rights::<Error>(viewer).await?;
        if ctx
            .data_unchecked::<Store>()
            .delete_post(Delete {
                id: input.id,
                viewer,
                reason,
            })
            .await?
        {
            Ok(DeletePostPayload { id: input.id })
        } else {
            Err(Error::PostNotFound(input.id))
        }
    }
}
