//! What a service does with documents that a transaction holds: one that was killed leaves them locked for a minute.

use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{Document, doc};
use embedded_mongo::{Options, ReplicaSet};
use futures_util::future::join_all;
use mongodb::Client;
use serde_json::json;

use crate::moderators::*;

#[tokio::test(flavor = "multi_thread")]
async fn writes_do_not_wait_for_a_transaction_that_nobody_ends() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (ann, bob) = (ann(&comments), bob(&comments));
    let id = written(&ann, &post, "Text").await;
    let reported = written(&ann, &post, "Reported").await;
    named(&comments, "cid").data(REPORT, reported.clone()).await;
    let client = comments.database.client();
    let mut session = client.start_session().await.expect("a session");
    session.start_transaction().await.expect("started");
    let locked = [("comments", &id), ("moderatedComments", &reported)];
    for (collection, id) in locked {
        let id = ObjectId::parse_str(id["id"].as_str().expect("an id")).expect("an id");
        let update = comments.collection(collection);
        let update = update.update_one(doc! { "_id": id }, doc! { "$set": { "likes": 1 } });
        update.session(&mut session).await.expect("updated");
    }
    let began = Instant::now();
    let edit = json!({ "input": { "id": id["id"], "text": "Other" } });
    let (edited, deleted, reports) = tokio::join!(
        ann.error_code(EDIT, edit.clone()),
        ann.error_code(DELETE, id.clone()),
        bob.error_code(REPORT, reported.clone()),
    );
    assert_eq!([edited, deleted, reports], ["OVERLOADED"; 3]);
    assert!(began.elapsed() < Duration::from_secs(30), "the lock's time");
    session.abort_transaction().await.expect("aborted");
    ann.data(EDIT, edit).await;
    bob.data(REPORT, reported).await;
    ann.data(DELETE, id).await;
}

/// More tries of a key at once than there are connections, after its comment was deleted.
#[tokio::test(flavor = "multi_thread")]
async fn many_tries_of_one_key_write_one_comment() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let ann = ann(&comments);
    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let first = ann.data(CREATE, input.clone()).await["createComment"]["comment"]["id"].take();
    ann.data(DELETE, json!({ "id": first })).await;
    let tries = join_all((0..40).map(|_| ann.data(CREATE, input.clone())));
    for answer in tries.await {
        assert_eq!(answer["createComment"]["comment"]["id"], first);
    }
    assert_eq!(places(&comments, &first).await, (1, 0));
    // What a transaction writes to the key is another value each time: the same one would be no write.
    let keys = comments.collection("commentKeys");
    let locked = keys.find_one(doc! { "lock": { "$type": "objectId" } });
    assert!(locked.await.expect("found").is_some());
}

/// Another program, or a service that was killed, keeps the `_id` that a new comment is about to have.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_does_not_wait_for_a_transaction_that_nobody_ends() {
    let set = ReplicaSet::start(Options::default()).await;
    let set = set.expect("a server");
    let uri = set.uri_for("locked");
    let comments = second_at(&uri, &[]).await;
    comments.ready().await;
    let client = Client::with_uri_str(&uri).await.expect("a client");
    let collection = |name| client.database("locked").collection::<Document>(name);
    let post = ObjectId::new();
    let posts = collection("posts");
    posts
        .insert_one(doc! { "_id": post })
        .await
        .expect("a post");
    // Its key is written, its insert is not begun.
    let stall = doc! {
        "blockConnection": true, "blockTimeMS": 3_000, "namespace": "locked.comments",
    };
    let stalled = set.fail_commands("comments requests", &["findAndModify"], stall, 1);
    stalled.await.expect("a fail point");
    let input = json!({ "input": {
        "postId": post.to_hex(), "text": "Once", "idempotencyKey": "k",
    } });
    let ann = ann(&comments);
    let lock = async {
        let keys = collection("commentKeys");
        let id = loop {
            if let Some(key) = keys.find_one(doc! {}).await.expect("found") {
                break key.get_object_id("commentId").expect("an id");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut session = client.start_session().await.expect("a session");
        session.start_transaction().await.expect("started");
        let insert = collection("comments");
        let insert = insert.insert_one(doc! { "_id": id });
        insert.session(&mut session).await.expect("inserted");
        (session, id)
    };
    let began = Instant::now();
    let (refused, (mut session, id)) = tokio::join!(ann.error_code(CREATE, input.clone()), lock);
    // Nobody can tell whether the first insert was made: no overload, after which nothing is written.
    assert_eq!(refused, "INTERNAL_SERVER_ERROR");
    assert!(began.elapsed() < Duration::from_secs(30), "the lock's time");
    session.abort_transaction().await.expect("aborted");
    let written = ann.data(CREATE, input).await;
    assert_eq!(written["createComment"]["comment"]["id"], id.to_hex());
    comments.stop().await.expect("a clean end");
}
