//! What waits for moderators: reports and held comments, in pages.

use bson::oid::ObjectId;
use bson::{Document, doc};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::moderators::*;
use crate::service::Comments;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reports_a_comment_once() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let id = written(&ann(&comments), &post, "Text").await;
    let eve = eve(&comments);
    let guest = comments.guest(NAME);
    assert_eq!(
        guest.error_code(REPORT, id.clone()).await,
        "UNAUTHENTICATED"
    );
    assert!(queue(&eve, "OPEN").await.is_empty());

    let bob = bob(&comments);
    let first = bob.data(REPORT, id.clone()).await;
    let other_reason = json!({ "id": id["id"], "reason": "other" });
    assert_eq!(bob.data(REPORT, other_reason.clone()).await, first);
    // An id is a text, whatever it looks like.
    named(&comments, "$reports")
        .data(REPORT, other_reason)
        .await;
    let mut waiting = queue(&eve, "OPEN").await;
    let (entry_id, entry_post) = (
        waiting[0]["commentId"].take(),
        waiting[0]["comment"]["post"]["id"].take(),
    );
    assert_eq!((entry_id, entry_post), (id["id"].clone(), json!(post)));
    waiting[0]["comment"]["id"].take();
    assert_json_snapshot!(waiting, @r#"
    [
      {
        "commentId": null,
        "status": "VISIBLE",
        "list": "OPEN",
        "reason": null,
        "moderator": null,
        "reportCount": 2,
        "reportReasons": [
          "other",
          "rude"
        ],
        "comment": {
          "id": null,
          "text": "Text",
          "status": "VISIBLE",
          "post": {
            "id": null
          }
        },
        "authorIsBlocked": false
      }
    ]
    "#);
    assert_eq!(texts(&comments, &post).await, ["Text"], "it stays visible");

    // A moderator settles them; who has reported it cannot do so again, others can.
    eve.data(RESTORE, id.clone()).await;
    assert_eq!(bob.data(REPORT, id.clone()).await, first);
    assert!(queue(&eve, "OPEN").await.is_empty());
    named(&comments, "cid").data(REPORT, id.clone()).await;
    assert_eq!(queue(&eve, "OPEN").await[0]["reportCount"], 1);
    // Its deletion takes the reports along.
    ann(&comments).data(DELETE, id).await;
    let entries = comments.collection("moderatedComments");
    assert_eq!(entries.count_documents(doc! {}).await.expect("counted"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_at_the_same_moment_are_all_kept_and_no_more_than_fifty() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let id = written(&ann(&comments), &post, "Text").await;
    let people: Vec<_> = (0..55).map(|number| format!("p{number}")).collect();
    for people in people.chunks(8) {
        let reports = people.iter().map(|name| {
            let (by, id) = (named(&comments, name), id.clone());
            async move { by.data(REPORT, id).await }
        });
        futures_util::future::join_all(reports).await;
    }
    let entry = &queue(&eve(&comments), "OPEN").await[0];
    assert_eq!(entry["reportCount"], 50);
    assert_eq!(entry["reportReasons"].as_array().map(Vec::len), Some(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_what_is_being_hidden_leaves_it_hidden() {
    let comments = start(&[]).await;
    let post = comments.post().await;
    let (bob, eve) = (bob(&comments), eve(&comments));
    for _ in 0..10 {
        let id = written(&ann(&comments), &post, "Text").await;
        let (_, _) = tokio::join!(bob.graphql(REPORT, id.clone()), eve.data(HIDE, id.clone()));
        assert_eq!(places(&comments, &id["id"]).await, (0, 1));
        let hidden = queue(&eve, "HIDDEN").await;
        assert_eq!(hidden[0]["commentId"], id["id"]);
    }
    assert!(queue(&eve, "OPEN").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_has_pages_the_newest_first() {
    let comments = start(&["--hold-comments=always"]).await;
    let post = comments.post().await;
    let (ann, eve) = (ann(&comments), eve(&comments));
    let mut expected = Vec::new();
    for number in 0..5 {
        let id = written(&ann, &post, &format!("Text {number}")).await;
        expected.insert(0, id["id"].clone());
    }
    // Not by when it was written: it entered last.
    let own = written(&eve, &post, "Own").await;
    bob(&comments).data(REPORT, own.clone()).await;
    expected.insert(0, own["id"].clone());

    let (mut seen, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = eve.data(QUEUE, json!({ "first": 2, "after": after })).await;
        let page = &page["moderationQueue"];
        let edges = page["edges"].as_array().expect("edges");
        seen.extend(edges.iter().map(|edge| edge["node"]["commentId"].clone()));
        assert_eq!(page["pageInfo"]["hasPreviousPage"], !after.is_null());
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(seen, expected);
    let other_list = json!({ "after": after, "list": "HIDDEN" });
    assert_eq!(eve.error_code(QUEUE, other_list).await, "BAD_USER_INPUT");
    let too_many = json!({ "first": 101 });
    assert_eq!(eve.error_code(QUEUE, too_many).await, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_moderation_uses_an_index() {
    let comments = start(&["--hold-comments=first"]).await;
    comments.ready().await;
    let post = comments.post().await;
    let eve = eve(&comments);
    let id = written(&ann(&comments), &post, "Text").await;
    let profile = comments.profile().await;
    queue(&eve, "OPEN").await;
    eve.data(RESTORE, id).await;
    write(&ann(&comments), &post, "More").await;
    let scans = doc! {
        "ns": { "$regex": "\\.(comments|moderatedComments|blockedAuthors)$" },
        "op": { "$in": ["query", "update", "remove"] },
        "appName": "comments requests",
    };
    let count = profile.count_documents(scans.clone()).await;
    assert!(count.expect("counted") >= 4);
    let mut collscan = scans;
    collscan.insert("planSummary", doc! { "$regex": "COLLSCAN" });
    let found: Option<Document> = profile.find_one(collscan).await.expect("found");
    assert_eq!(found, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_indexes_come_back_with_the_collection() {
    let comments = start(&[]).await;
    comments.ready().await;
    let indexes = async |comments: &Comments| {
        let entries = comments.collection("moderatedComments");
        let mut names = entries.list_index_names().await.unwrap_or_default();
        names.sort_unstable();
        names
    };
    let expected = ["_id_", "list_1_createdAt_-1__id_-1", "postId_1"];
    assert_eq!(indexes(&comments).await, expected);
    let entries = comments.collection("moderatedComments");
    entries.drop().await.expect("dropped");
    let back = async {
        while indexes(&comments).await != expected {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, back)
        .await
        .expect("they come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_post_takes_what_is_held_hidden_and_reported_along() {
    let comments = start(&["--hold-comments=always"]).await;
    let (post, kept) = (comments.post().await, comments.post().await);
    let (ann, bob, eve) = (ann(&comments), bob(&comments), eve(&comments));
    let hidden = written(&ann, &post, "Hidden").await;
    eve.data(HIDE, hidden.clone()).await;
    let held = written(&ann, &post, "Held").await;
    let reported = written(&eve, &post, "Reported").await;
    bob.data(REPORT, reported).await;
    let other = written(&ann, &kept, "Other").await;

    let id = ObjectId::parse_str(&post).expect("an id");
    let posts = comments.collection("posts");
    posts.delete_one(doc! { "_id": id }).await.expect("deleted");
    // The post is gone: nothing is restored to it, even before its comments are gone.
    for id in [&held, &hidden] {
        assert_eq!(eve.error_code(RESTORE, id.clone()).await, "NOT_FOUND");
    }
    let mark = doc! { "_id": id, "markedAt": bson::DateTime::now() };
    let marks = comments.collection("deletedPosts");
    marks.insert_one(mark).await.expect("marked");
    let gone = async {
        for name in ["comments", "moderatedComments"] {
            let of_post = doc! { "postId": id };
            let left = comments.collection(name);
            while left
                .count_documents(of_post.clone())
                .await
                .expect("counted")
                > 0
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, gone)
        .await
        .expect("nothing is left");
    assert_eq!(queue(&eve, "OPEN").await[0]["commentId"], other["id"]);
}
