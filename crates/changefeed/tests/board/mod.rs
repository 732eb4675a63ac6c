//! A small board under test: posts with the number and the newest of their comments.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bson::{Bson, Document, RawDocument, doc};
use changefeed::{
    FromDocument, NetChange, OperationTime, Projection, ProjectionMetrics, Projector,
    ProjectorSettings, Slot, Source, Unfoldable, Unreadable,
};
use embedded_mongo::TestDatabase;
use futures_util::TryStreamExt;
use mongodb::{Client, ClientSession, Collection, Database};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

/// Comments that a post shows.
const SHOWN: i32 = 3;
const LARGE: usize = 9 << 20;
/// Longer than any condition of these tests takes to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Comment {
    #[serde(rename = "_id")]
    pub id: i64,
    pub post: i64,
    pub text: String,
}

impl FromDocument for Comment {
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        changefeed::decode(document)
    }
}

pub fn comment(id: i64, post: i64, text: &str) -> Comment {
    Comment {
        id,
        post,
        text: text.to_owned(),
    }
}

/// Counts each post's comments and embeds the newest (by id).
pub struct Newest {
    database: Database,
    /// Whether to panic when it is asked for its name.
    panics: Arc<AtomicBool>,
}

impl Projection for Newest {
    type SourceDocument = Comment;

    fn name(&self) -> &str {
        assert!(!self.panics.load(Ordering::Relaxed), "as the test asks for");
        "newest"
    }

    fn target(&self) -> &str {
        "posts"
    }

    fn field(&self) -> &str {
        "feed"
    }

    fn target_of(&self, comment: &Comment) -> Bson {
        Bson::from(comment.post)
    }

    fn empty(&self) -> Document {
        doc! { "count": 0_i64, "newest": [] }
    }

    fn fold(
        &self,
        slot: &Slot,
        changes: &[NetChange<'_, Comment>],
    ) -> Result<Vec<Document>, Unfoldable> {
        if changes
            .iter()
            .filter_map(|change| change.after)
            .any(|comment| comment.text == "unfoldable")
        {
            return Err(Unfoldable("the text says so".to_owned()));
        }
        let delta: i64 = changes.iter().map(|change| i64::from(change.count())).sum();
        let touched: Vec<Bson> = changes.iter().map(|change| change.key.clone()).collect();
        let present = changes.iter().filter_map(|change| change.after);
        let present: Vec<Document> = present
            .map(|comment| doc! { "id": comment.id, "text": &comment.text })
            .collect();
        let others = doc! { "$filter": {
            "input": slot.value("newest"),
            "cond": { "$not": [{ "$in": ["$$this.id", { "$literal": touched }] }] },
        } };
        let all = doc! { "$concatArrays": [&others, { "$literal": present }] };
        let newest =
            doc! { "$slice": [{ "$sortArray": { "input": all, "sortBy": { "id": -1 } } }, SHOWN] };
        // A comment that left the list makes room for one that is not in it: perhaps for an older one that came, perhaps
        // not.
        let (listed, kept) = (
            doc! { "$size": slot.value("newest") },
            doc! { "$size": others },
        );
        let has_others = doc! { "$gt": [slot.value("count"), &listed] };
        let makes_room = doc! { "$and": [{ "$lt": [kept, listed] }, has_others] };
        let is_short = doc! { "$lt": [
            { "$size": slot.value("newest") },
            { "$min": [slot.value("count"), SHOWN] },
        ] };
        Ok(vec![
            doc! {
                "count": { "$add": [slot.value("count"), delta] },
                "newest": newest,
                "stale": makes_room,
            },
            doc! { "stale": { "$or": [slot.value("stale"), is_short] } },
        ])
    }

    async fn compute(
        &self,
        posts: &[Bson],
        session: &mut ClientSession,
    ) -> mongodb::error::Result<Vec<(Bson, Document)>> {
        let stages = [
            doc! { "$match": { "post": { "$in": posts }, "text": { "$type": "string" } } },
            doc! { "$sort": { "_id": -1 } },
            doc! { "$group": {
                "_id": "$post",
                "count": { "$sum": 1_i64 },
                "newest": { "$push": { "id": "$_id", "text": "$text" } },
            } },
            doc! { "$project": { "count": 1, "newest": { "$slice": ["$newest", SHOWN] } } },
        ];
        let comments = self.database.collection::<Document>("comments");
        let mut groups = comments.aggregate(stages).session(&mut *session).await?;
        let groups: Vec<Document> = groups.stream(session).try_collect().await?;
        let split = |mut group: Document| group.remove("_id").map(|post| (post, group));
        Ok(groups.into_iter().filter_map(split).collect())
    }

    async fn locate(&self, slot: &Slot, key: &Bson) -> mongodb::error::Result<Option<Bson>> {
        let showing = doc! { slot.path("newest.id"): key };
        let post = self
            .database
            .collection::<Document>("posts")
            .find_one(showing)
            .await?;
        Ok(post.and_then(|mut post| post.remove("_id")))
    }
}

/// A database with posts, and what a test does to it.
pub struct Board {
    pub uri: String,
    pub database: Database,
    pub comments: Collection<Comment>,
    pub posts: Collection<Document>,
    _throwaway: Option<TestDatabase>,
}

impl Board {
    /// On the server that the test run shares.
    pub async fn with_posts(count: i64) -> Self {
        let throwaway = embedded_mongo::test_database().await;
        let uri = throwaway.uri().to_owned();
        Self::create(uri, count, Some(throwaway)).await
    }

    /// On a server of the test's own; the URI names the database.
    pub async fn at(uri: String, posts: i64) -> Self {
        Self::create(uri, posts, None).await
    }

    async fn create(uri: String, posts: i64, throwaway: Option<TestDatabase>) -> Self {
        let board = Self::open(uri, throwaway).await;
        let posts = (1..=posts).map(|id| doc! { "_id": id });
        board
            .posts
            .insert_many(posts)
            .await
            .expect("the posts are stored");
        board
    }

    /// A board that is there already.
    pub async fn open(uri: String, throwaway: Option<TestDatabase>) -> Self {
        let client = Client::with_uri_str(&uri)
            .await
            .expect("the URI is well formed");
        let database = client.default_database().expect("the URI names a database");
        let (comments, posts) = (
            database.collection("comments"),
            database.collection("posts"),
        );
        Self {
            uri,
            database,
            comments,
            posts,
            _throwaway: throwaway,
        }
    }

    /// A client of its own, as each instance has.
    pub async fn client(&self) -> Client {
        Client::with_uri_str(&self.uri)
            .await
            .expect("the URI is well formed")
    }

    pub async fn source(&self) -> Source {
        Source::new(self.client().await, self.database.clone(), "comments").keeping(["text"])
    }

    pub async fn project(&self, settings: ProjectorSettings) -> Projector {
        self.project_with(settings, &mut Registry::default()).await
    }

    pub async fn project_with(
        &self,
        settings: ProjectorSettings,
        registry: &mut Registry,
    ) -> Projector {
        self.project_through(self.client().await, settings, registry)
            .await
    }

    /// With a client of the caller's for all but the change streams.
    pub async fn project_through(
        &self,
        client: Client,
        settings: ProjectorSettings,
        registry: &mut Registry,
    ) -> Projector {
        let database = client.database(self.database.name());
        let projection = Newest {
            database,
            panics: Arc::default(),
        };
        self.start(projection, settings, registry).await
    }

    /// With a switch that makes it panic.
    pub async fn project_to_panic(
        &self,
        settings: ProjectorSettings,
    ) -> (Projector, Arc<AtomicBool>) {
        let panics = Arc::<AtomicBool>::default();
        let projection = Newest {
            database: self.client().await.database(self.database.name()),
            panics: Arc::clone(&panics),
        };
        let mut registry = Registry::default();
        let projector = self.start(projection, settings, &mut registry).await;
        (projector, panics)
    }

    async fn start(
        &self,
        projection: Newest,
        settings: ProjectorSettings,
        registry: &mut Registry,
    ) -> Projector {
        let metrics = ProjectionMetrics::register(registry, "newest");
        let database = projection.database.clone();
        let source =
            Source::new(self.client().await, database, "comments").keeping(["post", "text"]);
        Projector::start(source, projection, settings, metrics)
            .await
            .expect("the projection starts")
    }

    pub async fn add(&self, comment: Comment) {
        self.comments
            .insert_one(comment)
            .await
            .expect("the comment is stored");
    }

    pub async fn edit(&self, id: i64, text: &str) {
        let edited = self
            .comments
            .update_one(doc! { "_id": id }, doc! { "$set": { "text": text } })
            .await;
        assert_eq!(edited.expect("the comment is edited").matched_count, 1);
    }

    pub async fn delete(&self, id: i64) {
        let deleted = self.comments.delete_one(doc! { "_id": id }).await;
        assert_eq!(deleted.expect("the comment is deleted").deleted_count, 1);
    }

    /// A comment of 9 MB, in a field that nobody embeds.
    pub async fn add_large(&self, id: i64, post: i64) {
        let large = doc! { "_id": id, "post": post, "text": "large", "filler": "x".repeat(LARGE) };
        let added = self.own("comments").insert_one(large).await;
        added.expect("the comment is stored");
    }

    /// Changes it: with the document before and after, the event has more than 16 MB.
    pub async fn change_large(&self, id: i64) {
        let change = doc! { "$set": { "filler": "y".repeat(LARGE) } };
        let comments = self.own("comments");
        let changed = comments.update_one(doc! { "_id": id }, change);
        assert_eq!(changed.await.expect("it is changed").matched_count, 1);
    }

    /// The cluster's time now: every write so far is before it.
    pub async fn now(&self) -> OperationTime {
        let reply = self
            .database
            .run_command(doc! { "ping": 1 })
            .await
            .expect("the server answers");
        OperationTime::from(
            reply
                .get_timestamp("operationTime")
                .expect("a replica set's answer"),
        )
    }

    /// The state of every post as the serving slot has it once everything so far has passed.
    pub async fn projected(&self, projector: &Projector) -> Vec<(i64, Document)> {
        let slot = projector
            .wait_until_passed(self.now().await, PATIENCE)
            .await
            .expect("the projection comes so far");
        self.states(&slot).await
    }

    /// Waits until everything so far has passed. Unlike a barrier, it does not end the wait of a batch.
    pub async fn applied(&self) {
        let now = self.now().await.timestamp();
        let checkpoints = self.own("changefeed_checkpoints");
        let position = || async {
            let checkpoint = checkpoints.find_one(doc! {}).await.expect("read");
            checkpoint.and_then(|checkpoint| checkpoint.get_timestamp("position").ok())
        };
        until("everything is applied", || async {
            position().await.is_some_and(|position| position >= now)
        })
        .await;
    }

    pub async fn states(&self, slot: &Slot) -> Vec<(i64, Document)> {
        let posts: Vec<Document> = self
            .posts
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .await
            .expect("the posts are read")
            .try_collect()
            .await
            .expect("the posts are read");
        let state = |post: &Document| {
            let state = slot
                .state_in(post)
                .cloned()
                .unwrap_or_else(|| doc! { "count": 0_i64, "newest": [] });
            doc! { "count": &state["count"], "newest": &state["newest"] }
        };
        posts
            .iter()
            .map(|post| (post.get_i64("_id").expect("a post's id"), state(post)))
            .collect()
    }

    /// The fold over the source, computed here.
    pub async fn expected(&self) -> Vec<(i64, Document)> {
        let raw = self.database.collection::<Document>("comments");
        let mut comments: Vec<Document> = raw
            .find(doc! { "text": { "$type": "string" } })
            .await
            .expect("the comments are read")
            .try_collect()
            .await
            .expect("the comments are read");
        comments.sort_by_key(|comment| {
            std::cmp::Reverse(comment.get_i64("_id").expect("a comment's id"))
        });
        let posts: Vec<Document> = self
            .posts
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .await
            .expect("the posts are read")
            .try_collect()
            .await
            .expect("the posts are read");
        let state = |id: i64| {
            let own: Vec<&Document> = comments
                .iter()
                .filter(|comment| comment.get_i64("post").ok() == Some(id))
                .collect();
            let newest: Vec<Document> = own
                .iter()
                .take(3)
                .map(|comment| doc! { "id": &comment["_id"], "text": &comment["text"] })
                .collect();
            doc! { "count": own.len() as i64, "newest": newest }
        };
        posts
            .iter()
            .map(|post| post.get_i64("_id").expect("a post's id"))
            .map(|id| (id, state(id)))
            .collect()
    }

    pub async fn assert_projected(&self, projector: &Projector) {
        let projected = self.projected(projector).await;
        assert_eq!(
            projected,
            self.expected().await,
            "the projection equals the fold over the source"
        );
    }

    /// Writes elsewhere until the oplog has forgotten what it holds now.
    pub async fn forget(&self) {
        let oldest = || async {
            let oplog = self
                .client()
                .await
                .database("local")
                .collection::<Document>("oplog.rs");
            let oldest = oplog
                .find_one(doc! {})
                .sort(doc! { "$natural": 1 })
                .await
                .expect("read")
                .expect("an oplog");
            oldest.get_timestamp("ts").expect("its time")
        };
        let now = self.now().await.timestamp();
        let bulk: Vec<Document> = (0..4)
            .map(|_| doc! { "text": "x".repeat(1 << 20) })
            .collect();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while oldest().await <= now {
            self.own("elsewhere")
                .insert_many(&bulk)
                .await
                .expect("stored");
            assert!(
                tokio::time::Instant::now() < deadline,
                "the oplog does not forget"
            );
        }
    }

    pub fn own(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// How long the projection's lease is still valid, by the server's clock.
    pub async fn lease_left(&self) -> Duration {
        let left = doc! { "left_ms": { "$subtract": ["$expires", "$$NOW"] } };
        let leases = self.own("changefeed_leases");
        let lease = leases.find_one(doc! {}).projection(left).await;
        let lease = lease.expect("read").expect("a lease");
        let left = lease.get_i64("left_ms").expect("milliseconds");
        Duration::from_millis(u64::try_from(left).unwrap_or_default())
    }

    /// Lets the lease run out at once.
    pub async fn end_lease(&self) {
        let ended = doc! { "$set": { "expires": bson::DateTime::from_millis(0) } };
        let leases = self.own("changefeed_leases");
        leases.update_one(doc! {}, ended).await.expect("ended");
    }
}

/// Settings that make rare things happen soon.
pub fn brisk() -> ProjectorSettings {
    ProjectorSettings::default()
        .heartbeat(Duration::from_millis(50))
        .lease(Duration::from_millis(1500))
        .idle_checkpoint(Duration::from_millis(50))
        .audit_interval(Duration::ZERO)
        .build_chunk(2)
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The value of a metric of a projection: `bucket` names one of a histogram's by its bound.
pub fn metric(registry: &Registry, name: &str, bucket: Option<&str>) -> f64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("metrics");
    let prefix = format!("changefeed_projection_{name}{{");
    let of_bucket =
        |line: &&str| bucket.is_none_or(|bound| line.contains(&format!("le=\"{bound}\"")));
    let line = text
        .lines()
        .filter(of_bucket)
        .find(|line| line.starts_with(&prefix))
        .expect("the metric");
    line.rsplit(' ')
        .next()
        .and_then(|value| value.parse().ok())
        .expect("its value")
}

/// The value of a metric of a hub.
pub fn hub_metric(registry: &Registry, name: &str) -> f64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("metrics");
    let prefix = format!("changefeed_hub_{name} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
    value
        .and_then(|value| value.parse().ok())
        .expect("the metric")
}

/// Reads the checkpoint as fast as it can, and remembers whether it ever went back.
pub struct CheckpointWatch {
    reading: tokio::task::JoinHandle<(Document, Document)>,
}

impl CheckpointWatch {
    pub fn start(board: &Board) -> Self {
        let checkpoints = board.own("changefeed_checkpoints");
        let reading = tokio::spawn(async move {
            let mut last = Document::new();
            loop {
                let read = checkpoints.find_one(doc! {}).await.ok().flatten();
                let Some(checkpoint) = read else { continue };
                let went_back = ["epoch", "position", "applied_until"]
                    .iter()
                    .any(|field| place(&checkpoint, field) < place(&last, field));
                if went_back {
                    return (last, checkpoint);
                }
                last = checkpoint;
            }
        });
        Self { reading }
    }

    pub async fn assert_never_went_back(self) {
        if self.reading.is_finished() {
            panic!("the checkpoint went back: {:?}", self.reading.await);
        }
        self.reading.abort();
    }
}

/// What orders checkpoints in one field.
fn place(checkpoint: &Document, field: &str) -> (i64, u32, u32) {
    match checkpoint.get(field) {
        Some(Bson::Int64(epoch)) => (*epoch, 0, 0),
        Some(Bson::Timestamp(time)) => (0, time.time, time.increment),
        _ => (0, 0, 0),
    }
}
