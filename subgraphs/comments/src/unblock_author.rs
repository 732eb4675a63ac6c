//! The mutation `unblockAuthor`: a person may write again.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use subgraph::moderation_acts::REASON;
use subgraph::owner::check_id;
use subgraph::{Blocks, Moderator, Viewer};

use crate::{Error, Store};

/// The author to unblock.
#[derive(InputObject)]
pub struct UnblockAuthorInput {
    /// The id of the author.
    author_id: ID,
    /// Why, for the record: at most 500 characters, at least one of them visible.
    reason: Option<String>,
}

/// The result of `unblockAuthor`.
#[derive(SimpleObject)]
pub struct UnblockAuthorPayload {
    /// The id of the author, who is not blocked.
    author_id: ID,
}

#[derive(Default)]
pub struct UnblockAuthor;

#[Object]
impl UnblockAuthor {
    /// Removes the block of an author. To unblock an author who is not blocked changes nothing. Fails with
    /// BAD_USER_INPUT if the reason is too long, or `authorId` has not 1 to 511 bytes. Only moderators may: others get
    /// FORBIDDEN, or UNAUTHENTICATED if they are not signed in.
    async fn unblock_author(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The author to unblock.")] input: UnblockAuthorInput,
    ) -> Result<UnblockAuthorPayload, Error> {
        let blocks = ctx.data_unchecked::<Blocks>();
        let by = Moderator::from(blocks.require_moderator::<Error>(&Viewer::of(ctx)).await?);
        let author_id = check_id("authorId", input.author_id)?;
        let reason = REASON.check_optional(input.reason)?;
        let store = ctx.data_unchecked::<Store>();
        store
            .unblock_author(author_id.to_string(), by, reason)
            .await?;
        Ok(UnblockAuthorPayload { author_id })
    }
}
