//! A subgraph that is unavailable is answered for at once, until it answers a probe.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, routing::post};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    gateway::TestGateway,
    scripted::{Act, Scripted},
    server::Server,
};

const HELLO: Act = Act::Answer(r#"{"data":{"greeting":"hello you"}}"#);
/// The connection stays.
const FAILS: Act = Act::Stall("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
const MUTATION: &str = "mutation { publish(text: \"once\") { text } }";
const THREE: [&str; 2] = ["--subgraph-breaker-failures=3", "--subgraph-retries-max=0"];

async fn gateway(news: &str, more: &[&str]) -> TestGateway {
    TestGateway::with(&[&[news], &THREE[..], more].concat()).await
}

fn code(answer: &Value) -> &str {
    let code = &answer["errors"][0]["extensions"]["code"];
    code.as_str().unwrap_or("none")
}

async fn metric(gateway: &TestGateway, name: &str) -> f64 {
    let name = format!("gateway_subgraph_breaker_{name}{{subgraph=\"news\"}}");
    gateway.metric(&name).await
}

async fn until_open(gateway: &TestGateway) {
    for _ in 0..3 {
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
    }
    let is_open = || async { metric(gateway, "open").await == 1.0 };
    eventually("it is open", is_open).await;
}

#[tokio::test]
async fn after_failures_and_a_probe_nothing_is_sent_any_more() {
    let news = Scripted::start(&[FAILS]).await;
    let gateway = gateway(&news.instead_of("news"), &["--subgraph-breaker-pause=1h"]).await;
    until_open(&gateway).await;
    let sent = news.requests();
    assert_eq!(sent, 4, "three requests and a probe");
    for operation in ["{ greeting }", MUTATION] {
        let answer = gateway.query(operation).await;
        assert_eq!(code(&answer), "SUBGRAPH_UNAVAILABLE", "{answer}");
        assert_eq!(answer["errors"][0]["extensions"]["service"], "news");
    }
    assert_eq!(news.requests(), sent);
    assert_eq!(metric(&gateway, "refused_total").await, 2.0);
    assert_eq!(metric(&gateway, "opened_total").await, 1.0);
    let ready: Value = gateway
        .get("/health/ready")
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(ready["status"], "ready");
    let report = &ready["reports"][0]["status"];
    assert_eq!(report, "news: unavailable, it gets no requests");
}

#[tokio::test]
async fn a_subgraph_that_asks_for_patience_is_available() {
    const BUSY: Act = Act::Stall(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
    );
    let news = Scripted::start(&[BUSY]).await;
    let gateway = gateway(&news.instead_of("news"), &[]).await;
    for _ in 0..10 {
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
    }
    assert_eq!(news.requests(), 10, "no probe");
    assert_eq!(metric(&gateway, "opened_total").await, 0.0);
}

#[tokio::test]
async fn a_probe_that_is_answered_closes_it_again() {
    // Three requests, the probe that opens it, and one that fails again.
    let script = &[FAILS, FAILS, FAILS, FAILS, FAILS, HELLO];
    let news = Scripted::start(script).await;
    let gateway = gateway(&news.instead_of("news"), &["--subgraph-breaker-pause=20ms"]).await;
    for _ in 0..3 {
        gateway.query("{ greeting }").await;
    }
    let is_closed_again = || async {
        metric(&gateway, "opened_total").await == 1.0 && metric(&gateway, "open").await == 0.0
    };
    eventually("it is closed", is_closed_again).await;
    let answer = gateway.query("{ greeting }").await;
    assert_eq!(answer, json!({"data": {"greeting": "hello you"}}));
}

#[tokio::test]
async fn one_that_is_killed_is_unavailable_until_it_is_back() {
    let mut news = crate::support::news::News::start();
    let url = format!("--subgraph-url=news={}", news.server.url());
    let gateway = gateway(&url, &["--subgraph-breaker-pause=20ms"]).await;
    news.server.kill();
    until_open(&gateway).await;
    news.server.restart().await;
    let is_back =
        || async { gateway.query("{ greeting }").await["data"]["greeting"] == "hello you" };
    eventually("it is back", is_back).await;
    assert_eq!(metric(&gateway, "open").await, 0.0);
}

/// A subgraph that fails requests with the word, and answers others. It counts probes.
fn fragile(word: &'static str, status: StatusCode) -> (Server, Arc<AtomicUsize>) {
    let probes = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&probes);
    let answer = move |body: String| {
        let is_probe = body == r#"{"query":"{__typename}"}"#;
        counted.fetch_add(usize::from(is_probe), Ordering::SeqCst);
        let fails = body.contains(word);
        async move {
            match fails {
                true => (status, String::new()),
                false => (
                    StatusCode::OK,
                    r#"{"data":{"greeting":"hello you"}}"#.to_owned(),
                ),
            }
        }
    };
    let app = Router::new().route("/graphql", post(answer));
    (Server::start(app), probes)
}

#[tokio::test]
async fn a_client_whose_operations_fail_does_not_open_it_for_others() {
    let (server, probes) = fragile("poison", StatusCode::BAD_GATEWAY);
    let news = format!("--subgraph-url=news={}", server.url());
    let gateway = gateway(&news, &["--subgraph-breaker-pause=1h"]).await;
    let is_probed = || async {
        let answer = gateway.query("{ greeting(name: \"poison\") }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(answer["data"]["greeting"], "hello you");
        probes.load(Ordering::SeqCst) > 3
    };
    eventually("it is probed several times", is_probed).await;
    assert_eq!(metric(&gateway, "opened_total").await, 0.0);
}

#[tokio::test]
async fn what_clients_cause_raises_no_suspicion() {
    let (server, probes) = fragile("poison", StatusCode::BAD_REQUEST);
    let news = format!("--subgraph-url=news={}", server.url());
    let gateway = gateway(&news, &["--subgraph-body-bytes-max=32"]).await;
    for _ in 0..10 {
        let answer = gateway.query("{ greeting(name: \"poison\") }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_RESPONSE_TOO_LARGE", "{answer}");
    }
    assert_eq!(probes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn zero_failures_turn_it_off() {
    let news = Scripted::start(&[FAILS]).await;
    let off = "--subgraph-breaker-failures=0";
    let news_is_here = news.instead_of("news");
    let arguments = [&*news_is_here, "--subgraph-retries-max=0", off];
    let gateway = TestGateway::with(&arguments).await;
    for _ in 0..30 {
        let answer = gateway.query("{ greeting }").await;
        assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR", "{answer}");
    }
    assert_eq!(news.requests(), 30);
}

#[tokio::test]
async fn of_several_addresses_one_that_answers_keeps_it_closed() {
    let (bad, worse, good) = (
        Scripted::start(&[FAILS]).await,
        Scripted::start(&[FAILS]).await,
        Scripted::start(&[HELLO]).await,
    );
    let urls = [bad.url(), worse.url(), good.url()].join(", ");
    let gateway = gateway(&format!("--subgraph-url=news={urls}"), &[]).await;
    for _ in 0..60 {
        let answer = gateway.query("{ greeting }").await;
        assert_ne!(code(&answer), "SUBGRAPH_UNAVAILABLE", "{answer}");
    }
    assert_eq!(metric(&gateway, "opened_total").await, 0.0);
}
