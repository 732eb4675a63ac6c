//! Readers and moderators see each move once, through the change streams.

use serde_json::{Value, json};
use subgraph::testing::{Signed, Socket};

use crate::moderators::*;

const CHANGES: &str = "subscription ($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) {
        __typename
        ... on CommentAdded { cursor comment { id text status } }
        ... on CommentEdited { cursor comment { id text status } }
        ... on CommentDeleted { cursor commentId }
    }
}";
const QUEUE_CHANGES: &str = "subscription ($after: String) {
    moderationChanges(after: $after) {
        __typename
        ... on ModerationEntered { cursor entry { commentId status reportCount comment { text } } }
        ... on ModerationChanged { cursor entry { commentId status reportCount comment { text } } }
        ... on ModerationLeft { cursor commentId }
    }
}";

/// The next change of a subscription: its type, its comment's id, and its cursor.
async fn change(socket: &mut Socket, field: &str) -> (String, Value, String) {
    let mut change = socket.next_payload("1").await["data"][field].take();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let id = ["/commentId", "/comment/id", "/entry/commentId"]
        .into_iter()
        .find_map(|path| change.pointer(path).cloned());
    let cursor = text(&change["cursor"].take());
    (text(&change["__typename"]), id.expect("an id"), cursor)
}

async fn follow(by: &Signed<'_>, query: &str, variables: Value) -> Socket {
    let mut socket = by.websocket().await;
    by.subscribe(&mut socket, "1", query, variables).await;
    socket
}

/// The cursor of the moderators' queue.
async fn cursor(by: &Signed<'_>) -> Value {
    by.data("{ moderationChangesCursor }", json!({})).await["moderationChangesCursor"].take()
}

/// The cursor of a post's comments.
async fn cursor_of(by: &Signed<'_>, post: &str) -> Value {
    let query = "query ($of: [_Any!]!) { _entities(representations: $of) {
        ... on Post { commentChangesCursor }
    } }";
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    by.data(query, of).await["_entities"][0]["commentChangesCursor"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_get_each_move_once_and_resume_across_it() {
    let comments = start(&[]).await;
    let (post, guest, eve) = (comments.post().await, comments.guest(NAME), eve(&comments));
    let start = cursor_of(&guest, &post).await;
    let after = |cursor: &Value| json!({ "post": post, "after": cursor });
    let mut live = follow(&guest, CHANGES, after(&start)).await;
    let id = written(&ann(&comments), &post, "Text").await;
    for query in [HIDE, HIDE, RESTORE, RESTORE, HIDE, RESTORE] {
        eve.data(query, id.clone()).await;
    }
    written(&ann(&comments), &post, "Last").await;
    let expected = ["Added", "Deleted", "Added", "Deleted", "Added", "Added"];
    let mut seen = Vec::new();
    for kind in expected {
        let next = change(&mut live, "commentChanges").await;
        assert_eq!(next.0, format!("Comment{kind}"));
        seen.push(next);
    }
    assert!(seen[..5].iter().all(|(_, of, _)| *of == id["id"]));
    assert_ne!(seen[5].1, id["id"]);
    for resumed in 0..5 {
        let mut rest = follow(&guest, CHANGES, after(&json!(seen[resumed].2))).await;
        for expected in &seen[resumed + 1..] {
            assert_eq!(change(&mut rest, "commentChanges").await, *expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn moderators_follow_the_queue_and_resume_anywhere() {
    let comments = start(&["--hold-comments=always"]).await;
    let (post, ann, eve) = (comments.post().await, ann(&comments), eve(&comments));
    let start = cursor(&eve).await;
    let mut live = follow(&eve, QUEUE_CHANGES, json!({ "after": start })).await;
    let held = written(&ann, &post, "Held").await;
    ann.data(
        EDIT,
        json!({ "input": { "id": held["id"], "text": "Edited" } }),
    )
    .await;
    eve.data(RESTORE, held.clone()).await;
    for person in ["p", "q"] {
        named(&comments, person).data(REPORT, held.clone()).await;
    }
    eve.data(HIDE, held.clone()).await;
    // Neither hiding what nobody reported nor restoring it changes the queue.
    let own = written(&eve, &post, "Own").await;
    eve.data(HIDE, own.clone()).await;
    eve.data(RESTORE, own).await;
    let deleted = written(&ann, &post, "Deleted").await;
    ann.data(DELETE, deleted.clone()).await;
    let expected = [
        ("Entered", &held),
        ("Changed", &held),
        ("Left", &held),
        ("Entered", &held),
        ("Changed", &held),
        ("Left", &held),
        ("Entered", &deleted),
        ("Left", &deleted),
    ];
    let mut seen = Vec::new();
    for (kind, of) in expected {
        let next = change(&mut live, "moderationChanges").await;
        assert_eq!(next.0, format!("Moderation{kind}"), "{seen:?}");
        assert_eq!(next.1, of["id"]);
        seen.push(next);
    }
    for resumed in [0, 3, 6] {
        let after = json!({ "after": seen[resumed].2 });
        let mut rest = follow(&eve, QUEUE_CHANGES, after).await;
        for expected in &seen[resumed + 1..] {
            assert_eq!(change(&mut rest, "moderationChanges").await, *expected);
        }
    }
    // Another instance has to read them from the history.
    let database = comments.stop().await;
    let comments = start_on(database, &["--feed-start-history=0s"]).await;
    let after = json!({ "after": seen[2].2 });
    let eve = crate::moderators::eve(&comments);
    let mut rest = follow(&eve, QUEUE_CHANGES, after).await;
    for expected in &seen[3..] {
        assert_eq!(change(&mut rest, "moderationChanges").await, *expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_the_entry_with_its_comment() {
    let comments = start(&[]).await;
    let (post, eve) = (comments.post().await, eve(&comments));
    let start = cursor(&eve).await;
    let id = written(&ann(&comments), &post, "Text").await;
    bob(&comments).data(REPORT, id.clone()).await;
    let mut live = follow(&eve, QUEUE_CHANGES, json!({ "after": start })).await;
    let event = live.next_payload("1").await;
    let entry = json!({
        "commentId": id["id"], "status": "VISIBLE", "reportCount": 1,
        "comment": { "text": "Text" },
    });
    assert_eq!(event["data"]["moderationChanges"]["entry"], entry);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_of_other_feeds_are_refused() {
    let comments = start(&[]).await;
    let (post, eve) = (comments.post().await, eve(&comments));
    let foreign = cursor_of(&eve, &post).await;
    let mut refused = follow(&eve, QUEUE_CHANGES, json!({ "after": foreign })).await;
    let extensions = refused.next().await["payload"][0]["extensions"].take();
    assert_eq!(extensions["code"], "BAD_USER_INPUT");
    assert_eq!(extensions["reason"], "CURSOR_FOREIGN");
}
