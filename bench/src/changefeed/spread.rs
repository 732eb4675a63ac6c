//! What a change costs MongoDB and the projection: single comments at a steady rate, and backlogs over more and more
//! posts.

use std::time::{Duration, Instant};

use anyhow::Context;
use bson::{Document, doc, oid::ObjectId};
use changefeed::{OperationTime, ProjectorSettings};
use mongodb::Database;

use super::{Bench, Options, bare, comment, projection};
use crate::process::cpu_time;
use crate::report::median;

/// Comments that are written one by one each second.
const RATE: u32 = 500;
const STEADY: Duration = Duration::from_secs(10);
/// Tasks that write them.
const WRITERS: u32 = 8;
/// Posts that the steady comments go over.
const STEADY_POSTS: usize = 1_000;
/// A projection that is not level by then is a fault.
const LIMIT: Duration = Duration::from_secs(300);

/// Measures single comments at [`RATE`]: without a projection, with one that hardly waits for more changes, and as it
/// is by default.
pub async fn steady(mongo: &embedded_mongo::ReplicaSet) -> anyhow::Result<()> {
    println!(
        "\n{RATE} single comments a second for {} s, over {STEADY_POSTS} posts (CPU time for each comment)",
        STEADY.as_secs()
    );
    println!(
        "{:<34} {:>12} {:>22}",
        "", "mongod ms", "projection's part ms"
    );
    let default = projection::settings();
    let short = projection::settings().batch_linger_max(Duration::ZERO);
    let mut alone = f64::NAN;
    for (name, settings) in [
        ("no projection", None),
        ("batches wait 2 ms", Some(short)),
        ("batches wait 2 to 50 ms", Some(default)),
    ] {
        let cost = write_steadily(mongo, settings).await?;
        if alone.is_nan() {
            alone = cost;
        }
        println!("{name:<34} {cost:>12.3} {:>22.3}", cost - alone);
    }
    Ok(())
}

/// Milliseconds of MongoDB's CPU for each comment.
async fn write_steadily(
    mongo: &embedded_mongo::ReplicaSet,
    settings: Option<ProjectorSettings>,
) -> anyhow::Result<f64> {
    let bench = Bench::new(mongo, "bench_steady").await?;
    let posts = bench.insert_posts(STEADY_POSTS).await?;
    let projector = match settings {
        Some(settings) => Some(projection::start_with(&bench, settings).await?),
        None => None,
    };
    let pid = mongod(mongo).await?;
    let before = cpu_time(pid)?;
    let written = write_singly(&bench.database, &posts, STEADY).await?;
    if let Some(projector) = projector {
        let end = OperationTime::from(bare::operation_time(&bench).await?);
        projector.wait_until_passed(end, LIMIT).await?;
        projector.stop().await;
    }
    let took = cpu_time(pid)? - before;
    bench.database.drop().await?;
    Ok(took.as_secs_f64() * 1e3 / written as f64)
}

/// Writes comments one by one at [`RATE`], round the posts, for so long. Returns how many.
pub async fn write_singly(
    database: &Database,
    posts: &[ObjectId],
    lasts: Duration,
) -> anyhow::Result<usize> {
    let (began, interval) = (Instant::now(), Duration::from_secs(1) * WRITERS / RATE);
    let writers = (0..WRITERS).map(|writer| {
        let (comments, posts) = (database.collection::<Document>("comments"), posts.to_vec());
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(interval);
            let mut written = 0_usize;
            while began.elapsed() < lasts {
                tick.tick().await;
                let post = posts[(written * WRITERS as usize + writer as usize) % posts.len()];
                comments.insert_one(comment(post)).await?;
                written += 1;
            }
            anyhow::Ok(written)
        })
    });
    let mut written = 0;
    for writer in writers.collect::<Vec<_>>() {
        written += writer.await??;
    }
    Ok(written)
}

/// Measures backlogs over more and more posts.
pub async fn distinct(mongo: &embedded_mongo::ReplicaSet, options: &Options) -> anyhow::Result<()> {
    let changes = options.changes;
    println!(
        "\nprojection of a backlog of {changes} changes over more and more posts (medians of {} rounds)",
        options.rounds
    );
    println!(
        "{:>8} {:>10} {:>12} {:>8} {:>16} {:>16} {:>13}",
        "posts",
        "partitions",
        "changes/s",
        "/first",
        "mongod us/change",
        "bench us/change",
        "mongod cores"
    );
    for &posts in &options.posts {
        let mut first = f64::NAN;
        for &partitions in &options.partitions {
            let mut rounds = Vec::new();
            for _ in 0..options.rounds {
                rounds.push(backlog(mongo, posts, changes, partitions).await?);
            }
            let of = |field: fn(&Backlog) -> Duration| {
                median(rounds.iter().map(|round| field(round).as_secs_f64())) / changes as f64
            };
            let rate = 1.0 / of(|round| round.took);
            if first.is_nan() {
                first = rate;
            }
            println!(
                "{posts:>8} {partitions:>10} {rate:>12.0} {:>8.2} {:>16.0} {:>16.0} {:>13.2}",
                rate / first,
                1e6 * of(|round| round.mongod),
                1e6 * of(|round| round.bench),
                rate * of(|round| round.mongod),
            );
        }
    }
    Ok(())
}

/// What a backlog took, and the CPU time of both processes for it.
struct Backlog {
    took: Duration,
    mongod: Duration,
    bench: Duration,
}

async fn backlog(
    mongo: &embedded_mongo::ReplicaSet,
    posts: usize,
    changes: usize,
    partitions: u32,
) -> anyhow::Result<Backlog> {
    let bench = Bench::new(mongo, "bench_distinct").await?;
    let posts: Vec<ObjectId> = bench.insert_posts(posts).await?;
    // Built on no comments and stopped, it has the whole backlog before it.
    let settings = projection::settings().partitions(partitions);
    let built = projection::start_with(&bench, settings.clone()).await?;
    built.stop().await;
    bench.insert_comments(&posts, changes).await?;
    let end = OperationTime::from(bare::operation_time(&bench).await?);
    let (pid, own) = (mongod(mongo).await?, std::process::id());
    let (mongod_before, bench_before) = (cpu_time(pid)?, cpu_time(own)?);
    let began = Instant::now();
    let projector = projection::start_with(&bench, settings).await?;
    let slot = projector.wait_until_passed(end, LIMIT).await?;
    let measured = Backlog {
        took: began.elapsed(),
        mongod: cpu_time(pid)? - mongod_before,
        bench: cpu_time(own)? - bench_before,
    };
    projector.stop().await;
    projection::ensure_counted(&bench, &slot, changes).await?;
    bench.database.drop().await?;
    Ok(measured)
}

/// The process of the server.
pub async fn mongod(mongo: &embedded_mongo::ReplicaSet) -> anyhow::Result<u32> {
    let status = mongo.admin_command(0, doc! { "serverStatus": 1 }).await?;
    let pid = status.get_i64("pid").context("serverStatus has no pid")?;
    Ok(u32::try_from(pid)?)
}
