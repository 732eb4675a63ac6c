//! Instances that take no part in the projection, or whose live feed or upkeep is turned off.

use std::time::Duration;

use bson::{Document, doc};
use clap::Parser;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use subgraph::testing::{TestService, TestSubgraph};

use crate::service::Posts;

const OFF: [&str; 3] = ["--live-feed=false", "--projection=false", "--upkeep=false"];
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
const SHOWN: &str = "query ($id: ID!) { post(id: $id) { commentCount latestComments { text } } }";

async fn change_streams(service: &TestSubgraph) -> usize {
    let collection = service.collection("posts");
    let (name, client) = (&collection.namespace().db, collection.client());
    let stages = [
        doc! { "$currentOp": { "allUsers": true, "idleCursors": true, "localOps": true } },
        doc! { "$match": {
            "ns": { "$regex": format!("^{name}\\.") },
            "cursor.originatingCommand.pipeline.$changeStream": { "$exists": true },
        } },
    ];
    let found = client.database("admin").aggregate(stages).await;
    let found: Vec<Document> = found.expect("read").try_collect().await.expect("read");
    found.len()
}

/// Reads a post until it shows a comment with this text.
async fn until_shown(service: &TestService, id: &str, text: &str) {
    loop {
        let shown: Value = service.data(SHOWN, json!({ "id": id })).await;
        let latest = &shown["post"]["latestComments"];
        if latest[0]["text"] == text && shown["post"]["commentCount"] == 1 {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_project_shows_what_the_others_write() {
    let posts = Posts::start().await;
    // For the projection, and for live posts.
    while change_streams(&posts).await < 2 {
        tokio::time::sleep(PAUSE).await;
    }
    let reader = posts.another(&OFF).await;
    reader.ready().await;
    assert_eq!(change_streams(&posts).await, 2, "it follows none");
    let id = posts.create("Commented").await;
    posts.comment(&id, "shown").await;
    until_shown(&reader, &id, "shown").await;

    // With nobody else, it does not take over.
    let database = posts.stop().await;
    reader.stop().await.expect("its end");
    let reader = Posts::start_on_with(database, &OFF).await;
    let leases = reader.collection("changefeed_leases");
    let held = doc! { "$expr": { "$gt": ["$expires", "$$NOW"] } };
    assert_eq!(leases.count_documents(held).await.expect("a count"), 0);
    until_shown(&reader, &id, "shown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_without_a_live_feed_refuses_subscriptions_and_still_projects() {
    let posts = Posts::start_with(&["--live-feed=false"]).await;
    let id = posts.create("Commented").await;
    for query in [
        "subscription { postAdded { title } }",
        "subscription ($id: ID!) { postUpdated(id: $id) { title } }",
    ] {
        let mut socket = posts.subscribe(query, json!({ "id": id })).await;
        let refused = socket.next().await;
        let code = &refused["payload"][0]["extensions"]["code"];
        assert_eq!(code, "LIVE_FEED_OFF", "{refused}");
    }
    posts.comment(&id, "shown").await;
    until_shown(&posts, &id, "shown").await;
    // It looks after posts that come after their comments.
    let late = bson::oid::ObjectId::new();
    posts.comment(&late.to_hex(), "before its post").await;
    let post =
        doc! { "_id": late, "title": "T", "content": "C", "createdAt": bson::DateTime::now() };
    let inserted = posts.collection("posts").insert_one(post).await;
    inserted.expect("inserted");
    until_shown(&posts, &late.to_hex(), "before its post").await;
}

#[test]
fn a_role_is_on_or_off() {
    for flag in ["--projection=perhaps", "--live-feed=2", "--upkeep="] {
        assert!(
            posts::Config::try_parse_from(["posts", flag]).is_err(),
            "{flag}"
        );
    }
}
