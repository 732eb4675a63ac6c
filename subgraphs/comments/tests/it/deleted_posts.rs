//! The comments of deleted posts are deleted, whatever happens in between.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use comments::deleted_posts::Sweeper;
use comments::{KnownPosts, Store};
use embedded_mongo::TestDatabase;
use mongodb::Collection;
use service::prometheus_client::metrics::gauge::Gauge;
use subgraph::{DatabaseCalls, DateTime};

use crate::service::Comments;

const MINUTE_MS: i64 = 60_000;

fn store(database: &TestDatabase) -> Store {
    let calls = DatabaseCalls::for_own_work(database.database());
    Store::new(&calls, Default::default())
}

/// What follows the marks of a database, to be called with the time that a test wants.
fn sweeper(database: &TestDatabase) -> Sweeper {
    let store = store(database);
    Sweeper::new(store.clone(), KnownPosts::new(store, 100, Gauge::default()))
}

/// Sweeps until every mark had its turn; returns how many sweeps that took.
async fn sweep_all(sweeper: &mut Sweeper, now: DateTime) -> usize {
    let mut sweeps = 1;
    while sweeper.sweep(now).await.expect("swept") {
        sweeps += 1;
    }
    sweeps
}

fn minutes_from_now(minutes: i64) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + minutes * MINUTE_MS)
}

/// Marks posts that were never there.
async fn mark_others(database: &TestDatabase, count: usize, marked_at: DateTime) {
    let marks: Vec<_> = (0..count)
        .map(|_| doc! { "_id": ObjectId::new(), "markedAt": marked_at })
        .collect();
    marks_of(database).insert_many(marks).await.expect("marked");
}

fn marks_of(database: &TestDatabase) -> Collection<Document> {
    database.database().collection("deletedPosts")
}

async fn count(collection: &Collection<Document>) -> u64 {
    collection.count_documents(doc! {}).await.expect("a count")
}

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
    tokio::time::timeout(Duration::from_secs(60), counted)
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
    let (store, marks) = (store(&database), marks_of(&database));
    let dated = doc! { "_id": ObjectId::new(), "markedAt": bson::DateTime::from_millis(0) };
    let undated = doc! { "_id": ObjectId::new() };
    marks.insert_many([dated, undated]).await.expect("marked");
    let read = async || store.deleted_posts_after(None, 10).await.expect("marks");
    let as_read = read().await.marks;

    let renewal = doc! { "$set": { "markedAt": bson::DateTime::now() } };
    marks.update_many(doc! {}, renewal).await.expect("renewed");
    store.forget_deleted_posts(&as_read).await.expect("kept");
    let renewed = read().await.marks;
    assert_eq!(renewed.len(), 2);

    store.forget_deleted_posts(&renewed).await.expect("removed");
    assert!(read().await.marks.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_waits_for_no_other_mark() {
    let database = embedded_mongo::test_database().await;
    mark_others(&database, 2_000, minutes_from_now(-1)).await;
    let comments = Comments::start_on(database).await;
    let (doomed, kept) = (comments.post().await, comments.post().await);
    comments.comment(&doomed, "A").await;
    comments.comment(&kept, "B").await;
    delete_post(&comments, &doomed).await;
    until_comments(&comments, 1).await;
    assert_eq!(comments.texts(&kept).await, ["B"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mark_has_its_turn() {
    let database = embedded_mongo::test_database().await;
    let comments: Collection<Document> = database.database().collection("comments");
    let post = ObjectId::from_bytes([0xff; 12]);
    let comment = |post_id: bson::Bson| doc! { "postId": post_id, "text": "A" };
    let of_post = [comment(post.into()), comment(post.to_hex().into())];
    // No comment of this post alone.
    let of_several = comment(vec![post, ObjectId::new()].into());
    comments.insert_many(of_post).await.expect("inserted");
    comments.insert_one(of_several).await.expect("inserted");
    // The oldest mark, and the last one in the order of ids.
    let mark = doc! { "_id": post, "markedAt": minutes_from_now(-2) };
    marks_of(&database).insert_one(mark).await.expect("marked");
    // A page that nothing can be read of, whose places are passed all the same.
    let odd = (0..600_u32).map(|number| {
        let mut id = [0; 12];
        id[8..].copy_from_slice(&number.to_be_bytes());
        doc! { "_id": ObjectId::from_bytes(id), "markedAt": "yesterday" }
    });
    let odd: Vec<_> = odd.collect();
    marks_of(&database).insert_many(odd).await.expect("marked");
    mark_others(&database, 1_000, minutes_from_now(-1)).await;

    let mut sweeper = sweeper(&database);
    assert_eq!(sweep_all(&mut sweeper, DateTime::now()).await, 4);
    assert_eq!(count(&comments).await, 1);
    assert_eq!(count(&marks_of(&database)).await, 1_601);
    sweep_all(&mut sweeper, minutes_from_now(6)).await;
    assert_eq!(count(&marks_of(&database)).await, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_without_a_date_is_removed_in_time() {
    let database = embedded_mongo::test_database().await;
    let marks = marks_of(&database);
    let undated = [
        doc! { "_id": ObjectId::new() },
        doc! { "_id": ObjectId::new(), "markedAt": bson::Bson::Null },
    ];
    marks.insert_many(undated).await.expect("marked");
    let mut sweeper = sweeper(&database);
    sweep_all(&mut sweeper, minutes_from_now(4)).await;
    assert_eq!(count(&marks).await, 2);
    sweep_all(&mut sweeper, minutes_from_now(6)).await;
    assert_eq!(count(&marks).await, 0);
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
    tokio::time::timeout(Duration::from_secs(45), refused)
        .await
        .expect("refused");
}
