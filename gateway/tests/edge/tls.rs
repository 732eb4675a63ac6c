//! Subgraphs at `https` addresses: which certificates the gateway trusts, on every protocol to a
//! subgraph.

use serde_json::{Value, json};

use crate::support::{eventually, gateway::TestGateway, news::News, tls::TlsFront};

/// A gateway whose subgraph `news` uses TLS, and the log of that subgraph.
async fn gateway(
    name: &str,
    trusts: impl Fn(&TlsFront) -> Vec<String>,
) -> (TestGateway, News, TlsFront) {
    let news = News::start();
    let front = TlsFront::start(news.server.address(), name).await;
    let mut arguments = vec![format!("--subgraph-url=news={}", front.url())];
    arguments.extend(trusts(&front));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    (TestGateway::with(&arguments).await, news, front)
}

fn with_authority(front: &TlsFront) -> Vec<String> {
    vec![front.trusted(), "--development".to_owned()]
}

#[tokio::test]
async fn queries_and_mutations_travel_over_tls() {
    let (gateway, _news, _front) = gateway("localhost", with_authority).await;
    // More than one, so that a kept connection is used, too.
    for _ in 0..3 {
        assert_eq!(
            gateway.query("{ greeting }").await["data"],
            json!({"greeting": "hello you"})
        );
    }
    let name = "x".repeat(200_000);
    assert_eq!(
        gateway
            .query(&format!("{{ greeting(name: \"{name}\") }}"))
            .await["data"],
        json!({"greeting": format!("hello {name}")})
    );
    let published = gateway
        .query("mutation { publish(text: \"t\") { text length } }")
        .await;
    assert_eq!(
        published["data"],
        json!({"publish": {"text": "t", "length": 100}})
    );
}

#[tokio::test]
async fn subscriptions_travel_over_tls() {
    let (gateway, news, _front) = gateway("localhost", with_authority).await;
    let mut socket = gateway
        .subscribed("subscription { messages { text } }")
        .await;
    news.log.until_open(1).await;
    news.log.publish("sealed");
    assert_eq!(
        socket.next_payload("1").await["data"],
        json!({"messages": {"text": "sealed"}})
    );
}

#[tokio::test]
async fn server_sent_events_travel_over_tls() {
    // Another gateway is a subgraph that speaks them.
    let behind = TestGateway::start().await;
    let front = TlsFront::start(behind.address, "localhost").await;
    let news = format!("--subgraph-url=news={}", front.url());
    let gateway =
        TestGateway::with(&[&news, &front.trusted(), "--subscription-sse-subgraphs=news"]).await;
    let mut socket = gateway
        .subscribed("subscription { messages { text } }")
        .await;
    behind.news.log.until_open(1).await;
    behind.news.log.publish("sealed");
    assert_eq!(
        socket.next_payload("1").await,
        json!({"data": {"messages": {"text": "sealed"}}})
    );
}

/// The one error of a query.
async fn refusal(gateway: &TestGateway) -> Value {
    gateway.query("{ greeting }").await["errors"][0].take()
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let (gateway, news, _front) = gateway("localhost", |_| vec!["--development".to_owned()]).await;
    let error = refusal(&gateway).await;
    assert_eq!(error["extensions"]["code"], "SUBREQUEST_HTTP_ERROR");
    assert_eq!(
        error["message"],
        "subgraph \"news\" returned no usable response: its certificate is not trusted: UnknownIssuer \
         (SUBGRAPH_CA_FILE can add certificate authorities)"
    );
    let _socket = gateway
        .subscribed("subscription { messages { text } }")
        .await;
    eventually("it was tried", || async {
        gateway.metric("gateway_upstream_reconnects_total").await > 0.0
    })
    .await;
    assert_eq!(news.log.started(), 0);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let (gateway, _news, _front) = gateway("elsewhere.example", with_authority).await;
    let error = refusal(&gateway).await;
    let message = error["message"].as_str().expect("text");
    assert!(
        message.contains("not valid for name \"localhost\""),
        "{message}"
    );
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let news = News::start();
    let url = news.server.url().replace("http://", "https://");
    let news_there = format!("--subgraph-url=news={url}");
    let gateway = TestGateway::with(&[&news_there, "--development"]).await;
    let error = refusal(&gateway).await;
    let message = error["message"].as_str().expect("text");
    assert!(message.contains("the TLS handshake failed"), "{message}");
}

#[tokio::test]
async fn a_subgraph_that_asks_for_a_certificate_gets_the_gateways() {
    for (is_shown, more) in [
        (true, None),
        (true, Some("--subscription-sse-subgraphs=news")),
        (false, None),
    ] {
        let behind = TestGateway::start().await;
        let (front, shown) = TlsFront::for_known_clients(behind.address).await;
        let news = format!("--subgraph-url=news={}", front.url());
        let trusted = front.trusted();
        let mut arguments = vec![news.as_str(), trusted.as_str()];
        arguments.extend(more);
        if is_shown {
            arguments.extend(shown.iter().map(String::as_str));
        }
        let gateway = TestGateway::with(&arguments).await;
        let answer = gateway.query("{ greeting }").await;
        if !is_shown {
            assert_eq!(
                answer["errors"][0]["extensions"]["code"],
                "SUBREQUEST_HTTP_ERROR"
            );
            continue;
        }
        assert_eq!(answer["data"], json!({"greeting": "hello you"}));
        let mut socket = gateway
            .subscribed("subscription { messages { text } }")
            .await;
        behind.news.log.until_open(1).await;
        behind.news.log.publish("sealed");
        let expected = json!({"data": {"messages": {"text": "sealed"}}});
        assert_eq!(socket.next_payload("1").await, expected);
    }
}
