//! Subscribers that come back with cursors older than the rings: who is read for, and who waits for whom.

mod board;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use board::{Board, Comment, PATIENCE, comment, hub_metric, until};
use changefeed::{Change, Cursor, Hub, HubMetrics, HubSettings, Source, Subscription, TopicError};
use embedded_mongo::{Options, ReplicaSet};
use futures_util::StreamExt;
use mongodb::Client;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use prometheus_client::registry::Registry;

/// A hub whose rings have none of the changes so far, and what it counts.
struct Later {
    hub: Hub<Comment>,
    registry: Registry,
}

impl Later {
    async fn start(board: &Board, settings: HubSettings) -> Self {
        Self::of(board.source().await, settings).await
    }

    async fn of(source: Source, settings: HubSettings) -> Self {
        let mut registry = Registry::default();
        let settings = settings
            .start_before(Duration::ZERO)
            .look_back(Duration::ZERO)
            .catch_up_readers_max(1)
            .catch_up_buffer_count_max(512)
            .catch_up_buffer_bytes_max(512 << 10);
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

    /// Resumes and reads so many changes.
    fn read(
        &self,
        post: i64,
        cursor: &str,
        count: usize,
    ) -> tokio::task::JoinHandle<Result<Vec<i64>, TopicError>> {
        let (hub, cursor) = (self.hub.clone(), cursor.to_owned());
        tokio::spawn(async move {
            let resumed = hub.subscribe(post, Some(&cursor)).await;
            let mut resumed = resumed.expect("our own cursor");
            let mut ids = Vec::new();
            while ids.len() < count {
                ids.push(id(&next(&mut resumed).await?.1));
            }
            Ok(ids)
        })
    }

    fn metric(&self, name: &str) -> f64 {
        hub_metric(&self.registry, name)
    }

    async fn until_metric(&self, name: &str, value: f64) {
        until(&format!("{name} is {value}"), || async {
            self.metric(name) == value
        })
        .await;
    }
}

type Item = (Cursor, Arc<Change<Comment>>);

async fn next(changes: &mut Subscription<Comment>) -> Result<Item, TopicError> {
    let next = tokio::time::timeout(PATIENCE, changes.next()).await;
    next.expect("something comes in time")
        .expect("the subscription goes on")
}

fn id(change: &Change<Comment>) -> i64 {
    change.key.as_i64().expect("our ids")
}

/// The cursors of this moment, of the posts from 1 to `posts`.
async fn cursors(board: &Board, posts: i64) -> Vec<String> {
    let hub: Hub<Comment> = Hub::start(
        board.source().await,
        "post",
        HubSettings::default(),
        HubMetrics::register(&mut Registry::default()),
    )
    .await
    .expect("the hub starts");
    let mut cursors = Vec::new();
    for post in 1..=posts {
        let changes = hub.subscribe(post, None).await.expect("subscribed");
        cursors.push(changes.start().to_string());
    }
    hub.stop().await;
    cursors
}

/// Comments with the ids from 1 to `count`, on the posts from 1 to `posts` in turns.
async fn add(board: &Board, count: i64, posts: i64, text: &str) {
    let many = (1..=count).map(|id| comment(id, 1 + (id - 1) % posts, text));
    board.comments.insert_many(many).await.expect("stored");
}

/// The ids of one post's comments among them.
fn ids(count: i64, posts: i64, post: i64) -> Vec<i64> {
    let all = 1..=count;
    all.filter(|id| 1 + (id - 1) % posts == post).collect()
}

async fn server() -> ReplicaSet {
    let server = ReplicaSet::start(Options::default()).await;
    server.expect("a server")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_wait_are_served_by_one_reading() {
    let (mut server, posts) = (server().await, 20);
    let board = Board::at(server.uri_for("board"), posts).await;
    let cursors = cursors(&board, posts).await;
    add(&board, 400, posts, "text").await;
    let later = Later::start(&board, HubSettings::default()).await;
    let read = |post: i64| {
        let cursor = &cursors[usize::try_from(post - 1).expect("a post")];
        later.read(post, cursor, 20)
    };
    // A server that stands still keeps the first reading from its end until all others wait.
    server.pause_node(0);
    let first = read(1);
    later.until_metric("catch_up_readings_total", 1.0).await;
    let others: Vec<_> = (0..600)
        .map(|number| 1 + number % posts)
        .map(|post| (post, read(post)))
        .collect();
    later.until_metric("catch_ups_waiting", 600.0).await;
    server.resume_node(0);
    assert_eq!(first.await.expect("no panic"), Ok(ids(400, posts, 1)));
    for (post, other) in others {
        assert_eq!(other.await.expect("no panic"), Ok(ids(400, posts, post)));
    }
    assert_eq!(later.metric("catch_up_readings_total"), 2.0);
    until("nothing waits any more", || async {
        later.metric("catch_up_bytes") == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_topics_are_read_together() {
    // The server looks for the topics of the first reading; it would be asked for too many of the second.
    for posts in [900, 1500] {
        let board = Board::with_posts(posts).await;
        let cursors = cursors(&board, posts).await;
        add(&board, posts, posts, "text").await;
        let later = Later::start(&board, HubSettings::default()).await;
        let mut all = Vec::new();
        for (post, cursor) in (1..=posts).zip(&cursors) {
            all.push((post, later.resume(post, cursor).await));
        }
        let reading = all.into_iter().map(|(post, mut resumed)| async move {
            let change = next(&mut resumed).await.map(|(_, change)| id(&change));
            assert_eq!(change, Ok(post));
        });
        futures_util::future::join_all(reading).await;
        assert!(later.metric("catch_up_readings_total") < 10.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_takes_nothing_holds_up_nobody_and_goes_on_later() {
    let board = Board::with_posts(1).await;
    let cursor = cursors(&board, 1).await.remove(0);
    add(&board, 3000, 1, "text").await;
    let later = Later::start(&board, HubSettings::default()).await;
    let mut stalled = later.resume(1, &cursor).await;
    let mut received = vec![id(&next(&mut stalled).await.expect("a change").1)];
    let quick = later.read(1, &cursor, 3000);
    assert_eq!(quick.await.expect("no panic"), Ok(ids(3000, 1, 1)));
    assert!(later.metric("catch_up_interruptions_total") >= 1.0);
    while received.len() < 3000 {
        received.push(id(&next(&mut stalled).await.expect("a change").1));
    }
    assert_eq!(received, ids(3000, 1, 1), "without a gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_those_who_take_nothing_is_bounded_in_all() {
    let (posts, bytes_max) = (30, 100_000);
    let board = Board::with_posts(posts).await;
    let cursors = cursors(&board, posts).await;
    add(&board, 300, posts, &"x".repeat(2_000)).await;
    let settings = HubSettings::default().catch_up_bytes_max(bytes_max);
    let later = Later::start(&board, settings).await;
    let mut stalled = Vec::new();
    for (post, cursor) in (1..=posts).zip(&cursors) {
        let mut one = later.resume(post, cursor).await;
        let first = id(&next(&mut one).await.expect("a change").1);
        stalled.push((post, one, vec![first]));
        // One event more than the bound may be on its way.
        let waiting = later.metric("catch_up_bytes");
        assert!(waiting <= bytes_max as f64 + 10_000.0, "{waiting}");
    }
    for (post, mut one, mut received) in stalled {
        while received.len() < 10 {
            received.push(id(&next(&mut one).await.expect("a change").1));
        }
        assert_eq!(received, ids(300, posts, post));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_who_leaves_frees_its_lane() {
    let mut server = server().await;
    let board = Board::at(server.uri_for("board"), 2).await;
    let cursors = cursors(&board, 2).await;
    add(&board, 10, 2, "text").await;
    let later = Later::start(&board, HubSettings::default()).await;
    server.pause_node(0);
    let leaving = later.read(1, &cursors[0], 5);
    later.until_metric("catch_up_readings_total", 1.0).await;
    let also_leaving = later.read(2, &cursors[1], 5);
    let staying = later.read(2, &cursors[1], 5);
    later.until_metric("catch_ups_waiting", 2.0).await;
    leaving.abort();
    also_leaving.abort();
    later.until_metric("catch_ups_waiting", 1.0).await;
    server.resume_node(0);
    assert_eq!(staying.await.expect("no panic"), Ok(ids(10, 2, 2)));
    later.until_metric("catching_up", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_ends_those_who_wait_with_their_cursor() {
    let mut server = server().await;
    let board = Board::at(server.uri_for("board"), 1).await;
    let cursor = cursors(&board, 1).await.remove(0);
    add(&board, 10, 1, "text").await;
    let settings = HubSettings::default().catch_up_wait_max(Duration::from_secs(1));
    let later = Later::start(&board, settings).await;
    server.pause_node(0);
    let reading = later.read(1, &cursor, 10);
    later.until_metric("catch_up_readings_total", 1.0).await;
    let waiting = later.read(1, &cursor, 10).await.expect("no panic");
    let lagged = waiting.expect_err("nobody reads for it");
    assert_eq!(lagged.code(), "SUBSCRIPTION_LAGGED");
    assert_eq!(lagged.cursor().map(Cursor::as_str), Some(cursor.as_str()));
    server.resume_node(0);
    assert_eq!(reading.await.expect("no panic"), Ok(ids(10, 1, 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_takes_too_long_ends_with_the_last_cursor() {
    let mut server = server().await;
    let board = Board::at(server.uri_for("board"), 1).await;
    let cursor = cursors(&board, 1).await.remove(0);
    add(&board, 10, 1, "text").await;
    let settings = HubSettings::default().catch_up_time_max(Duration::from_millis(50));
    let later = Later::start(&board, settings).await;
    server.pause_node(0);
    let reading = later.read(1, &cursor, 10).await.expect("no panic");
    let lagged = reading.expect_err("nothing comes");
    assert_eq!(lagged.code(), "SUBSCRIPTION_LAGGED");
    assert_eq!(lagged.cursor().map(Cursor::as_str), Some(cursor.as_str()));
    server.resume_node(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_longer_than_its_limit_ends_in_a_new_query() {
    let board = Board::with_posts(1).await;
    let cursor = cursors(&board, 1).await.remove(0);
    add(&board, 400, 1, "text").await;
    let settings = HubSettings::default().catch_up_count_max(100);
    let later = Later::start(&board, settings).await;
    let mut resumed = later.resume(1, &cursor).await;
    for expected in 1..=100 {
        assert_eq!(id(&next(&mut resumed).await.expect("a change").1), expected);
    }
    let ended = next(&mut resumed).await.expect_err("too long");
    assert_eq!(ended, TopicError::ResyncRequired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_stops_ends_those_who_catch_up_with_their_cursor() {
    let mut server = server().await;
    let board = Board::at(server.uri_for("board"), 1).await;
    let cursor = cursors(&board, 1).await.remove(0);
    add(&board, 10, 1, "text").await;
    let later = Later::start(&board, HubSettings::default()).await;
    server.pause_node(0);
    let reading = later.read(1, &cursor, 10);
    later.until_metric("catch_up_readings_total", 1.0).await;
    later.hub.stop().await;
    let stopped = reading.await.expect("no panic").expect_err("stopped");
    assert_eq!(stopped.code(), "FEED_STOPPED");
    assert_eq!(stopped.cursor().map(Cursor::as_str), Some(cursor.as_str()));
    later.until_metric("catching_up", 0.0).await;
    server.resume_node(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_ends_those_alone_who_come_from_before_it() {
    let mut server = server().await;
    let board = Board::at(server.uri_for("board"), 3).await;
    let before = cursors(&board, 3).await;
    add(&board, 9, 3, "dropped").await;
    board.comments.drop().await.expect("dropped");
    let after = cursors(&board, 3).await;
    add(&board, 9, 3, "text").await;
    let later = Later::start(&board, HubSettings::default()).await;
    server.pause_node(0);
    let reading = later.read(1, &after[0], 3);
    later.until_metric("catch_up_readings_total", 1.0).await;
    let (stale, fresh) = (later.read(2, &before[1], 4), later.read(3, &after[2], 3));
    later.until_metric("catch_ups_waiting", 2.0).await;
    server.resume_node(0);
    assert_eq!(reading.await.expect("no panic"), Ok(ids(9, 3, 1)));
    assert_eq!(
        stale.await.expect("no panic"),
        Err(TopicError::ResyncRequired)
    );
    assert_eq!(fresh.await.expect("no panic"), Ok(ids(9, 3, 3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_of_a_quiet_topic_shows_how_far_it_is() {
    let board = Board::with_posts(2).await;
    let cursor = cursors(&board, 2).await.remove(1);
    add(&board, 3000, 1, "of another topic").await;
    let shown = Arc::new(AtomicUsize::new(0));
    let counted = shown.clone();
    let mut options = ClientOptions::parse(&board.uri).await.expect("an address");
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Succeeded(answer) = event
            && let Ok(cursor) = answer.reply.get_document("cursor")
        {
            let batches = ["firstBatch", "nextBatch"].map(|name| cursor.get_array(name));
            let events: usize = batches.into_iter().flatten().map(Vec::len).sum();
            counted.fetch_add(events, Ordering::Relaxed);
        }
    }));
    let stream = Client::with_options(options).expect("a client");
    let source = Source::new(stream, board.database.clone(), "comments");
    let later = Later::of(source, HubSettings::default()).await;
    let mut resumed = later.resume(2, &cursor).await;
    let reading = tokio::spawn(async move { next(&mut resumed).await.map(|(_, at)| id(&at)) });
    later.until_metric("catch_up_readings_total", 1.0).await;
    later.until_metric("catching_up", 0.0).await;
    assert!(shown.load(Ordering::Relaxed) > 0);
    board.add(comment(4000, 2, "its own")).await;
    assert_eq!(reading.await.expect("no panic"), Ok(4000));
}

/// Each subscriber gets its topic's changes after its cursor, each once and in order: whatever others do,
/// however slowly it reads, and while more is written.
async fn storm(settings: HubSettings, seed: u64) -> Later {
    let (posts, early, late) = (5, 1500_usize, 300);
    let board = Board::with_posts(posts).await;
    let starts = cursors(&board, posts).await;
    add(&board, early as i64, posts, &"x".repeat(300)).await;
    // Where a subscriber may stand: after so many changes of its post.
    let of_post = early / posts as usize;
    let mut places: Vec<Vec<String>> = Vec::new();
    let source = Later::start(&board, HubSettings::default()).await;
    for (post, start) in (1..=posts).zip(&starts) {
        let mut changes = source.resume(post, start).await;
        let mut of_this = vec![start.clone()];
        for _ in 0..of_post {
            of_this.push(next(&mut changes).await.expect("a change").0.to_string());
        }
        places.push(of_this);
    }
    source.hub.stop().await;
    let settings = settings.ring_count_max(16);
    let later = Later::start(&board, settings).await;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut running = Vec::new();
    for number in 0..60 {
        let post = random.usize(..posts as usize);
        let place = random.usize(..=of_post);
        let mut cursor = places[post][place].clone();
        let (hub, mut random) = (later.hub.clone(), random.fork());
        let leaves = number % 3 == 0;
        running.push(tokio::spawn(async move {
            let post = post as i64 + 1;
            let all = ids((early + late) as i64, posts, post);
            let left = &all[place..];
            let count = if leaves {
                random.usize(..=left.len())
            } else {
                left.len()
            };
            let is_slow = random.bool();
            let mut received = Vec::new();
            'resume: while received.len() < count {
                let resumed = hub.subscribe(post, Some(&cursor)).await;
                let mut resumed = resumed.expect("our own cursor");
                while received.len() < count {
                    match next(&mut resumed).await {
                        Ok((after, change)) => {
                            received.push(id(&change));
                            cursor = after.to_string();
                        }
                        // A ring of 16 is lost now and then.
                        Err(TopicError::Lagged { cursor: after, .. }) => {
                            cursor = after.to_string();
                            continue 'resume;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                    // Longer than any reading waits, at the first change, and sometimes later.
                    if is_slow && (received.len() == 1 || random.u8(..) < 2) {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                }
            }
            assert_eq!(received, left[..count], "post {post} from {place}");
        }));
    }
    for id in early + 1..=early + late {
        let post = 1 + (id as i64 - 1) % posts;
        board.add(comment(id as i64, post, "late")).await;
    }
    for one in running {
        one.await.expect("each gets its changes");
    }
    until("nothing waits any more", || async {
        later.metric("catch_up_bytes") == 0.0 && later.metric("subscribers") == 0.0
    })
    .await;
    later
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gets_its_own_changes_in_order_whoever_reads_beside() {
    storm(HubSettings::default(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gets_its_own_changes_however_often_readings_and_buffers_make_way() {
    let settings = HubSettings::default()
        .catch_up_turn_max(Duration::from_millis(10))
        .catch_up_bytes_max(60_000);
    let later = storm(settings, 2).await;
    assert!(later.metric("catch_up_interruptions_total") > 0.0);
    assert!(later.metric("catch_up_readings_total") > 10.0);
}
