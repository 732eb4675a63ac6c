//! Subscribers that leave, stall and come back at the worst moments, while servers and collections go away.

mod board;

use std::sync::Arc;
use std::time::Duration;

use board::{Board, Comment, PATIENCE, comment, hub_metric, until};
use changefeed::{Change, Cursor, Hub, HubMetrics, HubSettings, Source, Subscription, TopicError};
use embedded_mongo::{Options, ReplicaSet};
use futures_util::{FutureExt, StreamExt};
use prometheus_client::registry::Registry;

/// A hub and what it counts.
struct Counted {
    hub: Hub<Comment>,
    registry: Registry,
}

impl Counted {
    async fn start(source: Source, settings: HubSettings) -> Self {
        let mut registry = Registry::default();
        let metrics = HubMetrics::register(&mut registry);
        let hub = Hub::start(source, "post", settings, metrics).await;
        Self {
            hub: hub.expect("the hub starts"),
            registry,
        }
    }

    async fn resume(&self, post: i64, cursor: &str) -> Subscription<Comment> {
        let resumed = self.hub.subscribe(post, Some(cursor)).await;
        resumed.expect("our own cursor")
    }

    fn metric(&self, name: &str) -> f64 {
        hub_metric(&self.registry, name)
    }

    /// Nobody is left, and nothing is kept for anybody.
    async fn until_nothing_is_left(&self) {
        until("nothing is left", || async {
            let left = [
                "catch_up_bytes",
                "catch_ups_waiting",
                "catching_up",
                "subscribers",
            ];
            left.iter().all(|name| self.metric(name) == 0.0)
        })
        .await;
    }
}

/// Without a past in its rings.
fn late() -> HubSettings {
    HubSettings::default()
        .start_before(Duration::ZERO)
        .look_back(Duration::ZERO)
        .catch_up_buffer_count_max(512)
        .catch_up_buffer_bytes_max(512 << 10)
}

type Item = Result<(Cursor, Arc<Change<Comment>>), TopicError>;

async fn next(changes: &mut Subscription<Comment>) -> Item {
    let next = tokio::time::timeout(PATIENCE, changes.next()).await;
    next.expect("something comes in time")
        .expect("the subscription goes on")
}

async fn next_id(changes: &mut Subscription<Comment>) -> i64 {
    id(&next(changes).await.expect("a change").1)
}

fn id(change: &Change<Comment>) -> i64 {
    change.key.as_i64().expect("our ids")
}

/// The cursor of this moment.
async fn cursor_now(board: &Board, post: i64) -> String {
    let counted = Counted::start(board.source().await, late()).await;
    let changes = counted.hub.subscribe(post, None).await.expect("subscribed");
    let cursor = changes.start().to_string();
    counted.hub.stop().await;
    cursor
}

/// Comments of one post with these ids.
async fn add(board: &Board, ids: std::ops::RangeInclusive<i64>, post: i64, text: &str) {
    let many = ids.map(|id| comment(id, post, text));
    board.comments.insert_many(many).await.expect("stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_at_any_wait_leaves_nothing_and_harms_nobody() {
    let board = Board::with_posts(1).await;
    let cursor = cursor_now(&board, 1).await;
    add(&board, 1..=600, 1, "text").await;
    let later = Counted::start(board.source().await, late()).await;
    let (hub, place) = (later.hub.clone(), cursor.clone());
    let honest = tokio::spawn(async move {
        for _ in 0..5 {
            let resumed = hub.subscribe(1_i64, Some(&place)).await;
            let mut resumed = resumed.expect("our own cursor");
            for expected in 1..=600 {
                assert_eq!(next_id(&mut resumed).await, expected);
            }
        }
    });
    // Each is polled once more than the one before, and then leaves.
    for polls in 0..300 {
        let mut leaving = later.resume(1, &cursor).await;
        let mut expected = 1;
        for _ in 0..polls {
            match leaving.next().now_or_never() {
                None => tokio::task::yield_now().await,
                Some(item) => {
                    let (_, change) = item.expect("it goes on").expect("a change");
                    assert_eq!(id(&change), expected);
                    expected += 1;
                }
            }
        }
    }
    honest.await.expect("each gets its changes");
    later.until_nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_that_take_one_change_and_stop_do_not_starve_one_that_reads() {
    let board = Board::with_posts(1).await;
    let cursor = cursor_now(&board, 1).await;
    add(&board, 1..=2_000, 1, &"x".repeat(500)).await;
    let later = Counted::start(board.source().await, late()).await;
    let stopping = (0..300).map(|_| async {
        let mut one = later.resume(1, &cursor).await;
        assert_eq!(next_id(&mut one).await, 1);
        one
    });
    let mut stopped = futures_util::future::join_all(stopping).await;
    let mut honest = later.resume(1, &cursor).await;
    for expected in 1..=2_000 {
        assert_eq!(next_id(&mut honest).await, expected);
    }
    // Each of them goes on where it was.
    for one in stopped.iter_mut().step_by(100) {
        for expected in 2..=2_000 {
            assert_eq!(next_id(one).await, expected);
        }
    }
    drop((stopped, honest));
    later.until_nothing_is_left().await;
}

/// One transaction is one time in the history: cursors within it name a change, not a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_within_a_transaction_goes_on_within_it() {
    let board = Board::with_posts(2).await;
    let start = cursor_now(&board, 1).await;
    let client = board.client().await;
    let comments = client
        .database(board.database.name())
        .collection("comments");
    let mut session = client.start_session().await.expect("a session");
    session.start_transaction().await.expect("begun");
    for id in 1..=40_i64 {
        let one = comment(id, 1 + id % 2, "text");
        let inserted = comments.insert_one(one).session(&mut session).await;
        inserted.expect("stored");
    }
    session.commit_transaction().await.expect("committed");
    let of_post = |post: i64| (1..=40_i64).filter(move |id| 1 + id % 2 == post);
    let later = Counted::start(board.source().await, late()).await;
    let mut all = later.resume(1, &start).await;
    let mut cursors = vec![start.clone()];
    for expected in of_post(1) {
        let (cursor, change) = next(&mut all).await.expect("a change");
        assert_eq!(id(&change), expected);
        cursors.push(cursor.to_string());
    }
    // All at once, so that one reading serves all these places.
    let resuming = cursors.iter().enumerate().map(|(taken, cursor)| {
        let later = &later;
        async move {
            let mut resumed = later.resume(1, cursor).await;
            for expected in of_post(1).skip(taken) {
                assert_eq!(next_id(&mut resumed).await, expected);
            }
            resumed
        }
    });
    let mut resumed = futures_util::future::join_all(resuming).await;
    board.add(comment(100, 1, "after it")).await;
    for one in &mut resumed {
        assert_eq!(next_id(one).await, 100);
    }
}

/// A ring that is written quickly while many join it: the change of hands must neither lose nor repeat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_a_ring_that_is_written_quickly_neither_loses_nor_repeats() {
    const CHANGES: i64 = 3_000;
    let board = Arc::new(Board::with_posts(1).await);
    let start = cursor_now(&board, 1).await;
    add(&board, 1..=500, 1, "text").await;
    let settings = late().ring_count_max(64);
    let later = Arc::new(Counted::start(board.source().await, settings).await);
    let writing = tokio::spawn({
        let board = board.clone();
        async move {
            for first in (501..=CHANGES).step_by(20) {
                add(&board, first..=first + 19, 1, "late").await;
            }
        }
    });
    let reading = (0..40).map(|_| {
        let (later, mut cursor) = (later.clone(), start.clone());
        tokio::spawn(async move {
            let mut expected = 1;
            while expected <= CHANGES {
                let mut resumed = later.resume(1, &cursor).await;
                while expected <= CHANGES {
                    match next(&mut resumed).await {
                        Ok((after, change)) => {
                            assert_eq!(id(&change), expected);
                            (cursor, expected) = (after.to_string(), expected + 1);
                        }
                        Err(TopicError::Lagged { cursor: after, .. }) => {
                            assert_eq!(after.as_str(), cursor);
                            break;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        })
    });
    for one in reading.collect::<Vec<_>>() {
        one.await.expect("each gets all, once and in order");
    }
    writing.await.expect("written");
    later.until_nothing_is_left().await;
}

/// Each change alone is nearly as large as all buffers may be together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_changes_are_caught_up_with_by_many_within_the_bound_of_all() {
    let (size, bound) = (1_000_000, 1_200_000);
    let board = Board::with_posts(2).await;
    let starts = [cursor_now(&board, 1).await, cursor_now(&board, 2).await];
    for id in 1..=4 {
        board.add(comment(id, 1, &"x".repeat(size))).await;
        board.add(comment(100 + id, 2, "small")).await;
    }
    let settings = late().catch_up_bytes_max(bound);
    let later = Counted::start(board.source().await, settings).await;
    // They ask and take nothing.
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut one = later.resume(1, &starts[0]).await;
        assert!(one.next().now_or_never().is_none());
        stalled.push(one);
    }
    let mut small = later.resume(2, &starts[1]).await;
    for expected in 101..=104 {
        assert_eq!(next_id(&mut small).await, expected);
        // One event more than the bound may be on its way.
        let waiting = later.metric("catch_up_bytes");
        assert!(waiting <= (bound + 2 * size) as f64, "{waiting}");
    }
    for mut one in stalled.into_iter().take(3) {
        for expected in 1..=4 {
            assert_eq!(next_id(&mut one).await, expected);
        }
    }
    drop(small);
    later.until_nothing_is_left().await;
}

/// On one thread, so that the hub's task reads nothing before the subscription is there.
#[tokio::test]
async fn a_subscriber_from_now_on_does_not_lag_for_what_was_before() {
    let board = Board::with_posts(1).await;
    add(&board, 1..=500, 1, "before").await;
    // The past goes through a ring that is far smaller, while nobody polls.
    let settings = HubSettings::default().ring_count_max(8);
    let hub = Counted::start(board.source().await, settings).await;
    let mut changes = hub.hub.subscribe(1_i64, None).await.expect("subscribed");
    until("the past is in the ring", || async {
        hub.metric("changes_total") >= 500.0
    })
    .await;
    board.add(comment(501, 1, "after")).await;
    assert_eq!(next_id(&mut changes).await, 501);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_just_before_the_start_is_reported_to_who_prepares_the_collection() {
    let board = Board::with_posts(1).await;
    board.add(comment(1, 1, "dropped")).await;
    board.comments.drop().await.expect("dropped");
    let source = board.source().await;
    let hub = Counted::start(source.clone(), HubSettings::default()).await;
    let gone = tokio::time::timeout(PATIENCE, source.gone()).await;
    gone.expect("what was prepared is gone");
    let mut changes = hub.hub.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(2, 1, "new")).await;
    assert_eq!(next_id(&mut changes).await, 2);
}

/// Cursors on both sides of each end of the collection, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_ends_those_alone_who_come_from_before_it() {
    let board = Board::with_posts(1).await;
    let before = cursor_now(&board, 1).await;
    add(&board, 1..=3, 1, "renamed").await;
    let just_before = cursor_now(&board, 1).await;
    embedded_mongo::rename_collection(&board.database, "comments", "elsewhere")
        .await
        .expect("renamed");
    let just_after = cursor_now(&board, 1).await;
    add(&board, 4..=6, 1, "text").await;
    let later = Counted::start(board.source().await, late()).await;
    let mut old = later.resume(1, &before).await;
    let mut older = later.resume(1, &just_before).await;
    let mut new = later.resume(1, &just_after).await;
    let (old, older) = tokio::join!(
        async {
            loop {
                if let Err(error) = next(&mut old).await {
                    return error;
                }
            }
        },
        async { next(&mut older).await.expect_err("renamed since") }
    );
    assert_eq!(
        (old, older),
        (TopicError::ResyncRequired, TopicError::ResyncRequired)
    );
    for expected in 4..=6 {
        assert_eq!(next_id(&mut new).await, expected);
    }
}

/// The cursors of hundreds are lost one after another while readings run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oplog_that_rolls_over_ends_those_alone_who_need_it() {
    let options = Options::default().oplog_megabytes(4);
    let server = ReplicaSet::start(options).await.expect("a server");
    let board = Arc::new(Board::at(server.uri_for("rolls"), 1).await);
    let mut cursors = vec![cursor_now(&board, 1).await];
    let early = Counted::start(board.source().await, HubSettings::default()).await;
    let mut changes = early.resume(1, &cursors[0]).await;
    for number in 1..=60 {
        add(&board, number..=number, 1, &"x".repeat(200_000)).await;
        cursors.push(next(&mut changes).await.expect("a change").0.to_string());
    }
    drop(changes);
    early.hub.stop().await;
    let later = Arc::new(Counted::start(board.source().await, late()).await);
    let resume_all = || {
        let resuming = cursors.iter().cloned().enumerate().map(|(taken, cursor)| {
            let later = later.clone();
            tokio::spawn(async move {
                let mut resumed = later.resume(1, &cursor).await;
                for expected in taken as i64 + 1..=61 {
                    match next(&mut resumed).await {
                        Ok((_, change)) => assert_eq!(id(&change), expected),
                        Err(TopicError::ResyncRequired) => return false,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                true
            })
        });
        resuming.collect::<Vec<_>>()
    };
    // Some read while the history goes, the others come when it is gone.
    let meanwhile = resume_all();
    board.forget().await;
    let afterwards = resume_all();
    add(&board, 61..=61, 1, "last").await;
    for one in meanwhile {
        one.await.expect("in order, and without a gap");
    }
    let mut complete = Vec::new();
    for one in afterwards {
        complete.push(one.await.expect("in order, and without a gap"));
    }
    assert!(!complete[0], "the oldest is lost");
    assert!(
        complete.is_sorted(),
        "those alone that are older: {complete:?}"
    );
    later.until_nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_survive_a_new_primary_and_a_server_that_stands_still() {
    let options = Options::default().nodes(3);
    let mut server = ReplicaSet::start(options).await.expect("servers");
    let board = Board::at(server.uri_for("moves"), 1).await;
    let cursor = cursor_now(&board, 1).await;
    for first in (1..=2_000).step_by(500) {
        add(&board, first..=first + 499, 1, "text").await;
    }
    let later = Arc::new(Counted::start(board.source().await, late()).await);
    let primary = server.primary().await.expect("a primary");
    server.pause_node(primary);
    let resuming: Vec<_> = (0..50)
        .map(|_| {
            let (later, cursor) = (later.clone(), cursor.clone());
            tokio::spawn(async move {
                let mut resumed = later.resume(1, &cursor).await;
                for expected in 1..=2_001 {
                    assert_eq!(next_id(&mut resumed).await, expected);
                }
            })
        })
        .collect();
    until("all wait", || async {
        later.metric("catch_ups_total") >= 50.0
    })
    .await;
    server.resume_node(primary);
    server.step_down_primary().await.expect("another primary");
    board.add(comment(2_001, 1, "after it")).await;
    for one in resuming {
        one.await.expect("each gets all, once and in order");
    }
    later.until_nothing_is_left().await;
}

/// How long a subscriber that was away for a moment waits, alone and among hundreds with old cursors.
/// Prints both; run it with `--nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_subscriber_resumes_among_hundreds_with_old_cursors() {
    let board = Board::with_posts(20).await;
    let mut old = Vec::new();
    for post in 1..=20 {
        old.push(cursor_now(&board, post).await);
    }
    for post in 1..=20 {
        add(
            &board,
            1_000 * post..=1_000 * post + 999,
            post,
            &"x".repeat(400),
        )
        .await;
    }
    let recent = cursor_now(&board, 1).await;
    add(&board, 1..=50, 1, "text").await;
    let later = Arc::new(Counted::start(board.source().await, late()).await);
    let resume = async |later: &Counted| {
        let began = std::time::Instant::now();
        let mut honest = later.resume(1, &recent).await;
        for expected in 1..=50 {
            assert_eq!(next_id(&mut honest).await, expected);
        }
        began.elapsed()
    };
    let alone = resume(&later).await;
    let attackers: Vec<_> = (0..600_usize)
        .map(|number| {
            let (later, old) = (later.clone(), old.clone());
            tokio::spawn(async move {
                let post = number % 20;
                // Takes some and comes back for the same, or stops.
                loop {
                    let mut one = later.resume(post as i64 + 1, &old[post]).await;
                    for _ in 0..number {
                        let _ = next(&mut one).await;
                    }
                    if number % 3 == 0 {
                        std::future::pending::<()>().await;
                    }
                }
            })
        })
        .collect();
    until("they are there", || async {
        later.metric("catch_ups_total") >= 600.0
    })
    .await;
    let mut attacked = Vec::new();
    for _ in 0..5 {
        attacked.push(resume(&later).await);
    }
    println!("the honest resume alone: {alone:?}, among 600: {attacked:?}");
    println!("readings: {}", later.metric("catch_up_readings_total"));
    for attacker in attackers {
        attacker.abort();
    }
    later.until_nothing_is_left().await;
}
