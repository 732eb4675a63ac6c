//! The database of the tutorial that Rejoinder grew out of is served, and missing values are filled in.

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use e2e::{System, assert_projected, latest_of};
use serde_json::json;

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorials_documents_are_served_and_completed() {
    let test = embedded_mongo::test_database().await;
    let day = |day: i64| DateTime::from_millis(1_700_000_000_000 + day * 86_400_000);
    let (post, first, second) = (ObjectId::new(), ObjectId::new(), ObjectId::new());
    // Its post service was down for the second comment, and gave the first one an id of its own.
    let embedded = doc! { "text": "first", "createdAt": day(1), "_id": ObjectId::new() };
    let posts = test.database().collection::<Document>("posts");
    posts
        .insert_one(doc! {
            "_id": post, "title": "From the tutorial", "content": "Content", "comments": [embedded],
            "createdAt": day(0), "__v": 0,
        })
        .await
        .expect("a post");
    let comment = |id: ObjectId, text: &str, on: i64| {
        doc! { "_id": id, "postId": post, "text": text, "createdAt": day(on), "__v": 0 }
    };
    let comments = test.database().collection::<Document>("comments");
    comments
        .insert_many([comment(first, "first", 1), comment(second, "second", 2)])
        .await
        .expect("comments");

    let system = System::start_on(PROGRAM, test.uri().to_owned()).await;
    let graphql = system.graphql();
    let id = post.to_hex();
    assert_eq!(assert_projected(graphql, &id).await, 2);

    let (_, latest) = latest_of(graphql, &id).await.expect("an answer");
    assert_eq!(latest[0]["id"], second.to_hex());
    assert_eq!(latest[1]["id"], first.to_hex());
    let query = "query($id: ID!) { post(id: $id) { title author createdAt updatedAt latestComments { author } } }";
    let data = graphql.data(query, json!({ "id": id })).await;
    assert_eq!(data["post"]["title"], "From the tutorial");
    assert_eq!(data["post"]["author"], "Anonymous");
    assert_eq!(data["post"]["updatedAt"], data["post"]["createdAt"]);
    assert_eq!(data["post"]["latestComments"][0]["author"], "Anonymous");

    graphql
        .update_comment(&first.to_hex(), "first, edited")
        .await;
    graphql.create_comment(&id, "third").await;
    assert_eq!(assert_projected(graphql, &id).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_without_an_array_of_comments_gets_one() {
    let test = embedded_mongo::test_database().await;
    let post = ObjectId::new();
    let now = DateTime::now();
    let posts = test.database().collection::<Document>("posts");
    posts
        .insert_one(doc! { "_id": post, "title": "T", "content": "C", "createdAt": now })
        .await
        .expect("a post");

    let system = System::start_on(PROGRAM, test.uri().to_owned()).await;
    let graphql = system.graphql();
    graphql.create_comment(&post.to_hex(), "its first").await;
    assert_eq!(assert_projected(graphql, &post.to_hex()).await, 1);
}
