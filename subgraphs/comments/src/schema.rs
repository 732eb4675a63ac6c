//! The comments subgraph's schema: its queries, mutations and subscriptions.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, ID, MergedObject, Object, Subscription};
use futures_util::Stream;
use subgraph::page::page_cost;
use subgraph::{FieldCost, FieldCosts};

use crate::comment::{Comment, CommentId};
use crate::comment_change::CommentChange;
use crate::create_comment::CreateComment;
use crate::delete_comment::DeleteComment;
use crate::loaders::{CommentLoader, CommentPageLoader};
use crate::post::{Post, PostId};
use crate::update_comment::UpdateComment;
use crate::{Error, Feed, KnownPosts, Store};

/// What its lists and large leaves cost. A comment is read as a whole, whatever is asked of it.
pub const FIELD_COSTS: FieldCosts = &[
    ("_entities", FieldCost::Entities { item: 4 }),
    ("comments", page_cost(3)),
    ("text", FieldCost::Leaf(3)),
];

/// The comments subgraph's executable schema.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscriptions>;

/// Builds the schema over a store, the posts known to exist, and the feed.
pub fn build(store: Store, known: KnownPosts, feed: Feed) -> Schema {
    builder()
        .data(CommentLoader::new(store.clone()))
        .data(CommentPageLoader::new(store.clone()))
        .data(store)
        .data(known)
        .data(feed)
        .finish()
}

/// The schema in Federation 2's schema language, for composition.
pub fn sdl() -> String {
    subgraph::endpoint::sdl(&builder().finish())
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, Subscriptions> {
    subgraph::endpoint::federated(Schema::build(Query, Mutation::default(), Subscriptions))
}

pub struct Query;

/// Everything that can be read.
#[Object]
impl Query {
    /// The comment with this id; null when there is none.
    async fn comment(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "The comment's id: 24 hexadecimal digits. Anything else fails with BAD_USER_INPUT."
        )]
        id: CommentId,
    ) -> Result<Option<Comment>, Error> {
        ctx.data_unchecked::<DataLoader<CommentLoader>>()
            .load_one(id)
            .await
    }

    /// The comment that another service refers to; null when there is none (any longer).
    #[graphql(entity)]
    async fn comment_by_reference(
        &self,
        ctx: &Context<'_>,
        id: ID,
    ) -> Result<Option<Comment>, Error> {
        // One malformed reference must not fail the others of its batch.
        let Ok(id) = id.parse() else { return Ok(None) };
        ctx.data_unchecked::<DataLoader<CommentLoader>>()
            .load_one(id)
            .await
    }

    /// The post that another service refers to. Whether it exists is that service's to say.
    #[graphql(entity)]
    async fn post_by_reference(&self, id: ID) -> Option<Post> {
        id.parse().ok().map(|id| Post { id })
    }
}

/// Everything that changes data. Each mutation takes one `input` and returns a payload.
#[derive(Default, MergedObject)]
pub struct Mutation(CreateComment, UpdateComment, DeleteComment);

pub struct Subscriptions;

/// Everything that goes on to deliver events until the client ends it.
#[Subscription(name = "Subscription")]
impl Subscriptions {
    /// Each comment that is added to a post from now on. A subscriber that reads too slowly gets
    /// the error SUBSCRIPTION_LAGGED and the end of the subscription, never a silent gap. An
    /// unknown post is NOT_FOUND.
    async fn comment_added(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The post to watch.")] post_id: PostId,
    ) -> Result<impl Stream<Item = Result<Comment, Error>>, Error> {
        ctx.data_unchecked::<Feed>().comment_added(post_id).await
    }

    /// Every change among a post's comments: added, edited, deleted, in order, each with a cursor.
    /// After a lost connection, subscribe with the last cursor as `after` to miss nothing. Errors:
    /// SUBSCRIPTION_LAGGED (read too slowly; `extensions.cursor` tells where to resume),
    /// RESYNC_REQUIRED (the cursor is too old: read the list again with `commentChangesCursor`, then
    /// subscribe after that cursor),
    /// BAD_USER_INPUT (not a cursor of this post), NOT_FOUND (no such post).
    async fn comment_changes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The post to watch.")] post_id: PostId,
        #[graphql(
            desc = "Start after the change with this cursor. Without it, start from now on."
        )]
        after: Option<String>,
    ) -> Result<impl Stream<Item = Result<CommentChange, Error>>, Error> {
        ctx.data_unchecked::<Feed>()
            .comment_changes(post_id, after)
            .await
    }
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
