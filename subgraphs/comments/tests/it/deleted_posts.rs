//! The comments of deleted posts are deleted, whatever happens in between.

use std::time::Duration;

use bson::doc;
use bson::oid::ObjectId;

use subgraph::DatabaseCalls;

use crate::service::Comments;

/// What the posts subgraph does to delete a post.
async fn delete_post(comments: &Comments, post: &str) {
    let id = ObjectId::parse_str(post).expect("an id");
    let mark = doc! { "_id": id, "markedAt": bson::DateTime::now() };
    comments
        .collection("deletedPosts")
        .insert_one(mark)
        .await
        .expect("marked");
    comments
        .collection("posts")
        .delete_one(doc! { "_id": id })
        .await
        .expect("deleted");
}

/// Waits until the collection has so many comments.
async fn until_comments(comments: &Comments, wanted: u64) {
    let counted = async {
        let collection = comments.collection("comments");
        while collection.count_documents(doc! {}).await.expect("a count") != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted)
        .await
        .expect("as many as wanted");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_follow_their_post() {
    let comments = Comments::start().await;
    let (doomed, kept) = (comments.post().await, comments.post().await);
    for text in ["A", "B"] {
        comments.comment(&doomed, text).await;
        comments.comment(&kept, text).await;
    }
    delete_post(&comments, &doomed).await;
    until_comments(&comments, 2).await;
    assert_eq!(comments.texts(&kept).await, ["B", "A"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_while_the_subgraph_was_down_is_made_up_for() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    comments.comment(&post, "A").await;
    let database = comments.stop().await;
    let id = ObjectId::parse_str(&post).expect("an id");
    let mark = doc! { "_id": id, "markedAt": bson::DateTime::from_millis(0) };
    let marks = database.database().collection("deletedPosts");
    let posts = database.database().collection::<bson::Document>("posts");
    marks.insert_one(mark).await.expect("marked");
    posts.delete_one(doc! { "_id": id }).await.expect("deleted");

    let comments = Comments::start_on(database).await;
    until_comments(&comments, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_that_slips_in_is_deleted_too() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    comments.comment(&post, "Early").await;
    delete_post(&comments, &post).await;
    until_comments(&comments, 0).await;

    // A request that had found the post before it was deleted.
    let id = ObjectId::parse_str(&post).expect("an id");
    let late = doc! { "postId": id, "text": "Late", "createdAt": bson::DateTime::now() };
    comments
        .collection("comments")
        .insert_one(late)
        .await
        .expect("inserted");
    until_comments(&comments, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_without_a_deletion_harms_nothing() {
    let comments = Comments::start().await;
    let (post, sentinel) = (comments.post().await, comments.post().await);
    comments.comment(&post, "A").await;
    comments.comment(&sentinel, "B").await;
    let id = ObjectId::parse_str(&post).expect("an id");
    let mark = doc! { "_id": id, "markedAt": bson::DateTime::now() };
    comments
        .collection("deletedPosts")
        .insert_one(mark)
        .await
        .expect("marked");
    // When the other post's comment is gone, the mark has been seen too.
    delete_post(&comments, &sentinel).await;
    until_comments(&comments, 1).await;
    assert_eq!(comments.texts(&post).await, ["A"]);
    comments.comment(&post, "C").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_cannot_be_read_stops_no_other() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    comments.comment(&post, "A").await;
    let strange = doc! { "_id": ObjectId::new(), "markedAt": "yesterday" };
    comments
        .collection("deletedPosts")
        .insert_one(strange)
        .await
        .expect("marked");
    delete_post(&comments, &post).await;
    until_comments(&comments, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_was_renewed_since_it_was_read_stays() {
    let database = embedded_mongo::test_database().await;
    let calls = DatabaseCalls::for_own_work(database.database());
    let store = comments::Store::new(&calls, Default::default());
    let marks = database
        .database()
        .collection::<bson::Document>("deletedPosts");
    let id = ObjectId::new();
    let mark = doc! { "_id": id, "markedAt": bson::DateTime::from_millis(0) };
    marks.insert_one(mark).await.expect("marked");
    let as_read = store.deleted_posts().await.expect("marks")[0];

    let renewal = doc! { "$set": { "markedAt": bson::DateTime::now() } };
    marks
        .update_one(doc! { "_id": id }, renewal)
        .await
        .expect("renewed");
    store.forget_deleted_post(as_read).await.expect("forgotten");
    let renewed = store.deleted_posts().await.expect("marks");
    assert_eq!(renewed.len(), 1);

    store
        .forget_deleted_post(renewed[0])
        .await
        .expect("forgotten");
    assert!(store.deleted_posts().await.expect("marks").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_deleted_by_another_program_takes_no_more_comments() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    comments.comment(&post, "A").await;
    let id = ObjectId::parse_str(&post).expect("an id");
    let posts = comments.collection("posts");
    posts.delete_one(doc! { "_id": id }).await.expect("deleted");
    let create = "mutation ($post: ID!) {
        createComment(input: { postId: $post, text: \"late\" }) { comment { id } }
    }";
    let refused = async {
        loop {
            let answer = comments
                .graphql(create, serde_json::json!({ "post": post }))
                .await;
            if answer["errors"][0]["extensions"]["code"] == "NOT_FOUND" {
                return;
            }
        }
    };
    // Without the change stream, it is known for 60 s.
    tokio::time::timeout(Duration::from_secs(20), refused)
        .await
        .expect("refused");
}
