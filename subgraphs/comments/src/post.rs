//! A post, as the comments subgraph knows it: an id with comments.

use std::sync::Arc;

use async_graphql::dataloader::DataLoader;
use async_graphql::{ComplexObject, Context, Enum, SimpleObject};
use changefeed::OperationTime;
use subgraph::list_size::{PAGE, list_size, names};
use subgraph::text::checked_bytes_max;
use subgraph::{Connection, Id, Order, PageArguments};

use crate::comment::{COMMENTS_LIST, Comment, MOST_REPLIED_LIST};
use crate::loaders::{CommentPageLoader, CommentsOf};
use crate::newest_comments::NewestComments;
use crate::store::CommentList;
use crate::{Error, Feed, Store};

/// The id of a post.
pub type PostId = Id<Post>;

/// A text with a title that others read and comment on.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(complex)]
pub struct Post {
    /// Identifies the post. It never changes, and no other post ever has it.
    pub id: PostId,
}

/// The order of a list of comments.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
pub enum CommentOrder {
    /// The comment created last comes first.
    NewestFirst,
    /// The comment created first comes first.
    OldestFirst,
    /// The comment with the most replies comes first, and of those with as many, the one created last. When replies
    /// come and go while you read page after page, a comment may be on two pages, or on none. A post with too many
    /// comments fails with OVERLOADED and the `reason` TOO_MANY_REPLIES: use another order.
    MostReplied,
}

#[ComplexObject]
impl Post {
    /// The cursor of the latest change of the post's comments. Request it together with `comments`
    /// and pass it as `after` to `commentChanges`: no change between the two is missed.
    async fn comment_changes_cursor(&self, ctx: &Context<'_>) -> Result<String, Error> {
        // It must not be newer than the list beside it. It is not: `comments` gives way before it reads, and this waits
        // for nothing.
        ctx.data_unchecked::<Feed>().cursor_now(self.id).await
    }

    /// All comments on the post, in pages, replies among them. Use `first` (and `after`) to page forwards, or `last` (and
    /// `before`) to page backwards. Without either, the first 20 comments are returned.
    #[graphql(directive = list_size::apply(PAGE, names(["first", "last"]), names(["edges"]), Some(false)))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the Relay connection's arguments"
    )]
    async fn comments(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many comments from the start of the list: 0 to 100.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Start after the comment with this cursor.")] after: Option<String>,
        #[graphql(desc = "How many comments from the end of the list: 0 to 100.")] last: Option<
            i32,
        >,
        #[graphql(desc = "End before the comment with this cursor.")] before: Option<String>,
        #[graphql(
            desc = "The list's order.",
            default_with = "Some(CommentOrder::NewestFirst)"
        )]
        order_by: Option<CommentOrder>,
        #[graphql(
            desc = "End before the texts and the authors' names have more bytes of UTF-8 than this together. One comment is there \
                    in any case."
        )]
        text_bytes_max: Option<i32>,
        #[graphql(
            desc = "The `operationTime` that a comment's mutation returned: the list has that change in any case, or the field \
                    fails with PROJECTION_BEHIND: try again. A time that is later than everything in the database fails with \
                    BAD_USER_INPUT. Without it, an instance of this service shows what was written through itself at once, and \
                    what was written elsewhere some milliseconds later, at most a second. So of two reads through different \
                    instances the later one may show the older list: pass the time of the last change that you know of where \
                    that matters."
        )]
        operation_time: Option<String>,
    ) -> Result<Connection<Arc<Comment>>, Error> {
        let text_bytes_max = checked_bytes_max(text_bytes_max)?;
        let bytes_of = |comment: &Arc<Comment>| comment.text.len() + comment.author.len();
        let seen = operation_time.map(|time| time.parse::<OperationTime>());
        let seen = seen.transpose().map_err(|_| Error::OperationTime)?;
        if seen.is_some_and(|time| ctx.data_unchecked::<Feed>().is_future(time)) {
            return Err(Error::OperationTimeFuture);
        }
        let arguments = PageArguments {
            first,
            after,
            last,
            before,
        };
        let order = match order_by.unwrap_or(CommentOrder::NewestFirst) {
            CommentOrder::NewestFirst => Order::NewestFirst,
            CommentOrder::OldestFirst => Order::OldestFirst,
            CommentOrder::MostReplied => {
                let request = arguments.check_ranked(MOST_REPLIED_LIST)?;
                // Before it reads, so that `commentChangesCursor` beside it, which waits for nothing, is not newer.
                tokio::task::yield_now().await;
                let store = ctx.data_unchecked::<Store>();
                let page = store.most_replied(self.id, request, seen).await?;
                let page = page.map(|(position, comment)| (position, Arc::new(comment)));
                let page = page.within(&request, text_bytes_max, |(_, comment)| bytes_of(comment));
                return Ok(Connection::positioned(&request, page));
            }
        };
        let request = arguments.check(COMMENTS_LIST, order)?;
        // Before it looks, for the same reason.
        tokio::task::yield_now().await;
        let newest = ctx.data_unchecked::<NewestComments>();
        let page = match newest.page(self.id, &request, seen).await? {
            Some(page) => page,
            None => {
                let list = CommentList::Post(self.id);
                let pages = ctx.data_unchecked::<DataLoader<CommentPageLoader>>();
                let of = CommentsOf {
                    list,
                    request,
                    after: seen,
                };
                pages.load_one(of).await?.unwrap_or_default()
            }
        };
        let page = page.within(&request, text_bytes_max, bytes_of);
        Ok(Connection::new(&request, page, |comment| {
            comment.position()
        }))
    }
}
