//! The comments subgraph's schema: its queries, mutations and subscriptions.

use async_graphql::dataloader::DataLoader;
use async_graphql::{Context, ID, MergedObject, Object, Subscription};
use futures_util::Stream;
use subgraph::list_size::{PAGE, list_size, names};
use subgraph::page::page_cost;
use subgraph::tag::{VIEWER, tag};
use subgraph::{
    Blocks, Connection, Delivery, FieldCost, FieldCosts, Order, PageArguments, Person, Viewer,
};

use crate::block::{BLOCKS_LIST, Block};
use crate::block_author::BlockAuthor;
use crate::comment::{Comment, CommentId};
use crate::comment_change::CommentChange;
use crate::create_comment::CreateComment;
use crate::delete_comment::DeleteComment;
use crate::hide_comment::HideComment;
use crate::loaders::{
    BlockLoader, CommentLoader, CommentPageLoader, ReactionLoader, ReplyCountLoader,
};
use crate::moderation::{ModerationEntry, ModerationList, REASONS_COST};
use crate::moderation_change::ModerationChange;
use crate::newest_comments::NewestComments;
use crate::post::{Post, PostId};
use crate::reaction::COUNTS_COST;
use crate::report_comment::ReportComment;
use crate::restore_comment::RestoreComment;
use crate::set_reaction::SetReaction;
use crate::unblock_author::UnblockAuthor;
use crate::update_comment::UpdateComment;
use crate::{Error, FairUse, Feed, HoldComments, KnownPosts, ModerationFeed, Store};

/// What its lists and large leaves cost. A comment is read as a whole, whatever is asked of it.
pub const FIELD_COSTS: FieldCosts = &[
    ("_entities", FieldCost::Entities { item: 4 }),
    ("comments", page_cost(3)),
    ("moderationQueue", page_cost(6)),
    ("blockedAuthors", page_cost(1)),
    ("reactions", COUNTS_COST),
    ("replies", page_cost(3)),
    ("reportReasons", REASONS_COST),
    ("text", FieldCost::Leaf(3)),
];

/// The comments subgraph's executable schema.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscriptions>;

/// What resolvers use.
pub struct Parts {
    /// The access to the database.
    pub store: Store,
    /// The posts known to exist.
    pub known: KnownPosts,
    /// The newest comments of posts, from memory.
    pub newest: NewestComments,
    /// The live comments.
    pub feed: Feed,
    /// The moderators' live queue.
    pub moderation_feed: ModerationFeed,
    /// Who may not write.
    pub blocks: Blocks,
    /// Which new and edited comments wait for a moderator.
    pub hold_comments: HoldComments,
    /// How much one writer may write.
    pub fair_use: FairUse,
}

/// Builds the schema over its parts.
pub fn build(parts: Parts) -> Schema {
    builder()
        .data(CommentLoader::new(parts.store.clone()))
        .data(CommentPageLoader::new(parts.store.clone()))
        .data(ReplyCountLoader::new(parts.store.clone()))
        .data(ReactionLoader::new(parts.store.clone()))
        .data(BlockLoader::new(parts.blocks.clone()))
        .data(parts.store)
        .data(parts.known)
        .data(parts.newest)
        .data(parts.feed)
        .data(parts.moderation_feed)
        .data(parts.blocks)
        .data(parts.hold_comments)
        .data(parts.fair_use)
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

    /// The comment with this id; null if it does not exist, or is held or hidden.
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

    /// The comments in moderation, in pages, the newest first: by when they were held, first reported, or hidden. Use
    /// `first` (and `after`) to page forwards, or `last` (and `before`) to page backwards. Without either, the first 20
    /// are returned; a page may have fewer, of which the comments were just deleted. Only moderators may see them:
    /// others get FORBIDDEN, or UNAUTHENTICATED if they are not signed in.
    #[graphql(
        tag = "viewer",
        directive = list_size::apply(PAGE, names(["first", "last"]), names(["edges"]), Some(false))
    )]
    async fn moderation_queue(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the start of the list: 0 to 100.")] first: Option<i32>,
        #[graphql(desc = "Start after the one with this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end of the list: 0 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before the one with this cursor.")] before: Option<String>,
        #[graphql(desc = "Which comments.", default_with = "Some(ModerationList::Open)")]
        list: Option<ModerationList>,
    ) -> Result<Connection<ModerationEntry>, Error> {
        let blocks = ctx.data_unchecked::<Blocks>();
        blocks.require_moderator::<Error>(&Viewer::of(ctx)).await?;
        let list = list.unwrap_or(ModerationList::Open);
        let request = PageArguments {
            first,
            after,
            last,
            before,
        }
        .check(list.tag(), Order::NewestFirst)?;
        // Before it reads, so that `moderationChangesCursor` beside it, which waits for nothing, is not newer.
        tokio::task::yield_now().await;
        let store = ctx.data_unchecked::<Store>();
        let page = store.moderation_list(list, &request).await?;
        Ok(Connection::new(&request, page, ModerationEntry::position))
    }

    /// The cursor of the latest change of the moderators' queue. Request it together with `moderationQueue` and pass it
    /// as `after` to `moderationChanges`: no change between the two is missed. Only moderators may: others get
    /// FORBIDDEN, or UNAUTHENTICATED if they are not signed in.
    #[graphql(tag = "viewer")]
    async fn moderation_changes_cursor(&self, ctx: &Context<'_>) -> Result<String, Error> {
        Viewer::of(ctx).require_moderator()?;
        ctx.data_unchecked::<ModerationFeed>().cursor_now().await
    }

    /// The authors who are blocked, in pages, the one blocked last first; those without a date come last. Use `first`
    /// (and `after`) to page forwards, or `last` (and `before`) to page backwards. Without either, the first 20 are
    /// returned. Only moderators may see them: others get FORBIDDEN, or UNAUTHENTICATED if they are not signed in.
    #[graphql(
        tag = "viewer",
        directive = list_size::apply(PAGE, names(["first", "last"]), names(["edges"]), Some(false))
    )]
    async fn blocked_authors(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the start of the list: 0 to 100.")] first: Option<i32>,
        #[graphql(desc = "Start after the one with this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end of the list: 0 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before the one with this cursor.")] before: Option<String>,
    ) -> Result<Connection<Block>, Error> {
        let blocks = ctx.data_unchecked::<Blocks>();
        blocks.require_moderator::<Error>(&Viewer::of(ctx)).await?;
        let request = PageArguments {
            first,
            after,
            last,
            before,
        }
        .check(BLOCKS_LIST, Order::NewestFirst)?;
        let store = ctx.data_unchecked::<Store>();
        let page = store.blocked_authors(&request).await?;
        Ok(Connection::new(&request, page, Block::position))
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
pub struct Mutation(
    CreateComment,
    UpdateComment,
    DeleteComment,
    SetReaction,
    ReportComment,
    HideComment,
    RestoreComment,
    BlockAuthor,
    UnblockAuthor,
);

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
        let delivery = Delivery::of(ctx);
        ctx.data_unchecked::<Feed>()
            .comment_added(post_id, delivery)
            .await
    }

    /// Every change of a post's comments in order: added, edited, deleted, and with `reactions: true` also those of
    /// nothing but reactions. Each has a cursor. After a lost connection, subscribe with the last cursor as `after`,
    /// and nothing is missed. Errors:
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
        #[graphql(
            desc = "Whether to receive CommentReactionsChanged, too: there may be many.",
            default_with = "Some(false)"
        )]
        reactions: Option<bool>,
    ) -> Result<impl Stream<Item = Result<CommentChange, Error>>, Error> {
        ctx.data_unchecked::<Feed>()
            .comment_changes(
                post_id,
                after,
                reactions.unwrap_or(false),
                Delivery::of(ctx),
            )
            .await
    }

    /// Every change of the moderators' queue in order: a comment came in, changed there, or left. Each has a cursor.
    /// After a lost connection, subscribe with the last cursor as `after`, and nothing is missed. Errors:
    /// SUBSCRIPTION_LAGGED (the client read too slowly: resume after `extensions.cursor`), RESYNC_REQUIRED (the cursor
    /// is too old: read `moderationQueue` again with `moderationChangesCursor`, then subscribe after that cursor),
    /// BAD_USER_INPUT (`after` is not a cursor of the queue). Only moderators may: others get FORBIDDEN, or
    /// UNAUTHENTICATED if they are not signed in.
    #[graphql(directive = tag::apply(VIEWER.to_owned()))]
    async fn moderation_changes(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Resume after the change with this cursor. Omit it to receive only new changes."
        )]
        after: Option<String>,
    ) -> Result<impl Stream<Item = Result<ModerationChange, Error>>, Error> {
        let blocks = ctx.data_unchecked::<Blocks>();
        blocks.require_moderator::<Error>(&Viewer::of(ctx)).await?;
        ctx.data_unchecked::<ModerationFeed>()
            .changes(after, Delivery::of(ctx))
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
