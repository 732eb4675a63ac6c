//! Writes that are made, and that the majority of the servers does not confirm.

use bson::oid::ObjectId;
use bson::{Document, doc};
use embedded_mongo::{Options, ReplicaSet};
use mongodb::Client;
use serde_json::json;

use crate::moderators::*;

/// Lets both secondaries apply nothing, or go on.
async fn stop_secondaries(set: &ReplicaSet, primary: usize, is_stop: bool) {
    let mode = if is_stop { "alwaysOn" } else { "off" };
    for node in (0..3).filter(|node| *node != primary) {
        let stop = doc! { "configureFailPoint": "rsSyncApplyStop", "mode": mode };
        let stopped = set.admin_command(node, stop).await;
        stopped.expect("a fail point");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_confirmation_is_no_overload_and_a_key_writes_one_comment() {
    let set = ReplicaSet::start(Options::default().nodes(3)).await;
    let set = set.expect("three nodes");
    let uri = format!("{}&w=majority", set.uri_for("unconfirmed"));
    let comments = second_at(&uri, &[]).await;
    comments.ready().await;
    let client = Client::with_uri_str(&uri).await.expect("a client");
    let database = client.database("unconfirmed");
    let post = ObjectId::new();
    let posts = database.collection::<Document>("posts");
    posts
        .insert_one(doc! { "_id": post })
        .await
        .expect("a post");
    let post = post.to_hex();
    let ann = ann(&comments);
    let edited = written(&ann, &post, "Edited").await;
    let deleted = written(&ann, &post, "Deleted").await;
    let primary = set.primary().await.expect("a primary");
    stop_secondaries(&set, primary, true).await;

    let edit = json!({ "input": { "id": edited["id"], "text": "Other" } });
    let codes = tokio::join!(
        ann.error_code(EDIT, edit),
        ann.error_code(DELETE, deleted.clone()),
    );
    // Both are made.
    assert_eq!(
        codes,
        (
            "INTERNAL_SERVER_ERROR".to_owned(),
            "INTERNAL_SERVER_ERROR".to_owned()
        )
    );
    // One that is new waits as long as it takes, and one with a key is found by its retry.
    let input = |text: &str, key: Option<&str>| json!({ "input": { "postId": post, "text": text, "idempotencyKey": key } });
    let (new, keyed) = (input("New", None), input("Keyed", Some("k")));
    let go_on = async {
        // Longer than a single write may take.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        stop_secondaries(&set, primary, false).await;
    };
    let (new, first, ()) = tokio::join!(
        ann.data(CREATE, new),
        ann.data(CREATE, keyed.clone()),
        go_on
    );
    assert_eq!(new["createComment"]["comment"]["text"], "New");
    let again = ann.data(CREATE, keyed).await;
    let first = &first["createComment"]["comment"]["id"];
    assert_eq!(&again["createComment"]["comment"]["id"], first);
    let stored = database.collection::<Document>("comments");
    let counted = stored.count_documents(doc! {}).await.expect("counted");
    assert_eq!(counted, 3, "edited, new, keyed");
    comments.stop().await.expect("a clean end");
}
