//! The compare-and-set of the checkpoint: each half of the pair (epoch, resume token) turns away a
//! batch that is applied already.

mod board;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use board::{Board, CheckpointWatch, brisk, comment, metric, until};
use bson::{Document, doc};
use changefeed::ProjectorSettings;
use embedded_mongo::{Options, ReplicaSet};
use mongodb::Client;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use prometheus_client::registry::Registry;

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
    // Neither a heartbeat nor an idle checkpoint makes it look at what is stored.
    let hears_late = brisk()
        .heartbeat(Duration::from_secs(60))
        .idle_checkpoint(Duration::from_secs(60))
        .lease(Duration::from_secs(180));
    let old = board.project(hears_late).await;
    until("the first one leads", || async { old.lag().leading }).await;
    fill(&board).await;
    board.assert_projected(&old).await;

    let new = board.project(brisk()).await;
    board.end_lease().await;
    until("the second one leads", || async { new.lag().leading }).await;
    assert!(old.lag().leading, "the first one does not know it yet");
    let watch = CheckpointWatch::start(&board);

    for id in 100..120 {
        board.add(comment(id, 1 + id % 3, "with two leaders")).await;
    }
    until("the first one has tried to write", || async {
        !old.lag().leading
    })
    .await;
    board.assert_projected(&new).await;
    watch.assert_never_went_back().await;
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
    let primary = server.primary().await.expect("a primary");
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    let struck = server.admin_command(primary, off).await.expect("its count");
    assert!(
        struck.get_i32("count").is_ok_and(|count| count > 0)
            || struck.get_i64("count").is_ok_and(|count| count > 0),
        "no commit stayed unanswered: {struck}"
    );
    projector.stop().await;
}

/// Batches that begin with 4 changes and may grow to 1,024, whatever the time that a commit takes here.
fn growing() -> ProjectorSettings {
    brisk()
        .batch_count_max(1_024)
        .batch_linger(Duration::from_secs(5))
        .commit_aim(Duration::from_secs(60))
}

/// Comments that are written while no projection runs, and more than its first batch takes.
async fn leave_backlog(board: &Board, first: i64) {
    let backlog = (first..first + 400).map(|id| comment(id, 1 + id % 3, "backlog"));
    board
        .comments
        .insert_many(backlog)
        .await
        .expect("the comments are stored");
}

/// Batches of at most so many changes.
fn batches_up_to(registry: &Registry, changes: &str) -> f64 {
    metric(registry, "batch_changes_bucket", Some(changes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_on_a_backlog_begins_small() {
    let board = Board::with_posts(3).await;
    let projector = board.project(growing()).await;
    fill(&board).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
    leave_backlog(&board, 100).await;

    let mut registry = Registry::default();
    let projector = board.project_with(growing(), &mut registry).await;
    board.applied().await;
    board.assert_projected(&projector).await;
    assert_eq!(batches_up_to(&registry, "4.0"), 1.0, "the first one");
    let all = metric(&registry, "batch_changes_count", None);
    assert!(batches_up_to(&registry, "64.0") < all, "then they grew");
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_the_server_does_not_take_shrink_to_one_change_and_grow_back() {
    let server = ReplicaSet::start(Options::default())
        .await
        .expect("a server");
    let uri = format!(
        "{}&appName={}",
        server.uri_for("board"),
        LEADER.replace(' ', "%20")
    );
    let board = Board::at(uri, 3).await;
    let projector = board.project(growing()).await;
    fill(&board).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
    let watch = CheckpointWatch::start(&board);

    // WriteConflict, as of a transaction that overflows the cache, and NoSuchTransaction: the server
    // has ended it.
    for (round, code) in [(1, 112), (2, 251)] {
        leave_backlog(&board, round * 1_000).await;
        let refused = doc! { "errorCode": code, "errorLabels": ["TransientTransactionError"] };
        server
            .fail_commands(LEADER, &["commitTransaction"], refused, 5)
            .await
            .expect("a fail point");
        let mut registry = Registry::default();
        let projector = board.project_with(growing(), &mut registry).await;
        board.applied().await;
        board.assert_projected(&projector).await;
        assert_eq!(metric(&registry, "transactions_failed_total", None), 5.0);
        assert!(batches_up_to(&registry, "1.0") >= 1.0, "down to one change");
        let all = metric(&registry, "batch_changes_count", None);
        assert!(batches_up_to(&registry, "64.0") < all, "and up again");
        assert!(metric(&registry, "batch_changes_max", None) > 64.0);
        assert_eq!(metric(&registry, "dead_letters_total", None), 0.0);
        assert_eq!(
            metric(&registry, "takeovers_total", None),
            1.0,
            "the leader went on with what it had in hand"
        );
        projector.stop().await;
    }
    watch.assert_never_went_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_short_of_something_makes_no_dead_letter() {
    let server = ReplicaSet::start(Options::default())
        .await
        .expect("a server");
    let uri = format!(
        "{}&appName={}",
        server.uri_for("board"),
        LEADER.replace(' ', "%20")
    );
    let board = Board::at(uri, 3).await;
    let mut registry = Registry::default();
    let projector = board.project_with(brisk(), &mut registry).await;
    fill(&board).await;
    board.assert_projected(&projector).await;

    // TemporarilyUnavailable, TransactionTooLargeForCache and ExceededTimeLimit, without a label that
    // says that they pass: more often than a refused batch is tried.
    for (round, code) in [(1, 365), (2, 388), (3, 262)] {
        server
            .fail_commands(LEADER, &["update"], doc! { "errorCode": code }, 8)
            .await
            .expect("a fail point");
        for id in 0..5 {
            let id = round * 1_000 + id;
            // Through another client, whose writes do not fail.
            let other = Board::open(server.uri_for("board"), None).await;
            other.add(comment(id, 1 + id % 3, "meanwhile")).await;
        }
        board.assert_projected(&projector).await;
    }
    assert_eq!(metric(&registry, "dead_letters_total", None), 0.0);
    assert_eq!(metric(&registry, "takeovers_total", None), 1.0);
    assert!(metric(&registry, "transactions_failed_total", None) >= 3.0);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_older_leaders_wrote_is_read_in_the_session_that_took_over() {
    let board = Board::with_posts(40).await;
    let commands: Arc<Mutex<Vec<Document>>> = Arc::default();
    let spy = {
        let commands = commands.clone();
        EventHandler::callback(move |event| {
            if let CommandEvent::Started(started) = event {
                commands.lock().expect("the log").push(started.command);
            }
        })
    };
    let mut options = ClientOptions::parse(&board.uri).await.expect("options");
    options.command_event_handler = Some(spy);
    let client = Client::with_options(options).expect("a client");
    let settings = brisk().build_chunk(1);
    let projector = board
        .project_through(client, settings, &mut Registry::default())
        .await;
    let reads_of_as_of = || {
        let commands = commands.lock().expect("the log");
        let of_as_of = |command: &&Document| {
            command.get_str("find").is_ok_and(|of| of == "posts")
                && command
                    .get_document("projection")
                    .is_ok_and(|fields| fields.contains_key("feed.g1.asOf"))
        };
        commands
            .iter()
            .filter(of_as_of)
            .cloned()
            .collect::<Vec<_>>()
    };
    // Written while the build is under way, so that some changes are in computed states already.
    let last = AtomicI64::new(0);
    until("a batch asks as of when states were computed", || {
        let id = 1 + last.fetch_add(1, Ordering::Relaxed);
        let comment = comment(id, 1 + id % 40, "text");
        let board = &board;
        async move {
            board.add(comment).await;
            !reads_of_as_of().is_empty()
        }
    })
    .await;
    projector.stop().await;

    let claim = commands
        .lock()
        .expect("the log")
        .iter()
        .find(|command| {
            command
                .get_str("findAndModify")
                .is_ok_and(|of| of == "changefeed_checkpoints")
        })
        .cloned()
        .expect("the claim of the checkpoint");
    for read in reads_of_as_of() {
        assert_eq!(read.get("lsid"), claim.get("lsid"), "{read}");
        let concern = read.get_document("readConcern").expect("a read concern");
        assert!(concern.contains_key("afterClusterTime"), "{read}");
    }
}
