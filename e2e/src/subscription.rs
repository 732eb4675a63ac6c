//! One subscription over a WebSocket, as graphql-transport-ws has it.

use std::time::Duration;

use graphql_transport::client::{Client, ClientEvent};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::Graphql;

/// Generous, because only a failing test uses it up.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// How long a warm-up comment may take to arrive before the next one is written.
const WARM_UP_INTERVAL: Duration = Duration::from_millis(300);

/// A subscription, and the socket that it has for itself.
pub struct Subscription {
    client: Client,
}

impl Subscription {
    /// Connects and subscribes. Events before the server has taken it up are not delivered:
    /// [`Subscription::comments_of`] waits for that.
    ///
    /// # Panics
    /// When the server does not speak graphql-transport-ws.
    pub async fn start(graphql: &Graphql, query: &str, variables: Value) -> Self {
        let request = json!({ "query": query, "variables": variables });
        Self::start_with(graphql, &request).await
    }

    /// [`Subscription::start`] with any request.
    ///
    /// # Panics
    /// When the server does not speak graphql-transport-ws.
    pub async fn start_with(graphql: &Graphql, request: &Value) -> Self {
        let headers = graphql.headers().clone();
        let client = Client::open_with(graphql.url(), headers, TIME_LIMIT).await;
        let mut client = client.expect("a WebSocket");
        let request = request.to_string();
        let sent = client.subscribe("1", request).await;
        sent.expect("the socket takes a message");
        Self { client }
    }

    /// A subscription with one variable, `$post`, that is surely live: comments were written to
    /// the post until one arrived. The post has a few comments "warm-up" afterwards.
    ///
    /// # Panics
    /// When none arrives.
    pub async fn comments_of(graphql: &Graphql, query: &str, post: &str) -> Self {
        let mut subscription = Self::start(graphql, query, json!({ "post": post })).await;
        let mut written = 0;
        // The first one that arrives may not be the last that was written.
        let mut behind = loop {
            assert!(written < 100, "no comment arrived");
            written += 1;
            graphql
                .create_comment(post, &format!("warm-up {written}"))
                .await;
            match timeout(WARM_UP_INTERVAL, subscription.next()).await {
                Ok(event) => break written - warm_up_number(&event),
                Err(_) => continue,
            }
        };
        while behind > 0 {
            behind = written - warm_up_number(&subscription.next().await);
        }
        subscription
    }

    /// The next event.
    ///
    /// # Panics
    /// When there is none within a minute.
    pub async fn next(&mut self) -> ClientEvent {
        timeout(TIME_LIMIT, self.client.next())
            .await
            .expect("an event in time")
    }

    /// The data of the next event.
    ///
    /// # Panics
    /// When the next event is anything else.
    pub async fn next_data(&mut self) -> Value {
        match self.next().await {
            ClientEvent::Next(result) if result["errors"].is_null() => result["data"].clone(),
            other => panic!("not a result without errors: {other:?}"),
        }
    }
}

fn warm_up_number(event: &ClientEvent) -> u32 {
    let ClientEvent::Next(result) = event else {
        panic!("not a warm-up comment: {event:?}")
    };
    let text = result.to_string();
    let number = text
        .split("warm-up ")
        .nth(1)
        .unwrap_or_else(|| panic!("not a warm-up comment: {text}"));
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}
