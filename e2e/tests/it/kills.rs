//! Services are killed with SIGKILL while comments are written: nothing is lost, nothing doubled.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use e2e::{ClientEvent, Service, Subscription, System, assert_projected};

use crate::PROGRAM;
use crate::writer::{Traffic, at_least_written, write_comments};

const COMMENTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn posts_killed_while_comments_are_written_has_each_once_in_the_end() {
    let mut system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql().clone(), system.database().await);
    let post = graphql.create_post("Busy").await;
    let writer = write_comments(&graphql, &post, COMMENTS);

    // Killed while events are flowing, twice, so that it goes on from a checkpoint of its own.
    for written in [COMMENTS / 4, COMMENTS / 2] {
        at_least_written(&database, written).await;
        system.kill(Service::Posts).await;
        at_least_written(&database, written + COMMENTS / 8).await;
        system.run(Service::Posts).await;
    }

    writer.await.expect("all comments are written");
    assert_eq!(assert_projected(&graphql, &post).await, COMMENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_killed_while_comments_are_written_leaves_no_silent_gap() {
    let mut system = System::start(PROGRAM).await;
    let mut traffic = Traffic::start(system.graphql(), COMMENTS).await;

    for written in [COMMENTS / 4, COMMENTS / 2] {
        traffic.subscriber.read_until(written).await;
        system.kill(Service::Comments).await;
        system.run(Service::Comments).await;
    }

    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_killed_takes_nothing_along() {
    let mut system = System::start(PROGRAM).await;
    let mut traffic = Traffic::start(system.graphql(), COMMENTS).await;

    traffic.subscriber.read_until(COMMENTS / 4).await;
    system.kill(Service::Gateway).await;
    system.run(Service::Gateway).await;

    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_killed_tells_a_subscriber_without_a_cursor_what_it_may_have_missed() {
    let mut system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql().clone(), system.database().await);
    let post = graphql.create_post("Watched").await;
    let query = "subscription($post: ID!) { commentAdded(postId: $post) { text } }";
    let mut added = Subscription::comments_of(&graphql, query, &post).await;

    system.kill(Service::Comments).await;
    let missed = doc! {
        "postId": ObjectId::parse_str(&post).expect("an id"),
        "text": "missed",
        "createdAt": DateTime::now(),
    };
    let comments = database.collection::<Document>("comments");
    comments
        .insert_one(missed)
        .await
        .expect("written meanwhile");
    system.run(Service::Comments).await;

    match added.next().await {
        ClientEvent::Next(result) if result["errors"].is_null() => {
            assert_eq!(result["data"]["commentAdded"]["text"], "missed");
        }
        ClientEvent::Next(result) => {
            let code = &result["errors"][0]["extensions"]["code"];
            assert_eq!(code, "SUBSCRIPTION_INTERRUPTED", "{result}");
        }
        other => panic!("neither what was missed nor that something was: {other:?}"),
    }
    // It goes on. From which comment on, no protocol says.
    let event = loop {
        graphql.create_comment(&post, "after").await;
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(300), added.next()).await {
            break event;
        }
    };
    let ClientEvent::Next(result) = event else {
        panic!("the subscription does not go on: {event:?}");
    };
    assert_eq!(result["data"]["commentAdded"]["text"], "after", "{result}");
}
