//! Frequent queries use an index.

use bson::doc;

use crate::service::Comments;

#[tokio::test(flavor = "multi_thread")]
async fn a_posts_comments_are_read_from_an_index() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    for text in ["A", "B"] {
        comments.comment(&post, text).await;
        comments.comment(&other, text).await;
    }
    let profile = comments.profile().await;
    assert_eq!(comments.texts(&post).await, ["B", "A"]);

    let list = doc! { "appName": "comments requests", "command.aggregate": "comments" };
    let list = profile.find_one(list).await.expect("a profile");
    let list = list.expect("the list's query");
    let plan = list.get_str("planSummary").expect("a plan");
    assert!(
        plan.starts_with("IXSCAN { postId: 1, createdAt: -1, _id: -1 }"),
        "{plan}"
    );
    assert_eq!(list.get_i32("docsExamined").expect("a number"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_index_that_the_queries_need_is_there() {
    let comments = Comments::start().await;
    comments.ready().await;
    comments.replies_are_indexed().await;
    let names = comments.collection("comments").list_index_names().await;
    let mut names = names.expect("names");
    names.sort_unstable();
    let ours = ["_id_", "postId_1_createdAt_-1__id_-1", "replies", "undated"];
    assert_eq!(names, ours);
    let names = comments.collection("deletedPosts").list_index_names().await;
    assert_eq!(names.expect("names"), ["_id_", "markedAt_1"]);
    let acts = comments.collection("moderationActs");
    let names = acts.list_index_names().await.expect("names");
    assert_eq!(names, ["_id_", "authorId_1__id_-1"]);
    let reactions = comments.collection("commentReactions");
    let names = reactions.list_index_names().await.expect("names");
    assert_eq!(names, ["_id_", "commentId_1", "postId_1"]);
    let blocks = comments.collection("blockedAuthors");
    let names = blocks.list_index_names().await.expect("the collection");
    assert_eq!(names, ["_id_", "since_-1__id_-1"]);
}
