//! Collections that vanish: what is told, what is made again, what cursors are still worth.

mod board;

use std::time::Duration;

use board::{Board, Comment, PATIENCE, brisk, comment, until};
use bson::{Bson, Document, doc};
use changefeed::{
    CursorError, Hub, HubMetrics, HubSettings, KeyChange, KeyStream, Operation, TopicError,
};
use embedded_mongo::rename_collection;
use futures_util::StreamExt;
use prometheus_client::registry::Registry;

async fn hub(board: &Board) -> Hub<Comment> {
    let settings = HubSettings::default().start_before(Duration::ZERO);
    let metrics = HubMetrics::register(&mut Registry::default());
    Hub::start(board.source().await, "post", settings, metrics)
        .await
        .expect("the hub starts")
}

async fn next_key(keys: &mut KeyStream) -> KeyChange {
    let next = tokio::time::timeout(PATIENCE, keys.next()).await;
    next.expect("something comes in time").expect("no bug")
}

const GONE: KeyChange = KeyChange::Gap {
    is_collection_gone: true,
};

fn deleted(key: i64) -> KeyChange {
    KeyChange::Document {
        key: Bson::from(key),
        operation: Operation::Delete,
    }
}

/// A stream of deleted keys at each pace.
async fn deletions(board: &Board) -> [KeyStream; 2] {
    let (source, deletions) = (board.source().await, [Operation::Delete]);
    let live = KeyStream::start(&source, &deletions);
    let pause = Duration::from_millis(20);
    let with_pauses = KeyStream::start_with_pauses(&source, &deletions, pause);
    [
        live.await.expect("started"),
        with_pauses.await.expect("started"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stream_returns_the_keys_of_the_requested_changes_alone() {
    let board = Board::with_posts(1).await;
    let streams = deletions(&board).await;
    for id in 1..=2 {
        board.add(comment(id, 1, "text")).await;
        board.edit(id, "edited").await;
        board.delete(id).await;
    }
    for mut keys in streams {
        assert_eq!(next_key(&mut keys).await, deleted(1));
        assert_eq!(next_key(&mut keys).await, deleted(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stream_reports_a_gap_and_goes_on_in_the_new_collection() {
    let board = Board::with_posts(1).await;
    let mut streams = deletions(&board).await;
    let replace_by_rename = async || {
        let other = board.own("other");
        other
            .insert_one(doc! { "_id": 7_i64, "post": 1_i64, "text": "x" })
            .await
            .expect("stored");
        rename_collection(&board.database, "other", "comments")
            .await
            .expect("renamed");
    };
    let replace_by_out = async || {
        let out = [
            doc! { "$documents": [{ "_id": 7_i64, "post": 1_i64, "text": "x" }] },
            doc! { "$out": "comments" },
        ];
        board.database.aggregate(out).await.expect("replaced");
    };
    let drop = async || {
        board.comments.drop().await.expect("dropped");
        board.add(comment(7, 1, "text")).await;
    };
    let drop_database = async || {
        board.database.drop().await.expect("dropped");
        board.add(comment(7, 1, "text")).await;
    };
    board.add(comment(1, 1, "text")).await;
    for way in 0..4 {
        match way {
            0 => replace_by_rename().await,
            1 => replace_by_out().await,
            2 => drop().await,
            _ => drop_database().await,
        }
        for keys in &mut streams {
            assert_eq!(next_key(keys).await, GONE, "way {way}");
        }
        board.delete(7).await;
        for keys in &mut streams {
            assert_eq!(next_key(keys).await, deleted(7), "way {way}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_given_out_after_the_database_was_dropped_is_good_after_a_restart() {
    let board = Board::with_posts(1).await;
    let first = hub(&board).await;
    let mut changes = first.subscribe(1_i64, None).await.expect("subscribed");
    let early = changes.start().to_string();
    board.database.drop().await.expect("dropped");
    let ended = tokio::time::timeout(PATIENCE, changes.next()).await;
    let ended = ended.expect("in time").expect("an error");
    assert_eq!(ended.expect_err("it is gone"), TopicError::ResyncRequired);
    first.prepare().await.expect("prepared");
    let changes = first.subscribe(1_i64, None).await.expect("subscribed");
    let late = changes.start().to_string();
    board.add(comment(1, 1, "after it")).await;
    first.stop().await;

    let second = hub(&board).await;
    let mut resumed = second
        .subscribe(1_i64, Some(&late))
        .await
        .expect("a cursor of ours");
    let next = tokio::time::timeout(PATIENCE, resumed.next()).await;
    let (_, change) = next.expect("in time").expect("a change").expect("a change");
    assert_eq!(change.key, Bson::from(1_i64));
    let mut too_old = second
        .subscribe(1_i64, Some(&early))
        .await
        .expect("a cursor of ours");
    let next = tokio::time::timeout(PATIENCE, too_old.next()).await;
    let ended = next.expect("in time").expect("an error");
    assert_eq!(ended.expect_err("too old"), TopicError::ResyncRequired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_with_different_keys_know_each_others_cursors() {
    let board = Board::with_posts(1).await;
    let first = hub(&board).await;
    let of_first = first.subscribe(1_i64, None).await.expect("subscribed");
    let of_first = of_first.start().to_string();
    let keys = board.own("changefeed_keys");
    keys.drop().await.expect("dropped");
    // It makes a key of its own, before the first one has noticed.
    let second = hub(&board).await;
    let of_second = second.subscribe(1_i64, None).await.expect("subscribed");
    let of_second = of_second.start().to_string();
    assert!(matches!(
        second.subscribe(1_i64, Some(&of_first)).await,
        Err(CursorError::Forged)
    ));
    assert!(first.subscribe(1_i64, Some(&of_second)).await.is_ok());
    // The first one has told its key by now.
    until("the key is known", async || {
        second.subscribe(1_i64, Some(&of_first)).await.is_ok()
    })
    .await;
    let stored: Vec<Document> = vec![keys.find_one(doc! {}).await.expect("read").expect("a key")];
    assert_eq!(stored[0].get_array("older").expect("keys").len(), 1);
}

/// `mongorestore` makes a new collection: its UUID is not the one that the document of the keys has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_from_before_a_restore_need_a_resync() {
    let board = Board::with_posts(1).await;
    let before = hub(&board).await;
    let of_before = before.subscribe(1_i64, None).await.expect("subscribed");
    let of_before = of_before.start().to_string();
    drop(before);
    let restarted = hub(&board).await;
    assert!(restarted.subscribe(1_i64, Some(&of_before)).await.is_ok());
    drop(restarted);

    let keys = board.own("changefeed_keys");
    let stored = keys.find_one(doc! {}).await.expect("read").expect("a key");
    keys.drop().await.expect("dropped");
    keys.insert_one(stored).await.expect("restored");
    let (one, other) = tokio::join!(hub(&board), hub(&board));
    let of_one = one.subscribe(1_i64, None).await.expect("subscribed");
    let of_one = of_one.start().to_string();
    for hub in [&one, &other, &hub(&board).await] {
        let refused = hub.subscribe(1_i64, Some(&of_before)).await.err();
        assert_eq!(refused, Some(CursorError::Restored));
        assert!(hub.subscribe(1_i64, Some(&of_one)).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_instance_of_a_projection_goes_on_after_the_database_was_dropped() {
    let board = Board::with_posts(2).await;
    let leader = board.project(brisk()).await;
    leader.wait_until_serving().await.expect("it serves");
    let other = board.project(brisk()).await;
    board.add(comment(1, 1, "text")).await;
    board.assert_projected(&other).await;
    for round in 0..2_i64 {
        board.database.drop().await.expect("dropped");
        for projector in [&leader, &other] {
            projector.prepare().await.expect("prepared");
        }
        let posts = (1..=2_i64).map(|id| doc! { "_id": id });
        board.posts.insert_many(posts).await.expect("stored");
        board.add(comment(10 + round, 2, "after it")).await;
        board.assert_projected(&leader).await;
        board.assert_projected(&other).await;
    }
    for projector in [leader, other] {
        projector.stop().await;
    }
}
