//! One subgraph is down: the other one's fields are in the response, the missing ones are null with an error
//! that names the service and the path.

use e2e::{Service, System, assert_projected};
use serde_json::{Value, json};

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn without_comments_posts_and_their_latest_comments_are_answered() {
    let system = System::start(PROGRAM).await;
    posts_are_answered_without_comments(system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_of_development_an_outage_is_told_the_same_way() {
    let system = System::start_in_production(PROGRAM).await;
    posts_are_answered_without_comments(system).await;
}

async fn posts_are_answered_without_comments(mut system: System) {
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Still here").await;
    graphql.create_comment(&post, "embedded").await;
    assert_projected(&graphql, &post).await;

    system.kill(Service::Comments).await;

    let embedded = "query($id: ID!) { post(id: $id) { title commentCount latestComments { text author createdAt } } }";
    let data = graphql.data(embedded, json!({ "id": post })).await;
    assert_eq!(
        data["post"]["latestComments"][0]["text"], "embedded",
        "posts answers this by itself"
    );

    let both = "query($id: ID!) { post(id: $id) { title } comment(id: $id) { text } }";
    let answer = graphql.ask(both, json!({ "id": post })).await;
    assert_eq!(
        answer.body["data"],
        json!({ "post": { "title": "Still here" }, "comment": null })
    );
    assert_error(&answer.body, "comments", &json!(["comment"]));

    let joined = "query($id: ID!) { post(id: $id) { title comments { edges { node { text } } } } }";
    let answer = graphql.ask(joined, json!({ "id": post })).await;
    assert!(
        answer.body["data"]["post"].is_null(),
        "`comments` cannot be null, so its post is"
    );
    assert_error(&answer.body, "comments", &json!(["post", "comments"]));

    system.run(Service::Comments).await;
    let data = graphql.data(joined, json!({ "id": post })).await;
    let edges = json!([{ "node": { "text": "embedded" } }]);
    assert_eq!(
        data["post"],
        json!({ "title": "Still here", "comments": { "edges": edges } })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_posts_comments_are_answered_and_written() {
    let mut system = System::start(PROGRAM).await;
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Gone for a while").await;
    let comment = graphql.create_comment(&post, "here").await;
    assert_projected(&graphql, &post).await;

    system.kill(Service::Posts).await;

    let query = "query($post: ID!, $comment: ID!) { comment(id: $comment) { text author } post(id: $post) { title } }";
    let answer = graphql
        .ask(query, json!({ "post": post, "comment": comment }))
        .await;
    assert_eq!(
        answer.body["data"],
        json!({ "comment": { "text": "here", "author": "Anonymous" }, "post": null })
    );
    assert_error(&answer.body, "posts", &json!(["post"]));

    let joined = "query($comment: ID!) { comment(id: $comment) { text post { id title } } }";
    let answer = graphql.ask(joined, json!({ "comment": comment })).await;
    assert_eq!(
        answer.body["data"],
        json!({ "comment": null }),
        "neither its post nor the post's title can be null"
    );
    assert_error(&answer.body, "posts", &json!(["comment", "post", "title"]));

    graphql.create_comment(&post, "written meanwhile").await;
    system.run(Service::Posts).await;
    assert_eq!(assert_projected(&graphql, &post).await, 2);
}

/// The answer's errors have this path, and tell which service they come from.
fn assert_error(body: &Value, service: &str, path: &Value) {
    let errors = body["errors"].as_array().expect("errors");
    assert!(!errors.is_empty());
    for error in errors {
        assert_eq!(&error["path"], path, "{error}");
        assert_eq!(error["extensions"]["service"], service, "{error}");
        assert!(error["extensions"]["code"].is_string(), "{error}");
    }
}
