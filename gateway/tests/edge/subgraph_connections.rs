//! Kept connections to subgraphs: when a request is sent again, and when it must not be.

use serde_json::{Value, json};

use crate::support::{
    eventually,
    gateway::TestGateway,
    scripted::{Act, Scripted},
};

const HELLO: Act = Act::Answer(r#"{"data":{"greeting":"hello"}}"#);
const PUBLISHED: Act = Act::Answer(r#"{"data":{"publish":{"id":"1"}}}"#);
const MUTATION: &str = "mutation { publish(text: \"once\") { id } }";

async fn behind(script: &'static [Act]) -> (TestGateway, Scripted) {
    let news = Scripted::start(script).await;
    // Retries would hide what a connection does.
    let alone = "--subgraph-retries-max=0";
    let gateway = TestGateway::with(&[&news.instead_of("news"), alone]).await;
    (gateway, news)
}

fn hello() -> Value {
    json!({"data": {"greeting": "hello"}})
}

fn code(answer: &Value) -> &Value {
    &answer["errors"][0]["extensions"]["code"]
}

#[tokio::test]
async fn a_connection_is_kept_and_used_again() {
    let (gateway, news) = behind(&[HELLO]).await;
    for _ in 0..3 {
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
    assert_eq!((news.requests(), news.connections()), (3, 1));
}

#[tokio::test]
async fn a_query_is_sent_again_when_its_kept_connection_was_closed() {
    let (gateway, news) = behind(&[HELLO, Act::Close, HELLO]).await;
    for _ in 0..2 {
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
    assert_eq!((news.requests(), news.connections()), (3, 2));
}

#[tokio::test]
async fn a_query_that_is_sent_again_is_signed_again() {
    let news = Scripted::start(&[HELLO, Act::Close, HELLO]).await;
    let secret = "--subgraph-secret=0123456789abcdef0123456789abcdef";
    let gateway = TestGateway::with(&[&news.instead_of("news"), secret]).await;
    for _ in 0..2 {
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
    let heads = news.heads();
    let signature = |head: &String| {
        let line = head.lines().find(|line| line.starts_with("signature: "));
        line.expect("a signature").to_owned()
    };
    let mut signatures: Vec<String> = heads.iter().map(signature).collect();
    signatures.sort();
    signatures.dedup();
    // A subgraph accepts each once.
    assert_eq!(signatures.len(), 3, "{heads:?}");
}

#[tokio::test]
async fn a_query_is_sent_again_once_only() {
    let (gateway, news) = behind(&[HELLO, Act::Close]).await;
    assert_eq!(gateway.query("{ greeting }").await, hello());
    let answer = gateway.query("{ greeting }").await;
    assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR");
    assert_eq!((news.requests(), news.connections()), (3, 2));
}

#[tokio::test]
async fn a_query_on_a_fresh_connection_is_not_sent_again() {
    let (gateway, news) = behind(&[Act::Close, HELLO]).await;
    let answer = gateway.query("{ greeting }").await;
    assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR");
    assert_eq!(news.requests(), 1);
}

#[tokio::test]
async fn a_mutation_is_never_sent_again() {
    let (gateway, news) = behind(&[PUBLISHED, Act::Close, PUBLISHED]).await;
    assert_eq!(
        gateway.query(MUTATION).await,
        json!({"data": {"publish": {"id": "1"}}})
    );
    let answer = gateway.query(MUTATION).await;
    assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR");
    assert_eq!(news.requests(), 2, "nobody knows whether it has happened");
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    for part in [
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"dat",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let script: &'static [Act] = Box::leak(Box::new([HELLO, Act::Break(part), HELLO]));
        let (gateway, news) = behind(script).await;
        assert_eq!(gateway.query("{ greeting }").await, hello());
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{part}");
        assert_eq!(news.requests(), 2, "{part}");
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
}

/// An answer after interim heads, in chunks of one byte, and with trailers: so many of each.
fn laborious(interim: usize, chunks: usize, trailers: usize) -> Act {
    let body = r#"{"data":{"greeting":"hello"}}"#;
    let answer = [
        "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(interim),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        format!("{:x}\r\n{body}\r\n", body.len()),
        "1\r\n \r\n".repeat(chunks),
        "0\r\n".to_owned(),
        "a: b\r\n".repeat(trailers),
        "\r\n".to_owned(),
    ];
    Act::Stall(answer.concat().leak())
}

#[tokio::test]
async fn an_answer_that_costs_much_more_than_it_says_fails_its_own_fetch() {
    let script = [
        laborious(10, 100, 10),
        laborious(5_000, 0, 0),
        laborious(0, 20_000, 0),
        laborious(0, 0, 20_000),
        HELLO,
    ];
    let (gateway, news) = behind(Box::leak(Box::new(script))).await;
    assert_eq!(gateway.query("{ greeting }").await, hello());
    for _ in 0..3 {
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
    }
    assert_eq!(gateway.query("{ greeting }").await, hello());
    assert_eq!(news.requests(), 5, "none was sent again");
}

#[tokio::test]
async fn a_subgraph_that_stands_still_holds_no_more_requests_than_it_may() {
    const WAITING: &str = "gateway_subgraph_waiting_requests{subgraph=\"news\"}";
    let news = Scripted::start(&[Act::Stall("")]).await;
    let arguments = [
        &*news.instead_of("news"),
        "--subgraph-requests-max=2",
        "--subgraph-silence-max=1ms",
    ];
    let gateway = TestGateway::with(&arguments).await;
    let ready = async || gateway.get("/health/ready").await.json::<Value>().await;
    assert_eq!(
        ready().await.expect("JSON")["reports"],
        json!([{"name": "subgraphs", "status": "ok"}])
    );
    let (first, second) = (gateway.query("{ greeting }"), gateway.query("{ greeting }"));
    let third = async {
        eventually("both wait", || async {
            gateway.metric(WAITING).await == 2.0
        })
        .await;
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBGRAPH_OVERLOADED", "{answer}");
        assert_eq!(gateway.metric(WAITING).await, 2.0);
        let ready = ready().await.expect("JSON");
        assert_eq!(ready["status"], "ready");
        let report = ready["reports"][0]["status"].as_str().expect("text");
        assert!(report.starts_with("news: no response for "), "{report}");
        // Another subgraph's fields are answered meanwhile.
        let answer = gateway.query("mutation { recount }").await;
        assert_ne!(code(&answer), "SUBGRAPH_OVERLOADED", "{answer}");
    };
    tokio::select! {
        _ = first => panic!("an answer from a subgraph that stands still"),
        _ = second => panic!("an answer from a subgraph that stands still"),
        () = third => {}
    }
    // Clients that leave give their places back.
    eventually("none waits", || async {
        gateway.metric(WAITING).await == 0.0
    })
    .await;
}
