//! Memory of the hub with 1,000 subscribers that never read, on a topic that receives a flood.

use anyhow::{bail, ensure};
use bson::Document;
use changefeed::{Hub, HubMetrics, HubSettings, Source};
use futures_util::StreamExt;
use prometheus_client::registry::Registry;

use super::Bench;
use crate::process::{Memory, memory};

/// Subscribers that never read.
const SUBSCRIBERS: usize = 1_000;
/// Bytes of changes that the topic's ring keeps: the hub's default.
const RING_BYTES_MAX: usize = 4 << 20;

/// Prints the resident memory before and after the flood, beside the bound.
///
/// # Errors
/// When the memory grew by more than the bound.
pub async fn run(mongo: &embedded_mongo::ReplicaSet, changes: usize) -> anyhow::Result<()> {
    let bench = Bench::new(mongo, "bench_stalled").await?;
    let post = bench.insert_posts(1).await?;
    // There is one topic, so its ring is all rings.
    let settings = HubSettings::default()
        .ring_bytes_max(RING_BYTES_MAX)
        .total_bytes_max(RING_BYTES_MAX);
    let bound = settings.event_bytes_max() as u64;
    let metrics = HubMetrics::register(&mut Registry::default());
    let source = Source::new(bench.streams.clone(), bench.database.clone(), "comments");
    let hub = Hub::<Document>::start(source, "postId", settings, metrics).await?;

    let mut stalled = Vec::new();
    for _ in 0..SUBSCRIBERS {
        stalled.push(hub.subscribe(post[0], None).await?);
    }
    // The subscriber that reads shows when the flood has passed.
    let mut reader = hub.subscribe(post[0], None).await?;
    let before = memory(std::process::id())?.resident;
    let flood = {
        let bench = Bench {
            database: bench.database.clone(),
            streams: bench.streams.clone(),
        };
        let post = post.clone();
        tokio::spawn(async move { bench.insert_comments(&post, changes).await })
    };
    let mut seen = 0;
    let mut cursor: Option<String> = None;
    while seen < changes {
        match reader.next().await {
            Some(Ok((at, _))) => {
                seen += 1;
                cursor = Some(at.to_string());
            }
            // A reader that falls behind resumes where it was, as a client would: perhaps before the
            // first change that it got, so the error's own cursor counts.
            Some(Err(error)) => {
                cursor = error.cursor().map(ToString::to_string).or(cursor);
                reader = hub.subscribe(post[0], cursor.as_deref()).await?;
            }
            None => reader = hub.subscribe(post[0], cursor.as_deref()).await?,
        }
    }
    flood.await??;
    let after = memory(std::process::id())?.resident;

    let mut told = 0;
    for mut subscription in stalled {
        match subscription.next().await {
            Some(Err(_)) => told += 1,
            Some(Ok(_)) | None => bail!("a stalled subscriber was not told that it missed changes"),
        }
    }
    println!("\n{SUBSCRIBERS} stalled subscribers on a topic that received {changes} events");
    println!(
        "resident memory before {:.1} MiB, after {:.1} MiB",
        Memory::mib(before),
        Memory::mib(after)
    );
    println!(
        "bound: {:.1} MiB (the ring {:.1}, the rest read ahead of it and one answer of the server); subscribers told that they lagged: {told}",
        Memory::mib(bound),
        Memory::mib(RING_BYTES_MAX as u64)
    );
    ensure!(
        after.saturating_sub(before) <= bound,
        "the memory grew by more than the bound"
    );
    hub.stop().await;
    bench.database.drop().await?;
    Ok(())
}
