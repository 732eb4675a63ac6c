//! Live topics: what a subscriber receives, where it can resume, and how it is told of gaps.

mod board;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use board::{Board, Comment, comment};
use bson::{Bson, doc};
use changefeed::{
    Change, ChangeKind, Cursor, CursorError, Hub, HubMetrics, HubSettings, Source, Subscription,
    TopicError,
};
use futures_util::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use mongodb::Client;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::ClientOptions;
use prometheus_client::registry::Registry;
use sha2::Sha256;

async fn hub(board: &Board, settings: HubSettings) -> Hub<Comment> {
    hub_of(board.source().await, settings).await
}

async fn hub_of(source: Source, settings: HubSettings) -> Hub<Comment> {
    Hub::start(
        source,
        "post",
        settings,
        HubMetrics::register(&mut Registry::default()),
    )
    .await
    .expect("the hub starts")
}

async fn next(
    changes: &mut Subscription<Comment>,
) -> Result<(Cursor, Arc<Change<Comment>>), TopicError> {
    let next = tokio::time::timeout(board::PATIENCE, changes.next()).await;
    next.expect("something comes in time")
        .expect("the subscription goes on")
}

async fn next_id(changes: &mut Subscription<Comment>) -> i64 {
    let (_, change) = next(changes).await.expect("a change");
    change.key.as_i64().expect("our ids")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_receives_its_topics_changes_from_now_on_in_order() {
    let board = Board::with_posts(2).await;
    board.add(comment(1, 1, "before")).await;
    let hub = hub(&board, HubSettings::default()).await;
    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(2, 2, "another topic's")).await;
    board.add(comment(3, 1, "added")).await;
    board.edit(3, "edited").await;
    board.delete(3).await;
    let (_, added) = next(&mut changes).await.expect("a change");
    assert!(
        matches!(&added.kind, ChangeKind::Inserted(after) if after.text == "added"),
        "{added:?}"
    );
    let (_, edited) = next(&mut changes).await.expect("a change");
    assert_eq!(edited.before().map(|before| &*before.text), Some("added"));
    assert_eq!(edited.after().map(|after| &*after.text), Some("edited"));
    let (_, deleted) = next(&mut changes).await.expect("a change");
    assert_eq!(
        (
            deleted.key.clone(),
            deleted.before().map(|before| &*before.text)
        ),
        (Bson::from(3_i64), Some("edited"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_within_the_ring_goes_on_without_a_gap() {
    let board = Board::with_posts(1).await;
    let hub = hub(&board, HubSettings::default()).await;
    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    let start = changes.start().clone();
    for id in 1..=5 {
        board.add(comment(id, 1, "text")).await;
    }
    next(&mut changes).await.expect("a change");
    let (cursor, _) = next(&mut changes).await.expect("a change");
    drop(changes);
    let mut resumed = hub
        .subscribe(1_i64, Some(cursor.as_str()))
        .await
        .expect("our own cursor");
    for id in 3..=5 {
        assert_eq!(next_id(&mut resumed).await, id);
    }
    let mut again = hub
        .subscribe(1_i64, Some(start.as_str()))
        .await
        .expect("our own cursor");
    assert_eq!(
        next_id(&mut again).await,
        1,
        "a subscription that received nothing resumes from its start"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_older_than_the_ring_is_read_from_the_oplog_and_joins_the_ring() {
    let board = Arc::new(Board::with_posts(2).await);
    let settings = HubSettings::default().ring_count_max(4);
    let hub = hub(&board, settings).await;
    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(1, 1, "first")).await;
    let (cursor, _) = next(&mut changes).await.expect("a change");
    drop(changes);
    for id in 2..=60 {
        board.add(comment(id, 1 + id % 2, "text")).await;
    }
    let writer = tokio::spawn({
        let board = board.clone();
        async move {
            for id in 61..=120 {
                board.add(comment(id, 1 + id % 2, "text")).await;
            }
        }
    });
    let mut cursor = cursor;
    let mut received = Vec::new();
    while received.len() < 60 {
        let mut resumed = hub
            .subscribe(1_i64, Some(cursor.as_str()))
            .await
            .expect("our own cursor");
        // A ring of four is lost now and then: the cursor of the error goes on without a gap.
        while received.len() < 60 {
            match next(&mut resumed).await {
                Ok((after, change)) => {
                    received.push(change.key.as_i64().expect("our ids"));
                    cursor = after;
                }
                Err(TopicError::Lagged { cursor: after, .. }) => {
                    assert_eq!(after, cursor, "the error tells the last cursor");
                    break;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    writer.await.expect("all is written");
    assert_eq!(
        received,
        (2..=120).filter(|id| id % 2 == 0).collect::<Vec<i64>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_one_instance_works_at_another_that_started_later() {
    let board = Board::with_posts(1).await;
    let first = hub(&board, HubSettings::default()).await;
    let mut changes = first.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(1, 1, "text")).await;
    let (cursor, _) = next(&mut changes).await.expect("a change");
    first.stop().await;
    assert_eq!(
        next(&mut changes).await.expect_err("stopped"),
        TopicError::Stopped {
            cursor: cursor.clone()
        }
    );
    board.add(comment(2, 1, "while no instance ran")).await;
    for start_before in [Duration::ZERO, Duration::from_secs(30)] {
        let second = hub(&board, HubSettings::default().start_before(start_before)).await;
        let mut resumed = second
            .subscribe(1_i64, Some(cursor.as_str()))
            .await
            .expect("another instance's cursor");
        assert_eq!(next_id(&mut resumed).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_too_slow_is_told_how_much_it_missed_and_where_to_resume() {
    let board = Board::with_posts(1).await;
    let hub = hub(&board, HubSettings::default().ring_count_max(10)).await;
    let mut slow = hub.subscribe(1_i64, None).await.expect("subscribed");
    let mut watcher = hub.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(1, 1, "text")).await;
    let (cursor, _) = next(&mut slow).await.expect("a change");
    for id in 2..=31 {
        board.add(comment(id, 1, "text")).await;
        while next_id(&mut watcher).await < id {}
    }
    let lagged = next(&mut slow).await.expect_err("too slow");
    assert_eq!(
        lagged,
        TopicError::Lagged {
            cursor: cursor.clone(),
            missed: 20
        }
    );
    assert_eq!(lagged.code(), "SUBSCRIPTION_LAGGED");
    assert!(slow.next().await.is_none(), "it ends after the error");
    let mut resumed = hub
        .subscribe(1_i64, Some(cursor.as_str()))
        .await
        .expect("our own cursor");
    for id in 2..=31 {
        assert_eq!(next_id(&mut resumed).await, id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rings_are_bounded_by_bytes_and_age_and_all_together() {
    let board = Board::with_posts(20).await;
    let text = "x".repeat(10_000);
    let mut registry = Registry::default();
    let settings = HubSettings::default()
        .total_bytes_max(60_000)
        .ring_bytes_max(40_000);
    let hub: Hub<Comment> = Hub::start(
        board.source().await,
        "post",
        settings,
        HubMetrics::register(&mut registry),
    )
    .await
    .expect("the hub starts");
    let mut last = hub.subscribe(20_i64, None).await.expect("subscribed");
    let mut first = hub.subscribe(1_i64, None).await.expect("subscribed");
    for id in 1..=20 {
        board.add(comment(id, id, &text)).await;
    }
    assert_eq!(next_id(&mut last).await, 20);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
    let bytes = text
        .lines()
        .find_map(|line| line.strip_prefix("changefeed_hub_ring_bytes "));
    assert!(
        bytes
            .and_then(|bytes| bytes.parse::<u64>().ok())
            .is_some_and(|bytes| bytes <= 60_000),
        "{text}"
    );
    assert!(matches!(
        next(&mut first).await,
        Err(TopicError::Lagged { missed: 1, .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_foreign_and_truncated_cursors_are_refused_with_their_codes() {
    let board = Board::with_posts(2).await;
    let hub = hub(&board, HubSettings::default()).await;
    let cursor = hub
        .subscribe(1_i64, None)
        .await
        .expect("subscribed")
        .start()
        .to_string();
    let refusal = |topic: i64, text: String| {
        let hub = hub.clone();
        async move {
            hub.subscribe(topic, Some(&text))
                .await
                .err()
                .map(|error| error.code())
        }
    };
    assert_eq!(refusal(2, cursor.clone()).await, Some("CURSOR_FOREIGN"));
    assert_eq!(
        refusal(1, cursor[..cursor.len() - 4].to_owned()).await,
        Some("CURSOR_MALFORMED")
    );
    assert_eq!(
        refusal(1, "no cursor".to_owned()).await,
        Some("CURSOR_MALFORMED")
    );
    let mut forged = cursor.clone().into_bytes();
    let last = forged.len() - 5;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    assert_eq!(
        refusal(1, String::from_utf8(forged).expect("text")).await,
        Some("CURSOR_FORGED")
    );
    let elsewhere = Board::with_posts(1).await;
    let other = self::hub(&elsewhere, HubSettings::default()).await;
    let foreign = other
        .subscribe(1_i64, None)
        .await
        .expect("subscribed")
        .start()
        .to_string();
    assert_eq!(refusal(1, foreign).await, Some("CURSOR_FOREIGN"));
    assert_eq!(refusal(1, cursor).await, None);
}

/// A cursor of the same topic `seconds` later, signed with the stored key: what is left when the servers' clocks are
/// set back.
async fn later_by(board: &Board, cursor: &str, topic: i64, seconds: u32) -> String {
    const TIME: std::ops::Range<usize> = 14..18;
    const TAG: usize = 16;
    let mut bytes = URL_SAFE_NO_PAD.decode(cursor).expect("a cursor");
    bytes.truncate(bytes.len() - TAG);
    let time: [u8; 4] = bytes[TIME].try_into().expect("four bytes");
    bytes[TIME].copy_from_slice(&(u32::from_be_bytes(time) + seconds).to_be_bytes());
    let keys = board.own("changefeed_keys").find_one(doc! {}).await;
    let keys = keys.expect("read").expect("a stored key");
    let key = keys.get_binary_generic("key").expect("a binary key");
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
    mac.update(&bytes);
    mac.update(format!("{}.comments", board.database.name()).as_bytes());
    mac.update(&bson::serialize_to_vec(&doc! { "": topic }).expect("a document"));
    bytes.extend(&mac.finalize().into_bytes()[..TAG]);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_from_the_future_is_refused_and_not_waited_for() {
    let board = Board::with_posts(1).await;
    let hub = hub(&board, HubSettings::default()).await;
    let subscribed = hub.subscribe(1_i64, None).await.expect("subscribed");
    let start = subscribed.start().as_str();
    let same = later_by(&board, start, 1, 0).await;
    assert_eq!(same, start, "the test signs as the hub does");
    assert!(hub.subscribe(1_i64, Some(start)).await.is_ok());
    // Another instance may have heard of a later time than this one.
    let ahead = later_by(&board, start, 1, 5).await;
    assert!(hub.subscribe(1_i64, Some(&ahead)).await.is_ok());
    let future = later_by(&board, start, 1, 3_600).await;
    let refused = hub.subscribe(1_i64, Some(&future)).await.err();
    assert_eq!(refused, Some(CursorError::Future));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_have_to_query_again_after_the_collection_was_dropped() {
    let board = Board::with_posts(1).await;
    let hub = hub(&board, HubSettings::default()).await;
    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(1, 1, "text")).await;
    let (cursor, _) = next(&mut changes).await.expect("a change");
    board.comments.drop().await.expect("dropped");
    assert_eq!(
        next(&mut changes).await.expect_err("dropped"),
        TopicError::ResyncRequired
    );
    assert!(changes.next().await.is_none(), "it ends after the error");
    let mut stale = hub
        .subscribe(1_i64, Some(cursor.as_str()))
        .await
        .expect("our own cursor");
    assert_eq!(
        next(&mut stale)
            .await
            .expect_err("from before the drop")
            .code(),
        "RESYNC_REQUIRED"
    );
    let mut fresh = hub.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(2, 1, "text")).await;
    assert_eq!(next_id(&mut fresh).await, 2);
    board.delete(2).await;
    let (_, deleted) = next(&mut fresh).await.expect("a change");
    assert!(
        deleted.before().is_some(),
        "the new collection keeps images too"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_before_the_hubs_start_ends_only_those_who_come_from_before_it() {
    let board = Board::with_posts(1).await;
    let first = hub(&board, HubSettings::default()).await;
    let changes = first.subscribe(1_i64, None).await.expect("subscribed");
    let before = changes.start().to_string();
    first.stop().await;
    // The hub has to read these before it comes to the drop.
    let many = (1..=900).map(|id| comment(id, 1, "dropped"));
    board.comments.insert_many(many).await.expect("stored");
    board.comments.drop().await.expect("dropped");
    let hub = hub(&board, HubSettings::default()).await;
    let mut fresh = hub.subscribe(1_i64, None).await.expect("subscribed");
    let mut stale = hub
        .subscribe(1_i64, Some(&before))
        .await
        .expect("our own cursor");
    board.add(comment(4000, 1, "text")).await;
    assert_eq!(next_id(&mut fresh).await, 4000);
    let ended = loop {
        match next(&mut stale).await {
            Ok((_, change)) => assert_ne!(change.key, Bson::from(4000_i64)),
            Err(TopicError::Lagged { cursor, .. }) => {
                let resumed = hub.subscribe(1_i64, Some(cursor.as_str())).await;
                stale = resumed.expect("our own cursor");
            }
            Err(error) => break error,
        }
    };
    assert_eq!(ended, TopicError::ResyncRequired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_without_its_pre_image_reaches_every_topic() {
    let board = Board::with_posts(2).await;
    let hub = hub(&board, HubSettings::default()).await;
    let mut one = hub.subscribe(1_i64, None).await.expect("subscribed");
    let mut two = hub.subscribe(2_i64, None).await.expect("subscribed");
    board.add(comment(1, 1, "text")).await;
    let off = doc! { "collMod": "comments", "changeStreamPreAndPostImages": { "enabled": false } };
    board
        .database
        .run_command(off)
        .await
        .expect("images are off");
    board.delete(1).await;
    assert_eq!(next_id(&mut one).await, 1);
    for changes in [&mut one, &mut two] {
        let (_, change) = next(changes).await.expect("a change");
        assert!(
            matches!(change.kind, ChangeKind::Deleted { before: None }),
            "{change:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_cannot_be_read_is_as_if_it_were_not_there() {
    let board = Board::with_posts(1).await;
    let hub = hub(&board, HubSettings::default()).await;
    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    let odd = doc! { "_id": 1_i64, "post": 1_i64, "text": 5 };
    board.own("comments").insert_one(odd).await.expect("stored");
    board.add(comment(2, 1, "text")).await;
    assert_eq!(next_id(&mut changes).await, 2);
    board.edit(1, "repaired").await;
    let (_, repaired) = next(&mut changes).await.expect("a change");
    assert!(
        matches!(repaired.kind, ChangeKind::Inserted(_)),
        "{repaired:?}"
    );
    let spoil = doc! { "$set": { "text": 5 } };
    let one = doc! { "_id": 1_i64 };
    board
        .own("comments")
        .update_one(one, spoil)
        .await
        .expect("spoiled");
    let (cursor, spoiled) = next(&mut changes).await.expect("a change");
    assert!(
        matches!(spoiled.kind, ChangeKind::Deleted { before: Some(_) }),
        "{spoiled:?}"
    );
    board.delete(1).await;
    board.add(comment(3, 1, "last")).await;
    assert_eq!(next_id(&mut changes).await, 3);
    // The same after a resume.
    let mut resumed = hub
        .subscribe(1_i64, Some(cursor.as_str()))
        .await
        .expect("subscribed");
    assert_eq!(next_id(&mut resumed).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_grows_while_the_database_says_nothing() {
    let mut server = embedded_mongo::ReplicaSet::start(embedded_mongo::Options::default())
        .await
        .expect("a server");
    let board = Board::at(server.uri_for("board"), 1).await;
    let mut registry = Registry::default();
    let metrics = HubMetrics::register(&mut registry);
    let hub: Hub<Comment> = Hub::start(
        board.source().await,
        "post",
        HubSettings::default(),
        metrics,
    )
    .await
    .expect("the hub starts");
    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(1, 1, "text")).await;
    assert_eq!(next_id(&mut changes).await, 1);
    let lag = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("changefeed_hub_lag_seconds "));
        value
            .and_then(|value| value.parse::<f64>().ok())
            .expect("the lag")
    };
    let mut answers = hub.answers();
    assert!(*answers.borrow_and_update());
    server.pause_node(0);
    board::until("the lag has grown", || async { lag() > 2.0 }).await;
    answers.changed().await.expect("the hub runs");
    assert!(!*answers.borrow_and_update(), "the stream is silent");
    server.resume_node(0);
    board::until("the lag is gone", || async { lag() < 1.0 }).await;
    answers.changed().await.expect("the hub runs");
    assert!(*answers.borrow_and_update());
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_too_large_to_be_sent_is_a_change_without_documents() {
    let board = Board::with_posts(2).await;
    let hub = hub(&board, HubSettings::default()).await;
    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    let mut others = hub.subscribe(2_i64, None).await.expect("subscribed");
    board.add_large(1, 1).await;
    let (cursor, _) = next(&mut changes).await.expect("a change");
    board.change_large(1).await;
    board.add(comment(2, 1, "after it")).await;
    board.add(comment(3, 2, "of another topic")).await;
    assert_eq!(next_id(&mut others).await, 3, "untouched");

    let without_documents = |change: &Change<Comment>| {
        assert_eq!(change.key, Bson::from(1_i64));
        matches!(
            change.kind,
            ChangeKind::Updated {
                before: None,
                after: None
            }
        )
    };
    let (_, change) = next(&mut changes).await.expect("the large one");
    assert!(without_documents(&change), "{change:?}");
    assert_eq!(next_id(&mut changes).await, 2);

    // Whoever was away reads the same from the oplog.
    let later = HubSettings::default().start_before(Duration::ZERO);
    let later = self::hub(&board, later).await;
    let mut resumed = later
        .subscribe(1_i64, Some(cursor.as_str()))
        .await
        .expect("our own cursor");
    let (_, change) = next(&mut resumed).await.expect("the large one");
    assert!(without_documents(&change), "{change:?}");
    assert_eq!(next_id(&mut resumed).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_listens_changes_are_fetched_several_at_a_time() {
    let board = Board::with_posts(1).await;
    let fetches = Arc::new(AtomicU32::new(0));
    let counted = fetches.clone();
    let mut options = ClientOptions::parse(&board.uri).await.expect("an address");
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(command) = event
            && command.command_name == "getMore"
        {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let stream = Client::with_options(options).expect("a client");
    let source = Source::new(stream, board.database.clone(), "comments");
    let hub = hub_of(source, HubSettings::default()).await;

    let (began, before) = (Instant::now(), fetches.load(Ordering::Relaxed));
    for id in 1..=200 {
        board.add(comment(id, 1, "unheard")).await;
    }
    let unheard = fetches.load(Ordering::Relaxed) - before;
    // A pause of 5 ms follows each that brings something; one may run before it, one after it.
    let most = began.elapsed().as_millis() / 5 + 2;
    assert!(
        u128::from(unheard) <= most,
        "{unheard} fetches, {most} at most"
    );

    let mut changes = hub.subscribe(1_i64, None).await.expect("subscribed");
    board.add(comment(201, 1, "heard")).await;
    while next_id(&mut changes).await != 201 {}
}
