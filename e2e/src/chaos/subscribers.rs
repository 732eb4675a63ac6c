//! Subscribers: each follows one post's `commentChanges` and connects again with its last cursor
//! whenever its stream ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use graphql_transport::client::{Client, ClientEvent};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::json;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::fleet::{Fleet, Person};
use super::oracle::Seen;

/// A connection that is silent for this long is given up: its server may be stopped.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two connections, so that a server that stops is not flooded.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// All subscriptions are live within this time.
const WARM_UP_LIMIT: Duration = Duration::from_secs(60);
/// Between two comments that wake the subscriptions up.
const WARM_UP_PAUSE: Duration = Duration::from_millis(200);

const FOLLOW: &str = "subscription ($postId: ID!, $after: String) {
  commentChanges(postId: $postId, after: $after) {
    __typename
    ... on CommentAdded { cursor comment { id text } }
    ... on CommentEdited { cursor comment { id text } }
    ... on CommentDeleted { cursor commentId }
  }
}";

/// A subscriber at work; it ends when this is dropped.
pub struct Subscriber {
    /// The post that it follows.
    pub post: String,
    /// What it received and how often it connected again.
    pub log: Arc<Mutex<Log>>,
    task: AbortHandle,
}

/// What a subscriber went through.
#[derive(Debug, Default)]
pub struct Log {
    /// Every change, in the order of arrival.
    pub seen: Vec<Seen>,
    /// Connections after the first one.
    pub reconnects: usize,
    /// Error codes with which the server ended a stream, in order.
    pub codes: Vec<String>,
    cursor: Option<String>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subscriber {
    /// Looks into the log.
    pub fn with_log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&lock(&self.log))
    }
}

/// Starts subscribers, which go round the first posts (the hot ones among them).
pub fn start(fleet: &Arc<Fleet>, posts: &[String], count: usize) -> Vec<Subscriber> {
    (0..count)
        .map(|number| {
            let post = posts[number / 2 % posts.len()].clone();
            let log = Arc::<Mutex<Log>>::default();
            let follow = follow(fleet.clone(), number, post.clone(), log.clone());
            Subscriber {
                post,
                log,
                task: tokio::spawn(follow).abort_handle(),
            }
        })
        .collect()
}

/// Writes comments until every subscriber has received one: from then on each is surely live.
///
/// # Errors
/// When one receives none.
pub async fn warm_up(fleet: &Fleet, subscribers: &[Subscriber]) -> anyhow::Result<()> {
    const CREATE: &str = "mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }";
    let deadline = Instant::now() + WARM_UP_LIMIT;
    let mut round = 0;
    while subscribers
        .iter()
        .any(|subscriber| subscriber.with_log(|log| log.seen.is_empty()))
    {
        if Instant::now() > deadline {
            bail!("not every subscriber became live");
        }
        for subscriber in subscribers {
            let input = json!({ "input": { "postId": subscriber.post, "text": format!("warm-up {round}") } });
            let endpoint = fleet.endpoint(0, "http");
            fleet.ask(&endpoint, Person::Moderator, CREATE, input).await;
            round += 1;
        }
        sleep(WARM_UP_PAUSE).await;
    }
    Ok(())
}

async fn follow(fleet: Arc<Fleet>, number: usize, post: String, log: Arc<Mutex<Log>>) {
    let endpoint = fleet.endpoint(number, "ws");
    loop {
        let authorization = fleet.authorization(Person::Reader(number));
        // However a connection ends, the next one goes on from the last cursor.
        let _ = connection(&endpoint, authorization, &post, &log).await;
        lock(&log).reconnects += 1;
        sleep(RECONNECT_PAUSE).await;
    }
}

async fn connection(
    endpoint: &str,
    authorization: Option<String>,
    post: &str,
    log: &Mutex<Log>,
) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization.parse()?);
    }
    let mut client = Client::open_with(endpoint, headers, CONNECT_LIMIT).await?;
    let variables = json!({ "postId": post, "after": lock(log).cursor });
    let request = json!({ "query": FOLLOW, "variables": variables });
    client.subscribe("1", request.to_string()).await?;
    loop {
        match client.next_within(SILENCE_LIMIT).await {
            ClientEvent::Next(result) if result["errors"].is_null() => {
                let change = &result["data"]["commentChanges"];
                let seen = Seen::from_graphql(change).with_context(|| result.to_string())?;
                let mut log = lock(log);
                log.seen.push(seen);
                log.cursor = change["cursor"].as_str().map(str::to_owned);
            }
            failed @ (ClientEvent::Next(_) | ClientEvent::Error(_)) => {
                let code = failed.code().unwrap_or("(no code)");
                lock(log).codes.push(code.to_owned());
                return Ok(());
            }
            ClientEvent::Complete | ClientEvent::Closed(_) => return Ok(()),
        }
    }
}

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
