//! Clients that continue through faults: one that writes, one that subscribes, and both on one post.

use bson::{Document, doc};
use e2e::{ClientEvent, Graphql, Subscription, assert_projected, comments_of, eventually};
use mongodb::Database;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const COMMENT_CHANGES: &str = "subscription($post: ID!, $after: String) {
    commentChanges(postId: $post, after: $after) {
        ... on CommentAdded { cursor comment { text } }
        ... on CommentEdited { cursor comment { text } }
        ... on CommentDeleted { cursor commentId }
    }
}";

/// The texts that [`write_comments`] writes, in order.
pub fn texts(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("comment {number}"))
        .collect()
}

/// Writes comments one after the other, each again until it is acknowledged, as a careful client
/// does; its key keeps a retry from writing it twice.
pub fn write_comments(graphql: &Graphql, post: &str, count: usize) -> JoinHandle<()> {
    let (graphql, post) = (graphql.clone(), post.to_owned());
    tokio::spawn(async move {
        for text in texts(count) {
            eventually("the comment is acknowledged", || {
                try_write(&graphql, &post, &text)
            })
            .await;
        }
    })
}

async fn try_write(graphql: &Graphql, post: &str, text: &str) -> Result<(), String> {
    let key = format!("{post} {text}");
    let answer = graphql
        .try_create_comment(post, text, Some(&key))
        .await
        .map_err(|error| error.to_string())?;
    match &answer.body["data"]["createComment"]["comment"]["id"] {
        Value::String(_) => Ok(()),
        _ => Err(answer.body.to_string()),
    }
}

/// Waits until so many comments are in the database; the services are not asked.
pub async fn at_least_written(database: &Database, count: usize) {
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
pub struct Subscriber {
    graphql: Graphql,
    post: String,
    subscription: Subscription,
    cursor: Value,
    received: Vec<String>,
}

impl Subscriber {
    /// Subscribes to a post's changes, surely before whatever the caller does next.
    pub async fn start(graphql: &Graphql, post: &str) -> Self {
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

    /// The texts of the comments that were added, in the order in which they arrived.
    pub fn received(&self) -> &[String] {
        &self.received
    }

    /// Reads on until so many comments have arrived.
    pub async fn read_until(&mut self, count: usize) {
        while self.received.len() < count {
            match self.subscription.next().await {
                ClientEvent::Next(result) if result["errors"].is_null() => {
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
        let authority = self
            .graphql
            .url()
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap_or_default();
        eventually("the gateway takes connections", || async {
            tokio::net::TcpStream::connect(authority)
                .await
                .map_err(|error| error.to_string())
        })
        .await;
        let variables = json!({ "post": self.post, "after": self.cursor });
        self.subscription = Subscription::start(&self.graphql, COMMENT_CHANGES, variables).await;
    }
}

/// A post to which comments are written while a subscriber reads them.
pub struct Traffic {
    pub subscriber: Subscriber,
    graphql: Graphql,
    post: String,
    /// Comments of the post that the writer did not write.
    before: usize,
    count: usize,
    writer: JoinHandle<()>,
}

impl Traffic {
    /// Starts to write `count` comments, one after the other.
    pub async fn start(graphql: &Graphql, count: usize) -> Self {
        let post = graphql.create_post("Busy").await;
        let subscriber = Subscriber::start(graphql, &post).await;
        let before = comments_of(graphql, &post).await.expect("an answer").len();
        Self {
            subscriber,
            graphql: graphql.clone(),
            before,
            count,
            writer: write_comments(graphql, &post, count),
            post,
        }
    }

    /// Waits until all is written: it has arrived once and in order, and is stored and projected once.
    pub async fn end(mut self) {
        self.writer.await.expect("all comments are written");
        self.subscriber.read_until(self.count).await;
        let received = self.subscriber.received();
        assert_eq!(received, texts(self.count), "each once, in order");
        let projected = assert_projected(&self.graphql, &self.post).await;
        let expected = self.before + self.count;
        assert_eq!(projected, expected, "no retry wrote twice");
    }
}
