//! Small requests with large responses: what multiplies is bounded.

use std::fmt::Write;

use bson::oid::ObjectId;
use bson::{Document, doc};
use serde_json::{Value, json};

use crate::service::Comments;

/// Writes posts with as many comments each, and returns the representations of the posts.
async fn write(service: &Comments, posts: usize, comments: usize, text: &str) -> Value {
    let mut representations = Vec::new();
    for _ in 0..posts {
        let post = ObjectId::new();
        let all = (0..comments).map(|_| -> Document {
            doc! {
                "postId": post, "text": text, "author": "Ann", "createdAt": bson::DateTime::now(),
            }
        });
        let written = service.collection("comments").insert_many(all).await;
        written.expect("inserted");
        representations.push(json!({ "__typename": "Post", "id": post.to_hex() }));
    }
    Value::Array(representations)
}

fn comments(first: usize, selected: &str) -> String {
    format!(
        "query ($of: [_Any!]!) {{ _entities(representations: $of) {{ ... on Post {{
           comments(first: {first}) {{ edges {{ node {{ {selected} }} }} }} }} }} }}"
    )
}

#[tokio::test]
async fn pages_aliases_and_representations_multiply() {
    let service = Comments::start().await;
    let of = json!({ "of": write(&service, 2, 3, "A text").await });
    let aliases = (0..160).fold(String::new(), |mut aliases, it| {
        let _ = write!(aliases, "a{it}: text ");
        aliases
    });
    let query = comments(100, &aliases);
    let within = service.data(&query, of.clone()).await;
    assert_eq!(
        within["_entities"][0]["comments"]["edges"][2]["node"]["a159"],
        "A text"
    );

    let post = of["of"][0].clone();
    let many = json!({ "of": vec![post; 100] });
    assert_eq!(
        service.error_code(&query, many.clone()).await,
        "MAX_COST_EXCEEDED"
    );
    let pages = comments(100, "id text author createdAt updatedAt edited");
    service.data(&pages, many).await;
    service.stop().await;
}

#[tokio::test]
async fn the_texts_of_one_answer_are_bounded() {
    let service = Comments::start_with(&["--limit-answer-bytes-max=10000"]).await;
    let of = json!({ "of": write(&service, 1, 10, &"x".repeat(2_000)).await });
    service.data(&comments(4, "text"), of.clone()).await;
    let refused = service.error_code(&comments(10, "text"), of).await;
    assert_eq!(refused, "MAX_COST_EXCEEDED");
    service.stop().await;
}

#[tokio::test]
async fn large_requests_take_turns_and_all_are_answered() {
    let service = Comments::start_with(&["--limit-running-cost-max=1"]).await;
    let of = json!({ "of": write(&service, 10, 10, "A text").await });
    let query = comments(100, "id text author");
    let answers = (0..5).map(|_| service.data(&query, of.clone()));
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!(
            answer["_entities"][9]["comments"]["edges"][9]["node"]["text"],
            "A text"
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn a_subscription_of_large_pages_is_refused() {
    let service = Comments::start().await;
    let query = "subscription ($post: ID!) { commentAdded(postId: $post) {
        post { comments(first: 100) { edges { node { post { comments(first: 100) { edges { node { id } } } } } } } }
    } }";
    let mut socket = service
        .subscribe(query, json!({ "post": ObjectId::new().to_hex() }))
        .await;
    let refused = socket.next().await;
    assert_eq!(
        refused["payload"][0]["extensions"]["code"], "MAX_COST_EXCEEDED",
        "{refused}"
    );
    service.stop().await;
}
