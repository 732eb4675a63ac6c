//! Queries that a subgraph could not take are sent again, within a budget.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Wire, eventually,
    gateway::TestGateway,
    scripted::{Act, Scripted},
};

const HELLO: Act = Act::Answer(r#"{"data":{"greeting":"hello you"}}"#);
/// The connection stays.
const FAILS: Act = Act::Stall("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
const MUTATION: &str = "mutation { publish(text: \"once\") { text } }";

/// With short pauses.
async fn gateway(news: &Scripted, more: &[&str]) -> TestGateway {
    with_pause(news, "1ms", more).await
}

async fn with_pause(news: &Scripted, pause: &str, more: &[&str]) -> TestGateway {
    let news = news.instead_of("news");
    let pause = format!("--subgraph-retry-pause={pause}");
    TestGateway::with(&[&[&*news, &pause], more].concat()).await
}

fn hello() -> Value {
    json!({"data": {"greeting": "hello you"}})
}

fn code(answer: &Value) -> &str {
    let code = &answer["errors"][0]["extensions"]["code"];
    code.as_str().unwrap_or("none")
}

async fn retries(gateway: &TestGateway) -> f64 {
    let name = "gateway_subgraph_retries_total{subgraph=\"news\"}";
    gateway.metric(name).await
}

#[tokio::test]
async fn a_query_that_was_not_taken_is_sent_again() {
    const BAD_GATEWAY: Act = Act::Stall("HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n");
    const TIMEOUT: Act = Act::Stall("HTTP/1.1 504 Late\r\ncontent-length: 0\r\n\r\n");
    for script in [
        &[FAILS, HELLO] as &'static [Act],
        &[BAD_GATEWAY, TIMEOUT, HELLO],
        &[Act::Close, HELLO],
    ] {
        let news = Scripted::start(script).await;
        let gateway = gateway(&news, &[]).await;
        assert_eq!(gateway.query("{ greeting }").await, hello());
        assert_eq!(news.requests(), script.len());
        assert_eq!(retries(&gateway).await, (script.len() - 1) as f64);
    }
}

#[tokio::test]
async fn a_mutation_is_sent_once() {
    for failure in [FAILS, Act::Close] {
        let script: &'static [Act] = Box::leak(Box::new([failure, HELLO]));
        let news = Scripted::start(script).await;
        let gateway = gateway(&news, &[]).await;
        let answer = gateway.query(MUTATION).await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
        assert_eq!(news.requests(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_or_says_no_stands() {
    const BREAKS: Act = Act::Break("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":");
    const NO: Act = Act::Stall("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    const LIMITED: Act = Act::Stall("HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n");
    for failure in [BREAKS, NO, LIMITED] {
        let script: &'static [Act] = Box::leak(Box::new([failure, HELLO]));
        let news = Scripted::start(script).await;
        let gateway = gateway(&news, &[]).await;
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
        assert_eq!(news.requests(), 1);
    }
}

#[tokio::test]
async fn the_number_of_retries_is_a_setting() {
    for (retries, requests) in [("0", 1), ("1", 2), ("3", 4)] {
        let news = Scripted::start(&[FAILS]).await;
        let max = format!("--subgraph-retries-max={retries}");
        let gateway = gateway(&news, &[&max]).await;
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
        assert_eq!(news.requests(), requests);
    }
}

#[tokio::test]
async fn a_subgraph_says_when_to_come_again() {
    const IN_A_SECOND: Act =
        Act::Stall("HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n");
    let script = &[IN_A_SECOND, HELLO];
    let news = Scripted::start(script).await;
    let impatient = gateway(&news, &[]).await;
    let answer = impatient.query("{ greeting }").await;
    assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
    assert_eq!(news.requests(), 1);

    let news = Scripted::start(script).await;
    let patient = gateway(&news, &["--subgraph-retry-after-max=1s"]).await;
    let began = Instant::now();
    assert_eq!(patient.query("{ greeting }").await, hello());
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_retry_that_would_come_too_late_is_left_out() {
    let news = Scripted::start(&[FAILS, HELLO]).await;
    let gateway = with_pause(&news, "1h", &["--subgraph-timeout=10s"]).await;
    let answer = gateway.query("{ greeting }").await;
    assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
    assert_eq!(news.requests(), 1);
}

#[tokio::test]
async fn retries_are_a_fifth_of_all_requests_at_most() {
    let news = Scripted::start(&[FAILS]).await;
    let gateway = gateway(&news, &["--subgraph-breaker-failures=0"]).await;
    for _ in 0..100 {
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
    }
    // Ten, and a fifth of the hundred; the first requests find the budget full.
    let extra = news.requests() - 100;
    assert!((25..=30).contains(&extra), "{extra}");
    let name = "gateway_subgraph_retries_over_budget_total{subgraph=\"news\"}";
    assert!(gateway.metric(name).await > 50.0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_retries() {
    let news = Scripted::start(&[FAILS, HELLO]).await;
    let gateway = with_pause(&news, "10m", &["--subgraph-timeout=1h"]).await;
    let waiting = async || {
        gateway
            .metric("gateway_subgraph_waiting_requests{subgraph=\"news\"}")
            .await
    };
    let mut client = Wire::open(gateway.address).await;
    client.post("*/*", "{ greeting }").await;
    eventually("it was sent", || async { news.requests() == 1 }).await;
    assert_eq!(waiting().await, 1.0);
    drop(client);
    eventually("nobody waits", || async { waiting().await == 0.0 }).await;
    assert_eq!(news.requests(), 1);
}

#[tokio::test]
async fn of_several_addresses_another_one_gets_the_retry() {
    let (bad, good) = (
        Scripted::start(&[FAILS]).await,
        Scripted::start(&[HELLO]).await,
    );
    let list = format!("--subgraph-url=news={}, {}", bad.url(), good.url());
    let one = ["--subgraph-retries-max=1", "--subgraph-retry-pause=1ms"];
    let gateway = TestGateway::with(&[&[&*list], &one[..]].concat()).await;
    while bad.requests() == 0 {
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
    for _ in 0..20 {
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
}
