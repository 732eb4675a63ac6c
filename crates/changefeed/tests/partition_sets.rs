//! What happens to sets of partitions that are given up, closed or removed, and to instances that do not lead.

mod board;

use std::sync::atomic::Ordering;
use std::time::Duration;

use board::process::{self, Instance};
use board::{Board, PATIENCE, brisk, comment, until};
use bson::{Bson, Document, doc};
use changefeed::{Error, Projector, ProjectorSettings, marker};

const POSTS: i64 = 20;

fn settings() -> ProjectorSettings {
    brisk().lease(Duration::from_millis(600)).partitions(4)
}

/// Not a test of its own: what the other tests start as another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_in_another_process() {
    process::run_if_asked(settings()).await;
}

async fn fill(board: &Board, from: i64) {
    let many = (from..from + 5 * POSTS).map(|id| comment(id, 1 + id % POSTS, "text"));
    board.comments.insert_many(many).await.expect("stored");
}

async fn until_serving(projector: &Projector, path: &str) {
    until(&format!("{path} serves"), || async {
        let serving = projector.serving();
        serving.is_some_and(|slot| slot.as_path() == path)
    })
    .await;
}

async fn sets(board: &Board) -> Document {
    let sets = board.own("changefeed_partitions");
    let sets = sets.find_one(doc! { "_id": "newest" }).await;
    sets.expect("read").expect("the sets")
}

async fn count(board: &Board, collection: &str, filter: Document) -> u64 {
    let count = board.own(collection).count_documents(filter).await;
    count.expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sets_that_are_given_up_before_the_first_one_serves_do_not_pile_up() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    // No build of it is ever handed over.
    let mut instance = Instance::start(&board, Some(marker::HAND_OVER));
    instance
        .said(&format!("paused at {}", marker::HAND_OVER))
        .await;
    for wanted in [2, 4, 2, 4, 2] {
        // As an instance with this setting does when it starts.
        let want = doc! { "$set": { "wanted": wanted }, "$inc": { "version": 1_i64 } };
        let sets_of = board.own("changefeed_partitions");
        sets_of
            .update_one(doc! { "_id": "newest" }, want)
            .await
            .expect("wanted");
        until(&format!("{wanted} are built"), || async {
            let sets = sets(&board).await;
            let building = sets.get_document("building").expect("a build");
            building.get("count").and_then(Bson::as_i32) == Some(wanted)
                || building.get("count").and_then(Bson::as_i64) == Some(i64::from(wanted))
        })
        .await;
    }
    until("those that were given up are gone", || async {
        let sets = sets(&board).await;
        sets.get_array("retiring").is_ok_and(Vec::is_empty)
    })
    .await;
    let of_sets = doc! { "_id": { "$regex": "/" } };
    assert_eq!(count(&board, "changefeed_checkpoints", of_sets).await, 2);
    assert!(sets(&board).await.get("serving") == Some(&Bson::Null));
    instance.kill();

    let projector = board.project(settings()).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_goes_on_at_the_set_that_replaces_its_own() {
    let board = Board::with_posts(POSTS).await;
    let projector = board.project(settings()).await;
    board.assert_projected(&projector).await;
    for id in 1..=12 {
        board.add(comment(id, id, "unfoldable")).await;
    }
    until("they are set aside", || async {
        count(&board, "changefeed_dead_letters", doc! {}).await == 12
    })
    .await;
    projector.stop().await;

    // Nobody leads, so it waits.
    let command = board.project(settings().leads(false)).await;
    let replaying = tokio::spawn(async move {
        let replayed = command.replay_dead_letters().await;
        command.stop().await;
        replayed
    });
    until("the command waits", || async {
        count(&board, "changefeed_requests", doc! {}).await == 1
    })
    .await;
    // As the removal of a set does, just before the command came.
    for collection in ["changefeed_checkpoints", "changefeed_leases"] {
        let of_sets = doc! { "_id": { "$regex": "^newest/1/" } };
        let gone = board.own(collection).delete_many(of_sets).await;
        assert_eq!(gone.expect("removed").deleted_count, 4);
    }
    let projector = board.project(settings()).await;
    let replayed = tokio::time::timeout(PATIENCE, replaying).await;
    let replayed = replayed.expect("it ends").expect("no panic");
    let replayed = replayed.expect("replayed");
    // The new build has read them by itself.
    assert_eq!(replayed.remaining, 0);
    assert_eq!(count(&board, "changefeed_requests", doc! {}).await, 0);
    assert_eq!(count(&board, "changefeed_dead_letters", doc! {}).await, 0);
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_divided_projection_says_so_and_can_be_made_whole_by_hand() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    let whole = board.project(settings().partitions(1)).await;
    board.assert_projected(&whole).await;
    let divided = board.project(settings()).await;
    until_serving(&whole, "feed.g2x4").await;
    let has_slot = |slot: &str| doc! { slot: { "$exists": true } };
    let closed = doc! { "_id": "newest", "closed": { "$type": "string" } };
    until("the old states are gone", || async {
        count(&board, "posts", has_slot("feed.g1")).await == 0
            && count(&board, "changefeed_checkpoints", closed.clone()).await == 1
    })
    .await;
    // Neither an operator nor an earlier version takes it for one that serves.
    let unserving =
        doc! { "_id": "newest", "serving": Bson::Null, "building": Bson::Null, "intact": false };
    assert_eq!(count(&board, "changefeed_checkpoints", unserving).await, 1);
    for projector in [whole, divided] {
        projector.stop().await;
    }

    // The steps of docs/operating.md, with all instances stopped.
    let own = doc! { "_id": { "$regex": "^newest(/|$)" } };
    for collection in [
        "changefeed_partitions",
        "changefeed_checkpoints",
        "changefeed_leases",
    ] {
        let removed = board.own(collection).delete_many(own.clone()).await;
        assert!(removed.expect("removed").deleted_count > 0, "{collection}");
    }
    let unset = doc! { "$unset": { "feed.g2x4": "" } };
    let unset = board.posts.update_many(doc! {}, unset).await;
    unset.expect("removed");
    let whole = board.project(settings().partitions(1)).await;
    board.assert_projected(&whole).await;
    until_serving(&whole, "feed.g1").await;
    assert_eq!(count(&board, "changefeed_partitions", doc! {}).await, 0);
    whole.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_does_not_lead_shows_what_the_others_write() {
    let board = Board::with_posts(POSTS).await;
    fill(&board, 1_000).await;
    // It asks for no number of partitions either.
    let reader = board.project(settings().leads(false)).await;
    let whole = board.project(settings().partitions(1)).await;
    board.assert_projected(&reader).await;
    until_serving(&reader, "feed.g1").await;
    let divided = board.project(settings()).await;
    until_serving(&reader, "feed.g2x4").await;
    fill(&board, 2_000).await;
    board.assert_projected(&reader).await;
    until("it is ready", || async { reader.ready().is_ok() }).await;
    reader.rebuild().await.expect("the others rebuild");
    board.assert_projected(&reader).await;
    for projector in [whole, divided] {
        projector.stop().await;
    }
    // Nobody takes over.
    let lives = doc! { "_id": "newest/members", "members": { "$ne": {} } };
    assert_eq!(count(&board, "changefeed_partitions", lives).await, 0);
    assert!(!reader.lag().leading);
    reader.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_where_it_is_decided_who_leads_ends_the_projection_with_an_error() {
    let board = Board::with_posts(POSTS).await;
    let (projector, panics) = board.project_to_panic(settings()).await;
    board.assert_projected(&projector).await;
    panics.store(true, Ordering::Relaxed);
    let finished = tokio::time::timeout(PATIENCE, projector.finished()).await;
    let finished = finished.expect("it ends");
    assert!(matches!(finished, Err(Error::TaskEnded(_))), "{finished:?}");
}
