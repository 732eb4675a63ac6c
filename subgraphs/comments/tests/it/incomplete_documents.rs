//! Documents that lack fields or cannot be read: lists show all others.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, doc};
use insta::assert_json_snapshot;
use serde_json::json;

use crate::service::Comments;

/// An id of the given second of 2023.
fn id(second: u32) -> ObjectId {
    ObjectId::from_parts(1_700_000_000 + second, [0; 5], [0; 3])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_comment_lacks_is_completed() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let post_id = ObjectId::parse_str(&post).expect("an id");
    comments
        .collection("comments")
        .insert_many([
            doc! { "_id": id(1), "postId": post_id },
            doc! { "_id": id(2), "postId": post_id, "text": null, "author": null, "createdAt": null, "edited": null },
        ])
        .await
        .expect("inserted");
    let entities = comments
        .data(
            "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
                comments { edges { node { id text author createdAt updatedAt edited } } }
            } } }",
            json!({ "of": [{ "__typename": "Post", "id": post }] }),
        )
        .await;
    assert_json_snapshot!(entities["_entities"][0]["comments"]["edges"], @r#"
    [
      {
        "node": {
          "id": "6553f1020000000000000000",
          "text": "",
          "author": "Anonymous",
          "createdAt": "2023-11-14T22:13:22.000Z",
          "updatedAt": "2023-11-14T22:13:22.000Z",
          "edited": false
        }
      },
      {
        "node": {
          "id": "6553f1010000000000000000",
          "text": "",
          "author": "Anonymous",
          "createdAt": "2023-11-14T22:13:21.000Z",
          "updatedAt": "2023-11-14T22:13:21.000Z",
          "edited": false
        }
      }
    ]
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn undated_comments_take_the_place_of_their_ids_time() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let post_id = ObjectId::parse_str(&post).expect("an id");
    let dated = |second: u32| bson::DateTime::from_millis(i64::from(1_700_000_000 + second) * 1000);
    let before_the_start = doc! { "_id": id(2), "postId": post_id, "text": "2" };
    let database = comments.stop().await;
    let collection = database.database().collection("comments");
    collection
        .insert_many([
            doc! { "_id": id(1), "postId": post_id, "text": "1", "createdAt": dated(1) },
            before_the_start,
            doc! { "_id": id(3), "postId": post_id, "text": "3", "createdAt": dated(3) },
            doc! { "_id": id(5), "postId": post_id, "text": "5", "createdAt": dated(5) },
        ])
        .await
        .expect("inserted");
    let comments = Comments::start_on(database).await;
    assert_eq!(comments.texts(&post).await, ["5", "3", "2", "1"]);

    let while_it_runs = doc! { "_id": id(4), "postId": post_id, "text": "4" };
    comments
        .collection("comments")
        .insert_one(while_it_runs)
        .await
        .expect("inserted");
    let placed = async {
        while comments.texts(&post).await != ["5", "4", "3", "2", "1"] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), placed)
        .await
        .expect("it takes its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_left_out() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    let post_id = ObjectId::parse_str(&post).expect("an id");
    for text in ["A", "B"] {
        comments.comment(&post, text).await;
        comments.comment(&other, text).await;
    }
    // Newer than all, and more than the page asks for.
    let unreadable = (0..5)
        .map(|number| doc! { "postId": post_id, "text": number, "createdAt": bson::DateTime::MAX });
    let strange = doc! { "_id": "not an id", "postId": Bson::from(&post), "text": "X" };
    comments
        .collection("comments")
        .insert_many(unreadable.chain([strange]))
        .await
        .expect("inserted");
    let entities = comments
        .data(
            "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
                comments(first: 1) { edges { node { text } } pageInfo { hasNextPage } }
            } } }",
            json!({ "of": [
                { "__typename": "Post", "id": post },
                { "__typename": "Post", "id": other },
            ] }),
        )
        .await;
    let page = json!({ "comments": {
        "edges": [{ "node": { "text": "B" } }],
        "pageInfo": { "hasNextPage": true },
    } });
    assert_eq!(entities["_entities"], json!([page, page]));
}
