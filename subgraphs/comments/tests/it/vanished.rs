//! Collections that other programs drop or replace: their indexes and pre-images are created again.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use embedded_mongo::rename_collection;
use mongodb::Database;
use serde_json::{Value, json};

use crate::service::Comments;

const PATIENCE: Duration = Duration::from_secs(60);
const CREATE: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) {
    comment { id text }
} }";
const CHANGES: &str = "subscription ($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) { __typename ... on CommentAdded { comment { text } } }
}";

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// Whether the collection has its indexes and keeps images.
async fn is_prepared(database: &Database) -> bool {
    let has = async |collection: &str, indexes: &[&str]| {
        let collection = database.collection::<Document>(collection);
        let names = collection.list_index_names().await.unwrap_or_default();
        indexes
            .iter()
            .all(|index| names.iter().any(|name| name == index))
    };
    let found = database
        .run_command(doc! { "listCollections": 1, "filter": { "name": "comments" } })
        .await
        .expect("a list");
    let found = found.get_document("cursor").expect("a cursor");
    let found = found.get_array("firstBatch").expect("a batch");
    let images = found.first().and_then(|found| {
        found
            .as_document()?
            .get_document("options")
            .ok()?
            .get_document("changeStreamPreAndPostImages")
            .ok()?
            .get_bool("enabled")
            .ok()
    });
    images == Some(true)
        && has("comments", &["postId_1_createdAt_-1__id_-1", "undated"]).await
        && has("commentKeys", &["at_1"]).await
}

async fn drop(database: &Database) {
    database
        .collection::<Document>("comments")
        .drop()
        .await
        .expect("dropped");
}

async fn replace_by_out(database: &Database) {
    let one = doc! { "_id": ObjectId::new(), "postId": ObjectId::new(), "text": "other" };
    let out = [doc! { "$documents": [one] }, doc! { "$out": "comments" }];
    database.aggregate(out).await.expect("replaced");
}

async fn replace_by_rename(database: &Database) {
    let one = doc! { "postId": ObjectId::new(), "text": "other" };
    let other = database.collection::<Document>("other");
    other.insert_one(one).await.expect("inserted");
    rename_collection(database, "other", "comments")
        .await
        .expect("renamed");
}

async fn drop_database(database: &Database) {
    database.drop().await.expect("dropped");
}

/// Lets a collection vanish under the running service and uses it again.
async fn survives(vanish: impl AsyncFnOnce(&Database)) {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let from_now = json!({ "post": post, "after": comments.cursor(&post).await });
    let mut live = comments.subscribe(CHANGES, from_now).await;
    comments.comment(&post, "seen").await;
    let seen = live.next_payload("1").await;
    assert_eq!(seen["data"]["commentChanges"]["comment"]["text"], "seen");
    let database = comments.database.database();
    until("the collections are prepared", async || {
        is_prepared(&database).await
    })
    .await;

    vanish(&database).await;
    // The comments go one by one, or the history ends and the client gets an error.
    let code = loop {
        let mut next = live.next().await["payload"].take();
        let errors = match next.get_mut("errors") {
            Some(errors) => errors.take(),
            None => next,
        };
        if let Some(code) = errors[0]["extensions"].get("code") {
            break code.clone();
        }
    };
    assert_eq!(code, "RESYNC_REQUIRED");
    until("the collections are prepared again", async || {
        is_prepared(&database).await
    })
    .await;

    let post = comments.post().await;
    let from_now = json!({ "post": post, "after": comments.cursor(&post).await });
    let mut live = comments.subscribe(CHANGES, from_now).await;
    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let tries = (0..8).map(|_| comments.data(CREATE, input.clone()));
    let answers: Vec<Value> = futures_util::future::join_all(tries).await;
    assert!(
        answers.iter().all(|answer| answer == &answers[0]),
        "{answers:#?}"
    );
    assert_eq!(comments.texts(&post).await, ["Once"]);
    let seen = live.next_payload("1").await;
    assert_eq!(seen["data"]["commentChanges"]["comment"]["text"], "Once");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_comments_come_back_with_all_that_they_need() {
    survives(drop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_replaced_by_out_have_all_that_they_need() {
    survives(replace_by_out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_replaced_by_a_rename_have_all_that_they_need() {
    survives(replace_by_rename).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_database_comes_back_with_all_that_is_needed() {
    survives(drop_database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_does_not_wait_for_its_collections_to_come_back() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    for round in 0..5 {
        comments
            .collection("commentKeys")
            .drop()
            .await
            .expect("dropped");
        let key = format!("k{round}");
        let input = json!({ "input": { "postId": post, "text": key, "idempotencyKey": key } });
        let tries = (0..4).map(|_| comments.data(CREATE, input.clone()));
        let answers: Vec<Value> = futures_util::future::join_all(tries).await;
        assert!(
            answers.iter().all(|answer| answer == &answers[0]),
            "{answers:#?}"
        );
    }
    assert_eq!(comments.texts(&post).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_on_double_keys_and_on_documents_that_no_index_takes() {
    let database = embedded_mongo::test_database().await;
    let collection = database.database().collection::<Document>("comments");
    let double = || doc! { "postId": ObjectId::new(), "text": "double", "idempotency": { "key": "k", "digest": 5 } };
    let two_lists = doc! { "postId": ["a", "b"], "createdAt": ["c", "d"], "text": "two lists" };
    collection
        .insert_many([double(), double(), two_lists])
        .await
        .expect("inserted");
    let comments = Comments::start_on(database).await;
    comments.ready().await;
    let post = comments.post().await;
    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let first = comments.data(CREATE, input.clone()).await;
    assert_eq!(first, comments.data(CREATE, input).await);
    assert_eq!(comments.texts(&post).await, ["Once"]);
    let metrics = comments.http().get(comments.url("/metrics")).send().await;
    let metrics = metrics.expect("an answer").text().await.expect("a text");
    assert!(metrics.contains("collections_unprepared 1"), "{metrics}");

    // Without the document that is in its way, the index comes by itself.
    collection
        .delete_one(doc! { "text": "two lists" })
        .await
        .expect("deleted");
    let database = comments.database.database();
    until("the collections are prepared", async || {
        is_prepared(&database).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_of_earlier_versions_goes() {
    let database = embedded_mongo::test_database().await;
    let index = doc! {
        "createIndexes": "comments",
        "indexes": [{
            "key": { "idempotency.key": 1 }, "name": "idempotency.key_1", "unique": true,
            "partialFilterExpression": { "idempotency.key": { "$exists": true } },
        }],
    };
    let created = database.database().run_command(index).await;
    created.expect("created");
    let comments = Comments::start_on(database).await;
    comments.ready().await;
    let names = comments.collection("comments").list_index_names().await;
    let names = names.expect("names");
    assert!(
        !names.contains(&"idempotency.key_1".to_owned()),
        "{names:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_free_again_when_its_comment_is_deleted() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let input =
        |text: &str| json!({ "input": { "postId": post, "text": text, "idempotencyKey": "k" } });
    let first = comments.data(CREATE, input("First")).await;
    let delete = "mutation ($id: ID!) { deleteComment(input: { id: $id }) { id } }";
    let id = &first["createComment"]["comment"]["id"];
    comments.data(delete, json!({ "id": id })).await;
    let tries = (0..8).map(|_| comments.data(CREATE, input("Second")));
    let answers: Vec<Value> = futures_util::future::join_all(tries).await;
    assert!(
        answers.iter().all(|answer| answer == &answers[0]),
        "{answers:#?}"
    );
    assert_eq!(comments.texts(&post).await, ["Second"]);
    assert_eq!(
        comments.error_code(CREATE, input("First")).await,
        "CONFLICT"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_from_after_a_dropped_database_is_good_after_a_restart() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let early = comments.cursor(&post).await;
    let database = comments.database.database();
    drop_database(&database).await;
    until("the collections are prepared again", async || {
        is_prepared(&database).await
    })
    .await;
    let post_again = doc! { "_id": ObjectId::parse_str(&post).expect("an id"), "title": "T" };
    let posts = comments.collection("posts");
    posts.insert_one(post_again).await.expect("inserted");
    let mut late = Value::Null;
    // Until the live feed has passed the end of the old database, its cursors are from before it.
    until("a cursor is good", async || {
        late = json!({ "post": post, "after": comments.cursor(&post).await });
        let mut live = comments.subscribe(CHANGES, late.clone()).await;
        comments.comment(&post, "after it").await;
        live.next().await["type"] == "next"
    })
    .await;

    let comments = comments.restart().await;
    // The feed begins in the past. Where the drop is, it ends all subscriptions, this one as well.
    until("the cursor from after the drop is good", async || {
        let mut live = comments.subscribe(CHANGES, late.clone()).await;
        let seen = live.next().await;
        seen["payload"]["data"]["commentChanges"]["comment"]["text"] == "after it"
    })
    .await;
    let after = json!({ "post": post, "after": early });
    let mut live = comments.subscribe(CHANGES, after).await;
    let ended = live.next().await;
    assert_eq!(
        ended["payload"][0]["extensions"]["code"], "RESYNC_REQUIRED",
        "{ended:#}"
    );
}
