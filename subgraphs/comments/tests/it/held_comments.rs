//! Which comments are held, who knows of them, and what a retried request finds.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use mongodb::options::{ReadConcern, WriteConcern};
use serde_json::{Value, json};

use crate::moderators::*;

#[tokio::test(flavor = "multi_thread")]
async fn first_comments_and_those_of_guests_are_held() {
    let comments = start(&["--hold-comments=first"]).await;
    let post = comments.post().await;
    let (ann, eve, guest) = (ann(&comments), eve(&comments), comments.guest(NAME));
    // Another program's list with her id in it is no comment of hers.
    let odd = doc! { "postId": ObjectId::new(), "authorId": ["ann"], "text": "odd" };
    comments
        .collection("comments")
        .insert_one(odd)
        .await
        .expect("inserted");
    let first = write(&ann, &post, "First").await;
    assert_eq!(first["status"], "HELD");
    assert_eq!(write(&ann, &post, "Second").await["status"], "HELD");
    assert_eq!(write(&guest, &post, "Guest").await["status"], "HELD");
    assert_eq!(write(&eve, &post, "Moderator").await["status"], "VISIBLE");
    eve.data(RESTORE, json!({ "id": first["id"] })).await;
    assert_eq!(write(&ann, &post, "Third").await["status"], "VISIBLE");
    assert_eq!(write(&bob(&comments), &post, "Bob").await["status"], "HELD");
    assert_eq!(write(&guest, &post, "Guest").await["status"], "HELD");
    assert_eq!(
        texts(&comments, &post).await,
        ["Third", "Moderator", "First"]
    );
    assert_eq!(queue(&eve, "OPEN").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_comment_is_its_authors_to_edit_and_to_delete() {
    let comments = start(&["--hold-comments=always", "--anonymous-writes=change"]).await;
    let post = comments.post().await;
    let (ann, bob, eve, guest) = (
        ann(&comments),
        bob(&comments),
        eve(&comments),
        comments.guest(NAME),
    );
    let id = written(&ann, &post, "Held").await;
    let of_guest = written(&guest, &post, "Guest's").await;
    let edit = |id: &Value| json!({ "input": { "id": id["id"], "text": "Edited" } });
    for (viewer, id) in [
        (&bob, &id),
        (&guest, &id),
        (&guest, &of_guest),
        (&bob, &of_guest),
    ] {
        assert_eq!(viewer.error_code(EDIT, edit(id)).await, "NOT_FOUND");
        assert_eq!(viewer.error_code(DELETE, id.clone()).await, "NOT_FOUND");
        assert_eq!(viewer.data(READ, id.clone()).await["comment"], Value::Null);
    }
    let edited = ann.data(EDIT, edit(&id)).await;
    let expected = json!({ "id": id["id"], "text": "Edited", "status": "HELD", "edited": true });
    assert_eq!(edited["updateComment"]["comment"], expected);
    let stale = json!({ "input": {
        "id": id["id"], "text": "Late", "ifUpdatedAt": "2001-01-01T00:00:00Z",
    } });
    assert_eq!(ann.error_code(EDIT, stale).await, "CONFLICT");
    assert_eq!(queue(&eve, "OPEN").await[1]["comment"]["text"], "Edited");
    eve.data(RESTORE, id.clone()).await;
    assert_eq!(texts(&comments, &post).await, ["Edited"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_finds_its_comment_wherever_it_is() {
    for hold in ["--hold-comments=never", "--hold-comments=always"] {
        let comments = start(&[hold]).await;
        let post = comments.post().await;
        let (ann, eve) = (ann(&comments), eve(&comments));
        let input = |text: &str| json!({ "input": { "postId": post, "text": text, "idempotencyKey": "k" } });
        let create = async |text: &str| ann.data(CREATE, input(text)).await["createComment"].take();
        let first = create("Once").await;
        let id = json!({ "id": first["comment"]["id"] });
        let mut statuses = vec![first["comment"]["status"].clone()];
        for act in [HIDE, RESTORE, HIDE] {
            eve.data(act, id.clone()).await;
            let again = create("Once").await;
            assert_eq!(again["comment"]["id"], id["id"]);
            statuses.push(again["comment"]["status"].clone());
            let conflict = ann.error_code(CREATE, input("Other")).await;
            assert_eq!(conflict, "CONFLICT");
            let (visible, kept) = places(&comments, &id["id"]).await;
            assert_eq!(visible + kept, 1);
        }
        assert_eq!(statuses[1..], ["HIDDEN", "VISIBLE", "HIDDEN"]);
        // Deleted: the key is free.
        ann.data(DELETE, id.clone()).await;
        assert_eq!(create("Once").await["comment"]["id"], id["id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_of_two_instances_while_a_moderator_hides_keep_one_comment() {
    let one = start(&[]).await;
    let post = one.post().await;
    let other = second(&one, &[]).await;
    let (anns, eve) = ([ann(&one), ann(&other)], eve(&one));
    for number in 0..15 {
        let key = format!("k{number}");
        let input = json!({ "input": { "postId": post, "text": key, "idempotencyKey": key } });
        let id = anns[0].data(CREATE, input.clone()).await["createComment"]["comment"]["id"].take();
        let tries = (0..6).map(|number| anns[number % 2].data(CREATE, input.clone()));
        let moves = async {
            for act in [HIDE, RESTORE, HIDE] {
                eve.data(act, json!({ "id": id })).await;
            }
        };
        let (answers, ()) = tokio::join!(futures_util::future::join_all(tries), moves);
        for answer in answers {
            assert_eq!(answer["createComment"]["comment"]["id"], id);
        }
        assert_eq!(places(&one, &id).await, (0, 1));
    }
    other.stop().await.expect("a clean end");
}

/// As a service leaves it that is killed between its two writes: the retry writes it, held if it would be.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_finishes_a_held_comment_that_was_begun() {
    let comments = start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let id = ObjectId::new();
    let key = doc! { "owner": "ann", "key": "k" };
    let begun = doc! { "_id": key, "commentId": id, "at": bson::DateTime::now() };
    let keys = comments.collection("commentKeys");
    keys.insert_one(begun).await.expect("inserted");
    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let ann = ann(&comments);
    let tries = (0..4).map(|_| ann.data(CREATE, input.clone()));
    for answer in futures_util::future::join_all(tries).await {
        let comment = &answer["createComment"]["comment"];
        assert_eq!(comment["id"], id.to_hex());
        assert_eq!(comment["status"], "HELD");
    }
    assert_eq!(places(&comments, &json!(id.to_hex())).await, (0, 1));
}

/// What the transactions of keys and of moves rely on: a document that was inserted and deleted after a transaction's
/// snapshot is in the way of the transaction's insert.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_refuses_an_insert_over_what_came_and_went_since_the_snapshot() {
    let database = embedded_mongo::test_database().await;
    let stored = database.database().collection::<Document>("comments");
    stored
        .insert_one(doc! { "other": 1 })
        .await
        .expect("inserted");
    let id = doc! { "_id": ObjectId::new() };
    let mut session = database.client().start_session().await.expect("a session");
    session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        .await
        .expect("started");
    let seen = stored.find_one(id.clone()).session(&mut session).await;
    assert_eq!(seen.expect("read"), None);
    stored.insert_one(&id).await.expect("inserted");
    stored.delete_one(id.clone()).await.expect("deleted");
    let refused = stored.insert_one(&id).session(&mut session).await;
    let refused = refused.expect_err("it was there");
    assert!(
        refused.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR),
        "{refused}"
    );
}

/// Another program holds the entry for a moment: the act is made when it is free.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_waits_for_a_transaction_that_is_in_its_way() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let id = written(&ann(&comments), &post, "Text").await;
    let of_id =
        doc! { "_id": ObjectId::parse_str(id["id"].as_str().expect("an id")).expect("an id") };
    let stored = comments.collection("comments");
    let client = comments.database.client();
    let mut session = client.start_session().await.expect("a session");
    session.start_transaction().await.expect("started");
    let set = doc! { "$set": { "likes": 1 } };
    let update = stored.update_one(of_id.clone(), set);
    update.session(&mut session).await.expect("updated");
    let eve = eve(&comments);
    let hide = eve.data(HIDE, id.clone());
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        session.commit_transaction().await.expect("committed");
    };
    let (hidden, ()) = tokio::join!(hide, release);
    assert_eq!(hidden["hideComment"]["comment"]["status"], "HIDDEN");
    assert_eq!(act_names(&comments).await, ["HIDE"]);
    let entries = comments.collection("moderatedComments");
    let kept = entries
        .find_one(doc! { "comment.likes": 1 })
        .await
        .expect("found");
    assert!(kept.is_some(), "the other program's write is not lost");
}

/// The request that wrote the key stands still before its insert, until a retry has written the comment and a
/// moderator has hidden it: what it inserts then must not stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_request_that_was_overtaken_takes_its_copy_back() {
    let one = start(&[]).await;
    let post = one.post().await;
    let other = second(&one, &[]).await;
    let stall = doc! {
        "configureFailPoint": "failCommand", "mode": { "times": 1 },
        "data": {
            "failCommands": ["insert"], "namespace": format!("{}.comments", one.database.name()),
            "blockConnection": true, "blockTimeMS": 3_000,
        },
    };
    let admin = one.database.client().database("admin");
    admin.run_command(stall).await.expect("a fail point");
    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let (first, again, eve) = (ann(&one), ann(&other), eve(&one));
    let overtake = async {
        let keys = one.collection("commentKeys");
        while keys.count_documents(doc! {}).await.expect("counted") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let written = again.data(CREATE, input.clone()).await;
        let id = written["createComment"]["comment"]["id"].clone();
        eve.data(HIDE, json!({ "id": id })).await;
        assert_eq!(places(&one, &id).await, (0, 1), "the first one still waits");
        id
    };
    let (first, id) = tokio::join!(first.data(CREATE, input.clone()), overtake);
    let first = &first["createComment"]["comment"];
    assert_eq!((&first["id"], &first["status"]), (&id, &json!("HIDDEN")));
    assert_eq!(places(&one, &id).await, (0, 1));
    other.stop().await.expect("a clean end");
}
