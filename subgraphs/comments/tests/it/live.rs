//! Live comments over WebSocket and SSE.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use subgraph::testing::Socket;

use crate::service::Comments;

const ADDED: &str =
    "subscription ($post: ID!) { commentAdded(postId: $post) { text post { id } } }";
const CHANGES: &str = "subscription ($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) {
        __typename
        ... on CommentAdded { cursor comment { text } }
        ... on CommentEdited { cursor comment { text edited } }
        ... on CommentDeleted { cursor commentId postId }
    }
}";
const EDIT: &str = "mutation ($id: ID!, $text: String!) {
    updateComment(input: { id: $id, text: $text }) { comment { id } }
}";
const DELETE: &str = "mutation ($id: ID!) { deleteComment(input: { id: $id }) { id } }";

/// The next change, and its cursor taken out.
async fn change(socket: &mut Socket) -> (Value, String) {
    let mut change = socket.next_payload("1").await["data"]["commentChanges"].take();
    let cursor = change
        .as_object_mut()
        .and_then(|change| change.remove("cursor"));
    (
        change,
        cursor
            .expect("a cursor")
            .as_str()
            .expect("a text")
            .to_owned(),
    )
}

/// The protocol does not say when a subscription without a cursor is in place: writes comments
/// until the subscriber sees one, and reads on to the last of them.
async fn settle(comments: &Comments, post: &str, added: &mut Socket) {
    let mut written = 0;
    let mut seen = loop {
        written += 1;
        comments.comment(post, &format!("probe {written}")).await;
        match tokio::time::timeout(Duration::from_millis(50), added.next_payload("1")).await {
            Ok(next) => break next,
            Err(_) => continue,
        }
    };
    while seen["data"]["commentAdded"]["text"] != format!("probe {written}") {
        seen = added.next_payload("1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_each_comment_of_its_post() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    let mut added = comments.subscribe(ADDED, json!({ "post": post })).await;
    settle(&comments, &post, &mut added).await;
    for text in ["A", "B", "C"] {
        comments.comment(&other, "elsewhere").await;
        comments.comment(&post, text).await;
        let next = added.next_payload("1").await;
        assert_eq!(
            next["data"]["commentAdded"],
            json!({ "text": text, "post": { "id": post } })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_come_in_order_and_resume_behind_a_cursor() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let start = comments.cursor(&post).await;
    let id = comments.comment(&post, "A").await;
    comments.data(EDIT, json!({ "id": id, "text": "A!" })).await;
    comments.comment(&post, "B").await;
    comments.data(DELETE, json!({ "id": id })).await;

    let after = json!({ "post": post, "after": start });
    let mut all = comments.subscribe(CHANGES, after).await;
    let mut changes = Vec::new();
    for _ in 0..4 {
        changes.push(change(&mut all).await);
    }
    let deleted = &mut changes[3].0;
    assert_eq!(deleted["commentId"].take(), id);
    assert_eq!(deleted["postId"].take(), post);
    let shown: Vec<_> = changes.iter().map(|(change, _)| change).collect();
    assert_json_snapshot!(shown, @r#"
    [
      {
        "__typename": "CommentAdded",
        "comment": {
          "text": "A"
        }
      },
      {
        "__typename": "CommentEdited",
        "comment": {
          "text": "A!",
          "edited": true
        }
      },
      {
        "__typename": "CommentAdded",
        "comment": {
          "text": "B"
        }
      },
      {
        "__typename": "CommentDeleted",
        "postId": null,
        "commentId": null
      }
    ]
    "#);

    for resumed in 0..3 {
        let after = json!({ "post": post, "after": changes[resumed].1 });
        let mut rest = comments.subscribe(CHANGES, after).await;
        assert_eq!(change(&mut rest).await.1, changes[resumed + 1].1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_good_after_a_restart() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let start = comments.cursor(&post).await;
    comments.comment(&post, "before").await;
    let comments = comments.restart().await;
    comments.comment(&post, "after").await;

    let after = json!({ "post": post, "after": start });
    let mut changes = comments.subscribe(CHANGES, after).await;
    for text in ["before", "after"] {
        assert_eq!(change(&mut changes).await.0["comment"]["text"], text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_from_elsewhere_are_refused() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    let (own, foreign) = (comments.cursor(&post).await, comments.cursor(&other).await);
    let truncated = &own[..own.len() - 4];
    for (cursor, reason) in [
        ("", "CURSOR_MALFORMED"),
        ("from nowhere", "CURSOR_MALFORMED"),
        ("bm90IGEgY3Vyc29y", "CURSOR_MALFORMED"),
        (truncated, "CURSOR_MALFORMED"),
        (&foreign, "CURSOR_FOREIGN"),
        (&with_letter(&own, own.len() - 5, 1), "CURSOR_FORGED"),
        // The third letter holds the low bits of the version.
        (&with_letter(&own, 2, 4), "CURSOR_VERSION_UNKNOWN"),
    ] {
        let after = json!({ "post": post, "after": cursor });
        let mut refused = comments.subscribe(CHANGES, after).await;
        let message = refused.next().await;
        assert_eq!(message["type"], "error", "{cursor:?}: {message:#}");
        let extensions = &message["payload"][0]["extensions"];
        assert_eq!(extensions["code"], "BAD_USER_INPUT", "{cursor:?}");
        assert_eq!(extensions["reason"], reason, "{cursor:?}");
    }
}

/// The cursor with one letter of its base64url moved on.
fn with_letter(cursor: &str, place: usize, by: u8) -> String {
    let mut bytes = cursor.to_owned().into_bytes();
    bytes[place] = match bytes[place] {
        letter @ (b'A'..=b'V' | b'a'..=b'v') => letter + by,
        _ => b'A',
    };
    String::from_utf8(bytes).expect("a text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_older_than_the_history_is_told_apart_from_a_bad_one() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let ancient = comments.cursor(&post).await;
    comments.comment(&post, "in the old collection").await;
    let database = comments.stop().await;
    let old = database.database().collection::<Document>("comments");
    old.drop().await.expect("dropped");
    // From the database, and not from what another instance reads into memory at its start.
    let comments = Comments::start_on_with(database, &["--feed-start-history=0s"]).await;
    comments.comment(&post, "in the new one").await;

    let after = json!({ "post": post, "after": ancient });
    let mut refused = comments.subscribe(CHANGES, after).await;
    let extensions = loop {
        let result = refused.next_payload("1").await;
        if result.get("errors").is_some() {
            break result["errors"][0]["extensions"].clone();
        }
        let text = &result["data"]["commentChanges"]["comment"]["text"];
        assert_eq!(text, "in the old collection", "never from now");
    };
    assert_eq!(extensions["code"], "RESYNC_REQUIRED");
    assert_eq!(extensions["reason"], "HISTORY_LOST");
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_moves_without_images_reach_the_subscribers() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    let (here, there) = (comments.cursor(&post).await, comments.cursor(&other).await);
    let id = comments.comment(&post, "A").await;
    let mut here = comments
        .subscribe(CHANGES, json!({ "post": post, "after": here }))
        .await;
    let mut there = comments
        .subscribe(CHANGES, json!({ "post": other, "after": there }))
        .await;
    assert_eq!(change(&mut here).await.0["__typename"], "CommentAdded");
    let off = doc! { "collMod": "comments", "changeStreamPreAndPostImages": { "enabled": false } };
    let database = comments.database.database();
    database.run_command(off).await.expect("images are off");

    let key = ObjectId::parse_str(&id).expect("an id");
    let collection = comments.collection("comments");
    let update = async |set: Document| {
        let updated = collection.update_one(doc! { "_id": key }, doc! { "$set": set });
        assert_eq!(updated.await.expect("updated").modified_count, 1);
    };
    let edited = |text: &str| json!({ "__typename": "CommentEdited", "comment": { "text": text, "edited": false } });
    let gone =
        |post: &str| json!({ "__typename": "CommentDeleted", "commentId": id, "postId": post });
    update(doc! { "text": "A!" }).await;
    assert_eq!(change(&mut here).await.0, edited("A!"));
    assert_eq!(
        change(&mut there).await.0,
        gone(&other),
        "as far as one knows"
    );

    update(doc! { "postId": ObjectId::parse_str(&other).expect("an id") }).await;
    assert_eq!(change(&mut here).await.0, gone(&post));
    let (moved, before) = change(&mut there).await;
    assert_eq!(moved, edited("A!"));

    // A replacement tells what the comment is, and not what it was.
    let key_of_post = ObjectId::parse_str(&post).expect("an id");
    let back = doc! { "postId": key_of_post, "text": "B", "createdAt": DateTime::now() };
    let replaced = collection.replace_one(doc! { "_id": key }, back).await;
    assert_eq!(replaced.expect("replaced").modified_count, 1);
    assert_eq!(change(&mut here).await.0, edited("B"));
    assert_eq!(change(&mut there).await.0, gone(&other));

    // The same from the history, which another instance has to read.
    let database = comments.stop().await;
    let comments = Comments::start_on_with(database, &["--feed-start-history=0s"]).await;
    let after = json!({ "post": other, "after": before });
    let mut resumed = comments.subscribe(CHANGES, after).await;
    assert_eq!(change(&mut resumed).await.0, gone(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_post_cannot_be_watched() {
    let comments = Comments::start().await;
    let missing = json!({ "post": "65f0c0ffee65f0c0ffee65f0" });
    for query in [ADDED, CHANGES] {
        let message = comments
            .subscribe(query, missing.clone())
            .await
            .next()
            .await;
        assert_eq!(
            message["payload"][0]["extensions"]["code"], "NOT_FOUND",
            "{message:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_carries_many_subscriptions_and_speaks_the_protocol() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let start = comments.cursor(&post).await;
    let variables = json!({ "post": post, "after": start });
    let mut socket = comments.websocket().await;
    socket.send(json!({ "type": "ping" })).await;
    assert_eq!(socket.next().await, json!({ "type": "pong" }));

    socket
        .subscribe_with("query", "{ __typename }", json!({}))
        .await;
    let answer =
        json!({ "type": "next", "id": "query", "payload": { "data": { "__typename": "Query" } } });
    assert_eq!(socket.next().await, answer);
    assert_eq!(
        socket.next().await,
        json!({ "type": "complete", "id": "query" })
    );

    socket
        .subscribe_with("broken", "{ nothing }", json!({}))
        .await;
    assert_eq!(socket.next().await["type"], "error");

    for id in ["one", "two"] {
        socket.subscribe_with(id, CHANGES, variables.clone()).await;
    }
    comments.comment(&post, "for both").await;
    let mut ids = [
        socket.next().await["id"].take(),
        socket.next().await["id"].take(),
    ];
    ids.sort_by_key(Value::to_string);
    assert_eq!(ids, ["one", "two"]);

    socket
        .send(json!({ "type": "complete", "id": "one" }))
        .await;
    socket.subscribe_with("two", CHANGES, variables).await;
    assert_eq!(socket.next().await, json!({ "close": 4409 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_service_closes_its_sockets() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let mut added = comments.subscribe(ADDED, json!({ "post": post })).await;
    settle(&comments, &post, &mut added).await;
    comments.stop().await;
    loop {
        let message = added.next().await;
        if message.get("close").is_some() {
            assert_eq!(message, json!({ "close": 1012 }));
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_a_stopping_service_go_on_until_their_sockets_are_closed() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(comments.subscribe(ADDED, json!({ "post": post })).await);
    }
    for socket in &mut sockets {
        settle(&comments, &post, socket).await;
    }
    let written = comments.collection("comments");
    let key = ObjectId::parse_str(&post).expect("an id");
    let stopping = tokio::spawn(comments.stop());
    // They are closed 100 ms one after the other, and comments are written from the first close on.
    let mut ends: FuturesUnordered<_> = sockets.into_iter().map(late_until_close).collect();
    assert_eq!(ends.next().await, Some(0));
    let writing = async {
        loop {
            let comment = doc! { "postId": key, "text": "late", "createdAt": DateTime::now() };
            written.insert_one(comment).await.expect("inserted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let late: Vec<usize> = tokio::select! {
        late = ends.collect() => late,
        () = writing => unreachable!("it does not end"),
    };
    assert!(
        late.iter().any(|late| *late > 0),
        "some received what was written after the first one's close"
    );
    stopping.await.expect("a clean end");
}

/// How many late comments a socket brings until it is closed for a restart.
async fn late_until_close(mut socket: Socket) -> usize {
    let mut late = 0;
    loop {
        let message = socket.next().await;
        if message.get("close").is_some() {
            assert_eq!(message, json!({ "close": 1012 }));
            return late;
        }
        assert_eq!(message["type"], "next", "{message}");
        let text = &message["payload"]["data"]["commentAdded"]["text"];
        late += usize::from(text == "late");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_carry_a_subscription() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let start = comments.cursor(&post).await;
    comments.comment(&post, "A").await;
    let body = json!({ "query": CHANGES, "variables": { "post": post, "after": start } });
    let request = comments.http().post(comments.url("/graphql"));
    let request = request.header("accept", "text/event-stream");
    let request = request
        .header("content-type", "application/json")
        .body(body.to_string());
    let response = request.send().await.expect("an answer");
    assert_eq!(
        response.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );

    let mut events = response.bytes_stream();
    let mut received = String::new();
    while !received.ends_with("}\n\n") {
        let bytes = events.next().await.expect("more").expect("bytes");
        received.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(
        received.starts_with(":\n\nevent: next\ndata: {\"data\""),
        "{received}"
    );
    assert!(received.contains("\"text\":\"A\""), "{received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_that_names_its_post_by_text_reaches_the_posts_subscribers() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let start = comments.cursor(&post).await;
    let mut added = comments.subscribe(ADDED, json!({ "post": post })).await;
    settle(&comments, &post, &mut added).await;
    let as_mongoose = doc! { "postId": &post, "text": "by text", "createdAt": DateTime::now() };
    let collection = comments.collection("comments");
    collection.insert_one(as_mongoose).await.expect("inserted");
    assert_eq!(
        added.next_payload("1").await["data"]["commentAdded"]["text"],
        "by text"
    );

    // Behind what a new instance has in memory, it is read from the history.
    let comments = comments.restart().await;
    let mut all = comments
        .subscribe(CHANGES, json!({ "post": post, "after": start }))
        .await;
    while change(&mut all).await.0["comment"]["text"] != "by text" {}
}
