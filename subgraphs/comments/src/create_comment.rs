//! The mutation `createComment`: checks the input and the post, and inserts one document.

use async_graphql::{Context, InputObject, Object, SimpleObject};
use subgraph::text::TextRule;
use subgraph::{Blocks, Viewer, Written, WrittenIn};

use crate::comment::{Comment, CommentId, TEXT};
use crate::post::PostId;
use crate::reaction::Reactions;
use crate::store::Idempotency;
use crate::{Error, FairUse, HoldComments, KnownPosts, NewestComments, Store};

const IDEMPOTENCY_KEY: TextRule = TextRule {
    field: "idempotencyKey",
    max_chars: 100,
};

/// The comment to create.
#[derive(InputObject)]
pub struct CreateCommentInput {
    /// The id of the post to comment on.
    post_id: PostId,
    /// The id of the comment that this one replies to: a comment of the same post that is no reply itself. It cannot be
    /// changed later. Null or left out for a comment that replies to none.
    parent_id: Option<CommentId>,
    /// The comment's text: 1 to 5,000 characters, at least one of them visible. White space at both ends is
    /// removed. Control characters other than line breaks and tabs fail with BAD_USER_INPUT.
    text: String,
    /// The name of the author, if you are not signed in: at most 100 characters; "Anonymous" if it is left out. If
    /// you are, your name in `viewer` counts, and this is ignored.
    author: Option<String>,
    /// A key that makes retries safe: any text of at most 100 characters. A second request with the
    /// same key and the same input returns the first comment and creates none. With another input it
    /// fails with CONFLICT. Keys are your own: whoever else uses the same text has another key. Those who are not
    /// signed in share theirs. A key is kept for 30 days after its last use. If its comment is deleted,
    /// the key is free again, and the next comment with it has the same id.
    idempotency_key: Option<String>,
}

/// The result of `createComment`.
#[derive(SimpleObject)]
pub struct CreateCommentPayload {
    /// The new comment; for a retry with the same `idempotencyKey`, the comment of the first request. If its `status`
    /// is HELD, only you and moderators know it: a moderator has to show it first.
    comment: Comment,
    /// Opaque: the time of the change on the database's clock. Pass it as `operationTime` to `post`
    /// or `posts`: their response then shows the change in `commentCount` and `latestComments`. A post's `comments` take
    /// it, too.
    operation_time: String,
}

#[derive(Default)]
pub struct CreateComment;

#[Object]
impl CreateComment {
    /// Creates a comment on a post, or a reply to one. Fails with NOT_FOUND if the post or the comment `parentId` does
    /// not exist, with BAD_USER_INPUT if a text is blank or too long or `parentId` is itself a reply, with UNAUTHENTICATED if you are not signed in and guests may not write, and with
    /// FORBIDDEN if a moderator has blocked you. If the service limits how much one writes, it fails with
    /// TOO_MANY_COMMENTS, and with BAD_USER_INPUT for too many links of a new author.
    async fn create_comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The comment to create.")] input: CreateCommentInput,
    ) -> Result<CreateCommentPayload, Error> {
        let viewer = Viewer::of(ctx);
        let (author, owner) = viewer.author::<Error>(input.author)?;
        let text = TEXT.check(input.text)?;
        let idempotency = IDEMPOTENCY_KEY
            .check_optional(input.idempotency_key)?
            .map(|key| {
                let place = (input.post_id, input.parent_id);
                Idempotency::new(key, &owner, place, &text, &author)
            });
        let store = ctx.data_unchecked::<Store>();
        let blocks = ctx.data_unchecked::<Blocks>();
        blocks.require_unblocked::<Error>(&viewer).await?;
        let hold = ctx.data_unchecked::<HoldComments>();
        let comment = Comment {
            id: CommentId::new(),
            post_id: input.post_id,
            parent_id: input.parent_id,
            text,
            author,
            owner,
            // The store dates it when it inserts it.
            created_at: None,
            updated_at: None,
            edited: false,
            reactions: Reactions::default(),
            status: hold.status_of_new(&viewer, store).await?,
            trace: WrittenIn::now(),
        };
        ctx.data_unchecked::<KnownPosts>()
            .require(comment.post_id)
            .await?;
        let Written {
            value: comment,
            operation_time,
        } = match store.require_parent(&comment).await {
            Ok(()) => {
                let fair_use = ctx.data_unchecked::<FairUse>();
                fair_use.insert(&viewer, comment, idempotency).await?
            }
            // No retry is refused whose first request was written, whatever became of the parent since.
            Err(refusal) => store.first_or(refusal, idempotency).await?,
        };
        ctx.data_unchecked::<NewestComments>()
            .wrote(Some(comment.post_id), &operation_time);
        Ok(CreateCommentPayload {
            comment,
            operation_time,
        })
    }
}
