//! The posts subgraph's schema: its queries, mutations and subscriptions.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, Enum, ID, MergedObject, Object, Subscription};
use futures_util::Stream;
use subgraph::list_size::{PAGE, list_size, names};
use subgraph::page::page_cost;
use subgraph::text::checked_bytes_max;
use subgraph::{
    Blocks, Connection, Delivery, FieldCost, FieldCosts, Order, Page, PageArguments, Person, Viewer,
};

use crate::create_post::CreatePost;
use crate::delete_post::DeletePost;
use crate::discussion::LATEST_COMMENTS_COST;
use crate::post::{POSTS_LIST, Post, PostId};
use crate::post_loader::PostLoader;
use crate::search::SearchRequest;
use crate::update_post::UpdatePost;
use crate::{Error, Feed, Store};

/// What its lists and large leaves cost. A post is read as a whole, whatever is asked of it.
pub const FIELD_COSTS: FieldCosts = &[
    ("_entities", FieldCost::Entities { item: 20 }),
    ("posts", page_cost(20)),
    ("searchPosts", page_cost(25)),
    ("latestComments", LATEST_COMMENTS_COST),
    ("content", FieldCost::Leaf(10)),
    ("text", FieldCost::Leaf(3)),
];

/// The posts subgraph's executable schema.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscriptions>;

/// Builds the schema over a store, its feed, and the look-ups of who may not write.
pub fn build(store: Store, feed: Feed, blocks: Blocks) -> Schema {
    builder()
        .data(Arc::new(PostLoader::new(store.clone())))
        .data(store)
        .data(feed)
        .data(blocks)
        .finish()
}

/// The schema in Federation 2's schema language, for composition.
pub fn sdl() -> String {
    subgraph::endpoint::sdl(&builder().finish())
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, Subscriptions> {
    subgraph::endpoint::federated(Schema::build(Query, Mutation::default(), Subscriptions))
}

/// The order of a list of posts.
#[derive(Clone, Copy, Enum, Eq, PartialEq)]
pub enum PostOrder {
    /// The post created last comes first.
    NewestFirst,
    /// The post created first comes first.
    OldestFirst,
}

impl From<PostOrder> for Order {
    fn from(order: PostOrder) -> Self {
        match order {
            PostOrder::NewestFirst => Self::NewestFirst,
            PostOrder::OldestFirst => Self::OldestFirst,
        }
    }
}

pub struct Query;

/// Queries read data and change nothing.
#[Object]
impl Query {
    /// Who you are, by your token; null if you are not signed in.
    #[graphql(shareable, tag = "viewer")]
    async fn viewer(&self, ctx: &Context<'_>) -> Option<Person> {
        Viewer::of(ctx).person().cloned()
    }

    /// The post with this id; null if it does not exist.
    async fn post(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "The post's id: 24 hexadecimal digits. Anything else fails with BAD_USER_INPUT."
        )]
        id: PostId,
        #[graphql(
            desc = "The `operationTime` that a comment's mutation returned: the response waits until \
                    it shows that change. Fails with PROJECTION_BEHIND after 5 seconds."
        )]
        operation_time: Option<String>,
    ) -> Result<Option<Post>, Error> {
        ctx.data_unchecked::<Store>()
            .wait_until_shown(Some(id), operation_time.as_deref())
            .await?;
        posts(ctx).load_one(id).await
    }

    /// All posts, in pages. Use `first` (and `after`) to page forwards, or `last` (and `before`) to
    /// page backwards. Without either, the first 20 posts are returned.
    #[graphql(directive = list_size::apply(PAGE, names(["first", "last"]), names(["edges"]), Some(false)))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the Relay connection's arguments"
    )]
    async fn posts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many posts from the start of the list: 0 to 100.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Start after the post with this cursor.")] after: Option<String>,
        #[graphql(desc = "How many posts from the end of the list: 0 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before the post with this cursor.")] before: Option<String>,
        #[graphql(
            desc = "The list's order.",
            default_with = "Some(PostOrder::NewestFirst)"
        )]
        order_by: Option<PostOrder>,
        #[graphql(
            desc = "The `operationTime` that a comment's mutation returned: the response waits until \
                    it shows that change. Fails with PROJECTION_BEHIND after 5 seconds."
        )]
        operation_time: Option<String>,
        #[graphql(
            desc = "End before the titles, the authors' names and the first 400 bytes of the texts have more bytes of UTF-8 than \
                    this together. One post is there in any case."
        )]
        text_bytes_max: Option<i32>,
    ) -> Result<Connection<Post>, Error> {
        let order = order_by.unwrap_or(PostOrder::NewestFirst).into();
        let request = PageArguments {
            first,
            after,
            last,
            before,
        }
        .check(POSTS_LIST, order)?;
        let text_bytes_max = checked_bytes_max(text_bytes_max)?;
        let store = ctx.data_unchecked::<Store>();
        store
            .wait_until_shown(None, operation_time.as_deref())
            .await?;
        let page = store.posts(&request).await?;
        let page = page.within(&request, text_bytes_max, Post::listed_bytes);
        Ok(Connection::new(&request, page, Post::position))
    }

    /// The posts that have at least one of some words in their title or content, in pages, the best match first. A word in
    /// the title counts more. Use `first` and `after` to page. Fails with SEARCH_UNAVAILABLE while the index is being made,
    /// and with OVERLOADED if the search takes longer than 5 seconds.
    #[graphql(directive = list_size::apply(PAGE, names(["first"]), names(["edges"]), Some(false)))]
    async fn search_posts(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "The words: 1 to 200 characters, at least one of them visible. Upper and lower case do not matter. \
                    Words in quotation marks are found only together, in this order; posts with a word after a hyphen \
                    (`-word`) are left out."
        )]
        query: String,
        #[graphql(
            desc = "How many posts from the start of the list: 0 to 100. The default is 20."
        )]
        first: Option<i32>,
        #[graphql(desc = "Start after the post with this cursor, of a search of the same words.")]
        after: Option<String>,
    ) -> Result<Connection<Post>, Error> {
        let request = SearchRequest::check(query, first, after.as_deref())?;
        let page = ctx.data_unchecked::<Store>().search_posts(&request).await?;
        let ranks: HashMap<_, _> = page
            .items
            .iter()
            .map(|(post, rank)| (post.id, *rank))
            .collect();
        let page = Page {
            items: page.items.into_iter().map(|(post, _)| post).collect(),
            has_next: page.has_next,
            has_previous: page.has_previous,
        };
        // Each post has a rank.
        let cursor = |post: &Post| ranks.get(&post.id).map(|rank| rank.to_cursor());
        Ok(Connection::with_cursors(page, |post| {
            cursor(post).unwrap_or_default()
        }))
    }

    /// The post that another subgraph refers to; null if it does not exist.
    #[graphql(entity)]
    async fn post_by_reference(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Post>, Error> {
        // One malformed reference must not fail the others of its batch.
        let Ok(id) = id.parse() else { return Ok(None) };
        posts(ctx).load_one(id).await
    }
}

/// Mutations change data. Each takes one `input` and returns a payload.
#[derive(Default, MergedObject)]
pub struct Mutation(CreatePost, UpdatePost, DeletePost);

pub struct Subscriptions;

/// Subscriptions deliver events until the client ends them.
#[Subscription(name = "Subscription")]
impl Subscriptions {
    /// Each new post, from now on. Two errors end the subscription: SUBSCRIPTION_LAGGED (the client
    /// read too slowly) and RESYNC_REQUIRED (posts may have been missed). After either, subscribe
    /// again, then read the list again.
    async fn post_added(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Result<Post, Error>>, Error> {
        let added = ctx
            .data_unchecked::<Feed>()
            .post_added(posts(ctx).clone())?;
        Delivery::of(ctx).stands();
        Ok(added)
    }

    /// The post each time it changes, from now on: its title or content, its `commentCount` or its
    /// `latestComments`. Changes in quick succession may arrive as one. Ends when the post is
    /// deleted. Fails with NOT_FOUND if the post does not exist.
    async fn post_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id of the post to watch.")] id: PostId,
    ) -> Result<impl Stream<Item = Result<Post, Error>>, Error> {
        let updated = ctx.data_unchecked::<Feed>();
        let updated = updated.post_updated(id, posts(ctx).clone()).await?;
        Delivery::of(ctx).stands();
        Ok(updated)
    }
}

fn posts<'a>(ctx: &Context<'a>) -> &'a Arc<DataLoader<PostLoader>> {
    ctx.data_unchecked()
}

#[cfg(test)]
mod tests {
    use subgraph::testing::lists_without_cost;

    use super::*;

    #[test]
    fn every_list_has_a_cost() {
        assert!(lists_without_cost("type A { b: [Int!] }", FIELD_COSTS) == ["A.b"]);
        assert!(lists_without_cost(&sdl(), FIELD_COSTS).is_empty());
    }
}
