//! Subscribers: each follows one post's `commentChanges` and connects again with its last cursor
//! whenever its stream ends. Some are bare sockets, which do so themselves; all others are `rejoinder-client`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use graphql_transport::client::{Client, ClientEvent};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use rejoinder_client::{Item, Transport, is_final_code};
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::fleet::{Fleet, Person};
use super::oracle::Seen;

/// A connection that is silent for this long is given up: its server may be stopped.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two connections, so that a server that stops is not flooded.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);
const TRANSPORTS: [Transport; 3] = [
    Transport::WebSocket,
    Transport::ServerSentEvents,
    Transport::Multipart,
];
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
    /// The subscription ended, by an error or by `complete`, though its post is still there.
    pub has_ended: bool,
    /// How much was seen when a gap was told.
    pub gaps: Vec<usize>,
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

/// Starts bare sockets, which go round the first posts (the hot ones among them).
pub fn start_sockets(fleet: &Arc<Fleet>, posts: &[String], count: usize) -> Vec<Subscriber> {
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

/// Starts clients of the gateway, the same number over each transport. They go round all posts.
///
/// # Errors
/// When the gateway's address is no URL.
pub fn start_clients(
    fleet: &Arc<Fleet>,
    posts: &[String],
    count: usize,
) -> anyhow::Result<Vec<Subscriber>> {
    let each = |number: usize| {
        let post = posts[number / TRANSPORTS.len() % posts.len()].clone();
        let log = Arc::<Mutex<Log>>::default();
        let signed_in = Arc::clone(fleet);
        let client = rejoinder_client::Client::new(&fleet.gateway("http"))?
            .transport(TRANSPORTS[number % TRANSPORTS.len()])
            .pauses(RECONNECT_PAUSE, RECONNECT_PAUSE_MAX)
            .silence_max(SILENCE_LIMIT * 2)
            .headers(move || {
                let authorization = signed_in.authorization(Person::Reader(number));
                async move {
                    let value = authorization
                        .map(|it| it.parse::<HeaderValue>())
                        .transpose()?;
                    Ok(value.into_iter().map(|it| (AUTHORIZATION, it)).collect())
                }
            });
        let request = client
            .subscribe(FOLLOW)
            // A token may end while a request is held up on its way; the next try has a new one.
            .is_final(|failure| {
                !failure.has_code("UNAUTHENTICATED") && is_final_code(failure.code())
            })
            .variables(json!({ "postId": post }));
        let follow = follow_client(request, Arc::clone(&log));
        anyhow::Ok(Subscriber {
            post,
            log,
            task: tokio::spawn(follow).abort_handle(),
        })
    };
    (0..count).map(each).collect()
}

async fn follow_client(request: rejoinder_client::Request, log: Arc<Mutex<Log>>) {
    let mut changes = request.start();
    while let Some(item) = changes.next().await {
        let mut log = lock(&log);
        match item {
            Ok(Item::Event(event)) => {
                let data: Option<Value> = event.data().ok();
                match data.and_then(|data| Seen::from_graphql(&data["commentChanges"])) {
                    Some(seen) => log.seen.push(seen),
                    None => log.codes.push(format!("no change: {event:?}")),
                }
            }
            Ok(Item::Gap(_)) => {
                let seen = log.seen.len();
                log.gaps.push(seen);
            }
            Ok(Item::Reconnecting { failure, .. }) => {
                log.reconnects += 1;
                log.codes.push(failure.to_string());
            }
            Ok(_) => {}
            Err(failure) => log.codes.push(format!("the end: {failure}")),
        }
    }
    let mut log = lock(&log);
    log.codes.push("the end".to_owned());
    log.has_ended = true;
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
        let posts: BTreeSet<&str> = subscribers.iter().map(|it| it.post.as_str()).collect();
        for post in posts {
            let input = json!({ "input": { "postId": post, "text": format!("warm-up {round}") } });
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
            ClientEvent::Complete => {
                let mut log = lock(log);
                log.codes.push("complete".to_owned());
                log.has_ended = true;
                return Ok(());
            }
            ClientEvent::Closed(_) => return Ok(()),
        }
    }
}

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
