//! The mutation `deletePost`.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::DateTime;

use crate::post::PostId;
use crate::{Error, Store};

/// What `deletePost` needs.
#[derive(InputObject)]
pub struct DeletePostInput {
    /// The post to delete.
    id: PostId,
}

/// What `deletePost` returns.
#[derive(SimpleObject)]
pub struct DeletePostPayload {
    /// The id of the deleted post.
    id: PostId,
}

#[derive(Default)]
pub struct DeletePost;

#[Object]
impl DeletePost {
    /// Deletes a post. Its comments follow within moments: the comments service deletes them when
    /// it sees the post gone. An unknown post is NOT_FOUND.
    async fn delete_post(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The post to delete.")] input: DeletePostInput,
    ) -> Result<DeletePostPayload, Error> {
        if ctx
            .data_unchecked::<Store>()
            .delete_post(input.id, DateTime::now())
            .await?
        {
            Ok(DeletePostPayload { id: input.id })
        } else {
            Err(Error::PostNotFound(input.id))
        }
    }
}
