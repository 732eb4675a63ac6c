//! Subscriptions over HTTP: server-sent events, and Apollo Client's multipart protocol.

use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use crate::support::{PATIENCE, gateway::TestGateway};

/// A streamed answer, read until it contains what is waited for.
struct Stream {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Stream {
    fn new(response: reqwest::Response) -> Self {
        Self {
            body: response.bytes_stream().boxed(),
            text: String::new(),
        }
    }

    async fn until(&mut self, end: &str) -> String {
        while !self.text.contains(end) {
            let chunk = timeout(PATIENCE, self.body.next()).await.expect("in time");
            let chunk = chunk.unwrap_or_else(|| panic!("{end:?} never came, only {:?}", self.text));
            self.text
                .push_str(std::str::from_utf8(&chunk.expect("a chunk")).expect("UTF-8"));
        }
        let at = self.text.find(end).expect("just seen") + end.len();
        self.text.drain(..at).collect()
    }
}

async fn post(gateway: &TestGateway, accept: &str, query: &str) -> reqwest::Response {
    let body = json!({ "query": query }).to_string();
    gateway
        .post()
        .header("accept", accept)
        .body(body)
        .send()
        .await
        .expect("an answer")
}

const SSE: &str = "text/event-stream";
const MULTIPART: &str =
    "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0,application/json";
const CHANGES: &str = "subscription { changes { message { text } } }";

#[tokio::test]
async fn events_are_sent_with_their_cursor_as_id() {
    let gateway = TestGateway::start().await;
    let response = post(&gateway, SSE, CHANGES).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );
    let mut stream = Stream::new(response);
    assert_eq!(stream.until("\n\n").await, ":\n\n");
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("one");
    assert_eq!(
        stream.until("\n\n").await,
        "event: next\nid: c0\ndata: {\"data\":{\"changes\":{\"message\":{\"text\":\"one\"}}}}\n\n"
    );
    drop(stream);
    gateway.news.log.until_open(0).await;
}

#[tokio::test]
async fn last_event_id_resumes() {
    let gateway = TestGateway::start().await;
    for text in ["zero", "one", "two"] {
        gateway.news.log.publish(text);
    }
    let url = gateway.url(&format!("/graphql?query={}", CHANGES.replace(' ', "%20")));
    let request = gateway
        .http
        .get(url)
        .header("accept", SSE)
        .header("last-event-id", "c0");
    let mut stream = Stream::new(request.send().await.expect("an answer"));
    assert_eq!(stream.until("\n\n").await, "retry: 3000\n\n");
    assert!(
        stream
            .until("\n\n")
            .await
            .starts_with("event: next\nid: c1\n")
    );
    assert!(
        stream
            .until("\n\n")
            .await
            .starts_with("event: next\nid: c2\n")
    );
}

#[tokio::test]
async fn a_quiet_stream_shows_signs_of_life() {
    let gateway = TestGateway::with(&["--subscription-keep-alive=10ms"]).await;
    let mut sse = Stream::new(post(&gateway, SSE, CHANGES).await);
    sse.until(":\n\n:\n\n").await;
    let mut multipart = Stream::new(post(&gateway, MULTIPART, CHANGES).await);
    multipart
        .until("application/json\r\n\r\n{}\r\n--graphql")
        .await;
}

#[tokio::test]
async fn apollos_multipart_protocol_is_spoken() {
    let gateway = TestGateway::start().await;
    let response = post(&gateway, MULTIPART, CHANGES).await;
    let content_type = response.headers()["content-type"].to_str().expect("text");
    assert_eq!(
        content_type,
        "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0"
    );
    let mut stream = Stream::new(response);
    assert_eq!(stream.until("--graphql").await, "\r\n--graphql");
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("one");
    assert_eq!(
        stream.until("--graphql").await,
        "\r\ncontent-type: application/json\r\n\r\n\
         {\"payload\":{\"data\":{\"changes\":{\"message\":{\"text\":\"one\"}}}}}\r\n--graphql"
    );
    // A query with the same header is one plain answer.
    let answer = post(&gateway, MULTIPART, "{ greeting }").await;
    assert_eq!(
        answer.headers()["content-type"],
        "application/json; charset=utf-8"
    );
}
