//! How fast the projection takes in a backlog, beside reading it bare, and beside one `$push` an
//! event.

use std::time::{Duration, Instant};

use anyhow::Context;
use bson::{Document, RawDocumentBuf, doc, oid::ObjectId};
use changefeed::{OperationTime, SendAction};
use futures_util::StreamExt;

use super::{Bench, Options, bare, projection};
use crate::report::median;

/// Posts over which the spread backlog goes.
const SPREAD_POSTS: usize = 1_000;
/// Events that the `$push` way takes in: enough for its rate, few enough for its patience.
const PUSH_EVENTS: usize = 3_000;

/// A backlog that takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(300);

/// Changes a second of each way, in one round.
struct Round {
    bare: f64,
    projection: f64,
    push: f64,
}

/// Measures how many changes a second a hub and a projection work off, each from a backlog, and prints both.
pub async fn run(
    mongo: &embedded_mongo::ReplicaSet,
    options: &Options,
    push: bool,
) -> anyhow::Result<()> {
    println!(
        "projection of a backlog of {} changes (changes/s, medians of {} rounds)",
        options.changes, options.rounds
    );
    println!("goals: spread /bare 0.50 or more, hot post /$push 20 or more");
    println!(
        "{:<28} {:>10} {:>12} {:>12} {:>8} {:>8}",
        "", "bare read", "projection", "$push each", "/bare", "/$push"
    );
    let mut projections = Vec::new();
    for (name, posts) in [
        ("spread over 1,000 posts", SPREAD_POSTS),
        ("all on one post", 1),
    ] {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds {
            rounds.push(round(mongo, posts, options.changes, push).await?);
        }
        let of = |field: fn(&Round) -> f64| median(rounds.iter().map(field));
        println!(
            "{name:<28} {:>10.0} {:>12.0} {:>12.0} {:>8.2} {:>8.1}",
            of(|round| round.bare),
            of(|round| round.projection),
            of(|round| round.push),
            of(|round| round.projection / round.bare),
            of(|round| round.projection / round.push),
        );
        projections.push(of(|round| round.projection));
    }
    println!(
        "hot post against spread: {:.2} (goal: 0.80 or more)",
        projections[1] / projections[0]
    );
    Ok(())
}

async fn round(
    mongo: &embedded_mongo::ReplicaSet,
    posts: usize,
    changes: usize,
    push: bool,
) -> anyhow::Result<Round> {
    let bench = Bench::new(mongo, "bench_throughput").await?;
    let posts = bench.insert_posts(posts).await?;
    // Built on no comments and stopped, it has the whole backlog before it.
    projection::start(&bench).await?.stop().await;
    let start = bare::operation_time(&bench).await?;
    bench.insert_comments(&posts, changes).await?;
    let bare = read_bare(&bench, start, changes).await?;
    let projection = take_in(&bench, changes).await?;
    let push = if push {
        push_each(&bench, start, PUSH_EVENTS.min(changes)).await?
    } else {
        f64::NAN
    };
    bench.database.drop().await?;
    Ok(Round {
        bare,
        projection,
        push,
    })
}

async fn read_bare(bench: &Bench, start: bson::Timestamp, changes: usize) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut stream = bare::open(bench, Some(start)).await?;
    for _ in 0..changes {
        stream.next().await.context("the bare stream ended")??;
    }
    Ok(changes as f64 / started.elapsed().as_secs_f64())
}

/// What the tutorial does: one `findOneAndUpdate` with `$push` for each event.
async fn push_each(bench: &Bench, start: bson::Timestamp, events: usize) -> anyhow::Result<f64> {
    let posts = bench.database.collection::<Document>("posts");
    let started = Instant::now();
    let mut stream = bare::open(bench, Some(start)).await?;
    for _ in 0..events {
        let event = stream.next().await.context("the bare stream ended")??;
        let comment: RawDocumentBuf = event
            .full_document
            .context("an insert without its document")?;
        let text = comment.get_str("text")?;
        let created_at = comment.get_datetime("createdAt")?;
        let pushed = doc! { "$push": { "comments": { "text": text, "createdAt": created_at } } };
        let post: ObjectId = comment.get_object_id("postId")?;
        posts
            .find_one_and_update(doc! { "_id": post }, pushed)
            .send()
            .await?;
    }
    Ok(events as f64 / started.elapsed().as_secs_f64())
}

async fn take_in(bench: &Bench, changes: usize) -> anyhow::Result<f64> {
    let end = OperationTime::from(bare::operation_time(bench).await?);
    let started = Instant::now();
    let projector = projection::start(bench).await?;
    let slot = projector.wait_until_passed(end, LIMIT).await?;
    let elapsed = started.elapsed();
    projector.stop().await;
    projection::ensure_counted(bench, &slot, changes).await?;
    Ok(changes as f64 / elapsed.as_secs_f64())
}
