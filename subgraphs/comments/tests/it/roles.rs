//! Instances whose live feed or upkeep is turned off.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use serde_json::json;
use subgraph::testing::TestSubgraph;

use crate::service::Comments;

const CHANGES: &str = "subscription ($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) { ... on CommentAdded { comment { text } } }
}";
const ADDED: &str = "subscription ($post: ID!) { commentAdded(postId: $post) { text } }";
const OFF: [&str; 3] = ["--live-feed=false", "--known-posts-max=0", "--upkeep=false"];

/// The change streams that the server has open on the service's database.
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

#[tokio::test(flavor = "multi_thread")]
async fn without_the_live_feed_it_writes_and_reads_and_follows_no_stream() {
    let comments = Comments::start_with(&OFF).await;
    let post = comments.post().await;
    comments.comment(&post, "written").await;
    assert_eq!(comments.texts(&post).await, ["written"]);
    for query in [CHANGES, ADDED] {
        let mut socket = comments.subscribe(query, json!({ "post": post })).await;
        let refused = socket.next().await;
        let error = &refused["payload"][0];
        assert_eq!(error["extensions"]["code"], "LIVE_FEED_OFF", "{refused}");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("LIVE_FEED"), "{message}");
    }
    assert_eq!(change_streams(&comments).await, 0);
    let whole = comments.another(&[]).await;
    whole.ready().await;
    // Of comments, of those in moderation, and of posts.
    while change_streams(&comments).await < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    whole.stop().await.expect("its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_cursors_are_those_of_the_instances_with_a_live_feed() {
    let live = Comments::start().await;
    let without = live.another(&OFF).await;
    without.ready().await;
    let post = live.post().await;
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let read = "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
        commentChangesCursor } } }";
    let cursor = without.data(read, of).await["_entities"][0]["commentChangesCursor"].take();
    live.comment(&post, "after the cursor").await;
    let after = json!({ "post": post, "after": cursor });
    let mut socket = live.subscribe(CHANGES, after).await;
    let change = socket.next_payload("1").await;
    let text = &change["data"]["commentChanges"]["comment"]["text"];
    assert_eq!(text, "after the cursor", "{change}");
    without.stop().await.expect("its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_upkeep_it_makes_no_index() {
    let comments = Comments::start_with(&OFF).await;
    let post = comments.post().await;
    comments.comment(&post, "written").await;
    let names = comments.collection("comments").list_index_names().await;
    assert_eq!(names.expect("read"), ["_id_"]);
}
