//! A subgraph with several addresses: where requests go, and what happens when one of them fails.

use graphql_transport::testing::HeldPort;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    gateway::TestGateway,
    news::News,
    scripted::{Act, Scripted},
};

const HELLO: Act = Act::Answer(r#"{"data":{"greeting":"hello you"}}"#);
const PUBLISHED: Act = Act::Answer(r#"{"data":{"publish":{"text":"once"}}}"#);
const MUTATION: &str = "mutation { publish(text: \"once\") { text } }";

/// A gateway with these addresses of `news`.
async fn gateway(urls: &[String], more: &[&str]) -> TestGateway {
    let list = format!("--subgraph-url=news={}", urls.join(", "));
    TestGateway::with(&[&[&*list], more].concat()).await
}

fn hello() -> Value {
    json!({"data": {"greeting": "hello you"}})
}

fn code(answer: &Value) -> &Value {
    &answer["errors"][0]["extensions"]["code"]
}

async fn is_up(gateway: &TestGateway, url: &str) -> bool {
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches("/graphql");
    let name = format!("gateway_subgraph_address_up{{subgraph=\"news\",address=\"{address}\"}}");
    gateway.metric(&name).await == 1.0
}

async fn report(gateway: &TestGateway) -> String {
    let ready = gateway.get("/health/ready").await;
    let ready: Value = ready.json().await.expect("JSON");
    assert_eq!(ready["status"], "ready");
    ready["reports"][0]["status"]
        .as_str()
        .expect("text")
        .to_owned()
}

#[tokio::test]
async fn requests_go_to_all_of_them() {
    let news = [News::start(), News::start(), News::start()];
    let urls = news.each_ref().map(|it| it.server.url());
    let gateway = gateway(&urls, &[]).await;
    for _ in 0..60 {
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
    assert!(news.iter().all(|it| it.asked() > 0));
    assert_eq!(news.iter().map(News::asked).sum::<usize>(), 60);
}

#[tokio::test]
async fn one_that_is_killed_costs_no_request_an_error_and_comes_back() {
    let mut news = [News::start(), News::start()];
    let urls = news.each_ref().map(|it| it.server.url());
    let gateway = gateway(&urls, &[]).await;
    let queries_are_answered = async || {
        for _ in 0..20 {
            assert_eq!(gateway.query("{ greeting }").await, hello());
        }
    };
    let all_are_answered = async || {
        queries_are_answered().await;
        for _ in 0..20 {
            let answer = gateway.query(MUTATION).await;
            assert_eq!(answer, json!({"data": {"publish": {"text": "once"}}}));
        }
    };
    all_are_answered().await;
    assert_eq!(report(&gateway).await, "ok");
    for number in [0, 1] {
        news[number].server.kill();
        eventually("it is down", || async {
            queries_are_answered().await;
            !is_up(&gateway, &urls[number]).await
        })
        .await;
        all_are_answered().await;
        let report = report(&gateway).await;
        assert!(
            report.starts_with("news: 1 of 2 addresses are down (127.0.0.1:"),
            "{report}"
        );
        news[number].server.restart().await;
        eventually("it is up", || is_up(&gateway, &urls[number])).await;
        let before = news[number].asked();
        all_are_answered().await;
        assert!(news[number].asked() > before);
    }
}

#[tokio::test]
async fn a_query_that_met_a_closed_connection_goes_elsewhere_signed_for_there() {
    for failing in [
        Act::Close,
        Act::Break("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":"),
    ] {
        let script: &'static [Act] = Box::leak(Box::new([failing]));
        let (bad, good) = (
            Scripted::start(script).await,
            Scripted::start(&[HELLO]).await,
        );
        let secret = "--subgraph-secret=0123456789abcdef0123456789abcdef";
        let gateway = gateway(&[bad.url(), good.url()], &[secret]).await;
        while bad.requests() == 0 {
            assert_eq!(gateway.query("{ greeting }").await, hello());
        }
        let heads = [bad.heads(), good.heads()];
        let line = |head: &String, name: &str| {
            let line = head.lines().find(|line| line.starts_with(name));
            line.expect("a header").to_owned()
        };
        for (heads, url) in heads.iter().zip([bad.url(), good.url()]) {
            let host = url
                .trim_start_matches("http://")
                .trim_end_matches("/graphql");
            assert!(
                heads
                    .iter()
                    .all(|head| line(head, "host: ") == format!("host: {host}"))
            );
        }
        let mut signatures: Vec<_> = heads
            .concat()
            .iter()
            .map(|it| line(it, "signature: "))
            .collect();
        let count = signatures.len();
        signatures.sort();
        signatures.dedup();
        assert_eq!(signatures.len(), count, "a subgraph accepts each once");
    }
}

#[tokio::test]
async fn a_mutation_that_may_have_been_taken_goes_nowhere_else() {
    let bad = Scripted::start(&[Act::Close]).await;
    let good = Scripted::start(&[PUBLISHED]).await;
    let gateway = gateway(&[bad.url(), good.url()], &[]).await;
    let mut sent = 0;
    while bad.requests() == 0 {
        sent += 1;
        let answer = gateway.query(MUTATION).await;
        let is_failed = bad.requests() > 0;
        assert_eq!(
            code(&answer) == "SUBREQUEST_HTTP_ERROR",
            is_failed,
            "{answer}"
        );
    }
    assert_eq!(bad.requests() + good.requests(), sent);
}

#[tokio::test]
async fn one_whose_answers_fail_is_asked_no_more() {
    for (failing, timeout) in [
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "30s",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "30s"),
        ("", "1s"),
    ] {
        let script: &'static [Act] = Box::leak(Box::new([Act::Stall(failing)]));
        let (bad, good) = (
            Scripted::start(script).await,
            Scripted::start(&[HELLO]).await,
        );
        let timeout = format!("--subgraph-timeout={timeout}");
        // A retry would find the other one.
        let gateway = gateway(
            &[bad.url(), good.url()],
            &[&timeout, "--subgraph-retries-max=0"],
        )
        .await;
        let mut failed = 0;
        while is_up(&gateway, &bad.url()).await {
            let answer = gateway.query("{ greeting }").await;
            failed += usize::from(answer != hello());
        }
        assert_eq!(failed, 5, "{failing}");
        for _ in 0..20 {
            assert_eq!(gateway.query("{ greeting }").await, hello());
        }
        // It is probed, and fails there.
        eventually("it is probed", || async { bad.requests() > 6 }).await;
        assert!(!is_up(&gateway, &bad.url()).await);
    }
}

#[tokio::test]
async fn one_that_answers_again_after_failures_is_asked_again() {
    const FAILS: Act = Act::Stall("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    let other = Scripted::start(&[FAILS, FAILS, FAILS, FAILS, FAILS, FAILS, HELLO]).await;
    let good = Scripted::start(&[HELLO]).await;
    let gateway = gateway(&[other.url(), good.url()], &[]).await;
    while other.requests() < 5 {
        gateway.query("{ greeting }").await;
    }
    eventually("it is up again", || async {
        is_up(&gateway, &other.url()).await
    })
    .await;
    for _ in 0..20 {
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
}

#[tokio::test]
async fn while_all_are_down_all_are_tried() {
    let mut news = [News::start(), News::start()];
    let urls = news.each_ref().map(|it| it.server.url());
    let gateway = gateway(&urls, &[]).await;
    news.iter_mut().for_each(|it| it.server.kill());
    eventually("none is up", || async {
        let answer = gateway.query("{ greeting }").await;
        code(&answer) == "SUBREQUEST_HTTP_ERROR"
    })
    .await;
    news[1].server.restart().await;
    // At once, whatever the pause until the next probe.
    assert_eq!(gateway.query("{ greeting }").await, hello());
    assert!(is_up(&gateway, &urls[1]).await);
}

#[tokio::test]
async fn a_request_finds_one_of_many_that_is_up() {
    let news = News::start();
    // Nothing listens there.
    let ports: Vec<_> = (0..99).map(|_| HeldPort::any()).collect();
    let urls = ports
        .iter()
        .map(|it| format!("http://{}/graphql", it.address()));
    let mut urls: Vec<String> = urls.collect();
    urls.push(news.server.url());
    let gateway = gateway(&urls, &["--subgraph-requests-running-max=8"]).await;
    assert_eq!(gateway.query("{ greeting }").await, hello());
    eventually("only one is left", || async {
        let answer = gateway.query("{ greeting }").await;
        let down = report(&gateway).await;
        answer == hello()
            && down.starts_with(&format!("news: {} of {}", urls.len() - 1, urls.len()))
    })
    .await;
    for _ in 0..20 {
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
}

#[tokio::test]
async fn names_stand_for_their_addresses() {
    let news = News::start();
    let port = news.server.address().port();
    // The first of its addresses may be ::1, where nothing listens.
    let gateway = gateway(&[format!("http://localhost:{port}/graphql")], &[]).await;
    for _ in 0..20 {
        assert_eq!(gateway.query("{ greeting }").await, hello());
    }
    let metrics = gateway.get("/metrics").await.text().await.expect("text");
    let series = format!("address=\"localhost:{port} 127.0.0.1\"}} 1");
    assert!(metrics.contains(&series), "{metrics}");
}

#[tokio::test]
async fn a_name_that_stands_for_nothing_fails_its_own_requests_only() {
    let nowhere = "http://nowhere.invalid:4001/graphql".to_owned();
    let alone = gateway(std::slice::from_ref(&nowhere), &["--development"]).await;
    let answer = alone.query("{ greeting }").await;
    assert_eq!(code(&answer), "SUBREQUEST_HTTP_ERROR");
    let message = answer["errors"][0]["message"].as_str().expect("text");
    assert!(message.contains("nowhere.invalid:4001: "), "{message}");
    let news = News::start();
    let beside = gateway(&[nowhere, news.server.url()], &[]).await;
    for _ in 0..20 {
        assert_eq!(beside.query("{ greeting }").await, hello());
    }
}
