//! The change feed's figures: throughput of the projection, latency to the projection and to
//! subscribers, memory with stalled subscribers, each beside a bare change stream in the same run; clients that
//! come back after minutes; what a change costs MongoDB; and an import by an outside program.

mod bare;
mod latency;
mod projection;
mod returning;
mod spread;
mod stalled;
mod throughput;
mod wide;

pub use bare::open_in as bare_change_stream;
pub use spread::{mongod, write_singly};

use bson::{Document, doc, oid::ObjectId};
use mongodb::{Client, Database};

/// Options of `bench changefeed`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Changes in a backlog.
    #[arg(long, default_value_t = 100_000)]
    pub changes: usize,
    /// Rounds of each figure; medians are printed.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Only these figures: throughput, push, latency, stalled, returning, wide, steady, distinct.
    /// `distinct` takes a backlog of `--changes`, too.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Numbers of partitions of the projection that `distinct` compares.
    #[arg(long, value_delimiter = ',', default_values_t = [1])]
    pub partitions: Vec<u32>,
    /// Numbers of posts that the backlogs of `distinct` go over.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000, 50_000])]
    pub posts: Vec<usize>,
    /// The part of the import's documents that `wide` writes, and of the clients of `returning` and what they missed, for a
    /// quick run.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
}

/// Runs the figures and prints them.
///
/// # Errors
/// When MongoDB or the change feed fails.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let wanted =
        |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    if wanted("wide") {
        wide::run(options.scale).await?;
    }
    if options.only == ["wide"] {
        return Ok(());
    }
    let mongo = embedded_mongo::ReplicaSet::start(
        embedded_mongo::Options::default()
            // Room for every backlog of the run.
            .oplog_megabytes(4_096)
            .in_memory(false),
    )
    .await?;
    if wanted("throughput") || wanted("push") {
        throughput::run(&mongo, &options, wanted("push")).await?;
    }
    if wanted("steady") {
        spread::steady(&mongo).await?;
    }
    if wanted("distinct") {
        spread::distinct(&mongo, &options).await?;
    }
    if wanted("latency") {
        latency::run(&mongo).await?;
    }
    if wanted("stalled") {
        stalled::run(&mongo, options.changes).await?;
    }
    if wanted("returning") {
        returning::run(&mongo, options.scale).await?;
    }
    Ok(())
}

/// A database of its own for one figure.
struct Bench {
    database: Database,
    /// For change streams, which hold a connection each.
    streams: Client,
}

impl Bench {
    async fn new(mongo: &embedded_mongo::ReplicaSet, name: &str) -> anyhow::Result<Self> {
        let client = Client::with_uri_str(mongo.uri()).await?;
        let database = client.database(name);
        database.drop().await?;
        Ok(Self {
            database,
            streams: Client::with_uri_str(mongo.uri()).await?,
        })
    }

    async fn insert_posts(&self, count: usize) -> anyhow::Result<Vec<ObjectId>> {
        let ids: Vec<ObjectId> = (0..count).map(|_| ObjectId::new()).collect();
        let now = bson::DateTime::now();
        let posts = ids.iter().map(|id| {
            doc! { "_id": id, "title": "A post", "content": "With content", "author": "Anonymous",
            "createdAt": now, "updatedAt": now }
        });
        self.database
            .collection::<Document>("posts")
            .insert_many(posts)
            .await?;
        Ok(ids)
    }

    /// Writes comments that go round the posts.
    async fn insert_comments(&self, posts: &[ObjectId], count: usize) -> anyhow::Result<()> {
        /// Documents that one command takes.
        const CHUNK: usize = 10_000;
        let comments = self.database.collection::<Document>("comments");
        let mut written = 0;
        while written < count {
            let chunk = CHUNK.min(count - written);
            let documents =
                (written..written + chunk).map(|index| comment(posts[index % posts.len()]));
            comments.insert_many(documents).await?;
            written += chunk;
        }
        Ok(())
    }
}

fn comment(post: ObjectId) -> Document {
    let now = bson::DateTime::now();
    doc! { "_id": ObjectId::new(), "postId": post, "author": "Anonymous", "createdAt": now, "updatedAt": now,
    "text": "A comment of a usual length: it says what it has to say, and then it ends." }
}
