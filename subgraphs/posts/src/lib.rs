//! The posts subgraph: posts, each with the number of its comments and the newest of them.
//!
//! | file | has |
//! |---|---|
//! | [`schema`] | what a client may ask: queries, mutations, subscriptions |
//! | `post`, `discussion`, `comment` | the nouns: a post, what it keeps of its comments, one of these comments |
//! | `search`, `search_index` | a search of posts, and the index that it needs |
//! | `excerpt` | the beginning of a post's text, for lists |
//! | `create_post`, `update_post`, `delete_post` | one mutation each, with its input and payload |
//! | [`store`] | the collections, the indexes and the queries of requests |
//! | [`comment_projection`] | how the comments are folded into their posts, and its queries |
//! | [`feed`] | the live posts; `post_changes` follows the change stream for it |
//! | `post_loader` | look-ups of many posts in one query |
//! | `new_posts` | posts that are inserted after their comments |
//! | [`error`], [`config`], `command` | the error codes, the settings, the commands for operators |
//! | [`doctor`] | what the service needs of its database, for `--doctor` |
//!
//! To add a mutation: copy the one that is most like it, declare it in this file, add its type to `Mutation` in
//! [`schema`], write its query in [`store`] and its test in `tests/it/mutations.rs`; then
//! `cargo run -p schema -- compose`. CONTRIBUTING.md has the steps in detail.

mod command;
mod comment;
pub mod comment_projection;
pub mod config;
mod create_post;
mod delete_post;
mod discussion;
pub mod doctor;
pub mod error;
mod excerpt;
pub mod feed;
mod new_posts;
mod post;
mod post_changes;
mod post_loader;
pub mod schema;
mod search;
mod search_index;
pub mod store;
mod update_post;

use std::process::ExitCode;

use anyhow::Context;
use changefeed::{ProjectionMetrics, Projector, Source, Unreadables};
use service::Lifecycle;
use subgraph::{Blocks, Subgraph, collections, undated};
use tokio::net::TcpListener;

use crate::comment_projection::CommentProjection;

pub use comment::{Comment, CommentId};
pub use config::Config;
pub use discussion::{Discussion, LATEST_COMMENTS_MAX};
pub use error::Error;
pub use feed::Feed;
pub use post::{Post, PostId};
pub use store::Store;

/// The port when `PORT` names none.
pub const DEFAULT_PORT: u16 = 4001;

/// Runs the subgraph, or a command for it, as a process, to its exit code.
pub fn main() -> ExitCode {
    if let Some(exit_code) = command::main() {
        return exit_code;
    }
    service::start(
        "posts",
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
    mut config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let settings = config.projector();
    config.subgraph.database.partitions = config.projection_partitions;
    let subgraph = Subgraph::connect("posts", config.subgraph, lifecycle).await?;
    let Subgraph {
        database,
        health,
        metrics,
        lifecycle,
        ..
    } = &subgraph;
    if config.upkeep {
        collections::create_if_possible(store::create_indexes(database)).await;
        undated::start(database.collection("posts"), lifecycle).await;
        search_index::start(database, lifecycle, metrics);
    }

    let streams = subgraph.stream_client().await?;
    let projection_metrics =
        metrics.with_registry(|registry| ProjectionMetrics::register(registry, "comments"));
    let comments = comment_projection::source(streams.clone(), database);
    let projector = Projector::start(
        comments.clone(),
        CommentProjection::new(database, projection_metrics.unreadables().clone())
            .traced(subgraph.tracer.clone()),
        settings,
        projection_metrics,
    )
    .await
    .context("cannot follow the comments")?;
    feed::supervise(&projector, lifecycle, health);
    let feed = match config.live_feed {
        true => Feed::default(),
        false => Feed::off(),
    };
    if config.live_feed || config.projection {
        post_changes::follow(
            &Source::new(streams, database.clone(), "posts"),
            projector.clone(),
            feed.clone(),
            new_posts::start(database, projector.clone(), lifecycle),
            lifecycle,
        )
        .await?;
    }
    let (names, prepared) = (&store::COLLECTIONS, projector.clone());
    let enable_pre_images = move || {
        let projector = prepared.clone();
        async move { projector.prepare().await }
    };
    let upkeep = config.upkeep;
    let indexes = move |database| async move {
        match upkeep {
            true => store::create_indexes(&database).await,
            false => Ok(()),
        }
    };
    collections::keep(&subgraph, names, comments, enable_pre_images, indexes).await;

    let unreadables = metrics.with_registry(|registry| {
        Unreadables::register(registry.sub_registry_with_prefix("posts"))
    });
    let calls = subgraph.request_calls().await?;
    let schema = schema::build(
        Store::new(&calls, projector, unreadables),
        feed,
        Blocks::new(&calls),
    );
    subgraph
        .serve::<Error, _, _, _>(listener, schema, schema::FIELD_COSTS, calls.gate())
        .await
}
