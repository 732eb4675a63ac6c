//! Event streams: graphql-sse in its distinct connections mode, and Apollo's multipart protocol.

use futures_util::StreamExt;
use graphql_transport::testing::PATIENCE;
use serde_json::json;

use crate::support::{self, Target};

const SSE: &str = "text/event-stream";
const MULTIPART: &str = "multipart/mixed;subscriptionSpec=1.0";

async fn post(target: &Target, accept: &str, query: &str) -> reqwest::Response {
    let body = json!({ "query": query }).to_string();
    let request = target.post().header("accept", accept).body(body);
    request.send().await.expect("an answer")
}

/// Media type and text of a stream that ends.
async fn whole(target: &Target, accept: &str, query: &str) -> (String, String) {
    let response = post(target, accept, query).await;
    assert_eq!(response.status(), 200, "{}", target.name);
    let media_type = response.headers()["content-type"].to_str().expect("text");
    let media_type = media_type.to_owned();
    let text = tokio::time::timeout(PATIENCE, response.text()).await;
    (
        media_type,
        text.expect("an end in time").expect("a whole body"),
    )
}

#[tokio::test]
async fn server_sent_events_are_next_and_complete() {
    for target in support::both().await {
        let (media_type, text) = whole(&target, SSE, "subscription { numbers(to: 2) }").await;
        assert_eq!(media_type, "text/event-stream; charset=utf-8");
        assert_eq!(
            text,
            ":\n\nevent: next\ndata: {\"data\":{\"numbers\":1}}\n\n\
             event: next\ndata: {\"data\":{\"numbers\":2}}\n\nevent: complete\ndata:\n\n",
            "{}",
            target.name
        );
        let (_, text) = whole(&target, SSE, "{ greeting }").await;
        assert_eq!(
            text,
            ":\n\nevent: next\ndata: {\"data\":{\"greeting\":\"hello you\"}}\n\n\
             event: complete\ndata:\n\n"
        );
        let (_, text) = whole(&target, SSE, "{ no }").await;
        assert!(text.contains("GRAPHQL_VALIDATION_FAILED"), "{text}");
        assert!(text.ends_with("event: complete\ndata:\n\n"), "{text}");
        // What is malformed is refused before any stream.
        let request = target.post().header("accept", SSE).body("{");
        let refused = request.send().await.expect("an answer");
        assert_eq!(refused.status(), 400, "{}", target.name);
    }
}

#[tokio::test]
async fn apollos_multipart_protocol_is_spoken() {
    for target in support::both().await {
        let query = "subscription { numbers(to: 1) }";
        let (media_type, text) = whole(&target, MULTIPART, query).await;
        let name = target.name;
        assert_eq!(
            media_type,
            "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0"
        );
        assert_eq!(
            text,
            "\r\n--graphql\r\ncontent-type: application/json\r\n\r\n\
             {\"payload\":{\"data\":{\"numbers\":1}}}\r\n--graphql--\r\n",
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_shutdown_cuts_a_stream_without_the_closing_word() {
    for mut target in support::both().await {
        let mut body = post(&target, SSE, "subscription { never }")
            .await
            .bytes_stream();
        let opening = body.next().await.expect("a stream").expect("a piece");
        assert_eq!(&opening[..], b":\n\n");
        target.end().await;
        let rest = tokio::time::timeout(PATIENCE, body.next()).await;
        assert!(
            !matches!(rest.expect("an end in time"), Some(Ok(_))),
            "{}",
            target.name
        );
    }
}

#[tokio::test]
async fn a_last_event_id_that_is_no_text_is_refused() {
    for target in support::both().await {
        let request = target.post().header("accept", SSE);
        let request = request.header("last-event-id", &b"\xc3\xa9"[..]);
        let body = json!({"query": "subscription { numbers(to: 1) }"}).to_string();
        let response = request.body(body).send().await.expect("an answer");
        assert_eq!(response.status(), 400, "{}", target.name);
        assert!(response.text().await.expect("text").contains("BAD_REQUEST"));
    }
}
