//! Projections: what they fold, how they go on after a stop, and what they do with faults.

mod board;

use std::time::Duration;

use board::{Board, brisk, comment};
use mongodb::Client;
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria};
use prometheus_client::registry::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inserts_edits_and_deletions_reach_their_targets() {
    let board = Board::with_posts(3).await;
    board.add(comment(1, 1, "before the first start")).await;
    let projector = board.project(brisk()).await;
    board.assert_projected(&projector).await;
    for id in 2..=6 {
        board.add(comment(id, 1, "a comment")).await;
    }
    board.add(comment(7, 2, "$notAnExpression")).await;
    board.edit(6, "edited").await;
    board.edit(1, "edited, but too old to be shown").await;
    board.assert_projected(&projector).await;
    board.delete(5).await;
    board.delete(7).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
}

/// As `readPreference` in the URI of a service makes it: transactions read at the primary nevertheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_at_secondaries_projects() {
    let board = Board::with_posts(1).await;
    let mut options = ClientOptions::parse(&board.uri).await.expect("a URI");
    let preference = ReadPreference::SecondaryPreferred {
        options: Default::default(),
    };
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(preference));
    let client = Client::with_options(options).expect("a client");
    let registry = &mut Registry::default();
    let projector = board.project_through(client, brisk(), registry).await;
    board.add(comment(1, 1, "text")).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_made_while_nobody_runs_are_applied_once_at_the_next_start() {
    let board = Board::with_posts(2).await;
    let projector = board.project(brisk()).await;
    board.add(comment(1, 1, "seen")).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
    board.add(comment(2, 1, "missed")).await;
    board.edit(1, "edited meanwhile").await;
    board.add(comment(3, 2, "came and went")).await;
    board.delete(3).await;
    let projector = board.project(brisk()).await;
    board.assert_projected(&projector).await;
    assert_eq!(
        projector.serving().map(|slot| slot.generation()),
        Some(1),
        "it went on, it did not start anew"
    );
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comment_that_moves_leaves_one_post_and_joins_the_other() {
    let board = Board::with_posts(2).await;
    let projector = board.project(brisk()).await;
    board.add(comment(1, 1, "moving")).await;
    board.assert_projected(&projector).await;
    let moved = bson::doc! { "$set": { "post": 2_i64 } };
    board
        .comments
        .update_one(bson::doc! { "_id": 1_i64 }, moved)
        .await
        .expect("the comment moves");
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_reads_what_its_own_mutation_wrote() {
    let board = Board::with_posts(1).await;
    let projector = board.project(brisk()).await;
    projector.wait_until_serving().await.expect("it serves");
    for id in 1..=20 {
        board.add(comment(id, 1, "mine")).await;
        let slot = projector
            .wait_until_passed(board.now().await, board::PATIENCE)
            .await
            .expect("passed");
        assert_eq!(board.states(&slot).await, board.expected().await);
    }
    let future = changefeed::OperationTime::from(bson::Timestamp {
        time: u32::MAX,
        increment: 1,
    });
    let behind = projector
        .wait_until_passed(future, Duration::from_millis(20))
        .await
        .expect_err("not yet");
    assert_eq!(behind.code(), "PROJECTION_BEHIND");
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_its_write_ends_the_wait_for_more_changes() {
    let board = Board::with_posts(1).await;
    let waits_long = brisk().batch_linger(Duration::from_secs(3_600));
    let projector = board.project(waits_long).await;
    for id in 1..=3 {
        board.add(comment(id, 1, "text")).await;
        board.assert_projected(&projector).await;
    }
    projector.stop().await;
}
