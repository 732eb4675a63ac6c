//! From an insert's acknowledgement to the projection's commit, to a subscriber of the hub and to a
//! client behind the comments service's WebSocket, beside a bare change stream.

use std::time::{Duration, Instant};

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{Document, doc};
use changefeed::{Hub, HubMetrics, HubSettings, OperationTime, Source};
use e2e::{ClientEvent, Graphql, Service, ServiceProcess, Subscription};
use futures_util::StreamExt;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::mpsc;

use super::{Bench, bare, comment, projection};
use crate::services;

const DATABASE: &str = "bench_latency";
const CURSOR: &str = "query ($of: [_Any!]!) { _entities(representations: $of) { \
    ... on Post { commentChangesCursor } } }";
const CHANGES: &str = "subscription ($post: ID!, $after: String) { \
    commentChanges(postId: $post, after: $after) { ... on CommentAdded { cursor comment { id text author } } } }";

/// Inserts that are measured, one after the other.
const INSERTS: usize = 1_000;
/// Inserts before the measurement.
const WARM_UP: usize = 100;
/// An event that takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(10);

/// Prints the percentiles of each way.
pub async fn run(mongo: &embedded_mongo::ReplicaSet) -> anyhow::Result<()> {
    let bench = Bench::new(mongo, DATABASE).await?;
    let post = bench.insert_posts(1).await?[0];
    let projector = projection::start(&bench).await?;
    let mut bare = bare_arrivals(&bench).await?;
    let mut hub = hub_arrivals(&bench, post).await?;
    let uri = [("MONGO_URI", mongo.uri_for(DATABASE))];
    let comments = services::start(Service::Comments, &uri).await?;
    let mut socket = socket_arrivals(&comments, post).await?;

    let (mut to_bare, mut to_subscriber, mut to_client, mut to_projection) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..WARM_UP + INSERTS {
        let inserted = bench
            .database
            .run_command(doc! { "insert": "comments", "documents": [comment(post)], "writeConcern": { "w": "majority" } })
            .await?;
        let acknowledged = Instant::now();
        let time = OperationTime::from(inserted.get_timestamp("operationTime")?);
        projector.wait_until_passed(time, LIMIT).await?;
        let projected = Instant::now();
        let bare = bare.recv().await.context("the bare stream ended")?;
        let delivered = hub.recv().await.context("the subscription ended")?;
        let received = socket.recv().await.context("the socket ended")?;
        if number >= WARM_UP {
            to_bare.push(signed_ms(bare, acknowledged));
            to_subscriber.push(signed_ms(delivered, acknowledged));
            to_client.push(signed_ms(received, acknowledged));
            to_projection.push(signed_ms(projected, acknowledged));
        }
    }
    projector.stop().await;
    bench.database.drop().await?;

    println!("\nfrom the insert's acknowledgement, {INSERTS} inserts one after the other (ms)");
    println!("goal: a subscriber's p50 at most 2 ms above the bare stream's");
    println!("{:<28} {:>8} {:>8}", "", "p50", "p99");
    for (name, values) in [
        ("bare change stream", to_bare),
        ("subscriber of the hub", to_subscriber),
        ("client behind a WebSocket", to_client),
        ("projection's commit", to_projection),
    ] {
        println!(
            "{name:<28} {:>8.2} {:>8.2}",
            percentile(&values, 0.5),
            percentile(&values, 0.99)
        );
    }
    Ok(())
}

async fn bare_arrivals(bench: &Bench) -> anyhow::Result<mpsc::UnboundedReceiver<Instant>> {
    let mut stream = bare::open(bench, None).await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(_)) = stream.next().await {
            if sender.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

async fn hub_arrivals(
    bench: &Bench,
    post: ObjectId,
) -> anyhow::Result<mpsc::UnboundedReceiver<Instant>> {
    let metrics = HubMetrics::register(&mut Registry::default());
    let source = Source::new(bench.streams.clone(), bench.database.clone(), "comments");
    let hub = Hub::<Document>::start(source, "postId", HubSettings::default(), metrics).await?;
    let mut changes = hub.subscribe(post, None).await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(_)) = changes.next().await {
            if sender.send(Instant::now()).is_err() {
                break;
            }
        }
        hub.stop().await;
    });
    Ok(receiver)
}

/// Through the comments service: a process of its own, its resolvers, and a socket.
async fn socket_arrivals(
    comments: &ServiceProcess,
    post: ObjectId,
) -> anyhow::Result<mpsc::UnboundedReceiver<Instant>> {
    let graphql = Graphql::new(comments.url("/graphql"));
    let post = post.to_hex();
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let cursor = graphql.data(CURSOR, of).await["_entities"][0]["commentChangesCursor"].take();
    let after = json!({ "post": post, "after": cursor });
    let mut changes = Subscription::start(&graphql, CHANGES, after).await;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let ClientEvent::Next(_) = changes.next().await {
            if sender.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

/// Milliseconds from `start` to `end`; negative when the event overtook the acknowledgement.
fn signed_ms(end: Instant, start: Instant) -> f64 {
    let after = end.saturating_duration_since(start).as_secs_f64();
    let before = start.saturating_duration_since(end).as_secs_f64();
    (after - before) * 1_000.0
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
