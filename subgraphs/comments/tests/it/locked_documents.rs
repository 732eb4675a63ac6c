//! What a service does with documents that a transaction holds: one that was killed leaves them locked for a minute.

use std::time::{Duration, Instant};

use bson::doc;
use bson::oid::ObjectId;
use futures_util::future::join_all;
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
