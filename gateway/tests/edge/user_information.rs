//! User names and passwords in the addresses of subgraphs.

use serde_json::{Value, json};

use crate::support::{gateway::TestGateway, news::News};

/// `us@er:secret`.
const BASIC: &str = "Basic dXNAZXI6c2VjcmV0";

async fn behind(more: &[&str]) -> (News, TestGateway) {
    let news = News::start();
    let address = news.server.address();
    let url = format!("--subgraph-url=news=http://us%40er:secret@{address}/graphql");
    let arguments = [&[&*url, "--forward-headers=authorization"], more].concat();
    let gateway = TestGateway::with(&arguments).await;
    (news, gateway)
}

async fn authorization_seen(gateway: &TestGateway) -> Value {
    let body = json!({"query": "{ header(name: \"authorization\") }"}).to_string();
    let request = gateway
        .post()
        .header("authorization", "Bearer of-the-client");
    let answer = request.body(body).send().await.expect("an answer");
    answer.json::<Value>().await.expect("JSON")["data"]["header"].take()
}

#[tokio::test]
async fn they_are_sent_with_requests_instead_of_a_clients_own() {
    let (_news, gateway) = behind(&[]).await;
    assert_eq!(authorization_seen(&gateway).await, BASIC);
}

#[tokio::test]
async fn they_are_sent_with_the_handshake_of_a_websocket() {
    let (news, gateway) = behind(&[]).await;
    let _socket = gateway
        .subscribed("subscription { messages { text } }")
        .await;
    news.log.until_open(1).await;
    let headers = news.log.socket_headers.lock().expect("not poisoned");
    assert_eq!(headers[0]["authorization"], BASIC);
    let host = news.server.address().to_string();
    assert_eq!(headers[0]["host"], host);
}

#[tokio::test]
async fn they_are_shown_to_nobody() {
    let (mut news, gateway) = behind(&["--development"]).await;
    news.server.kill();
    let answer = gateway.query("{ greeting }").await.to_string();
    assert!(answer.contains("SUBREQUEST_HTTP_ERROR"), "{answer}");
    let metrics = gateway.get("/metrics").await.text().await.expect("text");
    let ready = gateway
        .get("/health/ready")
        .await
        .text()
        .await
        .expect("text");
    for shown in [answer, metrics, ready] {
        assert!(!shown.contains("secret"), "{shown}");
    }
}
