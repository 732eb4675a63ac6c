//! Follows the posts' collection for the live feed: which posts were added, which have changed.
//!
//! Unlike the change feed's hub, this stream needs no documents and no pre-images: the projection writes
//! the posts all the time, and an image of every such write would cost more than the write. See
//! `docs/decisions/live-posts.md`.
//!
//! The stream begins before the service accepts requests. If MongoDB no longer has its history, the stream
//! continues from a new position, and then all subscribers are notified. So a subscriber that subscribes
//! again misses nothing in between. If the collection was dropped and created again, its posts lack the
//! state of the projection, so the projection is rebuilt.

use std::time::Duration;

use anyhow::Context;
use changefeed::{KeyChange, KeyStream, Operation, Projector, Slot, Source, WithCauses};
use service::Lifecycle;

use crate::Feed;
use crate::new_posts::NewPosts;

/// How often the stream checks which generation of the projection serves.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Reports every change after this call to the feed, until a shutdown has ended its subscribers. `posts` is the collection, with a client
/// for change streams alone.
///
/// # Errors
/// When the database cannot be reached.
pub async fn follow(
    posts: &Source,
    projector: Projector,
    feed: Feed,
    new_posts: NewPosts,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    // Without live clients there is only to know which posts come after their comments.
    let operations: &[Operation] = match feed.is_on() {
        true => &[
            Operation::Insert,
            Operation::Update,
            Operation::Replace,
            Operation::Delete,
        ],
        false => &[Operation::Insert],
    };
    let heard = feed.clone();
    let changes = KeyStream::start_unhurried(posts, operations, move || heard.is_heard()).await;
    let mut changes = changes.context("cannot follow the posts")?;
    let mut follower = Follower {
        serving: projector.serving(),
        projector,
        feed,
        new_posts,
    };
    let drained = lifecycle.drained().clone();
    lifecycle.spawn("the feed of posts", async move {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            tokio::select! {
                change = changes.next() => follower.report(change?).await,
                _ = look.tick() => follower.notice_generation(),
                () = drained.cancelled() => return Ok(()),
            }
        }
    });
    Ok(())
}

struct Follower {
    projector: Projector,
    /// The generation of the projection that the posts were last seen with.
    serving: Option<Slot>,
    feed: Feed,
    new_posts: NewPosts,
}

impl Follower {
    async fn report(&self, change: KeyChange) {
        match change {
            KeyChange::Document { key, operation } => {
                let Some(id) = key.as_object_id() else {
                    return;
                };
                match operation {
                    Operation::Insert => {
                        self.feed.added(id.into());
                        // Its reader ends with the process.
                        let _ = self.new_posts.send(id).await;
                    }
                    _ => self.feed.changed(id.into()),
                }
            }
            KeyChange::Gap { is_collection_gone } => {
                self.feed.gap();
                // New posts may have been missed, by the leader too.
                if is_collection_gone || self.projector.lag().leading {
                    self.rebuild();
                }
            }
        }
    }

    /// Another generation of the projection changes what every post shows, and writes none of them.
    fn notice_generation(&mut self) {
        let serving = self.projector.serving();
        if serving != self.serving {
            self.serving = serving;
            self.feed.all_changed();
        }
    }

    fn rebuild(&self) {
        let projector = self.projector.clone();
        tokio::spawn(async move {
            if let Err(error) = projector.rebuild().await {
                tracing::warn!(
                    error = %WithCauses(&error),
                    "the collection of posts was replaced, but the projection could not be rebuilt: run `posts --rebuild`"
                );
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_graphql::dataloader::DataLoader;
    use bson::doc;
    use changefeed::{ProjectionMetrics, ProjectorSettings, Unreadables};
    use clap::Parser;
    use embedded_mongo::{Options, ReplicaSet};
    use futures_util::{Stream, StreamExt};
    use mongodb::Database;
    use service::prometheus_client::registry::Registry;
    use subgraph::database_calls::CallMetrics;

    use super::*;
    use crate::comment_projection::CommentProjection;
    use crate::post::PostId;
    use crate::post_loader::PostLoader;
    use crate::{Config, Post, Store};

    /// The app name of the stream under test.
    const STREAM: &str = "the followed change streams";
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A feed on a MongoDB of its own, which can be made to fail.
    struct Board {
        set: ReplicaSet,
        config: Config,
        database: Database,
        projector: Projector,
        posts: Arc<DataLoader<PostLoader>>,
        feed: Feed,
        lifecycle: Lifecycle,
    }

    impl Board {
        async fn new() -> Self {
            let set = ReplicaSet::start(Options::default()).await.expect("a node");
            let uri = set.uri_for("followed");
            let config = Config::parse_from(["posts", "--mongo-uri", &uri]);
            let database = config
                .subgraph
                .database
                .connect("test")
                .await
                .expect("a database");
            let streams = config
                .subgraph
                .database
                .stream_client("test")
                .await
                .expect("a client");
            let projector = Projector::start(
                Source::new(streams, database.clone(), "comments"),
                CommentProjection::new(&database, Unreadables::default()),
                ProjectorSettings::default(),
                ProjectionMetrics::register(&mut Registry::default(), "comments"),
            );
            let projector = projector.await.expect("a projector");
            let calls = config
                .subgraph
                .database
                .requests("test", CallMetrics::default());
            let calls = calls.await.expect("a client");
            let store = Store::new(&calls, projector.clone(), Unreadables::default());
            Self {
                set,
                config,
                database,
                projector,
                posts: Arc::new(PostLoader::new(store)),
                feed: Feed::default(),
                lifecycle: Lifecycle::new(),
            }
        }

        async fn follow(&self) {
            let streams = self
                .config
                .subgraph
                .database
                .stream_client("the followed")
                .await;
            let streams = streams.expect("a client");
            follow(
                &Source::new(streams, self.database.clone(), "posts"),
                self.projector.clone(),
                self.feed.clone(),
                crate::new_posts::start(&self.database, self.projector.clone(), &self.lifecycle),
                &self.lifecycle,
            )
            .await
            .expect("followed");
        }

        /// Makes reads of the followed stream fail.
        async fn fail(&self, commands: &[&str], code: i32, times: i32) {
            self.set
                .fail_commands(STREAM, commands, doc! { "errorCode": code }, times)
                .await
                .expect("a fail point");
        }

        fn subscribe(&self) -> impl Stream<Item = Result<Post, crate::Error>> + use<> {
            let added = self.feed.post_added(self.posts.clone());
            added.expect("a feed that is on").boxed()
        }

        async fn add_post(&self) -> PostId {
            let id = PostId::new();
            let posts = self.database.collection("posts");
            posts.insert_one(doc! { "_id": id }).await.expect("added");
            id
        }
    }

    async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
        let next = tokio::time::timeout(PATIENCE, stream.next()).await;
        next.expect("an event in time")
            .expect("a stream that lives")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_post_added_before_the_stream_is_open_is_announced() {
        let board = Board::new().await;
        board.fail(&["aggregate"], 2, 2).await;
        board.follow().await;
        let mut added = board.subscribe();
        let post = board.add_post().await;
        assert_eq!(next(&mut added).await.expect("a post").id, post);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lost_history_is_told_once_the_stream_is_open_again() {
        let board = Board::new().await;
        board.follow().await;
        let mut added = board.subscribe();
        let post = board.add_post().await;
        assert_eq!(next(&mut added).await.expect("a post").id, post);

        // The first failure loses the place, the others keep the stream closed for a while.
        board.fail(&["getMore", "aggregate"], 286, 3).await;
        let told = next(&mut added).await;
        assert!(
            matches!(told, Err(crate::Error::ResyncRequired)),
            "{told:?}"
        );
        let mut again = board.subscribe();
        let post = board.add_post().await;
        assert_eq!(next(&mut again).await.expect("a post").id, post);
    }
}
