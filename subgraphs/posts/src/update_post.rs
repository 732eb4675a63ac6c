//! The mutation `updatePost`: replaces texts, unless one was changed after `ifUpdatedAt`.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::moderation_acts::REASON;
use subgraph::{Blocks, DateTime, InputError, Viewer};

use crate::post::{CONTENT, Post, PostId, TITLE};
use crate::store::Edit;
use crate::{Error, Store};

/// The post to change, and its new texts. A field that is left out stays as it is.
#[derive(InputObject)]
pub struct UpdatePostInput {
    /// The id of the post to change.
    id: PostId,
    /// The new title: 1 to 200 characters.
    title: Option<String>,
    /// The new text: 1 to 20,000 characters.
    content: Option<String>,
    /// The post's `updatedAt` when you read the texts that you edited. If the title or the content was changed
    /// since, the mutation changes nothing and fails with CONFLICT: read `post` and let the author decide.
    /// Without it the new texts replace whatever is there.
    if_updated_at: Option<DateTime>,
    /// Why, for the record, if you are a moderator and this is not yours: 1 to 500 characters, at least one of them
    /// visible. It counts for nothing else.
    reason: Option<String>,
}

/// The result of `updatePost`.
#[derive(SimpleObject)]
pub struct UpdatePostPayload {
    /// The post after the change.
    post: Post,
}

#[derive(Default)]
pub struct UpdatePost;

#[Object]
impl UpdatePost {
    /// Changes a post's title, its content, or both. Fails with NOT_FOUND if the post does not
    /// exist, with BAD_USER_INPUT if a text or the reason is blank or too long, or nothing is to be changed, and with
    /// CONFLICT if it was changed after `ifUpdatedAt`. Only its author and moderators may: others get FORBIDDEN, or
    /// UNAUTHENTICATED if they are not signed in. Nobody whom a moderator has blocked may (FORBIDDEN with `reason`
    /// AUTHOR_BLOCKED).
    async fn update_post(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The post and its new texts.")] input: UpdatePostInput,
    ) -> Result<UpdatePostPayload, Error> {
        let viewer = Viewer::of(ctx);
        viewer.require_any_change()?;
        let title = TITLE.check_optional(input.title)?;
        let content = CONTENT.check_optional(input.content)?;
        let reason = REASON.check_optional(input.reason)?;
        if title.is_none() && content.is_none() {
            return Err(InputError::NothingToChange {
                fields: "title, content",
            }
            .into());
        }
        let blocks = ctx.data_unchecked::<Blocks>();
        blocks.require_unblocked::<Error>(&viewer).await?;
        let post = ctx
            .data_unchecked::<Store>()
            .update_post(Edit {
                id: input.id,
                title,
                content,
                viewer,
                now: DateTime::now(),
                if_updated_at: input.if_updated_at,
                reason,
            })
            .await?
            .ok_or(Error::PostNotFound(input.id))?;
        Ok(UpdatePostPayload { post })
    }
}
