//! What an edit does where new comments are held, and what a moderator shows of a text that was edited.

use bson::doc;
use serde_json::{Value, json};

use crate::moderators::*;
use crate::service::Comments;

const RESTORE_IF: &str = "mutation ($id: ID!, $seen: DateTime) {
    restoreComment(input: { id: $id, ifUpdatedAt: $seen }) { comment { text status updatedAt } }
}";
const WAITING: &str = "{ moderationQueue { edges { node { comment { updatedAt } } } } }";

fn edit(id: &Value, text: &str) -> Value {
    json!({ "input": { "id": id["id"], "text": text } })
}

/// The status of the comment after an edit.
async fn edited(by: &subgraph::testing::Signed<'_>, id: &Value, text: &str) -> Value {
    by.data(EDIT, edit(id, text)).await["updateComment"]["comment"]["status"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_what_was_approved_is_held_again() {
    let comments = start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let (ann, bob, eve) = (ann(&comments), bob(&comments), eve(&comments));
    let id = written(&ann, &post, "Harmless").await;
    eve.data(RESTORE, id.clone()).await;
    bob.data(REPORT, id.clone()).await;
    // What other programs keep in the document must not be lost.
    let stored = comments.collection("comments");
    let extra = doc! { "$set": { "likes": 5 } };
    stored.update_one(doc! {}, extra).await.expect("set");
    assert_eq!(bob.error_code(EDIT, edit(&id, "Bob's")).await, "FORBIDDEN");
    let stale = json!({ "input": {
        "id": id["id"], "text": "Late", "ifUpdatedAt": "2001-01-01T00:00:00Z",
    } });
    assert_eq!(ann.error_code(EDIT, stale).await, "CONFLICT");
    assert_eq!(texts(&comments, &post).await, ["Harmless"]);

    let guest = comments.guest(NAME);
    let cursor = "query ($of: [_Any!]!) { _entities(representations: $of) {
        ... on Post { commentChangesCursor }
    } }";
    let of = json!({ "of": [{ "__typename": "Post", "id": post }] });
    let read = guest.data(cursor, of).await;
    let after = &read["_entities"][0]["commentChangesCursor"];
    assert_eq!(edited(&ann, &id, "Spam").await, "HELD");
    assert!(texts(&comments, &post).await.is_empty());
    assert_eq!(places(&comments, &id["id"]).await, (0, 1));
    let waiting = queue(&eve, "OPEN").await;
    assert_eq!(waiting[0]["comment"]["text"], "Spam");
    assert_eq!(waiting[0]["reportCount"], 1);
    let changes = "subscription ($post: ID!, $after: String) {
        commentChanges(postId: $post, after: $after) { __typename }
    }";
    let mut socket = guest.websocket().await;
    let of_post = json!({ "post": post, "after": after });
    guest.subscribe(&mut socket, "1", changes, of_post).await;
    let change = socket.next().await;
    let change = &change["payload"]["data"]["commentChanges"];
    assert_eq!(change["__typename"], "CommentDeleted", "never the new text");

    eve.data(RESTORE, id.clone()).await;
    let kept = stored.find_one(doc! { "likes": 5, "text": "Spam", "edited": true });
    assert!(kept.await.expect("found").is_some());
    // Moderators' edits are seen by one.
    assert_eq!(edited(&eve, &id, "Tidy").await, "VISIBLE");
    assert_eq!(texts(&comments, &post).await, ["Tidy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_is_known_by_another_comment_than_the_edited_one() {
    let comments = start(&["--hold-comments=first", "--anonymous-writes=change"]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let first = written(&ann, &post, "First").await;
    eve.data(RESTORE, first.clone()).await;
    assert_eq!(edited(&ann, &first, "Spam").await, "HELD");
    eve.data(RESTORE, first.clone()).await;
    let second = written(&ann, &post, "Second").await;
    for id in [&first, &second] {
        assert_eq!(edited(&ann, id, "Edited").await, "VISIBLE");
    }
    // A comment that nobody can read makes nobody known.
    eve.data(HIDE, second).await;
    let odd = doc! { "authorId": "ann", "postId": 5 };
    let stored = comments.collection("comments");
    stored.insert_one(odd).await.expect("inserted");
    assert_eq!(edited(&ann, &first, "Again").await, "HELD");
    let guest = comments.guest(NAME);
    let of_guest = written(&guest, &post, "Guest's").await;
    eve.data(RESTORE, of_guest.clone()).await;
    assert_eq!(edited(&guest, &of_guest, "Other").await, "HELD");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_held_no_edit_is() {
    let comments = Comments::start_with(&[]).await;
    let post = comments.post().await;
    let id = comments.comment(&post, "Text").await;
    let changed = comments
        .data(EDIT, edit(&json!({ "id": id }), "Other"))
        .await;
    assert_eq!(changed["updateComment"]["comment"]["status"], "VISIBLE");
    assert_eq!(comments.texts(&post).await, ["Other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_shows_the_text_that_was_read() {
    let comments = start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let id = written(&ann, &post, "A").await;
    let seen = async || {
        let read = eve.data(WAITING, json!({})).await;
        read["moderationQueue"]["edges"][0]["node"]["comment"]["updatedAt"].clone()
    };
    let first = seen().await;
    assert_eq!(edited(&ann, &id, "B").await, "HELD");
    let with = |seen: &Value| json!({ "id": id["id"], "seen": seen });
    assert_eq!(eve.error_code(RESTORE_IF, with(&first)).await, "CONFLICT");
    assert!(texts(&comments, &post).await.is_empty());
    let shown = eve.data(RESTORE_IF, with(&seen().await)).await;
    assert_eq!(shown["restoreComment"]["comment"]["text"], "B");
    // Sent again.
    let version = &shown["restoreComment"]["comment"]["updatedAt"];
    assert_eq!(eve.data(RESTORE_IF, with(version)).await, shown);
    assert_eq!(act_names(&comments).await, ["APPROVE"]);
}
