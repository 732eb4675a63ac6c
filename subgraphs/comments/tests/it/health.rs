//! Readiness depends on the live feed.

use bson::doc;
use clap::Parser;
use embedded_mongo::{Options, ReplicaSet};
use subgraph::testing::TestService;

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_hears_nothing_is_not_ready() {
    let set = ReplicaSet::start(Options::default()).await.expect("a node");
    let uri = set.uri_for("silent");
    let config =
        comments::Config::parse_from(["comments", "--mongo-uri", &uri, "--ready-lag-max", "1s"]);
    let comments =
        TestService::start(|listener, lifecycle| comments::run(config, listener, lifecycle)).await;
    comments.ready().await;

    let reads = ["getMore", "aggregate"];
    let failure = || doc! { "errorCode": 43 };
    set.fail_commands("comments change streams", &reads, failure(), i32::MAX)
        .await
        .expect("a fail point");
    let readiness = async || {
        let request = comments.http().get(comments.url("/health/ready"));
        let answer = request.send().await.expect("an answer");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    };
    let unready = async {
        loop {
            let (status, body) = readiness().await;
            if status == 503 {
                return body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let body = tokio::time::timeout(std::time::Duration::from_secs(60), unready)
        .await
        .expect("it notices");
    assert!(body.contains("the change stream has been silent"), "{body}");

    set.fail_commands("nobody", &reads, failure(), 1)
        .await
        .expect("the fail point replaced");
    comments.ready().await;
}
