//! The lag of the posts after the comments, as clients and operators see it.

use bson::doc;
use e2e::{Service, System, eventually};
use embedded_mongo::{Options, ReplicaSet};
use serde_json::json;

use crate::PROGRAM;

/// The change streams' name at the server.
const STREAMS: &str = "posts change streams";

#[tokio::test(flavor = "multi_thread")]
async fn a_query_with_a_mutations_time_shows_what_it_wrote() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql();
    let post = graphql.create_post("Read after written").await;
    let create =
        "mutation($input: CreateCommentInput!) { createComment(input: $input) { operationTime } }";
    let count = "query($post: ID!, $time: String) { post(id: $post, operationTime: $time) { commentCount } }";
    for written in 1..=20 {
        let input = json!({ "input": { "postId": post, "text": "text" } });
        let created = graphql.data(create, input).await;
        let time = &created["createComment"]["operationTime"];
        let shown = graphql
            .data(count, json!({ "post": post, "time": time }))
            .await;
        assert_eq!(shown["post"]["commentCount"], written);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_that_fall_behind_say_that_they_are_not_ready_until_they_are_level_again() {
    let set = ReplicaSet::start(Options::default()).await.expect("a node");
    let mut system = System::start_on(PROGRAM, set.uri_for("behind")).await;
    system.kill(Service::Posts).await;
    system
        .run_with(Service::Posts, &[("READY_LAG_MAX", "1s")])
        .await;
    system.ready(Service::Posts).await;
    let url = system.process(Service::Posts).url("/health/ready");

    let broken = doc! { "errorCode": 43 };
    set.fail_commands(STREAMS, &["getMore", "aggregate"], broken, i32::MAX)
        .await
        .expect("a fail point");
    eventually("posts are not ready", || async {
        let answer = reqwest::get(&url)
            .await
            .map_err(|error| error.to_string())?;
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        match status.as_u16() {
            503 if text.contains("behind") => Ok(()),
            _ => Err(format!("{status}: {text}")),
        }
    })
    .await;

    // It takes the place of the one before.
    set.fail_commands(STREAMS, &["ping"], doc! { "errorCode": 43 }, 1)
        .await
        .expect("a fail point");
    system.ready(Service::Posts).await;
}
