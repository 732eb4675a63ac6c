//! The comments subgraph's schema: its queries, mutations and subscriptions.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, ID, MergedObject, Object, Subscription};
use futures_util::Stream;
use subgraph::page::page_cost;
use subgraph::{FieldCost, FieldCosts, Person, Viewer};

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

/// Queries read data and change nothing.
#[Object]
impl Query {
    /// Who you are, by your token; null if you are not signed in.
    #[graphql(shareable, tag = "viewer")]
    async fn viewer(&self, ctx: &Context<'_>) -> Option<Person> {
        Viewer::of(ctx).person().cloned()
    }

    /// The comment with this id; null if it does not exist.
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

    /// The comment that another subgraph refers to; null if it does not exist.
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

    /// The post that another subgraph refers to. The posts subgraph says whether it exists.
    #[graphql(entity)]
    async fn post_by_reference(&self, id: ID) -> Option<Post> {
        id.parse().ok().map(|id| Post { id })
    }
}

/// Mutations change data. Each takes one `input` and returns a payload.
#[derive(Default, MergedObject)]
pub struct Mutation(CreateComment, UpdateComment, DeleteComment);

pub struct Subscriptions;

/// Subscriptions deliver events until the client ends them.
#[Subscription(name = "Subscription")]
impl Subscriptions {
    /// Each new comment on a post, from now on. A subscriber that reads too slowly receives the
    /// error SUBSCRIPTION_LAGGED and then the end of the subscription, never a silent gap. Fails
    /// with NOT_FOUND if the post does not exist.
    async fn comment_added(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id of the post to watch.")] post_id: PostId,
    ) -> Result<impl Stream<Item = Result<Comment, Error>>, Error> {
        ctx.data_unchecked::<Feed>().comment_added(post_id).await
    }

    /// Every change of a post's comments in order: added, edited, deleted. Each has a cursor. After
    /// a lost connection, subscribe with the last cursor as `after`, and nothing is missed. Errors:
    /// SUBSCRIPTION_LAGGED (the client read too slowly: resume after `extensions.cursor`),
    /// RESYNC_REQUIRED (the cursor is too old: read the list again with `commentChangesCursor`, then
    /// subscribe after that cursor),
    /// BAD_USER_INPUT (`after` is not a cursor of this post), NOT_FOUND (the post does not exist).
    async fn comment_changes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id of the post to watch.")] post_id: PostId,
        #[graphql(
            desc = "Resume after the change with this cursor. Omit it to receive only new changes."
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
