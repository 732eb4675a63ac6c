//! Collections and fields that another program uses in its own way: the counts are right, or readiness says why
//! not.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use serde_json::{Value, json};

use crate::service::Posts;

const COUNTS: &str = "{ posts { edges { node { commentCount latestComments { text } } } } }";

fn shows_one(data: &Value) -> bool {
    let node = &data["posts"]["edges"][0]["node"];
    node["commentCount"] == 1 && node["latestComments"] == json!([{ "text": "Text" }])
}

async fn insert(posts: &Posts, collection: &str, document: Document) {
    let stored = posts.collection(collection).insert_one(document).await;
    stored.expect("stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_validator_of_the_posts_does_not_keep_the_counts_out() {
    let database = embedded_mongo::test_database().await;
    let known = doc! { "_id": {}, "title": {}, "createdAt": {} };
    let strict = doc! { "$jsonSchema": { "additionalProperties": false, "properties": known } };
    let create = doc! { "create": "posts", "validator": strict };
    database
        .database()
        .run_command(create)
        .await
        .expect("created");
    let post = ObjectId::new();
    let comments = database.database().collection::<Document>("comments");
    let before = doc! { "_id": ObjectId::new(), "postId": post, "text": "Text" };
    comments.insert_one(before).await.expect("stored");
    let posts = database.database().collection::<Document>("posts");
    posts
        .insert_one(doc! { "_id": post, "title": "Title" })
        .await
        .expect("stored");

    let posts = Posts::start_on(database).await;
    posts.until(COUNTS, json!({}), shows_one).await;
    insert(
        &posts,
        "comments",
        doc! { "_id": ObjectId::new(), "postId": post, "text": "More" },
    )
    .await;
    let counted = |data: &Value| data["posts"]["edges"][0]["node"]["commentCount"] == 2;
    posts.until(COUNTS, json!({}), counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_value_in_the_field_of_the_counts_is_replaced() {
    let values = [
        Bson::from(5),
        Bson::from("text"),
        Bson::Null,
        Bson::from(vec![1, 2]),
        Bson::from(vec![doc! { "g1": { "count": 7 } }]),
        Bson::from(doc! { "g1": 5 }),
        Bson::from(doc! { "g1": { "count": "many", "latest": [] } }),
        Bson::from(doc! { "g1": { "count": 1, "latest": 5 } }),
        Bson::from(doc! { "g1": [] }),
    ];
    let posts = Posts::start().await;
    let by_id = "query ($id: ID!) { post(id: $id) { commentCount latestComments { text } } }";
    for value in values {
        let post = ObjectId::new();
        let shown = value.to_string();
        insert(&posts, "posts", doc! { "_id": post, "discussion": value }).await;
        insert(
            &posts,
            "comments",
            doc! { "_id": ObjectId::new(), "postId": post, "text": "Text" },
        )
        .await;
        let expected = json!({ "commentCount": 1, "latestComments": [{ "text": "Text" }] });
        let arguments = json!({ "id": post.to_hex() });
        let found = posts
            .until(by_id, arguments, |data| data["post"] == expected)
            .await;
        assert_eq!(found["post"], expected, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn capped_comments_are_said_to_be_the_reason() {
    let database = embedded_mongo::test_database().await;
    let capped = doc! { "create": "comments", "capped": true, "size": 1 << 20 };
    database
        .database()
        .run_command(capped)
        .await
        .expect("created");
    let posts = database.database().collection::<Document>("posts");
    posts
        .insert_one(doc! { "title": "Title" })
        .await
        .expect("stored");
    let posts = Posts::start_on(database).await;
    let says_why = async {
        loop {
            let answer = posts.http().get(posts.url("/health/ready")).send().await;
            let answer = answer.expect("an answer");
            let (status, text) = (answer.status(), answer.text().await.expect("a text"));
            if text.contains("the collection comments is capped") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(60), says_why).await;
    assert_eq!(status.expect("the reason in time"), 503);
    let titles = posts
        .data("{ posts { edges { node { title } } } }", json!({}))
        .await;
    assert_eq!(titles["posts"]["edges"][0]["node"]["title"], "Title");
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_that_come_after_their_comments_are_counted() {
    let posts = Posts::start().await;
    let by_id = "query ($id: ID!) { post(id: $id) { commentCount latestComments { text } } }";
    let post = ObjectId::new();
    insert(
        &posts,
        "comments",
        doc! { "_id": ObjectId::new(), "postId": post, "text": "Text" },
    )
    .await;
    // It is passed by the projection once a later one shows.
    let other = posts.create("Other").await;
    posts.comment(&other, "Later").await;
    let counted = |data: &Value| data["post"]["commentCount"] == 1;
    posts.until(by_id, json!({ "id": other }), counted).await;

    for _ in 0..2 {
        insert(&posts, "posts", doc! { "_id": post, "title": "Late" }).await;
        let found = posts
            .until(by_id, json!({ "id": post.to_hex() }), counted)
            .await;
        assert_eq!(found["post"]["latestComments"], json!([{ "text": "Text" }]));
        posts
            .collection("posts")
            .delete_one(doc! { "_id": post })
            .await
            .expect("deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_other_kinds_among_the_posts_stop_no_build() {
    let database = embedded_mongo::test_database().await;
    let post = ObjectId::new();
    let mut odd = bson::rawdoc! { "_id": "aXYb" }.into_bytes();
    let place = odd
        .windows(2)
        .position(|pair| pair == b"XY")
        .expect("the bytes");
    odd[place..place + 2].copy_from_slice(&[0xFF, 0xFE]);
    let odd = bson::RawDocumentBuf::from_bytes(odd).expect("framed");
    // The driver's own insert reads the id.
    let mut insert = bson::rawdoc! { "insert": "posts" };
    let mut documents = bson::RawArrayBuf::new();
    documents.push(odd);
    insert.append(bson::cstr!("documents"), documents);
    let inserted = database.database().run_raw_command(insert).await;
    assert_eq!(inserted.expect("stored").get_i32("n").ok(), Some(1));
    let posts = database.database().collection::<Document>("posts");
    let known = [
        doc! { "_id": 5 },
        doc! { "_id": { "a": 1 } },
        doc! { "_id": post },
    ];
    posts.insert_many(known).await.expect("stored");
    let comments = database.database().collection::<Document>("comments");
    let comment = doc! { "_id": ObjectId::new(), "postId": post, "text": "Text" };
    comments.insert_one(comment).await.expect("stored");
    let letters = database
        .database()
        .collection::<Document>("changefeed_dead_letters");
    let odd = doc! { "_id": 1, "projection": "comments-of-posts" };
    letters.insert_one(odd).await.expect("stored");

    let posts = Posts::start_on(database).await;
    posts.until(COUNTS, json!({}), shows_one).await;
}
