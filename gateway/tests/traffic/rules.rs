//! Rules for single subgraphs: time limits and headers.

use serde_json::Value;

use crate::support::{
    gateway::TestGateway,
    scripted::{Act, Scripted},
};

const HELLO: Act = Act::Answer(r#"{"data":{"greeting":"hello you"}}"#);

fn code(answer: &Value) -> &str {
    let code = &answer["errors"][0]["extensions"]["code"];
    code.as_str().unwrap_or("none")
}

#[tokio::test]
async fn a_subgraph_has_the_time_limit_of_its_name() {
    let news = Scripted::start(&[Act::Stall("")]).await;
    let limits = [
        "--subgraph-timeout=1h",
        "--subgraph-timeouts=news=50ms, nobody=1s",
    ];
    let gateway = TestGateway::with(&[&[&*news.instead_of("news")], &limits[..]].concat()).await;
    let answer = gateway.query("{ greeting }").await;
    assert_eq!(code(&answer), "SUBREQUEST_TIMEOUT", "{answer}");
}

#[tokio::test]
async fn headers_are_renamed_inserted_and_withheld() {
    let news = Scripted::start(&[HELLO]).await;
    let rules = [
        "--forward-headers=x-user=x-account, authorization",
        "--subgraph-headers=x-api-key@news: a%2Cb, x-other@counts: 1",
        "--withhold-headers=authorization@news, traceparent",
    ];
    let gateway = TestGateway::with(&[&[&*news.instead_of("news")], &rules[..]].concat()).await;
    let request = gateway
        .post()
        .header("x-user", "7")
        .header("x-account", "forged")
        .header("x-api-key", "forged")
        .header("authorization", "secret")
        .body(r#"{"query":"{ greeting }"}"#);
    request.send().await.expect("an answer");
    let heads = news.heads();
    let head = &heads[0];
    for line in ["x-account: 7", "x-api-key: a,b"] {
        assert!(head.lines().any(|it| it == line), "{line}: {head}");
    }
    for absent in [
        "forged",
        "authorization",
        "x-other",
        "x-user",
        "traceparent",
    ] {
        assert!(!head.contains(absent), "{absent}: {head}");
    }
    assert!(head.contains("x-request-id: "));
}
