//! The oplog does not go back far enough: on a server of its own, whose oplog is tiny.

mod board;

use std::time::Duration;

use board::{Board, Comment, PATIENCE, brisk, comment};
use changefeed::{Hub, HubMetrics, HubSettings, TopicError};
use embedded_mongo::{Options, ReplicaSet};
use futures_util::StreamExt;
use prometheus_client::registry::Registry;

/// The cursor of this moment: of a hub that has just started, as the place of another may be older.
async fn cursor_now(board: &Board, post: i64) -> String {
    let settings = HubSettings::default().start_before(Duration::ZERO);
    let metrics = HubMetrics::register(&mut Registry::default());
    let hub: Hub<Comment> = Hub::start(board.source().await, "post", settings, metrics)
        .await
        .expect("the hub starts");
    let changes = hub.subscribe(post, None).await.expect("subscribed");
    let cursor = changes.start().to_string();
    hub.stop().await;
    cursor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_is_built_anew_and_a_subscriber_told_to_query_again() {
    let server = ReplicaSet::start(Options::default().oplog_megabytes(4))
        .await
        .expect("a server");
    let board = Board::at(server.uri_for("history_lost"), 2).await;
    let projector = board.project(brisk()).await;
    let hub: Hub<Comment> = Hub::start(
        board.source().await,
        "post",
        HubSettings::default(),
        HubMetrics::register(&mut Registry::default()),
    )
    .await
    .expect("the hub starts");
    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(1, 1, "text")).await;
    let (cursor, _) = changes.next().await.expect("an item").expect("a change");
    board.assert_projected(&projector).await;
    projector.stop().await;
    hub.stop().await;

    board.add(comment(2, 1, "forgotten")).await;
    board.delete(1).await;
    board.forget().await;

    let projector = board.project(brisk()).await;
    board.add(comment(3, 2, "after it")).await;
    board.assert_projected(&projector).await;
    assert_eq!(
        projector.serving().map(|slot| slot.generation()),
        Some(2),
        "built anew, not continued from now"
    );
    let hub: Hub<Comment> = Hub::start(
        board.source().await,
        "post",
        HubSettings::default(),
        HubMetrics::register(&mut Registry::default()),
    )
    .await
    .expect("the hub starts");
    let mut resumed = hub
        .subscribe(1_i64, Some(cursor.as_str()))
        .await
        .expect("our own cursor");
    let told = tokio::time::timeout(PATIENCE, resumed.next())
        .await
        .expect("in time")
        .expect("an item");
    assert_eq!(told.expect_err("too old"), TopicError::ResyncRequired);
    assert!(resumed.next().await.is_none(), "it ends after the error");
    hub.stop().await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_history_ends_those_alone_who_need_it() {
    let mut server = ReplicaSet::start(Options::default().oplog_megabytes(4))
        .await
        .expect("a server");
    let board = Board::at(server.uri_for("history_lost"), 3).await;
    let mut registry = Registry::default();
    let metrics = HubMetrics::register(&mut registry);
    let settings = HubSettings::default()
        .start_before(Duration::ZERO)
        .catch_up_readers_max(1);
    let too_old = cursor_now(&board, 1).await;
    board.add(comment(1, 1, "forgotten")).await;
    board.forget().await;
    let kept = (cursor_now(&board, 2).await, cursor_now(&board, 3).await);
    board.add(comment(2, 2, "kept")).await;
    board.add(comment(3, 3, "kept")).await;

    let hub: Hub<Comment> = Hub::start(board.source().await, "post", settings, metrics)
        .await
        .expect("the hub starts");
    let resume = |post: i64, cursor: &str| {
        let (hub, cursor) = (hub.clone(), cursor.to_owned());
        tokio::spawn(async move {
            let mut resumed = hub.subscribe(post, Some(&cursor)).await.expect("our own");
            let next = tokio::time::timeout(PATIENCE, resumed.next()).await;
            let next = next.expect("in time").expect("an item");
            next.map(|(_, change)| change.key.as_i64())
        })
    };
    server.pause_node(0);
    let reading = resume(2, &kept.0);
    board::until("it is read for", || async {
        board::hub_metric(&registry, "catch_up_readings_total") == 1.0
    })
    .await;
    let (lost, beside) = (resume(1, &too_old), resume(3, &kept.1));
    board::until("both wait for the same reading", || async {
        board::hub_metric(&registry, "catch_ups_waiting") == 2.0
    })
    .await;
    server.resume_node(0);
    assert_eq!(reading.await.expect("no panic"), Ok(Some(2)));
    assert_eq!(
        lost.await.expect("no panic"),
        Err(TopicError::ResyncRequired)
    );
    assert_eq!(beside.await.expect("no panic"), Ok(Some(3)));
    hub.stop().await;
}
