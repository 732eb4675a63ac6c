//! How long posts do not show comments after the instance that projects them is killed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bson::oid::ObjectId;
use bson::{Document, doc};
use changefeed::OperationTime;
use embedded_mongo::ReplicaSet;
use mongodb::{Client, Database};
use serde_json::{Value, json};
use stack::{Service, ServiceProcess};

use crate::load::{HttpConnection, graphql_body};
use crate::report::median;
use crate::services;

const DATABASE: &str = "bench_failover";
/// Posts that are commented on: some of each partition.
const POSTS: usize = 32;
/// A takeover that takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const SHOWN: &str =
    "query ($time: String) { posts(first: 1, operationTime: $time) { edges { node { id } } } }";

/// Prints a row for each number of partitions.
///
/// # Errors
/// When something does not start, or nobody takes over.
pub async fn run(partitions: &[u32], rounds: usize) -> anyhow::Result<()> {
    println!(
        "\nseconds from kill -9 of an instance of posts that leads to posts that show a comment written then, of {rounds} kills"
    );
    println!("{:>10} {:>8} {:>8}", "partitions", "median", "longest");
    for &partitions in partitions {
        let mut seconds = Vec::new();
        for _ in 0..rounds.max(1) {
            seconds.push(takeover(partitions).await?.as_secs_f64());
        }
        let longest = seconds.iter().copied().fold(0.0, f64::max);
        println!(
            "{partitions:>10} {:>8.2} {longest:>8.2}",
            median(seconds.into_iter())
        );
    }
    Ok(())
}

async fn takeover(partitions: u32) -> anyhow::Result<Duration> {
    let mongo = ReplicaSet::start(embedded_mongo::Options::default().in_memory(false)).await?;
    let database = Client::with_uri_str(mongo.uri()).await?.database(DATABASE);
    let posts: Vec<ObjectId> = (0..POSTS).map(|_| ObjectId::new()).collect();
    let now = bson::DateTime::now();
    let stored = posts.iter().map(|id| {
        doc! { "_id": id, "title": "A post", "content": "With content", "createdAt": now }
    });
    database
        .collection::<Document>("posts")
        .insert_many(stored)
        .await?;
    let settings = [
        ("MONGO_URI", mongo.uri_for(DATABASE)),
        ("PROJECTION_PARTITIONS", partitions.to_string()),
        // Metrics.
        ("DEVELOPMENT", "true".to_owned()),
    ];
    let mut first = services::start(Service::Posts, &settings).await?;
    let second = services::start(Service::Posts, &settings).await?;
    // One leads all of an undivided projection; several share.
    let share = f64::from(partitions / 2).max(1.0);
    let deadline = Instant::now() + LIMIT;
    while leading(&first).await? < share {
        ensure!(
            Instant::now() < deadline,
            "the first instance does not lead"
        );
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let before = comment_on(&database, &posts).await?;
    let mut connection = HttpConnection::open(second.address()).await?;
    until_shown(&mut connection, &before).await?;

    let killed = Instant::now();
    first.kill().await?;
    let written = comment_on(&database, &posts).await?;
    until_shown(&mut connection, &written).await?;
    Ok(killed.elapsed())
}

/// Partitions that an instance leads.
async fn leading(posts: &ServiceProcess) -> anyhow::Result<f64> {
    let page = reqwest::get(posts.url("/metrics")).await?.text().await?;
    let name = "changefeed_projection_leading{";
    let line = page.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    Ok(value.context("no such metric")?.parse()?)
}

/// Writes a comment to each post, and returns the time of the last one.
async fn comment_on(database: &Database, posts: &[ObjectId]) -> anyhow::Result<String> {
    let mut session = database.client().start_session().await?;
    let now = bson::DateTime::now();
    let comments = posts
        .iter()
        .map(|post| doc! { "postId": post, "text": "A comment", "createdAt": now });
    database
        .collection::<Document>("comments")
        .insert_many(comments)
        .session(&mut session)
        .await?;
    let time = OperationTime::of(&session).context("no operation time")?;
    Ok(time.to_string())
}

/// Asks for the list until it shows what was written by then.
async fn until_shown(connection: &mut HttpConnection, time: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let body = graphql_body(SHOWN, json!({ "time": time }));
        let answer: Value = serde_json::from_slice(&connection.post(body).await?)?;
        if answer["errors"].is_null() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "nobody took over: {answer}");
    }
}
