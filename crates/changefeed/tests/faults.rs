//! Faults of the data and of the source: what the projection does with each, without losing any.

mod board;

use std::time::Duration;

use board::{Board, PATIENCE, brisk, comment, metric, until};
use bson::{Bson, RawDocumentBuf, cstr, doc};
use embedded_mongo::{Options, ReplicaSet, rename_collection};
use mongodb::IndexModel;
use mongodb::options::IndexOptions;
use prometheus_client::registry::Registry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_source_is_built_anew_while_the_old_state_serves() {
    let board = Board::with_posts(3).await;
    let projector = board.project(brisk()).await;
    board.add(comment(1, 1, "text")).await;
    board.assert_projected(&projector).await;
    board.comments.drop().await.expect("dropped");
    board.add(comment(2, 2, "in the new collection")).await;
    board.assert_projected(&projector).await;
    assert_eq!(projector.serving().map(|slot| slot.generation()), Some(2));
    board.delete(2).await;
    board.assert_projected(&projector).await;
    let old = doc! { "feed.g1": { "$exists": true } };
    until("the old state is removed", || async {
        board
            .posts
            .count_documents(old.clone())
            .await
            .expect("counted")
            == 0
    })
    .await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_renamed_away_and_back_is_built_anew() {
    let board = Board::with_posts(2).await;
    let projector = board.project(brisk()).await;
    board.add(comment(1, 1, "text")).await;
    board.assert_projected(&projector).await;
    for (from, to) in [("comments", "away"), ("away", "comments")] {
        // The crate has made a new, empty source in the meantime, perhaps.
        rename_collection(&board.database, from, to)
            .await
            .expect("renamed");
    }
    board.add(comment(2, 2, "after it came back")).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_cannot_be_read_is_as_if_it_were_not_there() {
    let board = Board::with_posts(2).await;
    let mut registry = Registry::default();
    let projector = board.project_with(brisk(), &mut registry).await;
    projector.wait_until_serving().await.expect("it serves");
    let odd = doc! { "_id": 1_i64, "post": 1_i64, "text": 5 };
    board.own("comments").insert_one(odd).await.expect("stored");
    board.add(comment(2, 1, "after it")).await;
    board.assert_projected(&projector).await;
    board.edit(1, "readable now").await;
    board.assert_projected(&projector).await;
    for spoil in [
        doc! { "$set": { "text": 5 } },
        doc! { "$set": { "text": "readable again" } },
        doc! { "$unset": { "post": 1 } },
    ] {
        let one = doc! { "_id": 1_i64 };
        let spoiled = board.own("comments").update_one(one, spoil).await;
        assert_eq!(spoiled.expect("updated").modified_count, 1);
        board.assert_projected(&projector).await;
    }
    board.delete(1).await;
    board.assert_projected(&projector).await;
    assert_eq!(metric(&registry, "unreadable_documents_total", None), 1.0);
    assert_eq!(metric(&registry, "dead_letters_total", None), 0.0);
    assert_eq!(projector.serving().map(|slot| slot.generation()), Some(1));
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_folded_is_set_aside_and_its_target_computed_anew() {
    let board = Board::with_posts(2).await;
    let projector = board.project(brisk()).await;
    projector.wait_until_serving().await.expect("it serves");
    for id in 1..=4 {
        board
            .add(comment(
                id,
                1 + id % 2,
                if id == 2 { "unfoldable" } else { "text" },
            ))
            .await;
    }
    until("the target is repaired", || async {
        board.projected(&projector).await == board.expected().await
    })
    .await;
    let letters = board.own("changefeed_dead_letters");
    let letter = letters.find_one(doc! {}).await.expect("read");
    let letter = letter.expect("a dead letter");
    assert_eq!(letter.get("key"), Some(&Bson::from(2_i64)));
    let replayed = projector.replay_dead_letters().await.expect("replayed");
    assert!(
        replayed.replayed >= 1 && replayed.remaining == 0,
        "{replayed:?}"
    );
    assert_eq!(letters.count_documents(doc! {}).await.expect("counted"), 0);
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_refuses_its_state_does_not_hold_up_the_others() {
    let board = Board::with_posts(3).await;
    let projector = board.project(brisk().attempts_max(2)).await;
    projector.wait_until_serving().await.expect("it serves");
    // A unique index of somebody's: the first post must not have two comments.
    for (id, kind) in [(1_i64, "a"), (2, "b"), (3, "c")] {
        let kind = doc! { "$set": { "kind": kind } };
        let post = board.posts.update_one(doc! { "_id": id }, kind).await;
        post.expect("updated");
    }
    let taken = doc! { "_id": 99_i64, "kind": "a", "feed": { "g1": { "count": 2_i64 } } };
    board.posts.insert_one(taken).await.expect("stored");
    let unique = IndexOptions::builder().unique(true).build();
    let unique = IndexModel::builder()
        .keys(doc! { "kind": 1, "feed.g1.count": 1 })
        .options(unique)
        .build();
    board.posts.create_index(unique).await.expect("an index");
    for id in 1..=6 {
        board.add(comment(id, 1 + id % 3, "text")).await;
    }
    let slot = projector
        .wait_until_passed(board.now().await, PATIENCE)
        .await
        .expect("it passes the refused one");
    let (states, expected) = (board.states(&slot).await, board.expected().await);
    assert_eq!(states[1..3], expected[1..3]);
    assert_ne!(states[0], expected[0], "the server refuses this one");
    let free = board.posts.delete_one(doc! { "_id": 99_i64 }).await;
    free.expect("deleted");
    projector.replay_dead_letters().await.expect("replayed");
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_without_its_pre_image_is_placed_by_the_embedded_id() {
    let board = Board::with_posts(2).await;
    let projector = board.project(brisk()).await;
    for id in 1..=3 {
        board.add(comment(id, 1, "text")).await;
    }
    board.assert_projected(&projector).await;
    images(&board, false).await;
    board.delete(2).await;
    board.edit(3, "edited without images").await;
    board.assert_projected(&projector).await;
    assert_eq!(
        projector.serving().map(|slot| slot.generation()),
        Some(1),
        "without a build"
    );
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_nobody_can_place_builds_the_projection_anew() {
    let board = Board::with_posts(2).await;
    let projector = board.project(brisk()).await;
    for id in 1..=5 {
        board.add(comment(id, 1, "text")).await;
    }
    board.assert_projected(&projector).await;
    images(&board, false).await;
    board.delete(1).await;
    until("the deletion is counted", || async {
        board.projected(&projector).await == board.expected().await
    })
    .await;
    assert_eq!(projector.serving().map(|slot| slot.generation()), Some(2));
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_without_images_is_counted_in_both_targets() {
    let board = Board::with_posts(3).await;
    let projector = board.project(brisk()).await;
    for id in 1..=7 {
        board.add(comment(id, 1, "text")).await;
    }
    for id in 8..=12 {
        board.add(comment(id, 2, "text")).await;
    }
    board.assert_projected(&projector).await;
    images(&board, false).await;
    let comments = board.own("comments");
    let to = |post: i64| doc! { "$set": { "post": post } };
    let shown = comments.update_one(doc! { "_id": 7_i64 }, to(2)).await;
    assert_eq!(shown.expect("moved").modified_count, 1);
    board.assert_projected(&projector).await;
    let generation = || projector.serving().map(|slot| slot.generation());
    assert_eq!(generation(), Some(1), "placed by the embedded id");

    let hidden = comments.update_one(doc! { "_id": 1_i64 }, to(3)).await;
    assert_eq!(hidden.expect("moved").modified_count, 1);
    until("the move is counted", || async {
        board.projected(&projector).await == board.expected().await
    })
    .await;

    let replacement = doc! { "post": 3_i64, "text": "replaced" };
    let hidden = comments
        .replace_one(doc! { "_id": 2_i64 }, replacement)
        .await;
    assert_eq!(hidden.expect("moved").modified_count, 1);
    until("the replacement is counted", || async {
        board.projected(&projector).await == board.expected().await
    })
    .await;
    projector.stop().await;
}

async fn images(board: &Board, enabled: bool) {
    let images =
        doc! { "collMod": "comments", "changeStreamPreAndPostImages": { "enabled": enabled } };
    board
        .database
        .run_command(images)
        .await
        .expect("the images are switched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_stream_moves_its_checkpoint_on() {
    let board = Board::with_posts(1).await;
    let projector = board.project(brisk()).await;
    board.add(comment(1, 1, "text")).await;
    board.assert_projected(&projector).await;
    let checkpoints = board.own("changefeed_checkpoints");
    let resume = || async {
        let checkpoint = checkpoints
            .find_one(doc! {})
            .await
            .expect("read")
            .expect("a checkpoint");
        checkpoint.get("resume").cloned()
    };
    let before = resume().await;
    // Another collection's traffic is what makes an unmoved token age.
    board
        .own("elsewhere")
        .insert_one(doc! {})
        .await
        .expect("stored");
    until("the checkpoint moves", || async {
        resume().await != before
    })
    .await;
    assert!(projector.ready().is_ok());
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_auditor_finds_and_repairs_a_state_that_somebody_spoiled() {
    let board = Board::with_posts(2).await;
    let mut registry = Registry::default();
    let settings = brisk().audit_interval(Duration::from_millis(50));
    let projector = board.project_with(settings, &mut registry).await;
    for id in 1..=4 {
        board.add(comment(id, 1 + id % 2, "text")).await;
    }
    board.assert_projected(&projector).await;
    until("a sample was audited", || async {
        metric(&registry, "audited_total", None) >= 2.0
    })
    .await;
    assert_eq!(metric(&registry, "divergences_total", None), 0.0);
    board
        .posts
        .update_one(
            doc! { "_id": 2_i64 },
            doc! { "$set": { "feed.g1.count": 99_i64 } },
        )
        .await
        .expect("spoiled");
    until("it is repaired", || async {
        board.projected(&projector).await == board.expected().await
    })
    .await;
    assert_eq!(metric(&registry, "divergences_total", None), 1.0);
    until("the divergence reads 0 again", || async {
        metric(&registry, "divergent", None) == 0.0
    })
    .await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_by_command_switches_over_once_and_misses_no_change() {
    let board = std::sync::Arc::new(Board::with_posts(9).await);
    let (one, two) = (board.project(brisk()).await, board.project(brisk()).await);
    one.wait_until_serving().await.expect("it serves");
    let writer = tokio::spawn({
        let board = board.clone();
        async move {
            for id in 1..=200 {
                board.add(comment(id, 1 + id % 9, "text")).await;
                if id % 10 == 0 {
                    board.delete(id - 5).await;
                }
            }
        }
    });
    let standing_by = if one.lag().leading { &two } else { &one };
    standing_by.rebuild().await.expect("rebuilt");
    writer.await.expect("all is written");
    board.assert_projected(&one).await;
    board.assert_projected(&two).await;
    assert_eq!(two.serving().map(|slot| slot.generation()), Some(2));
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_of_more_than_a_command_can_hold_is_cut() {
    let board = Board::with_posts(200).await;
    let text = "x".repeat(30_000);
    for newest in 1..=3 {
        // One round has 6 MB of texts: the first chunk of the build has all of them.
        let round = (1..=200).map(|post| comment(newest * 1_000 + post, post, &text));
        board
            .comments
            .insert_many(round)
            .await
            .expect("the comments are stored");
    }
    let projector = board.project(brisk().build_chunk(200)).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_auditor_takes_no_half_transaction_for_a_divergence() {
    let board = Board::with_posts(1).await;
    let mut registry = Registry::default();
    let settings = brisk()
        .batch_count_max(1)
        .audit_interval(Duration::from_millis(1));
    let projector = board.project_with(settings, &mut registry).await;
    board.assert_projected(&projector).await;
    // The changes of one transaction share its time, and each is a batch of its own here.
    let mut session = board
        .client()
        .await
        .start_session()
        .await
        .expect("a session");
    let comments = session
        .client()
        .database(board.database.name())
        .collection::<board::Comment>("comments");
    for round in 0..3 {
        session.start_transaction().await.expect("a transaction");
        for id in 1..=40 {
            let insert = comments.insert_one(comment(round * 100 + id, 1, "text"));
            insert.session(&mut session).await.expect("stored");
        }
        session.commit_transaction().await.expect("committed");
    }
    board.assert_projected(&projector).await;
    let audited = metric(&registry, "audited_total", None);
    until("it audits again", || async {
        metric(&registry, "audited_total", None) > audited
    })
    .await;
    assert_eq!(metric(&registry, "divergences_total", None), 0.0);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_too_large_to_be_sent_touches_its_own_target_alone() {
    let board = Board::with_posts(2).await;
    let mut registry = Registry::default();
    let projector = board.project_with(brisk(), &mut registry).await;
    board.add_large(1, 1).await;
    board.add(comment(2, 2, "before it")).await;
    board.assert_projected(&projector).await;
    board.change_large(1).await;
    // The text changes and the post as well, with images that are too large.
    let moved = doc! { "$set": { "text": "moved", "post": 2_i64 } };
    let comments = board.own("comments");
    let update = comments.update_one(doc! { "_id": 1_i64 }, moved);
    assert_eq!(update.await.expect("it is moved").modified_count, 1);
    board.add(comment(3, 2, "after it")).await;
    board.assert_projected(&projector).await;
    let generation = projector.serving().map(|slot| slot.generation());
    assert_eq!(generation, Some(1), "nothing was built again");
    assert_eq!(metric(&registry, "dead_letters_total", None), 0.0);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_half_a_megabyte_stop_nobody() {
    let board = Board::with_posts(2).await;
    let projector = board.project(brisk()).await;
    board.add(comment(1, 1, "before them")).await;
    board.assert_projected(&projector).await;
    projector.stop().await;
    // Together with its resume token, an answer of the server's that is full of them cannot be sent.
    let large = (0..60).map(|number| doc! { "_id": format!("{number}{}", "x".repeat(500_000)) });
    for large in large {
        let stored = board.own("comments").insert_one(large).await;
        stored.expect("stored");
    }
    board.add(comment(2, 2, "after them")).await;
    let projector = board.project(brisk()).await;
    let slot = projector
        .wait_until_passed(board.now().await, PATIENCE)
        .await
        .expect("it passes them");
    let counts = board.states(&slot).await;
    let counts: Vec<_> = counts
        .iter()
        .map(|(_, state)| state["count"].clone())
        .collect();
    assert_eq!(counts, [Bson::from(1_i64), Bson::from(1_i64)]);
    assert_eq!(slot.generation(), 1);
    projector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_value_in_the_place_of_the_field_is_healed_by_a_build_and_by_a_repair() {
    let board = Board::with_posts(1).await;
    let spoil = |id: i64, value: Bson| doc! { "_id": id, "title": "Title", "feed": value };
    for (id, value) in [(2, Bson::from(5)), (3, Bson::from(vec![1]))] {
        let stored = board.posts.insert_one(spoil(id, value)).await;
        stored.expect("stored");
        board.add(comment(id, id, "before the build")).await;
    }
    let projector = board.project(brisk()).await;
    board.assert_projected(&projector).await;
    let values = [Bson::from("text"), Bson::Null, Bson::from(doc! { "g1": 5 })];
    for (id, value) in (4..).zip(values) {
        let stored = board.posts.insert_one(spoil(id, value)).await;
        stored.expect("stored");
        board.add(comment(id, id, "after the build")).await;
    }
    until("all are repaired", || async {
        board.projected(&projector).await == board.expected().await
    })
    .await;
    let titled = board.posts.count_documents(doc! { "title": "Title" }).await;
    assert_eq!(titled.expect("counted"), 5, "the rest stays");
    projector.stop().await;
}

/// Posts in which the field, a generation, or a name in its state stands twice.
fn spoiled_posts() -> [RawDocumentBuf; 3] {
    let state = RawDocumentBuf::try_from(&doc! { "count": 0_i64, "newest": [] });
    let state = state.expect("a document");
    let mut generation = RawDocumentBuf::new();
    generation.append(cstr!("g1"), state.clone());
    let mut field_twice = RawDocumentBuf::new();
    field_twice.append(cstr!("_id"), 2_i64);
    field_twice.append(cstr!("feed"), generation.clone());
    field_twice.append(cstr!("feed"), 5);

    generation.append(cstr!("g1"), state.clone());
    let mut generation_twice = RawDocumentBuf::new();
    generation_twice.append(cstr!("_id"), 3_i64);
    generation_twice.append(cstr!("feed"), generation);

    let mut name_twice = state;
    name_twice.append(cstr!("count"), 7_i64);
    let mut generation = RawDocumentBuf::new();
    generation.append(cstr!("g1"), name_twice);
    let mut post_with_name_twice = RawDocumentBuf::new();
    post_with_name_twice.append(cstr!("_id"), 4_i64);
    post_with_name_twice.append(cstr!("feed"), generation);
    [field_twice, generation_twice, post_with_name_twice]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_ends_the_server_does_so_once() {
    let mut server = ReplicaSet::start(Options::default())
        .await
        .expect("a server");
    let board = Board::at(server.uri_for("board"), 1).await;
    // A new leader looks at the targets of its first batch, and here of no other.
    let settings = brisk().batch_count_max(1);
    let projector = board.project(settings).await;
    projector.wait_until_serving().await.expect("it serves");
    board.add(comment(1, 1, "text")).await;
    board.assert_projected(&projector).await;
    let posts = board.database.collection::<RawDocumentBuf>("posts");
    for (id, post) in (2..).zip(spoiled_posts()) {
        posts.insert_one(post).await.expect("stored");
        board.add(comment(id, id, "text")).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let ended = loop {
            if let Some(ended) = server.ended_node().expect("the system tells") {
                break ended;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the server lives on with post {id}: this test shows nothing then"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        server.restart_node(ended).await.expect("it starts again");
        server.primary().await.expect("a primary");
        until("the state is repaired", || async {
            board.projected(&projector).await == board.expected().await
        })
        .await;
        board.add(comment(10 + id, id, "after it was healed")).await;
        board.assert_projected(&projector).await;
    }
    assert_eq!(server.ended_node().expect("the system tells"), None);
    projector.stop().await;
}
