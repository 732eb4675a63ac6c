//! Bad input fails with a code, and nothing changes.

use serde_json::json;

use crate::service::Comments;

const CREATE: &str =
    "mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }";

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_checked() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let long = |chars| "é".repeat(chars);
    for input in [
        json!({ "postId": post, "text": "" }),
        json!({ "postId": post, "text": " \t" }),
        json!({ "postId": post, "text": long(5_001) }),
        json!({ "postId": post, "text": "T", "author": long(101) }),
        json!({ "postId": post, "text": "T", "idempotencyKey": long(101) }),
        json!({ "postId": post, "text": "T", "idempotencyKey": " " }),
    ] {
        let code = comments.error_code(CREATE, json!({ "input": input })).await;
        assert_eq!(code, "BAD_USER_INPUT", "{input}");
    }
    for input in [
        json!({ "postId": post }),
        json!({ "postId": post, "text": 7 }),
        json!(null),
    ] {
        let code = comments.error_code(CREATE, json!({ "input": input })).await;
        assert_eq!(code, "GRAPHQL_VALIDATION_FAILED", "{input}");
    }
    assert!(comments.texts(&post).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_id_is_refused_and_the_service_goes_on() {
    let comments = Comments::start().await;
    for (query, variables) in [
        (
            CREATE,
            json!({ "input": { "postId": "not-an-id", "text": "T" } }),
        ),
        (
            "query ($id: ID!) { comment(id: $id) { id } }",
            json!({ "id": "not-an-id" }),
        ),
        (
            "query ($id: ID!) { comment(id: $id) { id } }",
            json!({ "id": "" }),
        ),
    ] {
        assert_eq!(
            comments.error_code(query, variables).await,
            "BAD_USER_INPUT",
            "{query}"
        );
    }
    let post = comments.post().await;
    comments.comment(&post, "Still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_of_other_lists_are_refused() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    // A cursor of the list of posts.
    let foreign = "AXAAAAGLz-VoAGXwwP_uZfDA_-5l8A";
    for cursor in ["from nowhere", foreign, ""] {
        let code = comments
            .error_code(
                "query ($of: [_Any!]!, $after: String) { _entities(representations: $of) {
                    ... on Post { comments(after: $after) { pageInfo { endCursor } } }
                } }",
                json!({ "of": [{ "__typename": "Post", "id": post }], "after": cursor }),
            )
            .await;
        assert_eq!(code, "BAD_USER_INPUT", "{cursor:?}");
    }
}
