//! How soon another instance leads when one is killed, and that neither a pause of the database nor a wrong clock
//! changes who leads or who is ready.

mod board;

use std::process::Command;
use std::time::Duration;

use board::process::{self, Instance};
use board::{Board, PATIENCE, brisk, comment, metric, until};
use changefeed::ProjectorSettings;
use embedded_mongo::{Options, ReplicaSet};
use prometheus_client::registry::Registry;

/// As long as a reader waits for a write at most.
const BARRIER: Duration = Duration::from_secs(5);

/// What services use, but for the auditor.
fn settings() -> ProjectorSettings {
    ProjectorSettings::default().audit_interval(Duration::ZERO)
}

/// Not a test of its own: what the other tests start as another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_in_another_process() {
    process::run_if_asked(settings()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_their_writes_do_not_notice_that_the_leader_was_killed() {
    let board = Board::with_posts(1).await;
    let mut leader = Instance::start(&board, None);
    leader.said("leading").await;
    let standby = board.project(settings()).await;
    leader.kill();
    board.add(comment(1, 1, "after its death")).await;
    // Its lease runs out long before readers give up, and then the other one leads, as the next test shows.
    let left = board.lease_left().await;
    assert!(left <= BARRIER * 3 / 5, "{left:?}");
    let passed = standby.wait_until_passed(board.now().await, PATIENCE);
    assert!(passed.await.is_ok());
    assert!(standby.lag().leading);
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_when_the_lease_runs_out_and_not_when_it_looks_next() {
    let board = Board::with_posts(1).await;
    let mut leader = Instance::start(&board, None);
    leader.said("leading").await;
    let looks_rarely = settings().heartbeat(Duration::from_secs(3_600));
    let standby = board.project(looks_rarely).await;
    leader.kill();
    until("it leads", || async { standby.lag().leading }).await;
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_while_it_renews_its_lease_leaves_it_free() {
    let board = Board::with_posts(1).await;
    // A lease that is not given up keeps the next one waiting for longer than this test waits.
    let settings = || {
        brisk()
            .heartbeat(Duration::from_millis(1))
            .lease(Duration::from_secs(600))
    };
    for _ in 0..30 {
        let leader = board.project(settings()).await;
        until("it leads", || async { leader.lag().leading }).await;
        leader.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_the_database_longer_than_the_lease_replaces_no_leader() {
    let mut server = ReplicaSet::start(Options::default())
        .await
        .expect("a server");
    let board = Board::at(server.uri_for("board"), 1).await;
    // When the database is back, the leader has this time to renew.
    let lease = Duration::from_secs(4);
    let settings = || brisk().lease(lease).heartbeat(lease / 3);
    let (mut of_leader, mut of_standby) = (Registry::default(), Registry::default());
    let leader = board.project_with(settings(), &mut of_leader).await;
    until("it leads", || async { leader.lag().leading }).await;
    let standby = board.project_with(settings(), &mut of_standby).await;
    for id in 1..=2 {
        server.pause_node(0);
        tokio::time::sleep(lease * 3 / 2).await;
        server.resume_node(0);
        board.add(comment(id, 1, "after the pause")).await;
        board.assert_projected(&standby).await;
    }
    assert_eq!(metric(&of_leader, "takeovers_total", None), 1.0);
    assert_eq!(metric(&of_standby, "takeovers_total", None), 0.0);
    standby.stop().await;
    leader.stop().await;
}

/// Wraps the clock of a process: its wall clock is wrong by `CLOCK_SKEW_SECONDS`.
#[cfg(target_os = "linux")]
const SKEWED_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    long result = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec += SKEW_SECONDS;
    return (int)result;
}
"#;

/// A library that puts the wall clock of a process so many seconds ahead.
#[cfg(target_os = "linux")]
fn skewed_clock(seconds: i64) -> std::ffi::OsString {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = folder.join(format!("skewed_clock_{seconds}.c"));
    let library = source.with_extension("so");
    std::fs::write(&source, SKEWED_CLOCK).expect("the source");
    let compiled = Command::new("cc")
        .args([
            "-shared",
            "-fPIC",
            &format!("-DSKEW_SECONDS=({seconds})"),
            "-o",
        ])
        .args([&library, &source])
        .status();
    assert!(compiled.is_ok_and(|status| status.success()), "cc compiles");
    library.into_os_string()
}

/// The leader's wall clock is wrong by more than the lag up to which an instance is ready.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_wall_clock_makes_nobody_late() {
    for seconds in [-3_600, 3_600] {
        let board = Board::with_posts(1).await;
        let preload = ("LD_PRELOAD", skewed_clock(seconds));
        let mut leader = Instance::start_with(&board, Some(preload));
        leader.said("leading").await;
        let standby = board
            .project(settings().idle_checkpoint(Duration::ZERO))
            .await;
        board.add(comment(1, 1, "a comment")).await;
        board.assert_projected(&standby).await;
        let is_level = || async { standby.lag().behind < Duration::from_secs(20) };
        // Stored with the quiet stream's position, on the leader's idea of the time.
        let stored = idle_checkpoints(&board).await;
        until("the quiet stream's position is stored", || async {
            idle_checkpoints(&board).await > stored
        })
        .await;
        until("the standby has read it", is_level).await;
        assert_eq!(standby.ready(), Ok(()), "{seconds}");
        let level = board
            .own("changefeed_checkpoints")
            .find_one(bson::doc! {})
            .await;
        let level = level.expect("read").expect("a checkpoint");
        let level = level
            .get_datetime("level")
            .expect("a time")
            .timestamp_millis();
        let wrong = (bson::DateTime::now().timestamp_millis() - level).abs();
        assert!(wrong < 60_000, "level by {wrong} ms");
        leader.kill();
        standby.stop().await;
    }
}

#[cfg(target_os = "linux")]
async fn idle_checkpoints(board: &Board) -> bson::Timestamp {
    let checkpoint = board
        .own("changefeed_checkpoints")
        .find_one(bson::doc! {})
        .await;
    let checkpoint = checkpoint.expect("read").expect("a checkpoint");
    checkpoint.get_timestamp("position").expect("a time")
}
