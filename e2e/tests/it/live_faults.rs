//! Subscribers whose connection is disturbed: each receives every change in order, or an error with the cursor to
//! resume from.

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use e2e::{ClientEvent, Graphql, Service, Subscription, System, fail_commands};
use embedded_mongo::{Options, ReplicaSet, rename_collection};
use serde_json::{Value, json};

use crate::PROGRAM;
use crate::writer::{Subscriber, Traffic, texts, write_comments};

const COMMENTS: usize = 100;
const COMMENT_CHANGES: &str = "subscription($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) {
        ... on CommentAdded { cursor comment { text author } }
        ... on CommentEdited { cursor comment { text } }
        ... on CommentDeleted { cursor commentId }
    }
}";

#[tokio::test(flavor = "multi_thread")]
async fn failing_reads_of_the_change_stream_leave_no_gap() {
    let set = ReplicaSet::start(Options::default()).await.expect("a node");
    let system = System::start_on(PROGRAM, set.uri_for("live")).await;
    let mut traffic = Traffic::start(system.graphql(), COMMENTS).await;

    for (read, failure) in [
        (COMMENTS / 4, doc! { "errorCode": 43 }),
        (COMMENTS / 2, doc! { "closeConnection": true }),
        (COMMENTS * 3 / 4, doc! { "errorCode": 136 }),
    ] {
        traffic.subscriber.read_until(read).await;
        fail_commands(&set, "comments change streams", &["getMore"], failure, 2).await;
    }

    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stands_still_for_a_moment_leaves_no_gap() {
    let mut system = System::start(PROGRAM).await;
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Slow").await;
    let mut subscriber = Subscriber::start(&graphql, &post).await;
    let other = system.instance(Service::Comments, &[]).await;
    let writer = write_comments(&graphql, &post, COMMENTS);

    subscriber.read_until(COMMENTS / 4).await;
    system.pause(Service::Comments);
    // Written elsewhere meanwhile, so that the change stream goes on without it.
    other
        .graphql()
        .create_comment(&post, "from another instance")
        .await;
    system.resume(Service::Comments);

    writer.await.expect("all comments are written");
    subscriber.read_until(COMMENTS + 1).await;
    let (own, other): (Vec<_>, Vec<_>) = subscriber
        .received()
        .iter()
        .cloned()
        .partition(|text| text.starts_with("comment "));
    assert_eq!(own, texts(COMMENTS), "each once, in order");
    assert_eq!(other, ["from another instance"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_does_not_read_is_told_where_to_go_on() {
    let system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql(), system.database().await);
    let post = graphql.create_post("Flooded").await;
    let mut stalled = Subscription::comments_of(graphql, COMMENT_CHANGES, &post).await;
    let mut healthy = Subscription::start(graphql, COMMENT_CHANGES, json!({ "post": post })).await;

    // More than the sockets' buffers and the gateway's own hold, while nobody reads the first one.
    let texts: Vec<String> = (0..4_000)
        .map(|number| format!("{number:04} {}", "x".repeat(4_000)))
        .collect();
    let id = ObjectId::parse_str(&post).expect("an object id");
    let comment = |text: &String| {
        let now = DateTime::now();
        doc! { "postId": id, "text": text, "author": "A", "createdAt": now, "updatedAt": now }
    };
    let comments = database.collection::<Document>("comments");
    for chunk in texts.chunks(200) {
        comments
            .insert_many(chunk.iter().map(comment))
            .await
            .expect("comments");
        for text in chunk {
            assert_eq!(
                added_text(&healthy.next_data().await),
                text,
                "the other one is not delayed"
            );
        }
    }

    let mut received = Vec::new();
    let (error, mut cursor) = read_to_the_end(&mut stalled, &mut received).await;
    assert_eq!(
        error["extensions"]["code"], "SUBSCRIPTION_LAGGED",
        "{error}"
    );
    while received.len() < texts.len() {
        let mut resumed = resume(graphql, &post, &cursor).await;
        while received.len() < texts.len() {
            match resumed.next().await {
                ClientEvent::Next(result) if result["errors"].is_null() => {
                    cursor = result["data"]["commentChanges"]["cursor"].clone();
                    received.push(added_text(&result["data"]).to_owned());
                }
                _ => break,
            }
        }
    }
    assert_eq!(received, texts, "each once, in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_collection_is_told_to_subscribers() {
    let system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql(), system.database().await);
    let post = graphql.create_post("Emptied").await;
    let mut subscription = Subscription::comments_of(graphql, COMMENT_CHANGES, &post).await;

    let comments = database.collection::<Document>("comments");
    comments.drop().await.expect("a drop");
    assert_resync_and_a_new_beginning(graphql, &post, &mut subscription).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_collection_is_told_to_subscribers() {
    let system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql(), system.database().await);
    let post = graphql.create_post("Renamed").await;
    let mut subscription = Subscription::comments_of(graphql, COMMENT_CHANGES, &post).await;

    rename_collection(&database, "comments", "comments_of_old")
        .await
        .expect("a rename");
    assert_resync_and_a_new_beginning(graphql, &post, &mut subscription).await;
}

async fn assert_resync_and_a_new_beginning(
    graphql: &Graphql,
    post: &str,
    subscription: &mut Subscription,
) {
    let (error, _) = read_to_the_end(subscription, &mut Vec::new()).await;
    assert_eq!(error["extensions"]["code"], "RESYNC_REQUIRED", "{error}");
    assert_eq!(error["extensions"]["reason"], "HISTORY_LOST", "{error}");
    let mut again = Subscription::comments_of(graphql, COMMENT_CHANGES, post).await;
    graphql.create_comment(post, "a new beginning").await;
    assert_eq!(added_text(&again.next_data().await), "a new beginning");
}

/// Reads until the subscription fails; returns the error and the last cursor.
async fn read_to_the_end(
    subscription: &mut Subscription,
    received: &mut Vec<String>,
) -> (Value, Value) {
    let mut cursor = Value::Null;
    loop {
        match subscription.next().await {
            ClientEvent::Next(result) if result["errors"].is_null() => {
                cursor = result["data"]["commentChanges"]["cursor"].clone();
                received.push(added_text(&result["data"]).to_owned());
            }
            ClientEvent::Next(result) => return (result["errors"][0].clone(), cursor),
            ClientEvent::Error(errors) => return (errors[0].clone(), cursor),
            other => panic!("the end of the subscription has no reason: {other:?}"),
        }
    }
}

async fn resume(graphql: &Graphql, post: &str, after: &Value) -> Subscription {
    Subscription::start(
        graphql,
        COMMENT_CHANGES,
        json!({ "post": post, "after": after }),
    )
    .await
}

fn added_text(data: &Value) -> &str {
    data["commentChanges"]["comment"]["text"]
        .as_str()
        .expect("a comment was added")
}
