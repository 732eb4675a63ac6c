//! The example, over HTTP, an event stream and a WebSocket.

#[path = "../examples/counter.rs"]
#[expect(dead_code, reason = "its `main`")]
mod counter;

use std::time::Duration;

use graphql_transport::client::{Client, ClientEvent};
use serde_json::json;
use tokio::net::TcpListener;

async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, counter::routes()).await });
    format!("http://{address}/graphql")
}

async fn post(url: &str, query: &str, accept: &str) -> String {
    let request = reqwest::Client::new().post(url).header("accept", accept);
    let response = request.json(&json!({ "query": query })).send().await;
    let body = response.expect("a response").text().await;
    body.expect("its body")
}

#[tokio::test]
async fn the_counter_answers_over_every_transport() {
    let url = start().await;
    let answer = post(&url, "{ count }", "application/json").await;
    assert_eq!(answer, r#"{"data":{"count":0}}"#);

    let events = post(&url, "subscription { count }", "text/event-stream").await;
    let data = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let expected = [1, 2, 3].map(|count| format!(r#"{{"data":{{"count":{count}}}}}"#));
    assert_eq!(data.collect::<Vec<_>>(), expected);

    let socket = Client::open(&url, Duration::from_secs(60)).await;
    let mut socket = socket.expect("a WebSocket");
    let request = r#"{"query":"subscription { count }"}"#;
    socket.subscribe("a", request).await.expect("sent");
    for count in [1, 2, 3] {
        let event = socket.next_within(Duration::from_secs(60)).await;
        assert_eq!(
            event,
            ClientEvent::Next(json!({ "data": { "count": count } }))
        );
    }
}
