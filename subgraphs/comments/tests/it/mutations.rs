//! Comments are written, edited and deleted; retries with a key write once.

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::service::Comments;

const CREATE: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) {
    comment { id text author edited post { id } }
} }";

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_is_written_edited_and_deleted() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let id = comments.comment(&post, " First! ").await;
    let find = "query ($id: ID!) { comment(id: $id) { text author edited } }";
    let written = comments.data(find, json!({ "id": id })).await;

    let edit = "mutation ($id: ID!) { updateComment(input: { id: $id, text: \"Second\" }) {
        comment { text edited }
    } }";
    let edited = comments.data(edit, json!({ "id": id })).await;

    let delete = "mutation ($id: ID!) { deleteComment(input: { id: $id }) { id } }";
    let deleted = comments.data(delete, json!({ "id": id })).await;
    assert_eq!(deleted["deleteComment"]["id"], id);
    let gone = comments.data(find, json!({ "id": id })).await;
    assert_json_snapshot!([written, edited, gone], @r#"
    [
      {
        "comment": {
          "text": "First!",
          "author": "Anonymous",
          "edited": false
        }
      },
      {
        "updateComment": {
          "comment": {
            "text": "Second",
            "edited": true
          }
        }
      },
      {
        "comment": null
      }
    ]
    "#);

    assert_eq!(
        comments.error_code(delete, json!({ "id": id })).await,
        "NOT_FOUND"
    );
    assert_eq!(
        comments.error_code(edit, json!({ "id": id })).await,
        "NOT_FOUND"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_what_somebody_else_changed_is_refused() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let id = comments.comment(&post, "Before").await;
    let read = "query ($id: ID!) { comment(id: $id) { text updatedAt } }";
    let edit = "mutation ($input: UpdateCommentInput!) {
        updateComment(input: $input) { comment { text updatedAt } }
    }";
    let seen = comments.data(read, json!({ "id": id })).await["comment"]["updatedAt"].clone();
    let first = json!({ "id": id, "text": "First", "ifUpdatedAt": seen });
    let edited = comments.data(edit, json!({ "input": first })).await;
    assert_ne!(
        edited["updateComment"]["comment"]["updatedAt"], seen,
        "another version"
    );

    let second = json!({ "id": id, "text": "Second", "ifUpdatedAt": seen });
    assert_eq!(
        comments.error_code(edit, json!({ "input": second })).await,
        "CONFLICT"
    );
    let read = comments.data(read, json!({ "id": id })).await;
    assert_eq!(read["comment"], edited["updateComment"]["comment"]);

    let unasked = json!({ "id": id, "text": "Third" });
    comments.data(edit, json!({ "input": unasked })).await;
    let missing = json!({ "id": "65f0c0ffee65f0c0ffee65f0", "text": "x", "ifUpdatedAt": seen });
    assert_eq!(
        comments.error_code(edit, json!({ "input": missing })).await,
        "NOT_FOUND"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_without_dates_can_be_edited_in_turn() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let id = comments.comment(&post, "Before").await;
    let stored = comments
        .database
        .database()
        .collection::<Document>("comments");
    let of_it = doc! { "_id": ObjectId::parse_str(&id).expect("an id") };
    let read = "query ($id: ID!) { comment(id: $id) { updatedAt } }";
    let edit = "mutation ($input: UpdateCommentInput!) {
        updateComment(input: $input) { comment { id } }
    }";
    for without in [
        doc! { "updatedAt": "" },
        doc! { "updatedAt": "", "createdAt": "" },
    ] {
        stored
            .update_one(of_it.clone(), doc! { "$unset": without })
            .await
            .expect("unset");
        let seen = comments.data(read, json!({ "id": id })).await["comment"]["updatedAt"].clone();
        let input = json!({ "id": id, "text": "After", "ifUpdatedAt": seen });
        comments.data(edit, json!({ "input": input })).await;
        assert_eq!(
            comments.error_code(edit, json!({ "input": input })).await,
            "CONFLICT"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_on_a_missing_post_is_refused() {
    let comments = Comments::start().await;
    let input = json!({ "postId": "65f0c0ffee65f0c0ffee65f0", "text": "Hello?" });
    assert_eq!(
        comments.error_code(CREATE, json!({ "input": input })).await,
        "NOT_FOUND"
    );
    let count = comments
        .collection("comments")
        .count_documents(bson::doc! {})
        .await;
    assert_eq!(count.expect("a count"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_the_same_key_returns_the_first_comment() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k1" } });
    let first = comments.data(CREATE, input.clone()).await;
    let again = comments.data(CREATE, input.clone()).await;
    assert_eq!(first, again);
    assert_eq!(comments.texts(&post).await, ["Once"]);

    let another = json!({ "input": { "postId": post, "text": "Twice", "idempotencyKey": "k1" } });
    assert_eq!(comments.error_code(CREATE, another).await, "CONFLICT");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_at_the_same_moment_write_one_comment() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let tries = (0..8).map(|_| comments.data(CREATE, input.clone()));
    let answers: Vec<Value> = futures_util::future::join_all(tries).await;
    assert!(
        answers.iter().all(|answer| answer == &answers[0]),
        "{answers:#?}"
    );
    assert_eq!(comments.texts(&post).await, ["Once"]);
}

/// As a service leaves it that is killed between its two writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_finishes_what_a_killed_service_began() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let id = ObjectId::new();
    let begun = doc! { "_id": "k", "commentId": id, "at": DateTime::now() };
    let keys = comments.collection("commentKeys");
    keys.insert_one(begun).await.expect("inserted");

    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let tries = (0..8).map(|_| comments.data(CREATE, input.clone()));
    for answer in futures_util::future::join_all(tries).await {
        assert_eq!(answer["createComment"]["comment"]["id"], id.to_hex());
    }
    assert_eq!(comments.texts(&post).await, ["Once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_id_belongs_to_something_unreadable_gets_another_one() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let odd = doc! { "_id": ObjectId::new(), "postId": 5, "text": "odd" };
    let begun = doc! { "_id": "k", "commentId": odd.get("_id"), "at": DateTime::now() };
    let keys = comments.collection("commentKeys");
    keys.insert_one(begun).await.expect("inserted");
    let documents = comments.collection("comments");
    documents.insert_one(odd).await.expect("inserted");

    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let first = comments.data(CREATE, input.clone()).await;
    assert_eq!(first, comments.data(CREATE, input).await);
    assert_eq!(comments.texts(&post).await, ["Once"]);
}

/// As another program may leave them: a key must not fail for ever, nor forget its comment.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_usable_id_gets_one() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let keys = comments.collection("commentKeys");
    let odd = [
        doc! {},
        doc! { "commentId": null },
        doc! { "commentId": "no id" },
        doc! { "commentId": 5, "at": "yesterday" },
        doc! { "commentId": [ObjectId::new()] },
        doc! { "commentId": { "id": ObjectId::new() } },
    ];
    for (number, mut odd) in odd.into_iter().enumerate() {
        let key = format!("k{number}");
        odd.insert("_id", &key);
        keys.insert_one(&odd).await.expect("inserted");
        let input = json!({ "input": {
            "postId": post, "text": key, "idempotencyKey": key,
        } });
        let tries = (0..4).map(|_| comments.data(CREATE, input.clone()));
        let answers: Vec<Value> = futures_util::future::join_all(tries).await;
        assert!(answers.iter().all(|it| it == &answers[0]), "{answers:#?}");
    }
    assert_eq!(comments.texts(&post).await.len(), 6);
    let dated = keys.count_documents(doc! { "at": { "$type": "date" } });
    assert_eq!(dated.await.expect("a count"), 6);
}

/// As a tool that copies JSON leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_finds_its_comment_by_an_id_in_text() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let input = json!({ "input": { "postId": post, "text": "Once", "idempotencyKey": "k" } });
    let first = comments.data(CREATE, input.clone()).await;
    let id = first["createComment"]["comment"]["id"]
        .as_str()
        .expect("an id");
    let keys = comments.collection("commentKeys");
    let as_text = doc! { "$set": { "commentId": id } };
    keys.update_one(doc! { "_id": "k" }, as_text)
        .await
        .expect("updated");
    assert_eq!(comments.data(CREATE, input).await, first);
    assert_eq!(comments.texts(&post).await, ["Once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_tells_its_time() {
    let comments = Comments::start().await;
    let post = comments.post().await;
    let create = "mutation ($post: ID!) { createComment(input: { postId: $post, text: \"A\" }) {
        comment { id } operationTime
    } }";
    let mut created = comments.data(create, json!({ "post": post })).await["createComment"].take();
    let change = "mutation ($id: ID!) {
        updateComment(input: { id: $id, text: \"B\" }) { operationTime }
        deleteComment(input: { id: $id }) { operationTime }
    }";
    let changed = comments
        .data(change, json!({ "id": created["comment"]["id"].take() }))
        .await;
    let times = [
        &created,
        &changed["updateComment"],
        &changed["deleteComment"],
    ]
    .map(|payload| {
        payload["operationTime"]
            .as_str()
            .expect("a time")
            .to_owned()
    });
    assert!(times[0] < times[1] && times[1] < times[2], "{times:?}");
}
