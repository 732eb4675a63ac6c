//! A post follows its comments: their number, the newest of them, and when it was.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::service::Posts;

const DISCUSSION: &str = "query ($id: ID!) { post(id: $id) {
    commentCount lastCommentAt latestComments(first: 20) { id text author createdAt }
} }";

/// A post's discussion once it has so many comments.
async fn discussion(posts: &Posts, id: &str, count: u32) -> Value {
    let variables = json!({ "id": id });
    posts
        .until(DISCUSSION, variables, |data| {
            data["post"]["commentCount"] == count
        })
        .await["post"]
        .take()
}

fn texts(discussion: &Value) -> Vec<&str> {
    let latest = discussion["latestComments"].as_array().expect("a list");
    latest
        .iter()
        .map(|comment| comment["text"].as_str().expect("a text"))
        .collect()
}

/// A comment of the given second, for a known order.
fn dated(post: &str, text: &str, second: u32) -> Document {
    let post = ObjectId::parse_str(post).expect("an id");
    let created_at = bson::DateTime::from_millis(1_700_000_000_000 + i64::from(second) * 1000);
    doc! { "_id": ObjectId::new(), "postId": post, "text": text, "createdAt": created_at }
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_are_counted_and_the_newest_come_first() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    let comments = [dated(&id, "A", 1), dated(&id, "C", 3), dated(&id, "B", 2)];
    posts
        .collection("comments")
        .insert_many(comments)
        .await
        .expect("inserted");
    let mut discussion = discussion(&posts, &id, 3).await;
    assert_eq!(
        discussion["lastCommentAt"],
        discussion["latestComments"][0]["createdAt"]
    );
    for comment in discussion["latestComments"].as_array_mut().expect("a list") {
        comment["id"].take();
    }
    assert_json_snapshot!(discussion, @r#"
    {
      "commentCount": 3,
      "lastCommentAt": "2023-11-14T22:13:23.000Z",
      "latestComments": [
        {
          "id": null,
          "text": "C",
          "author": "Anonymous",
          "createdAt": "2023-11-14T22:13:23.000Z"
        },
        {
          "id": null,
          "text": "B",
          "author": "Anonymous",
          "createdAt": "2023-11-14T22:13:22.000Z"
        },
        {
          "id": null,
          "text": "A",
          "author": "Anonymous",
          "createdAt": "2023-11-14T22:13:21.000Z"
        }
      ]
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_deletes_reach_the_post() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    let (first, second) = (posts.comment(&id, "A").await, posts.comment(&id, "B").await);
    discussion(&posts, &id, 2).await;

    let comments = posts.collection("comments");
    let edit = doc! { "$set": { "text": "A!" } };
    comments
        .update_one(doc! { "_id": first }, edit)
        .await
        .expect("edited");
    comments
        .delete_one(doc! { "_id": second })
        .await
        .expect("deleted");
    let discussion = discussion(&posts, &id, 1).await;
    assert_eq!(texts(&discussion), ["A!"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_looks_like_an_expression_is_a_text() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    for text in ["$title", "$$ROOT", "{ $literal: 1 }", "$"] {
        posts.comment(&id, text).await;
    }
    let discussion = discussion(&posts, &id, 4).await;
    assert_eq!(
        texts(&discussion),
        ["$", "{ $literal: 1 }", "$$ROOT", "$title"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_list_stays_the_newest_ones_whatever_is_deleted_or_edited() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    let numbered: Vec<_> = (1..=25).map(|n| dated(&id, &n.to_string(), n)).collect();
    let key = |n: usize| numbered[n - 1].get_object_id("_id").expect("an id");
    let comments = posts.collection("comments");
    comments.insert_many(&numbered).await.expect("inserted");
    let newest = |discussion: &Value| texts(discussion).join(" ");
    assert_eq!(
        newest(&discussion(&posts, &id, 25).await),
        "25 24 23 22 21 20 19 18 17 16 15 14 13 12 11 10 9 8 7 6"
    );

    // One comes from below the cut when one above is deleted; the edit of another one from below
    // does not bring it in. Both in one transaction, so that they are folded together.
    let mut session = posts
        .database
        .client()
        .start_session()
        .await
        .expect("a session");
    session.start_transaction().await.expect("a transaction");
    let edit = doc! { "$set": { "text": "edited" } };
    let edited = comments
        .update_one(doc! { "_id": key(2) }, edit)
        .session(&mut session);
    edited.await.expect("edited");
    comments
        .delete_one(doc! { "_id": key(24) })
        .session(&mut session)
        .await
        .expect("deleted");
    session.commit_transaction().await.expect("committed");
    let expected = "25 23 22 21 20 19 18 17 16 15 14 13 12 11 10 9 8 7 6 5";
    let refilled = posts
        .until(DISCUSSION, json!({ "id": id }), |data| {
            newest(&data["post"]) == expected
        })
        .await;
    assert_eq!(refilled["post"]["commentCount"], 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_written_while_the_subgraph_was_down_are_not_lost() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    posts.comment(&id, "A").await;
    discussion(&posts, &id, 1).await;
    let database = posts.stop().await;

    let comments = database.database().collection("comments");
    comments
        .insert_many([dated(&id, "B", 2), dated(&id, "C", 1)])
        .await
        .expect("inserted");
    let posts = Posts::start_on(database).await;
    let discussion = discussion(&posts, &id, 3).await;
    assert_eq!(texts(&discussion), ["A", "B", "C"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_comments_are_answered_from_the_posts_alone() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    posts.comment(&id, "A").await;
    discussion(&posts, &id, 1).await;

    let profile = posts.profile().await;
    let list = "{ posts { edges { node { title commentCount latestComments { text author } } } } }";
    let listed = posts.data(list, json!({})).await;
    let queries = |collection: &str| {
        profile.count_documents(doc! { "appName": "posts requests", "command.find": collection })
    };
    assert_eq!(queries("posts").await.expect("a count"), 1);
    assert_eq!(queries("comments").await.expect("a count"), 0);
    assert_json_snapshot!(listed["posts"]["edges"][0]["node"], @r#"
    {
      "title": "T",
      "commentCount": 1,
      "latestComments": [
        {
          "text": "A",
          "author": "Ann"
        }
      ]
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_sees_the_write_whose_time_it_brings() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    let query = "query ($id: ID!, $time: String) { post(id: $id, operationTime: $time) {
        commentCount latestComments { text }
    } }";
    for n in 1..=10 {
        let mut session = posts
            .database
            .client()
            .start_session()
            .await
            .expect("a session");
        let comment = dated(&id, &n.to_string(), n);
        posts
            .collection("comments")
            .insert_one(comment)
            .session(&mut session)
            .await
            .expect("inserted");
        let time = changefeed::OperationTime::of(&session)
            .expect("a time")
            .to_string();
        let seen = posts.data(query, json!({ "id": id, "time": time })).await;
        assert_eq!(seen["post"]["commentCount"], n);
        assert_eq!(seen["post"]["latestComments"][0]["text"], n.to_string());
    }
    let forged = json!({ "id": id, "time": "yesterday" });
    assert_eq!(posts.error_code(query, forged).await, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reaction_to_a_comment_writes_nothing_into_its_post() {
    let posts = Posts::start().await;
    let id = posts.create("T").await;
    let other = posts.create("Other").await;
    let comment = posts.comment(&id, "A").await;
    discussion(&posts, &id, 1).await;
    let profile = posts.profile().await;
    let comments = posts.collection("comments");
    let set = async |fields: Document| {
        let changed = comments.update_one(doc! { "_id": comment }, doc! { "$set": fields });
        assert_eq!(changed.await.expect("changed").modified_count, 1);
    };
    let edit = async |text: &str, likes: i32| {
        set(doc! { "text": text, "reactions": { "LIKE": likes } }).await;
        let is_edited = |data: &Value| data["post"]["latestComments"][0]["text"] == text;
        posts
            .until(DISCUSSION, json!({ "id": id }), is_edited)
            .await;
    };
    // What comes later on another post shows that all before it had its turn.
    let pass = async |count: u32| {
        posts.comment(&other, "B").await;
        discussion(&posts, &other, count).await;
    };
    let post = ObjectId::parse_str(&id).expect("an id");
    let writes = doc! { "op": "update", "ns": { "$regex": r"\.posts$" }, "command.q._id": post };
    let count = async || {
        profile
            .count_documents(writes.clone())
            .await
            .expect("counted")
    };
    edit("Edited", 1).await;
    pass(1).await;
    let before = count().await;
    assert!(before > 0);
    // Each in a batch of its own.
    for round in 2..12_u32 {
        set(doc! { "reactions": { "LIKE": i64::from(round) } }).await;
        pass(round).await;
    }
    // A transaction that was tried again would leave more than one trace of an earlier write.
    let written = count().await - before;
    assert!(written < 5, "{written}");
    edit("Again", 20).await;
    assert!(count().await > before + written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_reaches_a_post_whose_state_another_program_has_replaced() {
    let posts = Posts::start().await;
    for instead in [Bson::Null, Bson::from("text"), Bson::from(doc! { "g1": 3 })] {
        let id = posts.create("T").await;
        posts.comment(&id, "A").await;
        discussion(&posts, &id, 1).await;
        let post = ObjectId::parse_str(&id).expect("an id");
        let all = posts.collection("posts");
        let replacement = doc! { "$set": { "discussion": instead } };
        let replaced = all.update_one(doc! { "_id": post }, replacement);
        assert_eq!(replaced.await.expect("replaced").modified_count, 1);
        posts.comment(&id, "B").await;
        let is_there = |data: &Value| data["post"]["latestComments"][0]["text"] == "B";
        posts.until(DISCUSSION, json!({ "id": id }), is_there).await;
    }
}

#[test]
fn the_page_for_operators_names_what_an_older_version_has_to_find_gone() {
    use posts::comment_projection::{FIELD, NAME};

    let page = include_str!("../../../../docs/operating.md");
    assert!(page.contains(&format!("_id: /^{NAME}(\\/|$)/")));
    assert!(page.contains(&format!("$unset: {{ \"{FIELD}.g2x4\"")));
}
