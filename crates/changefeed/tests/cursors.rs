//! Cursors of a process without a hub: a hub elsewhere goes on after them.

mod board;

use board::{Board, Comment, PATIENCE, comment};
use changefeed::{Cursors, Hub, HubMetrics, HubSettings};
use futures_util::StreamExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_comes_after_such_a_cursor_is_missed() {
    let board = Board::with_posts(2).await;
    let cursors = Cursors::start(board.source().await, "post").await;
    let cursors = cursors.expect("cursors");
    let settings = HubSettings::default();
    let hub: Hub<Comment> = Hub::start(
        board.source().await,
        "post",
        settings,
        HubMetrics::default(),
    )
    .await
    .expect("a hub");
    for id in 1..=3 {
        let cursor = cursors.now(1_i64);
        board.add(comment(id, 2, "of another topic")).await;
        board.add(comment(10 + id, 1, "after the cursor")).await;
        let changes = hub.subscribe(1_i64, Some(cursor.as_str())).await;
        let mut changes = changes.expect("its cursor");
        // Some of the last second may come again.
        loop {
            let next = tokio::time::timeout(PATIENCE, changes.next()).await;
            let (_, change) = next.expect("in time").expect("no end").expect("no error");
            let seen = change.after().expect("an insert").id;
            assert!((11..=10 + id).contains(&seen), "{seen}");
            if seen == 10 + id {
                break;
            }
        }
    }
    let other = hub
        .subscribe(2_i64, Some(cursors.now(1_i64).as_str()))
        .await;
    assert!(other.is_err(), "it is one of its topic alone");
    cursors.prepare().await.expect("prepared");
    hub.stop().await;
}
