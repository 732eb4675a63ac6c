//! A client that stops reading its socket receives an error with the number of missed changes and the cursor to
//! resume from.

use bson::oid::ObjectId;
use bson::{DateTime, doc};
use serde_json::{Value, json};
use subgraph::testing::Socket;

use crate::service::Comments;

const CHANGES: &str = "subscription ($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) {
        ... on CommentAdded { cursor comment { id text } }
    }
}";
/// The changes that the ring keeps.
const RING: usize = 64;
/// With texts of this length, more than the ring, the service's queue and the sockets' buffers hold.
const COMMENTS: usize = 400;
const TEXT_BYTES: usize = 50_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_told_what_it_missed_and_where_to_resume() {
    let comments = Comments::start_with(&[&format!("--feed-ring-changes-max={RING}")]).await;
    let post = comments.post().await;
    let start = comments.cursor(&post).await;
    let from_start = json!({ "post": post, "after": start });
    let mut stalled = comments.subscribe(CHANGES, from_start.clone()).await;
    // It gets the same, so that the writer, who waits for it, is no faster than the other's way to its
    // socket: nothing but the socket holds that one up.
    let mut healthy = comments.subscribe(CHANGES, from_start).await;

    let key = ObjectId::parse_str(&post).expect("an id");
    let text = "x".repeat(TEXT_BYTES);
    let written: Vec<ObjectId> = (0..COMMENTS).map(|_| ObjectId::new()).collect();
    for chunk in written.chunks(RING / 16) {
        let documents = chunk.iter().map(
            |id| doc! { "_id": id, "postId": key, "text": &text, "createdAt": DateTime::now() },
        );
        comments
            .collection("comments")
            .insert_many(documents)
            .await
            .expect("inserted");
        for id in chunk {
            assert_eq!(
                added(&healthy.next_payload("1").await).0,
                id.to_hex(),
                "not held up"
            );
        }
    }

    let (mut received, mut cursor) = (Vec::new(), Value::Null);
    let error = loop {
        let result = stalled.next_payload("1").await;
        if result.get("errors").is_some() {
            break result["errors"][0].clone();
        }
        let (id, after) = added(&result);
        received.push(id);
        cursor = after;
    };
    let extensions = &error["extensions"];
    assert_eq!(extensions["code"], "SUBSCRIPTION_LAGGED", "{error:#}");
    assert_eq!(extensions["cursor"], cursor, "that of the last change");
    assert_eq!(
        extensions["missed"],
        COMMENTS - RING - received.len(),
        "all that the ring had to let go"
    );
    assert_eq!(stalled.next().await["type"], "complete");

    let after = json!({ "post": post, "after": extensions["cursor"] });
    let mut resumed = comments.subscribe(CHANGES, after).await;
    read_to(&mut resumed, &mut received).await;
    let written: Vec<String> = written.iter().map(|id| id.to_hex()).collect();
    assert_eq!(received, written, "each once, in order");
}

async fn read_to(socket: &mut Socket, received: &mut Vec<String>) {
    while received.len() < COMMENTS {
        received.push(added(&socket.next_payload("1").await).0);
    }
}

/// The id of the comment that was added, and the cursor after it.
fn added(result: &Value) -> (String, Value) {
    let change = &result["data"]["commentChanges"];
    let id = change["comment"]["id"].as_str();
    let id = id.unwrap_or_else(|| panic!("not an added comment: {result:#}"));
    (id.to_owned(), change["cursor"].clone())
}
