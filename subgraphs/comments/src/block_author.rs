//! The mutation `blockAuthor`: a person may write no more.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use subgraph::moderation_acts::REASON;
use subgraph::owner::check_id;
use subgraph::{Blocks, DateTime, Moderator, Viewer};

use crate::block::Block;
use crate::{Error, Store};

/// The author to block.
#[derive(InputObject)]
pub struct BlockAuthorInput {
    /// The `authorId` of what the author wrote. It need not have written anything.
    author_id: ID,
    /// Why, for other moderators to read: 1 to 500 characters, at least one of them visible.
    reason: String,
}

/// The result of `blockAuthor`.
#[derive(SimpleObject)]
pub struct BlockAuthorPayload {
    /// The block. The first one, if the author was blocked already.
    block: Block,
}

#[derive(Default)]
pub struct BlockAuthor;

#[Object]
impl BlockAuthor {
    /// Blocks an author: from now on, `createComment`, `updateComment`, `reportComment`, `createPost` and `updatePost`
    /// fail for this person with FORBIDDEN and the `reason` AUTHOR_BLOCKED. What the author wrote stays, and may be
    /// deleted by the author. To block a blocked author changes nothing. Fails with BAD_USER_INPUT if the reason is
    /// blank or too long, or `authorId` has not 1 to 511 bytes. Only moderators may: others get FORBIDDEN, or
    /// UNAUTHENTICATED if they are not signed in.
    async fn block_author(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The author to block, and why.")] input: BlockAuthorInput,
    ) -> Result<BlockAuthorPayload, Error> {
        let blocks = ctx.data_unchecked::<Blocks>();
        let by = Moderator::from(blocks.require_moderator::<Error>(&Viewer::of(ctx)).await?);
        let block = Block {
            author_id: check_id("authorId", input.author_id)?,
            since: Some(DateTime::now()),
            reason: Some(REASON.check(input.reason)?),
        };
        let block = ctx.data_unchecked::<Store>().block_author(block, by);
        Ok(BlockAuthorPayload {
            block: block.await?,
        })
    }
}
