//! Documents that were written before Rejoinder, by Mongoose: without an author, without an
//! `updatedAt`, with their post's id as an ObjectId or as a text.

use bson::oid::ObjectId;
use bson::{Bson, doc};
use insta::assert_json_snapshot;
use serde_json::json;

use crate::service::Comments;

#[tokio::test(flavor = "multi_thread")]
async fn they_are_served_and_completed() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let post_id = ObjectId::parse_str(&post).expect("an id");
    for (text, reference, day) in [
        ("As text", Bson::from(&post), 1),
        ("As ObjectId", Bson::from(post_id), 2),
    ] {
        let created_at = bson::DateTime::builder()
            .year(2020)
            .month(1)
            .day(day)
            .build();
        let comment = doc! {
            "postId": reference,
            "text": text,
            "createdAt": created_at.expect("a date"),
            "__v": 0,
        };
        comments
            .collection("comments")
            .insert_one(comment)
            .await
            .expect("inserted");
    }
    let entities = comments
        .data(
            "query ($of: [_Any!]!) { _entities(representations: $of) { ... on Post {
                comments { edges { node { text author createdAt updatedAt edited } } }
            } } }",
            json!({ "of": [{ "__typename": "Post", "id": post }] }),
        )
        .await;
    assert_json_snapshot!(entities["_entities"][0]["comments"]["edges"], @r#"
    [
      {
        "node": {
          "text": "As ObjectId",
          "author": "Anonymous",
          "createdAt": "2020-01-02T00:00:00.000Z",
          "updatedAt": "2020-01-02T00:00:00.000Z",
          "edited": false
        }
      },
      {
        "node": {
          "text": "As text",
          "author": "Anonymous",
          "createdAt": "2020-01-01T00:00:00.000Z",
          "updatedAt": "2020-01-01T00:00:00.000Z",
          "edited": false
        }
      }
    ]
    "#);
}
