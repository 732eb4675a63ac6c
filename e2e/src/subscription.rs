//! One subscription over a WebSocket, as graphql-transport-ws has it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::Graphql;

/// Generous, because only a failing test uses it up.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// How long a warm-up comment may take to arrive before the next one is written.
const WARM_UP_INTERVAL: Duration = Duration::from_millis(300);

/// A subscription, and the socket that it has for itself.
pub struct Subscription {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What the server sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// One execution result: `data`, `errors`.
    Next(Value),
    /// The subscription failed; a list of errors.
    Error(Value),
    /// The subscription is over.
    Complete,
    /// The connection is over, with its close code, if there was one.
    Closed(Option<u16>),
}

impl Subscription {
    /// Connects, says hello and subscribes. Events before the server has taken it up are not
    /// delivered: [`Subscription::comments_of`] waits for that.
    ///
    /// # Panics
    /// When the server does not speak graphql-transport-ws.
    pub async fn start(graphql: &Graphql, query: &str, variables: Value) -> Self {
        let url = graphql.url().replacen("http", "ws", 1);
        let mut request = url.into_client_request().expect("a request");
        let protocol = "graphql-transport-ws".parse().expect("a header value");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let (socket, _) = connect_async(request).await.expect("a WebSocket");
        let mut subscription = Self { socket };
        subscription
            .send(json!({ "type": "connection_init" }))
            .await;
        let ack = subscription
            .receive()
            .await
            .expect("an answer to connection_init");
        assert_eq!(ack["type"], "connection_ack", "{ack}");
        let payload = json!({ "query": query, "variables": variables });
        subscription
            .send(json!({ "id": "1", "type": "subscribe", "payload": payload }))
            .await;
        subscription
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
    /// When there is none within half a minute.
    pub async fn next(&mut self) -> Event {
        let message = timeout(TIME_LIMIT, self.receive())
            .await
            .expect("an event in time");
        let message = match message {
            Ok(message) => message,
            Err(code) => return Event::Closed(code),
        };
        match message["type"].as_str() {
            Some("next") => Event::Next(message["payload"].clone()),
            Some("error") => Event::Error(message["payload"].clone()),
            Some("complete") => Event::Complete,
            _ => panic!("unexpected: {message}"),
        }
    }

    /// The data of the next event.
    ///
    /// # Panics
    /// When the next event is anything else.
    pub async fn next_data(&mut self) -> Value {
        match self.next().await {
            Event::Next(result) if result["errors"].is_null() => result["data"].clone(),
            other => panic!("not a result without errors: {other:?}"),
        }
    }

    async fn send(&mut self, message: Value) {
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .expect("the socket takes a message");
    }

    /// The next message that is not about the connection's health, or the close code.
    async fn receive(&mut self) -> Result<Value, Option<u16>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).expect("JSON");
                    match message["type"].as_str() {
                        Some("ping") => self.send(json!({ "type": "pong" })).await,
                        _ => return Ok(message),
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}

fn warm_up_number(event: &Event) -> u32 {
    let Event::Next(result) = event else {
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
