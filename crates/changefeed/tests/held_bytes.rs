//! What the rings hold, as the hub counts it, beside what the allocator has given out for it.
//!
//! In a program of its own: every allocation is counted.

mod board;

use std::alloc::System;
use std::time::Duration;

use board::{Board, Comment, comment, hub_metric, until};
use bson::Document;
use changefeed::{FromDocument, Hub, HubMetrics, HubSettings};
use futures_util::StreamExt;
use prometheus_client::registry::Registry;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough that what else the process does has little weight.
const CHANGES: i64 = 4_000;

fn allocated() -> f64 {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as f64 - stats.bytes_deallocated as f64
}

/// Bytes that the rings hold of changes that a subscriber has read, or nobody: as counted, and really.
async fn held<T: FromDocument>(board: &Board, is_read: bool) -> (f64, f64) {
    let mut registry = Registry::default();
    let settings = HubSettings::default()
        .start_before(Duration::ZERO)
        .look_back(Duration::ZERO)
        .ring_count_max(100_000)
        .ring_bytes_max(1 << 30)
        .total_bytes_max(1 << 30);
    let metrics = HubMetrics::register(&mut registry);
    let hub: Hub<T> = Hub::start(board.source().await, "post", settings, metrics)
        .await
        .expect("the hub starts");
    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    let text = "A comment of a usual length: it says what it has to say, and then it ends.";
    let all = (1..=CHANGES).map(|id| comment(id, 1, text));
    board.comments.insert_many(all).await.expect("stored");
    let metric = |name: &str| hub_metric(&registry, name);
    until("all changes are there", || async {
        metric("ring_changes") == CHANGES as f64
    })
    .await;
    if is_read {
        for _ in 0..CHANGES {
            changes.next().await.expect("a change").expect("no error");
        }
    }
    let (counted, before) = (metric("ring_bytes"), allocated());
    drop(changes);
    hub.stop().await;
    drop(hub);
    let held = before - allocated();
    board.own("comments").drop().await.expect("dropped");
    (counted, held)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rings_hold_no_more_than_is_counted_and_not_far_less() {
    for is_read in [false, true] {
        let board = Board::with_posts(1).await;
        let of_struct = held::<Comment>(&board, is_read).await;
        let of_document = held::<Document>(&board, is_read).await;
        for (name, (counted, held)) in [("struct", of_struct), ("document", of_document)] {
            println!(
                "{name}, read {is_read}: {:.0} bytes a change counted, {:.0} held",
                counted / CHANGES as f64,
                held / CHANGES as f64
            );
            assert!(held <= counted, "{name}: {held} of {counted}");
        }
        if is_read {
            let (counted, held) = of_struct;
            assert!(counted <= 1.4 * held, "{held} of {counted}");
        }
    }
}
