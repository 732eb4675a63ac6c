//! Follows the posts' collection for the live feed: which posts were added, which have changed.
//!
//! Unlike the change feed's hub, this needs no documents and no images of them: the posts' own
//! projection writes them all the time, and an image of every such write would cost more than the
//! write. See `docs/decisions/live-posts.md`.
//!
//! The stream begins at a time from before the service is served, and goes on from the place that
//! it has shown. Where the server no longer knows that place, it begins anew, and then everyone is
//! told: so nobody who subscribes again falls between the two.

use std::time::Duration;

use anyhow::Context;
use bson::{RawDocument, RawDocumentBuf, Timestamp, doc};
use changefeed::{Projector, Slot};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ChangeStreamOptions;
use mongodb::{Client, Collection, Database};
use service::Lifecycle;
use tokio_util::sync::CancellationToken;

use crate::Feed;
use crate::comment_projection::CommentProjection;
use crate::post::PostId;

/// How long the server waits for changes before it says that there are none.
const AWAIT_TIME: Duration = Duration::from_millis(500);
/// Changes in one answer of the server's, at most: 16 MB of such small ones take a few times as much
/// memory here.
const BATCH_SIZE: u32 = 2_000;
/// The pause after that many changes while nobody listens: about as long as the server works on them.
/// During an import the stream so leaves the server to those who wait for it.
const UNHEARD_PAUSE: Duration = Duration::from_millis(40);
/// The wait before a stream that has failed is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The server's codes after which a stream cannot go on from its place: `CloseChangeStream`,
/// `InvalidResumeToken`, `ChangeStreamFatalError`, `ChangeStreamHistoryLost`.
const LOST_CODES: [i32; 4] = [222, 260, 280, 286];

/// Tells the feed of every change after this call, for as long as the process lives. `streams` is a
/// client for change streams alone.
///
/// # Errors
/// When the database cannot be reached.
pub async fn follow(
    database: Database,
    streams: &Client,
    projector: Projector<CommentProjection>,
    feed: Feed,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let place = now(&database)
        .await
        .context("cannot read the cluster's time")?;
    let mut follower = Follower {
        posts: streams.database(database.name()).collection("posts"),
        database,
        serving: projector.serving(),
        projector,
        feed,
        place: Place::At(place),
        told: true,
    };
    let shutdown = lifecycle.shutdown().clone();
    lifecycle.spawn("the feed of posts", async move {
        while !shutdown.is_cancelled() {
            if let Err(error) = follower.read(&shutdown).await {
                follower.recover(&error);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Ok(())
    });
    Ok(())
}

/// Where the stream goes on.
enum Place {
    /// With the changes of this time.
    At(Timestamp),
    /// After what it has shown.
    After(ResumeToken),
    /// Nobody knows: the history before is lost.
    Lost,
}

struct Follower {
    posts: Collection<RawDocumentBuf>,
    /// Through the client for everything else.
    database: Database,
    projector: Projector<CommentProjection>,
    /// The generation of the projection that the posts were last seen with.
    serving: Option<Slot>,
    feed: Feed,
    place: Place,
    /// Whether everyone has been told of the last loss.
    told: bool,
}

impl Follower {
    /// Reads until the shutdown, the end of the collection, or a fault.
    async fn read(&mut self, shutdown: &CancellationToken) -> mongodb::error::Result<()> {
        if matches!(self.place, Place::Lost) {
            self.place = Place::At(now(&self.database).await?);
        }
        let mut stream = self.open().await?;
        if !self.told {
            self.told = true;
            self.feed.gap();
        }
        // The driver's streams must not be dropped while they wait, so they wait for a short time
        // and the shutdown is looked at in between.
        let mut unheard = 0;
        while !shutdown.is_cancelled() {
            let event = stream.next_if_any().await?;
            if let Some(token) = stream.resume_token() {
                self.place = Place::After(token);
            }
            self.notice_generation();
            let Some(event) = event else {
                if !stream.is_alive() {
                    // The collection was dropped or renamed: its successor begins anew.
                    self.lose_history();
                    return Ok(());
                }
                continue;
            };
            self.tell(&event);
            unheard = if self.feed.is_heard() { 0 } else { unheard + 1 };
            if unheard == BATCH_SIZE {
                unheard = 0;
                tokio::time::sleep(UNHEARD_PAUSE).await;
            }
        }
        Ok(())
    }

    async fn open(&self) -> mongodb::error::Result<ChangeStream<RawDocumentBuf>> {
        let stages = [
            doc! { "$match": { "operationType": {
                "$in": ["insert", "update", "replace", "delete", "drop", "rename", "invalidate"],
            } } },
            doc! { "$project": { "operationType": 1, "documentKey": 1 } },
        ];
        let mut options = ChangeStreamOptions::default();
        options.max_await_time = Some(AWAIT_TIME);
        options.batch_size = Some(BATCH_SIZE);
        match &self.place {
            Place::At(time) => options.start_at_operation_time = Some(*time),
            Place::After(token) => options.resume_after = Some(token.clone()),
            Place::Lost => {}
        }
        let watch = self.posts.watch().pipeline(stages).with_options(options);
        Ok(watch.await?.with_type())
    }

    fn tell(&self, event: &RawDocument) {
        let id = event
            .get_document("documentKey")
            .ok()
            .and_then(|key| key.get_object_id("_id").ok());
        let (Some(id), Ok(operation)) = (id, event.get_str("operationType")) else {
            return;
        };
        let id = PostId::from(id);
        match operation {
            "insert" => self.feed.added(id),
            _ => self.feed.changed(id),
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

    fn recover(&mut self, error: &Error) {
        if is_lost(error) {
            tracing::warn!(%error, "the live feed of posts has missed changes: its subscribers are told");
            self.lose_history();
        } else {
            tracing::warn!(%error, "the live feed of posts is interrupted: trying again");
        }
    }

    fn lose_history(&mut self) {
        self.place = Place::Lost;
        self.told = false;
    }
}

/// A time that every change after this call comes after, on the cluster's clock.
async fn now(database: &Database) -> mongodb::error::Result<Timestamp> {
    let reply = database.run_command(doc! { "ping": 1 }).await?;
    reply
        .get_timestamp("operationTime")
        .map_err(|error| Error::custom(error.to_string()))
}

fn is_lost(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => LOST_CODES.contains(&error.code),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_graphql::dataloader::DataLoader;
    use changefeed::{ProjectionMetrics, ProjectorSettings, Source, Unreadables};
    use clap::Parser;
    use embedded_mongo::{Options, ReplicaSet};
    use futures_util::{Stream, StreamExt};
    use service::prometheus_client::registry::Registry;

    use super::*;
    use crate::post_loader::PostLoader;
    use crate::{Config, Post, Store};

    /// The app name of the stream under test.
    const STREAM: &str = "the followed change streams";
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A feed on a MongoDB of its own, which can be made to fail.
    struct Board {
        set: ReplicaSet,
        config: Config,
        database: Database,
        projector: Projector<CommentProjection>,
        posts: Arc<DataLoader<PostLoader>>,
        feed: Feed,
        lifecycle: Lifecycle,
    }

    impl Board {
        async fn new() -> Self {
            let set = ReplicaSet::start(Options::default()).await.expect("a node");
            let uri = set.uri_for("followed");
            let config = Config::parse_from(["posts", "--mongo-uri", &uri]);
            let database = config.database.connect("test").await.expect("a database");
            let streams = config
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
            let store = Store::new(&database, projector.clone(), Unreadables::default());
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
            let streams = self.config.database.stream_client("the followed").await;
            let streams = streams.expect("a client");
            follow(
                self.database.clone(),
                &streams,
                self.projector.clone(),
                self.feed.clone(),
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
            self.feed.post_added(self.posts.clone()).boxed()
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
