//! Documents that were written before Rejoinder, by Mongoose: the post has its comments in an array
//! whose ids are not theirs, and neither knows authors.

use bson::oid::ObjectId;
use bson::{Bson, doc};
use insta::assert_json_snapshot;
use serde_json::json;

use crate::service::Posts;

#[tokio::test(flavor = "multi_thread")]
async fn they_are_served_and_completed() {
    let database = embedded_mongo::test_database().await;
    let day = |day| {
        bson::DateTime::builder()
            .year(2020)
            .month(1)
            .day(day)
            .build()
            .expect("a date")
    };
    let (post, first, second) = (ObjectId::new(), ObjectId::new(), ObjectId::new());
    let embedded = doc! { "text": "As text", "createdAt": day(2), "_id": ObjectId::new() };
    let old_post = doc! {
        "_id": post,
        "title": "Old",
        "content": "From Mongoose",
        "comments": [embedded],
        "createdAt": day(1),
        "__v": 0,
    };
    let old_comments = [
        (first, Bson::from(post.to_hex()), "As text", 2),
        (second, Bson::from(post), "As ObjectId", 3),
    ]
    .map(|(id, reference, text, at)| {
        doc! { "_id": id, "postId": reference, "text": text, "createdAt": day(at), "__v": 0 }
    });
    database
        .database()
        .collection("posts")
        .insert_one(old_post)
        .await
        .expect("inserted");
    database
        .database()
        .collection("comments")
        .insert_many(old_comments)
        .await
        .expect("inserted");

    let posts = Posts::start_on(database).await;
    posts.ready().await;
    let query = "query ($id: ID!) { post(id: $id) {
        title content author createdAt updatedAt commentCount lastCommentAt
        latestComments { id text author createdAt }
    } }";
    let mut completed = posts
        .until(query, json!({ "id": post.to_hex() }), |data| {
            data["post"]["commentCount"] == 2
        })
        .await;
    let latest = &mut completed["post"]["latestComments"];
    assert_eq!(latest[0]["id"].take(), second.to_hex());
    assert_eq!(latest[1]["id"].take(), first.to_hex());
    assert_json_snapshot!(completed["post"], @r#"
    {
      "title": "Old",
      "content": "From Mongoose",
      "author": "Anonymous",
      "createdAt": "2020-01-01T00:00:00.000Z",
      "updatedAt": "2020-01-01T00:00:00.000Z",
      "commentCount": 2,
      "lastCommentAt": "2020-01-03T00:00:00.000Z",
      "latestComments": [
        {
          "id": null,
          "text": "As ObjectId",
          "author": "Anonymous",
          "createdAt": "2020-01-03T00:00:00.000Z"
        },
        {
          "id": null,
          "text": "As text",
          "author": "Anonymous",
          "createdAt": "2020-01-02T00:00:00.000Z"
        }
      ]
    }
    "#);
}
