//! Processes that are killed at marked points, or stopped past their lease: another one goes on,
//! and nothing is lost or applied twice.

mod board;

use std::time::Duration;

use board::process::{self, Instance};
use board::{Board, CheckpointWatch, brisk, comment, metric, until};
use changefeed::{Projector, ProjectorSettings, marker};
use prometheus_client::registry::Registry;

/// A lease that runs out soon.
fn short_lease() -> ProjectorSettings {
    brisk().lease(Duration::from_millis(600))
}

/// A lease that runs out when the test ends it: an instance that is paused leads until it is killed.
fn settings() -> ProjectorSettings {
    brisk().lease(Duration::from_secs(600))
}

/// Not a test of its own: what the other tests start as another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_in_another_process() {
    let settings = match process::pauses_at_a_point() {
        true => settings(),
        false => short_lease(),
    };
    process::run_if_asked(settings).await;
}

/// Takes over from an instance that is killed, with an auditor that looks at all posts.
struct Standby {
    projector: Projector,
    registry: Registry,
}

impl Standby {
    async fn start(board: &Board) -> Self {
        let mut registry = Registry::default();
        let auditing = settings()
            .audit_interval(Duration::from_millis(20))
            .audit_sample(100);
        let projector = board.project_with(auditing, &mut registry).await;
        Self {
            projector,
            registry,
        }
    }

    /// The projection is right, and was so without a repair.
    async fn assert_projected(self, board: &Board) {
        board.assert_projected(&self.projector).await;
        let audited = || metric(&self.registry, "audited_total", None);
        let before = audited();
        until("all posts are audited", || async {
            audited() >= before + 20.0
        })
        .await;
        assert_eq!(metric(&self.registry, "divergences_total", None), 0.0);
        self.projector.stop().await;
    }
}

/// More comments for each of some posts than it shows: a list that ran short would be computed anew,
/// and its count with it.
async fn fill(board: &Board, posts: i64) {
    let many = (1_000..1_000 + 8 * posts).map(|id| comment(id, 1 + id % posts, "before"));
    board.comments.insert_many(many).await.expect("stored");
}

/// Kills an instance at a point that it reaches while it applies one batch of changes, beside one
/// that stands by.
async fn killed_while_applying(point: &'static str) {
    let board = Board::with_posts(3).await;
    fill(&board, 3).await;
    let first = board.project(settings()).await;
    board.assert_projected(&first).await;
    first.stop().await;
    let batch = (2_000..2_009).map(|id| comment(id, 1 + id % 3, "text"));
    board.comments.insert_many(batch).await.expect("stored");
    board.edit(2_003, "edited").await;
    board.delete(2_008).await;
    board.delete(1_000).await;
    let mut instance = Instance::start(&board, Some(point));
    instance.said(&format!("paused at {point}")).await;
    let standby = Standby::start(&board).await;
    board.add(comment(3_000, 1, "meanwhile")).await;
    assert!(!standby.projector.lag().leading, "it stands by");
    instance.kill();
    board.end_lease().await;
    standby.assert_projected(&board).await;
}

/// Kills an instance at a point that it reaches while it builds anew beside what serves.
async fn killed_while_rebuilding(point: &'static str) {
    let board = Board::with_posts(7).await;
    fill(&board, 7).await;
    let first = board.project(settings()).await;
    board.assert_projected(&first).await;
    first.stop().await;
    let mut instance = Instance::start(&board, Some(point));
    instance.said("leading").await;
    let standby = Standby::start(&board).await;
    let slot = standby
        .projector
        .wait_until_serving()
        .await
        .expect("it serves");
    let before = board.states(&slot).await;
    let projector = standby.projector.clone();
    let rebuild = tokio::spawn(async move { projector.rebuild().await });
    instance.said(&format!("paused at {point}")).await;
    assert_eq!(standby.projector.serving(), Some(slot.clone()));
    assert_eq!(board.states(&slot).await, before, "the old state serves");
    board.add(comment(3_000, 1, "meanwhile")).await;
    board.add(comment(3_001, 7, "meanwhile")).await;
    board.edit(3_001, "edited meanwhile").await;
    instance.kill();
    board.end_lease().await;
    rebuild.await.expect("its end").expect("rebuilt");
    board.assert_projected(&standby.projector).await;
    let serving = standby.projector.serving().map(|slot| slot.generation());
    assert_eq!(serving, Some(2), "the build went on");
    standby.assert_projected(&board).await;
}

/// Kills an instance at a point that it reaches in the first build.
async fn killed_while_building(point: &'static str) {
    let board = Board::with_posts(7).await;
    for id in 1..=9 {
        board.add(comment(id, 1 + id % 7, "text")).await;
    }
    let mut instance = Instance::start(&board, Some(point));
    instance.said(&format!("paused at {point}")).await;
    board.add(comment(10, 1, "meanwhile")).await;
    board.edit(1, "edited meanwhile").await;
    board.delete(2).await;
    instance.kill();
    board.end_lease().await;
    let next = board.project(settings()).await;
    board.assert_projected(&next).await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_an_event_was_read() {
    killed_while_applying(marker::EVENT_READ).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_inside_the_transaction() {
    killed_while_applying(marker::IN_TRANSACTION).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_commit() {
    killed_while_applying(marker::AFTER_COMMIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_the_takeover() {
    killed_while_applying(marker::TAKEOVER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_build() {
    killed_while_building(marker::MID_REBUILD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_switch_to_a_build() {
    killed_while_building(marker::HAND_OVER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_rebuild_by_command() {
    killed_while_rebuilding(marker::MID_REBUILD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_switch_to_a_rebuild_by_command() {
    killed_while_rebuilding(marker::HAND_OVER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_rebuild_after_a_drop() {
    let board = Board::with_posts(7).await;
    fill(&board, 7).await;
    let first = board.project(settings()).await;
    board.assert_projected(&first).await;
    first.stop().await;
    let mut instance = Instance::start(&board, Some(marker::MID_REBUILD));
    instance.said("leading").await;
    let standby = Standby::start(&board).await;
    board.comments.drop().await.expect("dropped");
    board.add(comment(4_000, 1, "after the drop")).await;
    let point = marker::MID_REBUILD;
    instance.said(&format!("paused at {point}")).await;
    board.add(comment(4_001, 7, "meanwhile")).await;
    instance.kill();
    board.end_lease().await;
    // Not without a repair: what served until then was of the dropped collection.
    board.assert_projected(&standby.projector).await;
    standby.projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_slept_through_its_lease_applies_nothing_twice() {
    let board = Board::with_posts(2).await;
    let mut sleeper = Instance::start(&board, None);
    sleeper.said("serving").await;
    let other = board.project(short_lease()).await;
    let watch = CheckpointWatch::start(&board);
    for round in 0..3 {
        sleeper.signal("-STOP");
        for id in 1..=10 {
            board
                .add(comment(round * 100 + id, 1 + id % 2, "text"))
                .await;
        }
        board.assert_projected(&other).await;
        sleeper.signal("-CONT");
        board
            .add(comment(round * 100 + 50, 1, "after it woke"))
            .await;
        board.assert_projected(&other).await;
    }
    watch.assert_never_went_back().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_that_keep_taking_the_lease_from_each_other_write_each_change_once() {
    let board = Board::with_posts(3).await;
    let (one, two) = (
        board.project(short_lease()).await,
        board.project(short_lease()).await,
    );
    for id in 1..=300 {
        board.add(comment(id, 1 + id % 3, "text")).await;
        if id % 20 == 0 {
            board.end_lease().await;
        }
    }
    board.assert_projected(&one).await;
    board.assert_projected(&two).await;
    one.stop().await;
    board.add(comment(301, 1, "after one has stopped")).await;
    board.assert_projected(&two).await;
    two.stop().await;
}
