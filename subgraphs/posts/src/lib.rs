//! The posts subgraph: posts, and in each of them its newest comments and their number.
//!
//! Layout: [`schema`] is what a client may ask, [`store`] every query to MongoDB, [`feed`] the
//! live posts (told by `post_changes`; `new_posts` looks after posts that come later than their comments), [`comment_projection`] what the posts keep of their comments, [`error`] the codes,
//! [`config`] the settings, `command` what operators ask for. `post`, `discussion` and `comment` are the nouns; each mutation has a
//! file of its own (`create_post`, ...) with its input and payload.
//!
//! To add a mutation, copy `create_post.rs`, add its type to `Mutation` in [`schema`], and write
//! its query in [`store`]; then `cargo run -p schema -- compose`.

mod command;
mod comment;
pub mod comment_projection;
pub mod config;
mod create_post;
mod delete_post;
mod discussion;
pub mod error;
pub mod feed;
mod new_posts;
mod post;
mod post_changes;
mod post_loader;
pub mod schema;
pub mod store;
mod update_post;

use std::process::ExitCode;

use anyhow::Context;
use axum::Router;
use changefeed::{ProjectionMetrics, Projector, Source, Unreadables};
use service::{Health, Lifecycle, Metrics};
use subgraph::database_calls::CallMetrics;
use subgraph::{Limits, TypeNames, collections, endpoint, undated};
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
        |config: &Config| &config.service,
        run,
    )
}

/// Serves on the listener until the life ends.
///
/// # Errors
/// When MongoDB cannot be had at the start, or a background task dies.
pub async fn run(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let database = config.database.connect("posts").await?;
    store::create_indexes_if_possible(&database).await;
    let (health, metrics) = (Health::default(), Metrics::new("posts"));
    config.database.register_readiness("posts", &health).await?;
    undated::start(database.collection("posts"), &lifecycle).await;

    let streams = config.database.stream_client("posts").await?;
    let projection_metrics =
        metrics.with_registry(|registry| ProjectionMetrics::register(registry, "comments"));
    let comments = comment_projection::source(streams.clone(), &database);
    let projector = Projector::start(
        comments.clone(),
        CommentProjection::new(&database, projection_metrics.unreadables().clone()),
        config.projector(),
        projection_metrics,
    )
    .await
    .context("cannot follow the comments")?;
    feed::supervise(&projector, &lifecycle, &health);
    let feed = Feed::default();
    post_changes::follow(
        &Source::new(streams, database.clone(), "posts"),
        projector.clone(),
        feed.clone(),
        new_posts::start(&database, projector.clone(), &lifecycle),
        &lifecycle,
    )
    .await?;
    let (prepared, projection) = (database.clone(), projector.clone());
    let prepare = move || {
        let (database, projection) = (prepared.clone(), projection.clone());
        async move {
            // The images first: nobody waits for them as long as for an index.
            projection.prepare().await?;
            Ok(store::create_indexes(&database).await?)
        }
    };
    let gone = move || {
        let comments = comments.clone();
        async move { comments.gone().await }
    };
    collections::keep(
        database.clone(),
        &store::COLLECTIONS,
        prepare,
        gone,
        &metrics,
        &lifecycle,
    )
    .await;

    let unreadables = metrics.with_registry(|registry| {
        Unreadables::register(registry.sub_registry_with_prefix("posts"))
    });
    let calls = config
        .database
        .requests("posts", CallMetrics::register(&metrics))
        .await?;
    let store = Store::new(&calls, projector, unreadables);
    let schema = schema::build(store, feed);
    let limits = Limits {
        settings: config.limits,
        fields: schema::FIELD_COSTS,
        types: TypeNames::of(&schema),
    };
    let operations = service::operations_routes(
        &config.service,
        &health,
        &metrics,
        Router::new(),
        &lifecycle,
    )
    .await?;
    let endpoint = endpoint::endpoint::<Error, _>(
        schema,
        calls.gate().clone(),
        limits,
        &config.hosts,
        &metrics,
        &lifecycle,
        &config.service,
    );
    endpoint::serve(
        listener,
        &endpoint,
        operations,
        &lifecycle,
        &config.service,
        &metrics,
    )
    .await
}
