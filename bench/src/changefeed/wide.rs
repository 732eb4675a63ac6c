//! An import by an outside program, half of it about one post and the rest about all, while both
//! services run: what it costs the import, how soon the posts are level, and what posts needs for it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bson::{Document, RawBsonRef, RawDocumentBuf, Timestamp, doc, oid::ObjectId};
use changefeed::{SendAction, read_all};
use embedded_mongo::ReplicaSet;
use mongodb::{Client, Database};
use stack::{Service, ServiceProcess};

use super::comment;
use crate::process::{Memory, cpu_time, memory};
use crate::services;

/// What is written at scale 1.
const POSTS: usize = 100_000;
const COMMENTS: usize = 500_000;
/// Documents of one `insertMany`.
const CHUNK: usize = 5_000;
/// Sizes of the server's cache, in megabytes.
const CACHES_MEGABYTES: [u32; 2] = [256, 1_024];

const LEVEL_SECONDS_GOAL: f64 = 90.0;
const IMPORT_RATIO_GOAL: f64 = 0.5;
const POSTS_MIB_GOAL: f64 = 150.0;

/// A projection that is not level by then is a fault.
const LEVEL_LIMIT: Duration = Duration::from_secs(300);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What one import measured.
struct Measured {
    alone: f64,
    with_services: f64,
    level: Duration,
    posts: Memory,
    comments: Memory,
    failed: f64,
    wrong: usize,
}

/// Prints a row for each size of the cache, and whether the goals are met.
pub async fn run(scale: f64) -> anyhow::Result<()> {
    let part = |number: usize| ((number as f64 * scale) as usize).max(CHUNK);
    let (posts, comments) = (part(POSTS), part(COMMENTS));
    println!(
        "\nimport of {posts} posts and {comments} comments, half of them about one post (insertMany of {CHUNK})"
    );
    println!(
        "goals: level within {LEVEL_SECONDS_GOAL} s of the last insert, import at {IMPORT_RATIO_GOAL} of its speed alone or more, \
         posts below {POSTS_MIB_GOAL} MiB, all counts right"
    );
    println!(
        "{:>9} {:>12} {:>14} {:>7} {:>9} {:>10} {:>13} {:>8} {:>7}",
        "cache MiB",
        "alone/s",
        "with services",
        "ratio",
        "level s",
        "posts MiB",
        "comments MiB",
        "failed",
        "wrong"
    );
    let mut met = true;
    for cache_megabytes in CACHES_MEGABYTES {
        let measured = measure(cache_megabytes, posts, comments).await?;
        let ratio = measured.with_services / measured.alone;
        let peak = Memory::mib(measured.posts.peak);
        let level = measured.level.as_secs_f64();
        println!(
            "{cache_megabytes:>9} {:>12.0} {:>14.0} {ratio:>7.2} {level:>9.1} {peak:>10.1} {:>13.1} {:>8} {:>7}",
            measured.alone,
            measured.with_services,
            Memory::mib(measured.comments.peak),
            measured.failed,
            measured.wrong,
        );
        met &= level <= LEVEL_SECONDS_GOAL
            && ratio >= IMPORT_RATIO_GOAL
            && peak < POSTS_MIB_GOAL
            && measured.wrong == 0;
    }
    println!("goals: {}", if met { "met" } else { "MISSED" });
    Ok(())
}

async fn measure(cache_megabytes: u32, posts: usize, comments: usize) -> anyhow::Result<Measured> {
    let mongo = ReplicaSet::start(
        embedded_mongo::Options::default()
            .oplog_megabytes(4_096)
            .cache_megabytes(cache_megabytes)
            .in_memory(false),
    )
    .await?;
    let client = Client::with_uri_str(mongo.uri()).await?;

    // Alone, but on the collections and indexes that the services leave.
    let alone = client.database("alone");
    Services::start(&mongo, alone.name()).await?.stop().await?;
    let alone_took = import(&alone, posts, comments).await?.0;
    alone.drop().await?;

    let database = client.database("wide");
    let services = Services::start(&mongo, database.name()).await?;
    let (took, written, expected) = import(&database, posts, comments).await?;
    let last_insert = Instant::now();
    wait_until_level(&database, written).await?;
    let level = last_insert.elapsed();
    let documents = (posts + comments) as f64;
    let measured = Measured {
        alone: documents / alone_took.as_secs_f64(),
        with_services: documents / took.as_secs_f64(),
        level,
        posts: memory(pid(&services.posts)?)?,
        comments: memory(pid(&services.comments)?)?,
        failed: services
            .metric("changefeed_projection_transactions_failed_total")
            .await?,
        wrong: wrong_counts(&database, &expected).await?,
    };
    println!(
        "{:>9} CPU s since their start: posts {:.0}, comments {:.0}",
        "",
        cpu_time(pid(&services.posts)?)?.as_secs_f64(),
        cpu_time(pid(&services.comments)?)?.as_secs_f64(),
    );
    Ok(measured)
}

struct Services {
    posts: ServiceProcess,
    comments: ServiceProcess,
}

impl Services {
    async fn start(mongo: &ReplicaSet, database: &str) -> anyhow::Result<Self> {
        let uri = [
            ("MONGO_URI", mongo.uri_for(database)),
            // Metrics.
            ("DEVELOPMENT", "true".to_owned()),
        ];
        Ok(Self {
            posts: services::start(Service::Posts, &uri).await?,
            comments: services::start(Service::Comments, &uri).await?,
        })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.posts.stop().await?;
        self.comments.stop().await
    }

    /// A metric of posts.
    async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let page = reqwest::get(self.posts.url("/metrics"))
            .await?
            .text()
            .await?;
        let line = page
            .lines()
            .find(|line| line.starts_with(name))
            .with_context(|| format!("no metric {name}"))?;
        let value = line.rsplit(' ').next().context("no value")?;
        Ok(value.parse()?)
    }
}

/// Writes posts and comments; returns how long it took, the operation time of the last insert, and how
/// many comments each post has.
async fn import(
    database: &Database,
    posts: usize,
    comments: usize,
) -> anyhow::Result<(Duration, Timestamp, HashMap<ObjectId, i64>)> {
    let ids: Vec<ObjectId> = (0..posts).map(|_| ObjectId::new()).collect();
    let mut counts: HashMap<ObjectId, i64> = ids.iter().map(|id| (*id, 0)).collect();
    let began = Instant::now();
    let now = bson::DateTime::now();
    for chunk in ids.chunks(CHUNK) {
        let chunk = chunk.iter().map(|id| {
            doc! { "_id": id, "title": "A post", "content": "With content", "author": "Anonymous",
            "createdAt": now, "updatedAt": now }
        });
        insert(database, "posts", chunk.collect()).await?;
    }
    let mut written = Timestamp {
        time: 0,
        increment: 0,
    };
    for first in (0..comments).step_by(CHUNK) {
        let numbers = first..comments.min(first + CHUNK);
        let chunk: Vec<Document> = numbers
            .map(|number| {
                let post = match number % 2 {
                    0 => ids[0],
                    _ => ids[number / 2 % ids.len()],
                };
                *counts.entry(post).or_default() += 1;
                comment(post)
            })
            .collect();
        written = insert(database, "comments", chunk).await?;
    }
    Ok((began.elapsed(), written, counts))
}

/// Inserts documents as one `insertMany` does, and returns the operation time.
async fn insert(
    database: &Database,
    collection: &str,
    documents: Vec<Document>,
) -> anyhow::Result<Timestamp> {
    let majority = doc! { "w": "majority" };
    let insert = doc! { "insert": collection, "documents": documents, "writeConcern": majority };
    let reply = database.run_command(insert).await?;
    Ok(reply.get_timestamp("operationTime")?)
}

/// Waits until the projection has passed the last insert.
async fn wait_until_level(database: &Database, written: Timestamp) -> anyhow::Result<()> {
    let began = Instant::now();
    while position(database).await?.is_none_or(|at| at < written) {
        if began.elapsed() > LEVEL_LIMIT {
            bail!(
                "the projection is not level {} s after the last insert",
                LEVEL_LIMIT.as_secs()
            );
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

async fn position(database: &Database) -> anyhow::Result<Option<Timestamp>> {
    let checkpoint = checkpoint(database).await?;
    Ok(checkpoint.and_then(|checkpoint| checkpoint.get_timestamp("position").ok()))
}

async fn checkpoint(database: &Database) -> anyhow::Result<Option<Document>> {
    let checkpoints = database.collection::<Document>("changefeed_checkpoints");
    Ok(checkpoints.find_one(doc! {}).send().await?)
}

/// How many posts show another number than they have comments.
async fn wrong_counts(
    database: &Database,
    expected: &HashMap<ObjectId, i64>,
) -> anyhow::Result<usize> {
    let checkpoint = checkpoint(database).await?.context("no checkpoint")?;
    let slot = format!("discussion.g{}", checkpoint.get_i64("serving")?);
    let count = doc! { "$project": { "count": { "$ifNull": [format!("${slot}.count"), 0] } } };
    let posts = database.collection::<Document>("posts");
    let shown = posts.aggregate([count]).with_type::<RawDocumentBuf>();
    let (mut seen, mut wrong) = (0, 0);
    for post in read_all(shown.send().await?).await? {
        seen += 1;
        let count = match post.get("count")? {
            Some(RawBsonRef::Int32(count)) => i64::from(count),
            Some(RawBsonRef::Int64(count)) => count,
            _ => -1,
        };
        wrong += usize::from(expected.get(&post.get_object_id("_id")?) != Some(&count));
    }
    Ok(wrong + expected.len().abs_diff(seen))
}

fn pid(process: &ServiceProcess) -> anyhow::Result<u32> {
    process
        .pid()
        .with_context(|| format!("{} has ended", process.service().name()))
}
