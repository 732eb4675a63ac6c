//! The mutation `createComment`.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::text::TextRule;
use subgraph::{DateTime, author};

use crate::comment::{Comment, CommentId, TEXT};
use crate::post::PostId;
use crate::store::Idempotency;
use crate::written::Written;
use crate::{Error, KnownPosts, Store};

const IDEMPOTENCY_KEY: TextRule = TextRule {
    field: "idempotencyKey",
    max_chars: 100,
};

/// What `createComment` needs.
#[derive(InputObject)]
pub struct CreateCommentInput {
    /// The post that the comment is about.
    post_id: PostId,
    /// The comment's text: 1 to 5,000 characters, of which some must show. White space at the ends is dropped;
    /// control characters other than line breaks and tabs are refused.
    text: String,
    /// Who writes the comment: at most 100 characters; "Anonymous" when left out.
    author: Option<String>,
    /// A key of the client's choice, at most 100 characters, for safe retries: the same input with
    /// the same key again returns the first comment and creates none. Another input with the same
    /// key is a CONFLICT. A key is kept for 30 days after the last request with it. When its comment
    /// is deleted, it is free again; the next comment with it gets the same id.
    idempotency_key: Option<String>,
}

/// What `createComment` returns.
#[derive(SimpleObject)]
pub struct CreateCommentPayload {
    /// The new comment; for a retry with the same `idempotencyKey`, the first one.
    comment: Comment,
    /// When the change happened, on the database's clock; opaque. Pass it as `operationTime` to
    /// `post` or `posts` to see the change in `commentCount` and `latestComments` for sure.
    operation_time: String,
}

#[derive(Default)]
pub struct CreateComment;

#[Object]
impl CreateComment {
    /// Writes a comment about a post. An unknown post is NOT_FOUND; blank or over-long texts are
    /// BAD_USER_INPUT.
    async fn create_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment to create.")] input: CreateCommentInput,
    ) -> Result<CreateCommentPayload, Error> {
        let now = DateTime::now();
        let text = TEXT.check(input.text)?;
        let author = author::check(input.author)?;
        let idempotency = IDEMPOTENCY_KEY
            .check_optional(input.idempotency_key)?
            .map(|key| Idempotency::new(key, input.post_id, &text, &author));
        let comment = Comment {
            id: CommentId::new(),
            post_id: input.post_id,
            text,
            author,
            created_at: Some(now),
            updated_at: Some(now),
            edited: false,
        };
        ctx.data_unchecked::<KnownPosts>()
            .require(comment.post_id)
            .await?;
        let Written {
            value: comment,
            operation_time,
        } = ctx
            .data_unchecked::<Store>()
            .insert_comment(comment, idempotency)
            .await?;
        Ok(CreateCommentPayload {
            comment,
            operation_time,
        })
    }
}
