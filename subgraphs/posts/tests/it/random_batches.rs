//! Random batches of insertions, edits and deletions, older and newer than what a post shows: after
//! each the post shows the newest comments, as a fold over the collection has them.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::{DateTime, doc};
use serde_json::{Value, json};

use crate::service::Posts;

const BATCHES: usize = 25;
const CHANGES_MAX: usize = 30;
/// So few that comments of one moment are common.
const SECONDS: i64 = 25;
const SHOWN: usize = 20;

/// By creation and id: the text. What the collection holds.
type Comments = BTreeMap<(i64, ObjectId), String>;

#[tokio::test(flavor = "multi_thread")]
async fn each_leaves_the_newest_comments() {
    let mut random = fastrand::Rng::with_seed(11);
    let posts = Posts::start().await;
    let post = posts.create("T").await;
    let mut comments = Comments::new();
    for batch in 0..BATCHES {
        apply_in_one_transaction(&posts, &post, &mut comments, &mut random, batch).await;
        let newest_first = comments.iter().rev().take(SHOWN);
        let latest: Vec<Value> = newest_first
            .map(|((_, id), text)| json!({ "id": id.to_hex(), "text": text }))
            .collect();
        let expected = json!({ "commentCount": comments.len(), "latestComments": latest });
        let query = "query ($id: ID!) { post(id: $id) { commentCount latestComments(first: 20) { id text } } }";
        posts
            .until(query, json!({ "id": post }), |data| {
                data["post"] == expected
            })
            .await;
    }
}

/// The changes of one transaction are folded together.
async fn apply_in_one_transaction(
    posts: &Posts,
    post: &str,
    comments: &mut Comments,
    random: &mut fastrand::Rng,
    batch: usize,
) {
    let post = ObjectId::parse_str(post).expect("an id");
    let collection = posts.collection("comments");
    let client = posts.database.client();
    let mut session = client.start_session().await.expect("a session");
    session.start_transaction().await.expect("a transaction");
    // Now and then the list shrinks below what it shows.
    let deletes_in_ten = random.u32(1..8);
    // Comments that are all new are stored in another way.
    let are_all_new = batch.is_multiple_of(3);
    for change in 0..random.usize(1..CHANGES_MAX) {
        let text = format!("batch {batch} change {change}");
        let known = random.choice(comments.keys().copied().collect::<Vec<_>>());
        let known = known.filter(|_| !are_all_new);
        match known {
            Some(key) if random.u32(0..10) < deletes_in_ten => {
                comments.remove(&key);
                let deleted = collection.delete_one(doc! { "_id": key.1 });
                deleted.session(&mut session).await.expect("deleted");
            }
            Some(key) if random.bool() => {
                comments.insert(key, text.clone());
                let edit = doc! { "$set": { "text": text } };
                let edited = collection.update_one(doc! { "_id": key.1 }, edit);
                edited.session(&mut session).await.expect("edited");
            }
            _ => {
                let key = (
                    1_700_000_000_000 + random.i64(0..SECONDS) * 1000,
                    ObjectId::new(),
                );
                let comment = doc! {
                    "_id": key.1, "postId": post, "text": &text, "createdAt": DateTime::from_millis(key.0),
                };
                comments.insert(key, text);
                let inserted = collection.insert_one(comment);
                inserted.session(&mut session).await.expect("inserted");
            }
        }
    }
    session.commit_transaction().await.expect("committed");
}
