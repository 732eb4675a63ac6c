//! Through the gateway alone: a post, three comments, an edit, a delete.

use e2e::{System, assert_projected, comments_of, latest_of};
use serde_json::json;

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn three_comments_appear_in_the_list_of_posts() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Hello").await;
    for text in ["one", "two", "three"] {
        graphql.create_comment(&post, text).await;
    }
    assert_projected(graphql, &post).await;

    let list = "{ posts { edges { node { title commentCount latestComments { text } } } } }";
    assert_eq!(
        graphql.data(list, json!({})).await,
        json!({ "posts": { "edges": [{ "node": {
            "title": "Hello",
            "commentCount": 3,
            "latestComments": [{ "text": "three" }, { "text": "two" }, { "text": "one" }],
        } }] } })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_and_a_delete_reach_the_post() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Hello").await;
    let edited = graphql.create_comment(&post, "first draft").await;
    let deleted = graphql.create_comment(&post, "gone soon").await;
    assert_eq!(assert_projected(graphql, &post).await, 2);

    graphql.update_comment(&edited, "final").await;
    graphql.delete_comment(&deleted).await;

    assert_eq!(assert_projected(graphql, &post).await, 1);
    let (_, latest) = latest_of(graphql, &post).await.expect("an answer");
    assert_eq!(latest[0]["text"], "final");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_full_is_filled_up_after_deletes() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Long").await;
    let mut ids = Vec::new();
    for number in 0..25 {
        ids.push(
            graphql
                .create_comment(&post, &format!("comment {number}"))
                .await,
        );
    }
    assert_eq!(assert_projected(graphql, &post).await, 25);
    for id in &ids[20..] {
        graphql.delete_comment(id).await;
    }
    assert_eq!(assert_projected(graphql, &post).await, 20);
    let (_, latest) = latest_of(graphql, &post).await.expect("an answer");
    assert_eq!(
        latest.len(),
        20,
        "the places of the deleted ones are taken by older ones"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_mutation_creates_one_comment() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Hello").await;
    let create = async |text: &str, key| {
        graphql
            .try_create_comment(&post, text, key)
            .await
            .expect("an answer")
    };
    let first = create("once", Some("key-1")).await;
    let again = create("once", Some("key-1")).await;
    assert_eq!(first.body, again.body);
    assert_eq!(
        comments_of(graphql, &post).await.expect("an answer").len(),
        1
    );

    let other = create("something else", Some("key-1")).await;
    assert_eq!(other.codes(), ["CONFLICT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_post_deletes_its_comments() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Short-lived").await;
    let comment = graphql.create_comment(&post, "orphan to be").await;
    let delete = "mutation($input: DeletePostInput!) { deletePost(input: $input) { id } }";
    graphql
        .data(delete, json!({ "input": { "id": post } }))
        .await;

    e2e::eventually("the comment is gone with its post", || async {
        let data = graphql
            .data(
                "query($id: ID!) { comment(id: $id) { id } }",
                json!({ "id": comment }),
            )
            .await;
        if data["comment"].is_null() {
            Ok(())
        } else {
            Err(data.to_string())
        }
    })
    .await;
    let orphan = graphql
        .try_create_comment(&post, "too late", None)
        .await
        .expect("an answer");
    assert_eq!(orphan.codes(), ["NOT_FOUND"]);
}
