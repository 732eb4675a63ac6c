//! The comments subgraph: comments, each post's list of them, and their live feed.
//!
//! | file | has |
//! |---|---|
//! | [`schema`] | what a client may ask: queries, mutations, subscriptions |
//! | `comment`, `post`, `comment_change` | the nouns: a comment, a post as far as it is known here, an event |
//! | `create_comment`, `update_comment`, `delete_comment` | one mutation each, with its input and payload |
//! | [`store`] | the collections, the indexes and the queries |
//! | `written`, `loaders` | what a write returns; look-ups of many comments or pages in one query |
//! | [`feed`] | the live comments |
//! | [`known_posts`], [`deleted_posts`] | which posts exist; the comments of those that no longer do |
//! | [`error`], [`config`] | the error codes, the settings |
//!
//! To add a mutation: copy the one that is most like it, declare it in this file, add its type to `Mutation` in
//! [`schema`], write its query in [`store`] and its test in `tests/it/mutations.rs`; then
//! `cargo run -p schema -- compose`. CONTRIBUTING.md has the steps in detail.

mod comment;
mod comment_change;
pub mod config;
mod create_comment;
mod delete_comment;
pub mod deleted_posts;
pub mod error;
pub mod feed;
pub mod known_posts;
mod loaders;
mod post;
pub mod schema;
pub mod store;
mod update_comment;
mod written;

use std::process::ExitCode;

use anyhow::Context;
use changefeed::{Hub, HubMetrics, HubSettings, Source};
use mongodb::Database;
use service::Lifecycle;
use service::prometheus_client::metrics::gauge::Gauge;
use subgraph::{DatabaseCalls, Subgraph, collections, reference, undated};
use tokio::net::TcpListener;

pub use comment::{Comment, CommentId};
pub use comment_change::{CommentAdded, CommentChange, CommentDeleted, CommentEdited};
pub use config::Config;
pub use error::Error;
pub use feed::Feed;
pub use known_posts::KnownPosts;
pub use post::{Post, PostId};
pub use store::Store;

/// The port when `PORT` names none.
pub const DEFAULT_PORT: u16 = 4002;

/// Runs the subgraph as a process, to its exit code.
pub fn main() -> ExitCode {
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
    let subgraph = Subgraph::connect("comments", config.subgraph, lifecycle).await?;
    let Subgraph {
        database,
        health,
        metrics,
        lifecycle,
        ..
    } = &subgraph;
    collections::create_if_possible(store::create_indexes(database)).await;

    let streams = subgraph.stream_client().await?;
    let hub_metrics = metrics.with_registry(HubMetrics::register);
    let unreadables = hub_metrics.unreadables().clone();
    let comments = Source::new(streams.clone(), database.clone(), "comments");
    let hub = Hub::start(
        comments.clone(),
        reference::topic_field("postId"),
        HubSettings::from(&config.feed),
        hub_metrics,
    )
    .await
    .context("cannot follow the comments")?;
    feed::supervise(&hub, lifecycle, health, config.ready_lag_max);

    // Only now: pre-images are kept from here on, and the projection reads them.
    undated::start(database.collection("comments"), lifecycle).await;
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
    deleted_posts::start(own_work, known.clone(), lifecycle);
    let (names, prepared) = (&store::COLLECTIONS, hub.clone());
    let enable_pre_images = move || {
        let hub = prepared.clone();
        async move { hub.prepare().await }
    };
    collections::keep(&subgraph, names, comments, enable_pre_images, indexes).await;

    let feed = Feed::new(hub, known.clone(), store.clone());
    let schema = schema::build(store, known, feed);
    subgraph
        .serve::<Error, _, _, _>(listener, schema, schema::FIELD_COSTS, calls.gate())
        .await
}

async fn indexes(database: Database) -> mongodb::error::Result<()> {
    store::create_indexes(&database).await
}
