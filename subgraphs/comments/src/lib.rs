//! The comments subgraph: comments, each post's list of them, and their live feed.
//!
//! | file | has |
//! |---|---|
//! | [`schema`] | what a client may ask: queries, mutations, subscriptions |
//! | `comment`, `post`, `reaction`, `comment_change` | the nouns: a comment, a post as far as it is known here, a reaction, an event |
//! | `create_comment`, `update_comment`, `delete_comment`, `set_reaction` | one mutation each, with its input and payload |
//! | `report_comment`, `hide_comment`, `restore_comment`, `block_author`, `unblock_author` | the same, of moderation |
//! | `moderation`, `moderation_change`, `block` | the nouns of moderation: a comment in it, an event, a block |
//! | [`moderation_feed`], [`holding`] | the moderators' live queue; which comments wait there |
//! | [`store`] | the collections, the indexes and the queries |
//! | `replies_index` | the index of replies, made in the background |
//! | `fair_use` | how much one writer may write |
//! | `loaders` | look-ups of many comments, pages or counts in one query |
//! | [`feed`] | the live comments |
//! | [`newest_comments`] | the first page of posts' comments, kept in memory |
//! | [`known_posts`], [`deleted_posts`] | which posts exist; the comments of those that no longer do |
//! | [`error`], [`config`] | the error codes, the settings |
//!
//! To add a mutation: copy the one that is most like it, declare it in this file, add its type to `Mutation` in
//! [`schema`], write its query in [`store`] and its test in `tests/it/mutations.rs`; then
//! `cargo run -p schema -- compose`. CONTRIBUTING.md has the steps in detail.

mod block;
mod block_author;
mod comment;
mod comment_change;
pub mod config;
mod create_comment;
mod delete_comment;
pub mod deleted_posts;
pub mod doctor;
pub mod error;
mod fair_use;
pub mod feed;
mod hide_comment;
pub mod holding;
pub mod known_posts;
mod loaders;
mod moderation;
mod moderation_change;
pub mod moderation_feed;
pub mod newest_comments;
mod post;
mod reaction;
mod replies_index;
mod report_comment;
mod restore_comment;
pub mod schema;
mod set_reaction;
pub mod store;
mod unblock_author;
mod update_comment;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use changefeed::{Cursors, Hub, HubMetrics, HubSettings, Source};
use mongodb::Client;
use service::Lifecycle;
use service::prometheus_client::metrics::gauge::Gauge;
use service::prometheus_client::registry::Registry;
use subgraph::{Blocks, DatabaseCalls, Subgraph, collections, reference, undated};
use tokio::net::TcpListener;

pub use comment::{Comment, CommentId, CommentStatus};
pub use comment_change::{
    CommentAdded, CommentChange, CommentDeleted, CommentEdited, CommentReactionsChanged,
};
pub use config::{Config, FeedSettings};
pub use error::Error;
pub use fair_use::{FairUse, FairUseSettings};
pub use feed::{Feed, Live};
pub use holding::HoldComments;
pub use known_posts::KnownPosts;
pub use moderation::ModerationEntry;
pub use moderation_feed::ModerationFeed;
pub use newest_comments::{NewestComments, NewestPages};
pub use post::{Post, PostId};
pub use store::Store;

/// The port when `PORT` names none.
pub const DEFAULT_PORT: u16 = 4002;

/// Runs the subgraph as a process, to its exit code.
pub fn main() -> ExitCode {
    let (config, _) = service::parse::<Config>();
    if config.subgraph.doctor {
        return doctor::run(&config);
    }
    service::start(
        "comments",
        DEFAULT_PORT,
        |config: &Config| &config.subgraph.service,
        run,
    )
}

/// Serves on `listener` until shutdown.
///
/// # Errors
/// When MongoDB cannot be reached at the start, or a background task fails.
pub async fn run(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let (optional, pages_room) = (config.optional_indexes(), config.newest_comments_room());
    let subgraph = Subgraph::connect("comments", config.subgraph, lifecycle).await?;
    let Subgraph {
        database,
        health,
        metrics,
        lifecycle,
        ..
    } = &subgraph;
    if config.upkeep {
        let indexes = store::create_indexes(database.clone(), optional);
        collections::create_if_possible(indexes).await;
        replies_index::start(database, lifecycle, metrics);
    }

    let streams = subgraph.stream_client().await?;
    let hub_metrics = metrics.with_registry(HubMetrics::register);
    let unreadables = hub_metrics.unreadables().clone();
    let comments = Source::new(streams.clone(), database.clone(), "comments");
    let lag = comments.unknown_lag().await?;
    let pages = NewestPages::new(pages_room, lag, metrics);
    let topic_field = reference::topic_field("postId");
    let live = if config.live_feed {
        let settings = HubSettings::from(&config.feed);
        let follower = pages.follower();
        let hub = Hub::start_with(
            comments.clone(),
            topic_field,
            settings,
            hub_metrics,
            follower,
        );
        let hub = hub.await.context("cannot follow the comments")?;
        feed::supervise(&hub, "the feed of comments", lifecycle);
        feed::register_readiness(&hub, health, config.ready_lag_max);
        Live::On(hub)
    } else {
        let cursors = Cursors::start(comments.clone(), topic_field).await;
        Live::Off(Arc::new(cursors.context("cannot read the comments")?))
    };
    let feed_settings = config.live_feed.then_some(&config.feed);
    let queue = moderation_queue(&subgraph, &streams, feed_settings).await?;

    // Only now: pre-images are kept from here on, and the projection reads them.
    if config.upkeep {
        undated::start(database.collection("comments"), lifecycle).await;
    }
    let calls = subgraph.request_calls().await?;
    let store = Store::new(&calls, unreadables.clone());
    let known_posts = metrics.register(
        "comments_known_posts",
        "Posts that are known to exist, so that a new comment need not look for its post",
        Gauge::default(),
    );
    let known = KnownPosts::new(store.clone(), config.known_posts_max, known_posts);
    let posts = Source::new(streams, database.clone(), "posts");
    known.follow_deletions(&posts, lifecycle).await?;
    let own_work = Store::new(&DatabaseCalls::for_own_work(database.clone()), unreadables);
    if config.upkeep {
        deleted_posts::start(own_work, known.clone(), lifecycle);
    }
    let (names, prepared) = (&store::COLLECTIONS, (live.clone(), queue.clone()));
    let enable_pre_images = move || {
        let (live, queue) = prepared.clone();
        async move { live.prepare().await.and(queue.prepare().await) }
    };
    let upkeep = config.upkeep;
    let indexes = move |database| async move {
        match upkeep {
            true => store::create_indexes(database, optional).await,
            false => Ok(()),
        }
    };
    collections::keep(&subgraph, names, comments, enable_pre_images, indexes).await;

    let schema = schema::build(schema::Parts {
        newest: NewestComments::new(pages, live.hub().cloned(), store.clone()),
        feed: Feed::new(live, known.clone(), store.clone()).traced(subgraph.tracer.clone()),
        moderation_feed: ModerationFeed::new(queue, store.clone()),
        blocks: Blocks::new(&calls),
        hold_comments: config.hold_comments,
        fair_use: FairUse::new(config.fair_use, store.clone()),
        known,
        store,
    });
    subgraph
        .serve::<Error, _, _, _>(listener, schema, schema::FIELD_COSTS, calls.gate())
        .await
}

/// Starts the moderators' live queue, if the instance has a live feed, with these settings.
async fn moderation_queue(
    subgraph: &Subgraph,
    streams: &Client,
    settings: Option<&FeedSettings>,
) -> anyhow::Result<Live<ModerationEntry>> {
    let register = |registry: &mut Registry| {
        HubMetrics::register(registry.sub_registry_with_prefix("moderation"))
    };
    let metrics = subgraph.metrics.with_registry(register);
    let database = subgraph.database.clone();
    let source = Source::new(streams.clone(), database, store::MODERATED_COMMENTS);
    let Some(settings) = settings else {
        let cursors = Cursors::start(source, moderation_feed::topic_field()).await;
        let cursors = cursors.context("cannot read the comments in moderation")?;
        return Ok(Live::Off(Arc::new(cursors)));
    };
    let started = moderation_feed::start(source, settings.into(), metrics).await;
    let queue = started.context("cannot follow the comments in moderation")?;
    feed::supervise(&queue, "the feed of moderators", &subgraph.lifecycle);
    Ok(Live::On(queue))
}
