//! Collections that other programs drop or replace: the posts show what is there, and indexes come back.

use bson::oid::ObjectId;
use bson::{Document, doc};
use mongodb::Database;
use serde_json::json;

use crate::service::Posts;

const COUNT: &str = "query ($id: ID!) { post(id: $id) { commentCount } }";

async fn counts(posts: &Posts, id: &str, count: u32) {
    posts
        .until(COUNT, json!({ "id": id }), |data| {
            data["post"]["commentCount"] == count
        })
        .await;
}

async fn has_indexes(database: &Database) -> bool {
    let has = async |collection: &str, index: &str| {
        let collection = database.collection::<Document>(collection);
        let names = collection.list_index_names().await.unwrap_or_default();
        names.iter().any(|name| name == index)
    };
    has("posts", "createdAt_-1__id_-1").await
        && has("comments", "postId_1_createdAt_-1__id_-1").await
}

async fn until_indexed(database: &Database) {
    let wait = async {
        while !has_indexes(database).await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), wait)
        .await
        .expect("the indexes come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_show_what_is_left_of_their_comments() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    posts.comment(&id, "A").await;
    counts(&posts, &id, 1).await;
    let database = posts.database.database();

    posts.collection("comments").drop().await.expect("dropped");
    counts(&posts, &id, 0).await;
    until_indexed(&database).await;
    posts.comment(&id, "B").await;
    counts(&posts, &id, 1).await;

    let post = ObjectId::parse_str(&id).expect("an id");
    let two = [
        doc! { "_id": ObjectId::new(), "postId": post, "text": "C", "createdAt": bson::DateTime::now() },
        doc! { "_id": ObjectId::new(), "postId": post, "text": "D", "createdAt": bson::DateTime::now() },
    ];
    let out = [
        doc! { "$documents": two.to_vec() },
        doc! { "$out": "comments" },
    ];
    database.aggregate(out).await.expect("replaced");
    counts(&posts, &id, 2).await;
    until_indexed(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_that_were_replaced_show_their_comments() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    posts.comment(&id, "A").await;
    counts(&posts, &id, 1).await;
    let database = posts.database.database();
    let post = ObjectId::parse_str(&id).expect("an id");
    let fresh = doc! { "_id": post, "title": "T", "createdAt": bson::DateTime::now() };
    let out = [doc! { "$documents": [fresh] }, doc! { "$out": "posts" }];
    database.aggregate(out).await.expect("replaced");
    counts(&posts, &id, 1).await;
    until_indexed(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_database_comes_back_with_all_that_is_needed() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    posts.comment(&id, "A").await;
    counts(&posts, &id, 1).await;
    let database = posts.database.database();
    database.drop().await.expect("dropped");
    until_indexed(&database).await;
    let id = posts.create("again").await;
    posts.comment(&id, "B").await;
    posts.comment(&id, "C").await;
    counts(&posts, &id, 2).await;
    posts.ready().await;
}
