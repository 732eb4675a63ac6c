//! Subscribers that come back to topics that the rings have forgotten: what the hub remembers is enough where nothing
//! happened since, and never hides a change.

mod board;

use std::time::Duration;

use board::{Board, Comment, PATIENCE, comment, hub_metric, until};
use bson::doc;
use changefeed::{Hub, HubMetrics, HubSettings, Subscription, TopicError};
use futures_util::StreamExt;
use prometheus_client::registry::Registry;

/// Rings forget a change after this time. Longer than a subscriber that is polled takes to get one, also on a busy machine.
const RING_AGE: Duration = Duration::from_secs(2);

struct Counted {
    hub: Hub<Comment>,
    registry: Registry,
}

impl Counted {
    async fn start(board: &Board, settings: HubSettings) -> Self {
        Self::with_rings(board, settings.ring_age_max(RING_AGE)).await
    }

    /// One whose rings are as the settings say: by default, they keep what comes while a slow machine looks back.
    async fn with_rings(board: &Board, settings: HubSettings) -> Self {
        let mut registry = Registry::default();
        let metrics = HubMetrics::register(&mut registry);
        let settings = settings.start_before(Duration::ZERO);
        let hub = Hub::start(board.source().await, "post", settings, metrics).await;
        Self {
            hub: hub.expect("the hub starts"),
            registry,
        }
    }

    /// One that remembers nothing of what was before its start.
    async fn without_past(board: &Board) -> Self {
        Self::start(board, HubSettings::default().look_back(Duration::ZERO)).await
    }

    /// One that has looked through its past.
    async fn with_past(board: &Board, settings: HubSettings) -> Self {
        let counted = Self::start(board, settings).await;
        until("the past was looked through", || async {
            counted.metric("remembered_seconds") > 30.0
        })
        .await;
        counted
    }

    async fn resume(&self, post: i64, cursor: &str) -> Subscription<Comment> {
        let resumed = self.hub.subscribe(post, Some(cursor)).await;
        resumed.expect("our own cursor")
    }

    async fn cursor_now(&self, post: i64) -> String {
        let subscribed = self.hub.subscribe(post, None).await.expect("subscribed");
        subscribed.start().to_string()
    }

    /// Waits until so many changes have come and none of them is in a ring.
    async fn until_forgotten(&self, changes: u32) {
        until("the rings are empty", || async {
            self.metric("changes_total") >= changes.into() && self.metric("topics") == 0.0
        })
        .await;
    }

    fn metric(&self, name: &str) -> f64 {
        hub_metric(&self.registry, name)
    }
}

async fn next(changes: &mut Subscription<Comment>) -> Result<(String, i64), TopicError> {
    let next = tokio::time::timeout(PATIENCE, changes.next()).await;
    let item = next.expect("something comes in time");
    let (cursor, change) = item.expect("the subscription goes on")?;
    Ok((cursor.to_string(), change.key.as_i64().expect("our ids")))
}

/// The changes up to that of this id, and the cursor after it.
async fn read_to(changes: &mut Subscription<Comment>, last: i64) -> (Vec<i64>, String) {
    let mut ids = Vec::new();
    loop {
        let (cursor, id) = next(changes).await.expect("a change");
        ids.push(id);
        if id == last {
            return (ids, cursor);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_topic_needs_no_reading() {
    let board = Board::with_posts(3).await;
    let counted = Counted::without_past(&board).await;
    let before = [counted.cursor_now(1).await, counted.cursor_now(2).await];
    let mut changes = counted
        .hub
        .subscribe(2_i64, None)
        .await
        .expect("subscribed");
    board.add(comment(1, 2, "of the second")).await;
    board.add(comment(2, 2, "of the second")).await;
    let (_, last) = read_to(&mut changes, 2).await;
    drop(changes);
    board.add(comment(3, 3, "of the third")).await;
    counted.until_forgotten(3).await;
    let mut quiet = counted.resume(1, &before[0]).await;
    let mut level = counted.resume(2, &last).await;
    let (of_quiet, ()) = tokio::join!(next(&mut quiet), board.add(comment(4, 1, "next")));
    let (of_level, ()) = tokio::join!(next(&mut level), board.add(comment(5, 2, "next")));
    assert_eq!(of_quiet.expect("a change").1, 4);
    assert_eq!(of_level.expect("a change").1, 5);
    assert_eq!(counted.metric("catch_ups_total"), 0.0);
    assert_eq!(counted.metric("resumed_in_memory_total"), 2.0);
    // Whoever has missed something gets it, from the history.
    let mut missed = counted.resume(2, &before[1]).await;
    assert_eq!(read_to(&mut missed, 5).await.0, [1, 2, 5]);
    assert_eq!(counted.metric("catch_ups_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_hub_knows_from_the_past_which_topics_are_quiet() {
    let board = Board::with_posts(5).await;
    let earlier = Counted::without_past(&board).await;
    board.add(comment(1, 4, "that moves")).await;
    board.add(comment(2, 3, "that goes")).await;
    let mut cursors = vec![String::new()];
    for post in 1..=5 {
        cursors.push(earlier.cursor_now(post).await);
    }
    let mut changes = earlier
        .hub
        .subscribe(5_i64, None)
        .await
        .expect("subscribed");
    board.add(comment(3, 5, "of the fifth")).await;
    let (_, last) = read_to(&mut changes, 3).await;
    let moved = doc! { "$set": { "post": 2_i64 } };
    let moved = board
        .comments
        .update_one(doc! { "_id": 1_i64 }, moved)
        .await;
    moved.expect("moved");
    board.delete(2).await;
    earlier.hub.stop().await;

    let later = Counted::with_past(&board, HubSettings::default()).await;
    let mut quiet = later.resume(1, &cursors[1]).await;
    let mut level = later.resume(5, &last).await;
    assert_eq!(later.metric("catch_ups_total"), 0.0);
    // The one that was moved has left a topic and entered another; a deletion is a change, too.
    for (post, id) in [(2, 1), (3, 2), (4, 1), (5, 3)] {
        let cursor = &cursors[usize::try_from(post).expect("a post")];
        let mut missed = later.resume(post, cursor).await;
        assert_eq!(next(&mut missed).await.expect("a change").1, id, "{post}");
    }
    assert_eq!(later.metric("catch_ups_total"), 4.0);
    let (of_quiet, ()) = tokio::join!(next(&mut quiet), board.add(comment(4, 1, "next")));
    let (of_level, ()) = tokio::join!(next(&mut level), board.add(comment(5, 5, "next")));
    assert_eq!(of_quiet.expect("a change").1, 4);
    assert_eq!(of_level.expect("a change").1, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_wait_while_a_new_hub_looks_back_need_no_reading() {
    let board = Board::with_posts(2).await;
    let earlier = Counted::without_past(&board).await;
    let cursor = earlier.cursor_now(1).await;
    earlier.hub.stop().await;
    board.add(comment(1, 2, "of the second")).await;
    let later = Counted::with_rings(&board, HubSettings::default()).await;
    let mut quiet = later.resume(1, &cursor).await;
    board.add(comment(2, 1, "next")).await;
    assert_eq!(next(&mut quiet).await.expect("a change").1, 2);
    assert_eq!(later.metric("catch_up_readings_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_back_over_a_drop_knows_what_came_after_it() {
    let board = Board::with_posts(2).await;
    let earlier = Counted::without_past(&board).await;
    let before = earlier.cursor_now(1).await;
    board.add(comment(1, 2, "dropped")).await;
    earlier.until_forgotten(1).await;
    earlier.hub.stop().await;
    board.comments.drop().await.expect("dropped");
    let between = Counted::without_past(&board).await;
    let after = between.cursor_now(1).await;
    board.add(comment(2, 2, "of the second")).await;
    between.until_forgotten(1).await;
    between.hub.stop().await;

    let later = Counted::start(&board, HubSettings::default()).await;
    let mut stale = later.resume(1, &before).await;
    assert_eq!(next(&mut stale).await, Err(TopicError::ResyncRequired));
    let mut quiet = later.resume(1, &after).await;
    board.add(comment(3, 1, "next")).await;
    assert_eq!(next(&mut quiet).await.expect("a change").1, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_is_read_from_the_history() {
    let board = Board::with_posts(9).await;
    let few = HubSettings::default()
        .look_back(Duration::ZERO)
        .remembered_topics_max(2);
    let counted = Counted::start(&board, few).await;
    let mut cursors = Vec::new();
    for post in 1..=9 {
        cursors.push((post, counted.cursor_now(post).await));
    }
    for id in 1..=8 {
        board
            .add(comment(id, id, "one for each but the ninth"))
            .await;
    }
    counted.until_forgotten(8).await;
    assert!(counted.metric("remembered_topics") <= 2.0);
    board.add(comment(10, 9, "the ninth's")).await;
    for (post, cursor) in &cursors {
        let mut resumed = counted.resume(*post, cursor).await;
        let expected = if *post == 9 { 10 } else { *post };
        assert_eq!(next(&mut resumed).await.expect("a change").1, expected);
    }
}

/// So many changes after a cursor. A ring of a short age may forget one before it is taken: its reader comes back then.
async fn read_after(counted: &Counted, post: i64, cursor: &str, count: usize) -> Vec<i64> {
    let (mut ids, mut cursor) = (Vec::new(), cursor.to_owned());
    loop {
        let mut resumed = counted.resume(post, &cursor).await;
        loop {
            if ids.len() == count {
                return ids;
            }
            match next(&mut resumed).await {
                Ok((_, id)) => ids.push(id),
                Err(TopicError::Lagged { cursor: after, .. }) => {
                    cursor = after.to_string();
                    break;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

/// Random writes, and random returns of which each gets exactly what it has missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_back_anywhere_gets_all_that_it_missed_once() {
    let topics = 4;
    let board = Board::with_posts(topics).await;
    let forgetful = HubSettings::default()
        .look_back(Duration::ZERO)
        .ring_age_max(Duration::from_millis(250));
    let few = forgetful.clone().remembered_topics_max(3);
    let hubs = [
        Counted::with_rings(&board, forgetful).await,
        Counted::with_rings(&board, few).await,
    ];
    // One hub's rings keep everything: what each topic has had, with its cursors.
    let metrics = HubMetrics::register(&mut Registry::default());
    let settings = HubSettings::default();
    let all: Hub<Comment> = Hub::start(board.source().await, "post", settings, metrics)
        .await
        .expect("the hub starts");
    let mut witnesses = Vec::new();
    let mut seen = Vec::new();
    for post in 1..=topics {
        let witness = all.subscribe(post, None).await.expect("subscribed");
        seen.push(vec![(witness.start().to_string(), 0)]);
        witnesses.push(witness);
    }
    let mut random = fastrand::Rng::with_seed(7);
    let mut id = 0;
    for _ in 0..40 {
        let post = random.usize(0..witnesses.len());
        for _ in 0..random.usize(1..4) {
            id += 1;
            board.add(comment(id, post as i64 + 1, "text")).await;
            seen[post].push(next(&mut witnesses[post]).await.expect("a change"));
        }
        if random.bool() {
            for counted in &hubs {
                counted
                    .until_forgotten(u32::try_from(id).expect("few"))
                    .await;
            }
        }
        let post = random.usize(0..seen.len());
        let from = random.usize(0..seen[post].len());
        let (cursor, _) = &seen[post][from];
        let expected: Vec<i64> = seen[post][from + 1..].iter().map(|(_, id)| *id).collect();
        for counted in &hubs {
            let read = read_after(counted, post as i64 + 1, cursor, expected.len()).await;
            assert_eq!(read, expected);
        }
    }
    for (post, cursors) in seen.iter().enumerate() {
        let (cursor, _) = cursors.last().expect("one");
        id += 1;
        board.add(comment(id, post as i64 + 1, "last")).await;
        for counted in &hubs {
            let read = read_after(counted, post as i64 + 1, cursor, 1).await;
            assert_eq!(read, [id], "nothing comes twice");
        }
    }
}
