//! Services are killed with SIGKILL while comments are written: nothing is lost, nothing doubled.

use std::collections::BTreeSet;

use bson::{Document, doc};
use e2e::{
    Event, Graphql, Service, Subscription, System, assert_projected, comments_of, eventually,
};
use mongodb::Database;
use serde_json::{Value, json};

use crate::PROGRAM;

const COMMENTS: usize = 200;
const COMMENT_CHANGES: &str = "subscription($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) {
        ... on CommentAdded { cursor comment { text } }
        ... on CommentEdited { cursor comment { text } }
        ... on CommentDeleted { cursor commentId }
    }
}";

#[tokio::test(flavor = "multi_thread")]
async fn posts_killed_while_comments_are_written_has_each_once_in_the_end() {
    let mut system = System::start(PROGRAM).await;
    let post = system.graphql().create_post("Busy").await;
    let (graphql, database) = (system.graphql().clone(), system.database().await);
    let writer = tokio::spawn(write_comments(graphql.clone(), post.clone()));

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
async fn comments_killed_while_comments_are_written_keeps_each_once_and_leaves_no_silent_gap() {
    let mut system = System::start(PROGRAM).await;
    let post = system.graphql().create_post("Busy").await;
    let graphql = system.graphql().clone();
    let mut subscriber = Subscriber::start(&graphql, &post).await;
    let writer = tokio::spawn(write_comments(graphql.clone(), post.clone()));

    for written in [COMMENTS / 4, COMMENTS / 2] {
        subscriber.read_until(written).await;
        system.kill(Service::Comments).await;
        system.run(Service::Comments).await;
    }

    writer.await.expect("all comments are written");
    subscriber.read_until(COMMENTS).await;
    let expected: Vec<String> = (0..COMMENTS).map(text).collect();
    assert_eq!(subscriber.received, expected, "each once, in order");
    let comments = comments_of(&graphql, &post).await;
    let kept: BTreeSet<&str> = comments
        .iter()
        .filter_map(|comment| comment["text"].as_str())
        .collect();
    assert!(expected.iter().all(|text| kept.contains(text.as_str())));
    assert_eq!(comments.len(), kept.len(), "no comment was written twice");
    assert_projected(&graphql, &post).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_killed_takes_nothing_along() {
    let mut system = System::start(PROGRAM).await;
    let post = system.graphql().create_post("Busy").await;
    let graphql = system.graphql().clone();
    let mut subscriber = Subscriber::start(&graphql, &post).await;
    let writer = tokio::spawn(write_comments(graphql.clone(), post.clone()));

    subscriber.read_until(COMMENTS / 4).await;
    system.kill(Service::Gateway).await;
    system.run(Service::Gateway).await;

    writer.await.expect("all comments are written");
    subscriber.read_until(COMMENTS).await;
    let expected: Vec<String> = (0..COMMENTS).map(text).collect();
    assert_eq!(subscriber.received, expected, "each once, in order");
    assert_projected(&graphql, &post).await;
}

fn text(number: usize) -> String {
    format!("comment {number}")
}

/// Writes comments one after the other, each again until it is acknowledged, as a careful client
/// does; the key keeps a retry from writing it twice.
async fn write_comments(graphql: Graphql, post: String) {
    for number in 0..COMMENTS {
        eventually("the comment is acknowledged", || async {
            try_write(&graphql, &post, number).await
        })
        .await;
    }
}

async fn try_write(graphql: &Graphql, post: &str, number: usize) -> Result<(), String> {
    let key = format!("{post} {number}");
    let answer = graphql
        .try_create_comment(post, &text(number), Some(&key))
        .await
        .map_err(|error| error.to_string())?;
    match &answer.body["data"]["createComment"]["comment"]["id"] {
        Value::String(_) => Ok(()),
        _ => Err(answer.body.to_string()),
    }
}

/// Waits until so many comments are in the database; the services are not asked.
async fn at_least_written(database: &Database, count: usize) {
    let comments = database.collection::<Document>("comments");
    eventually(&format!("{count} comments are written"), || async {
        let written = comments
            .count_documents(doc! {})
            .await
            .map_err(|error| error.to_string())?;
        if written >= count as u64 {
            Ok(())
        } else {
            Err(format!("{written} are"))
        }
    })
    .await;
}

/// A client that subscribes again with its last cursor whenever its stream ends.
struct Subscriber {
    graphql: Graphql,
    post: String,
    subscription: Subscription,
    cursor: Value,
    received: Vec<String>,
}

impl Subscriber {
    async fn start(graphql: &Graphql, post: &str) -> Self {
        let mut subscription = Subscription::comments_of(graphql, COMMENT_CHANGES, post).await;
        graphql.create_comment(post, "for a first cursor").await;
        let cursor = subscription.next_data().await["commentChanges"]["cursor"].clone();
        Self {
            graphql: graphql.clone(),
            post: post.to_owned(),
            subscription,
            cursor,
            received: Vec::new(),
        }
    }

    async fn read_until(&mut self, count: usize) {
        while self.received.len() < count {
            match self.subscription.next().await {
                Event::Next(result) if result["errors"].is_null() => {
                    let change = &result["data"]["commentChanges"];
                    self.cursor = change["cursor"].clone();
                    self.received.push(
                        change["comment"]["text"]
                            .as_str()
                            .expect("a text")
                            .to_owned(),
                    );
                }
                // A clear end, whatever its form: go on from the cursor.
                _ => self.subscribe_again().await,
            }
        }
    }

    async fn subscribe_again(&mut self) {
        eventually("the gateway is back", || async {
            tokio::net::TcpStream::connect(authority(self.graphql.url()))
                .await
                .map_err(|error| error.to_string())
        })
        .await;
        let variables = json!({ "post": self.post, "after": self.cursor });
        self.subscription = Subscription::start(&self.graphql, COMMENT_CHANGES, variables).await;
    }
}

fn authority(url: &str) -> &str {
    url.trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default()
}
