//! The compare-and-set of the checkpoint: each half of the pair (epoch, resume token) turns away a
//! batch that is applied already.

mod board;

use std::time::Duration;

use board::{Board, brisk, comment, until};
use bson::{DateTime, doc};
use changefeed::ProjectorSettings;
use embedded_mongo::{Options, ReplicaSet};

/// So often the answer to a commit is an error, though the commit took place: more often than a
/// leader asks for the outcome, so that it tries the batch again.
const LOST_ANSWERS: i32 = 30;
const LEADER: &str = "leader under test";

/// Gives each post more comments than it shows: a shorter list would reveal a wrong count, and the
/// projection would repair it.
async fn fill(board: &Board) {
    for id in 1..=15 {
        board.add(comment(id, 1 + id % 3, "before")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_has_not_heard_of_its_successor_writes_nothing() {
    let board = Board::with_posts(3).await;
    let hears_late = ProjectorSettings {
        heartbeat: Duration::from_secs(60),
        lease: Duration::from_secs(180),
        ..brisk()
    };
    let old = board.project(hears_late).await;
    until("the first one leads", || async { old.lag().leading }).await;
    fill(&board).await;
    board.assert_projected(&old).await;

    let new = board.project(brisk()).await;
    let run_out = doc! { "$set": { "expires": DateTime::from_millis(0) } };
    board
        .own("changefeed_leases")
        .update_one(doc! {}, run_out)
        .await
        .expect("the lease runs out");
    until("the second one leads", || async { new.lag().leading }).await;
    assert!(old.lag().leading, "the first one does not know it yet");

    for id in 100..120 {
        board.add(comment(id, 1 + id % 3, "with two leaders")).await;
    }
    until("the first one has tried to write", || async {
        !old.lag().leading
    })
    .await;
    board.assert_projected(&new).await;
    new.stop().await;
    old.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_commit_was_never_answered_is_not_applied_again() {
    let server = ReplicaSet::start(Options::default())
        .await
        .expect("a server");
    let uri = format!(
        "{}&appName={}",
        server.uri_for("board"),
        LEADER.replace(' ', "%20")
    );
    let board = Board::at(uri, 3).await;
    let projector = board.project(brisk()).await;
    fill(&board).await;
    board.assert_projected(&projector).await;

    // WriteConcernFailed: the commit took place, and the driver is told that it may not have.
    let unanswered = doc! { "writeConcernError": { "code": 64, "errmsg": "nobody knows" } };
    server
        .fail_commands(LEADER, &["commitTransaction"], unanswered, LOST_ANSWERS)
        .await
        .expect("a fail point");
    for id in 100..110 {
        board.add(comment(id, 1 + id % 3, "once")).await;
    }
    board.assert_projected(&projector).await;
    projector.stop().await;
}
