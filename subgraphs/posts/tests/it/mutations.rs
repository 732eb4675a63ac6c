//! Posts are created, changed and deleted.

use insta::assert_json_snapshot;
use serde_json::json;

use crate::service::Posts;

#[tokio::test(flavor = "multi_thread")]
async fn a_created_post_is_found_again() {
    let posts = Posts::start().await;
    let created = posts
        .data(
            "mutation { createPost(input: { title: \" Hello \", content: \"World\", author: \"Ann\" }) {
                post { id }
            } }",
            json!({}),
        )
        .await;
    let id = &created["createPost"]["post"]["id"];
    let found = posts
        .data(
            "query ($id: ID!) { post(id: $id) {
                title content author commentCount lastCommentAt latestComments { id }
            } }",
            json!({ "id": id }),
        )
        .await;
    assert_json_snapshot!(found, @r#"
    {
      "post": {
        "title": "Hello",
        "content": "World",
        "author": "Ann",
        "commentCount": 0,
        "lastCommentAt": null,
        "latestComments": []
      }
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_is_given_and_keeps_the_rest() {
    let posts = Posts::start().await;
    let id = posts.create("Before").await;
    let updated = posts
        .data(
            "mutation ($id: ID!) { updatePost(input: { id: $id, title: \"After\" }) {
                post { title content author }
            } }",
            json!({ "id": id }),
        )
        .await;
    assert_json_snapshot!(updated, @r#"
    {
      "updatePost": {
        "post": {
          "title": "After",
          "content": "Content",
          "author": "Anonymous"
        }
      }
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_what_somebody_else_changed_is_refused() {
    let posts = Posts::start().await;
    let id = posts.create("Before").await;
    let read = "query ($id: ID!) { post(id: $id) { title content updatedAt } }";
    let edit =
        "mutation ($input: UpdatePostInput!) { updatePost(input: $input) { post { updatedAt } } }";
    let seen = posts.data(read, json!({ "id": id })).await["post"]["updatedAt"].clone();
    let first = json!({ "id": id, "title": "First", "ifUpdatedAt": seen });
    let edited = posts.data(edit, json!({ "input": first })).await;
    let now = &edited["updatePost"]["post"]["updatedAt"];
    assert_ne!(*now, seen, "another version");

    let second = json!({ "id": id, "content": "Second", "ifUpdatedAt": seen });
    assert_eq!(
        posts.error_code(edit, json!({ "input": second })).await,
        "CONFLICT"
    );
    let missing = json!({ "id": "65f0c0ffee65f0c0ffee65f0", "title": "x", "ifUpdatedAt": seen });
    assert_eq!(
        posts.error_code(edit, json!({ "input": missing })).await,
        "NOT_FOUND"
    );
    let read = posts.data(read, json!({ "id": id })).await;
    assert_eq!(
        read["post"],
        json!({ "title": "First", "content": "Content", "updatedAt": now })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_needs_only_the_beginning_of_a_text() {
    let posts = Posts::start().await;
    let id = posts.create("Title").await;
    let read = "query ($id: ID!, $length: Int) {
        post(id: $id) { excerpt short: excerpt(length: $length) }
    }";
    let read_with = |length: i32| json!({ "id": id, "length": length });
    assert_eq!(
        posts.data(read, read_with(4)).await["post"],
        json!({ "excerpt": "Content", "short": "Con…" })
    );
    for refused in [-1, 1_001] {
        assert_eq!(
            posts.error_code(read, read_with(refused)).await,
            "BAD_USER_INPUT"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_can_be_read_up_to_where_nothing_of_it_breaks() {
    let posts = Posts::start().await;
    let create = "mutation ($content: String!) {
        createPost(input: { title: \"Title\", content: $content }) { post { id } }
    }";
    let content = "一つ目。\n\nSee [the docs](https://a.example/b).";
    let created = posts.data(create, json!({ "content": content })).await;
    let id = &created["createPost"]["post"]["id"];
    let read = "query ($id: ID!, $bytes: Int) {
        post(id: $id) { content(textBytesMax: $bytes) contentBytes excerpt(textBytesMax: $bytes) }
    }";
    for (bytes, expected, excerpt) in [
        (
            None,
            content,
            "一つ目。 See [the docs](https://a.example/b).",
        ),
        (
            Some(100),
            content,
            "一つ目。 See [the docs](https://a.example/b).",
        ),
        (Some(20), "一つ目。", "一つ目。 See…"),
        (Some(40), "一つ目。", "一つ目。 See [the…"),
        (Some(8), "一つ", "一…"),
        (Some(0), "", ""),
    ] {
        let found = posts.data(read, json!({ "id": id, "bytes": bytes })).await;
        let expected =
            json!({ "content": expected, "contentBytes": content.len(), "excerpt": excerpt });
        assert_eq!(found["post"], expected, "{bytes:?}");
    }
    for wrong in [-1, i32::MAX] {
        let code = posts
            .error_code(read, json!({ "id": id, "bytes": wrong }))
            .await;
        assert_eq!(code, "BAD_USER_INPUT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_post_is_gone_and_leaves_a_mark_for_its_comments() {
    let posts = Posts::start().await;
    let id = posts.create("Short-lived").await;
    let delete = "mutation ($id: ID!) { deletePost(input: { id: $id }) { id } }";
    let deleted = posts.data(delete, json!({ "id": id })).await;
    assert_eq!(deleted["deletePost"]["id"], id);

    let found = posts
        .data(
            "query ($id: ID!) { post(id: $id) { id } }",
            json!({ "id": id }),
        )
        .await;
    assert_json_snapshot!(found, @r#"
    {
      "post": null
    }
    "#);
    assert_eq!(
        posts.error_code(delete, json!({ "id": id })).await,
        "NOT_FOUND"
    );

    let marks = posts.collection("deletedPosts");
    assert_eq!(
        marks.count_documents(bson::doc! {}).await.expect("a count"),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_to_a_missing_post_is_null_and_harms_no_other() {
    let posts = Posts::start().await;
    let id = posts.create("Here").await;
    let entities = posts
        .data(
            "query ($posts: [_Any!]!) { _entities(representations: $posts) { ... on Post { title } } }",
            json!({ "posts": [
                { "__typename": "Post", "id": id },
                { "__typename": "Post", "id": "65f0c0ffee65f0c0ffee65f0" },
                { "__typename": "Post", "id": "not-an-id" },
            ] }),
        )
        .await;
    assert_json_snapshot!(entities, @r#"
    {
      "_entities": [
        {
          "title": "Here"
        },
        null,
        null
      ]
    }
    "#);
}
