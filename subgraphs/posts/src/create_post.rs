//! The mutation `createPost`: checks the input and inserts one document.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::{Blocks, Viewer};

use crate::discussion::Discussion;
use crate::post::{CONTENT, Post, PostId, TITLE};
use crate::{Error, Store};

/// The post to create.
#[derive(InputObject)]
pub struct CreatePostInput {
    /// The post's title: 1 to 200 characters. White space at both ends is removed.
    title: String,
    /// The post's text: 1 to 20,000 characters, at least one of them visible. White space at both ends is
    /// removed. Control characters other than line breaks and tabs fail with BAD_USER_INPUT.
    content: String,
    /// The name of the author, if you are not signed in: at most 100 characters; "Anonymous" if it is left out. If
    /// you are, your name in `viewer` counts, and this is ignored.
    author: Option<String>,
}

/// The result of `createPost`.
#[derive(SimpleObject)]
pub struct CreatePostPayload {
    /// The new post. It has no comments yet.
    post: Post,
}

#[derive(Default)]
pub struct CreatePost;

#[Object]
impl CreatePost {
    /// Creates a post. Fails with BAD_USER_INPUT if a text is blank or too long, with UNAUTHENTICATED if you
    /// are not signed in and guests may not write, and with FORBIDDEN if a moderator has blocked you.
    async fn create_post(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The post to create.")] input: CreatePostInput,
    ) -> Result<CreatePostPayload, Error> {
        let viewer = Viewer::of(ctx);
        let (author, owner) = viewer.author::<Error>(input.author)?;
        let post = Post {
            id: PostId::new(),
            title: TITLE.check(input.title)?,
            content: CONTENT.check(input.content)?,
            author,
            owner,
            // The store dates it when it inserts it.
            created_at: None,
            updated_at: None,
            discussion: Discussion::default(),
        };
        let blocks = ctx.data_unchecked::<Blocks>();
        blocks.require_unblocked::<Error>(&viewer).await?;
        let post = ctx.data_unchecked::<Store>().insert_post(post).await?;
        Ok(CreatePostPayload { post })
    }
}
