//! Live posts: `postAdded` and `postUpdated`.

use std::time::Duration;

use serde_json::{Value, json};
use subgraph::testing::Socket;

use crate::service::Posts;

const ADDED: &str = "subscription { postAdded { title } }";
const UPDATED: &str = "subscription ($id: ID!) { postUpdated(id: $id) { title commentCount latestComments { text } } }";
const RENAME: &str = "mutation ($id: ID!, $title: String!) {
    updatePost(input: { id: $id, title: $title }) { post { id } }
}";

/// Reads until a result is as wanted.
async fn until(socket: &mut Socket, wanted: impl Fn(&Value) -> bool) {
    while !wanted(&socket.next_payload("1").await["data"]) {}
}

/// A subscriber that has seen the post change: from then on it misses nothing.
async fn settled(posts: &Posts, id: &str) -> Socket {
    let mut updated = posts.subscribe(UPDATED, json!({ "id": id })).await;
    for attempt in 0.. {
        posts
            .data(
                RENAME,
                json!({ "id": id, "title": format!("Attempt {attempt}") }),
            )
            .await;
        let next = tokio::time::timeout(Duration::from_millis(50), updated.next_payload("1")).await;
        if next.is_ok() {
            break;
        }
    }
    updated
}

#[tokio::test(flavor = "multi_thread")]
async fn new_posts_are_announced() {
    let posts = Posts::start().await;
    let mut added = posts.subscribe(ADDED, json!({})).await;
    // The protocol does not say when a subscription is in place.
    loop {
        posts.create("Probe").await;
        if tokio::time::timeout(Duration::from_millis(50), added.next_payload("1"))
            .await
            .is_ok()
        {
            break;
        }
    }
    posts.create("News").await;
    until(&mut added, |data| data["postAdded"]["title"] == "News").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_frame_says_when_a_subscription_is_in_place() {
    let posts = Posts::start().await;
    let id = posts.create("Before").await;
    let extensions = json!({ "delivery": { "version": 1, "after": "elsewhere" } });
    for (query, field) in [(ADDED, "postAdded"), (UPDATED, "postUpdated")] {
        let mut socket = posts.websocket().await;
        let payload =
            json!({ "query": query, "variables": { "id": id }, "extensions": extensions });
        let message = json!({ "id": "1", "type": "subscribe", "payload": payload });
        socket.send(message).await;
        let kept = json!({ "version": 1, "asked": "AT_LEAST_ONCE", "kept": "BEST_EFFORT" });
        let frame = json!({ "data": null, "extensions": { "delivery": kept } });
        assert_eq!(socket.next_payload("1").await, frame);
        posts.create("News").await;
        posts
            .data(RENAME, json!({ "id": id, "title": "News" }))
            .await;
        // The change stream may be at what was before.
        loop {
            let event = socket.next_payload("1").await;
            assert_eq!(event.get("extensions"), None, "{event}");
            if event["data"][field]["title"] == "News" {
                break;
            }
        }
    }
    let mut socket = posts.websocket().await;
    let payload = json!({ "query": UPDATED, "variables": { "id": "0".repeat(24) }, "extensions": { "delivery": { "version": 1 } } });
    let message = json!({ "id": "1", "type": "subscribe", "payload": payload });
    socket.send(message).await;
    assert_eq!(socket.next().await["type"], "error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_post_shows_its_texts_and_its_comments_as_they_change() {
    let posts = Posts::start().await;
    let id = posts.create("Before").await;
    let mut updated = settled(&posts, &id).await;
    posts
        .data(RENAME, json!({ "id": id, "title": "After" }))
        .await;
    until(&mut updated, |data| data["postUpdated"]["title"] == "After").await;

    posts.comment(&id, "Hello").await;
    let expected =
        json!({ "title": "After", "commentCount": 1, "latestComments": [{ "text": "Hello" }] });
    until(&mut updated, |data| data["postUpdated"] == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscription_ends_with_its_post() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    let mut updated = settled(&posts, &id).await;
    let delete = "mutation ($id: ID!) { deletePost(input: { id: $id }) { id } }";
    posts.data(delete, json!({ "id": id })).await;
    while updated.next().await["type"] != "complete" {}

    let message = posts
        .subscribe(UPDATED, json!({ "id": id }))
        .await
        .next()
        .await;
    assert_eq!(
        message["payload"][0]["extensions"]["code"], "NOT_FOUND",
        "{message:#}"
    );
}
