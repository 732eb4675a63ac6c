//! Subscriptions that do not depend on who asks are shared by all who are signed in.

use serde_json::json;

use crate::support::{
    Socket, eventually,
    gateway::{SUPERGRAPH, TestGateway},
    issuer::{Issuer, SigningKey},
    picky::Picky,
};

const TEXTS: &str = "subscription { messages { text } }";
const LENGTHS: &str = "subscription { messages { text length } }";

/// The supergraph with the tag at the field that begins with this text.
fn tagged(field: &str) -> String {
    let link = "schema\n  @link(url: \"https://specs.apollo.dev/tag/v0.3\")";
    let definition = "directive @tag(name: String!) repeatable on FIELD_DEFINITION\n\nscalar join";
    let sdl = SUPERGRAPH
        .replacen("schema", link, 1)
        .replacen("scalar join", definition, 1);
    let at = sdl.find(field).expect("the field");
    let end = at + sdl[at..].find('\n').expect("a line");
    format!("{} @tag(name: \"viewer\"){}", &sdl[..end], &sdl[end..])
}

async fn start(issuer: &Issuer, more: &[&str]) -> TestGateway {
    let mut arguments = issuer.arguments();
    arguments.push("--subgraph-claims=sub".to_owned());
    arguments.extend(more.iter().map(|it| (*it).to_owned()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    TestGateway::with(&arguments).await
}

/// Two people, each with a subscription of this text.
async fn two_people(gateway: &TestGateway, key: &SigningKey, query: &str) -> Vec<Socket> {
    people(2, gateway, key, query).await
}

/// So many people, each with a subscription of this text.
async fn people(count: u8, gateway: &TestGateway, key: &SigningKey, query: &str) -> Vec<Socket> {
    subscriptions(gateway, 0.0).await;
    let mut sockets = Vec::new();
    for number in 0..count {
        let subject = format!("person {number}");
        let mut socket = Socket::open(gateway.address, &[]).await;
        let token = key.token(json!({ "sub": subject }));
        socket
            .init(json!({ "Authorization": format!("Bearer {token}") }))
            .await;
        socket.subscribe("1", query).await;
        sockets.push(socket);
    }
    subscriptions(gateway, f64::from(count)).await;
    sockets
}

/// Waits until clients have so many.
async fn subscriptions(gateway: &TestGateway, count: f64) {
    eventually("clients have so many subscriptions", || async {
        gateway.metric("gateway_subscriptions").await == count
    })
    .await;
}

#[tokio::test]
async fn people_share_what_does_not_depend_on_who_asks() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = start(&issuer, &["--viewer-tags=news,counts"]).await;
    gateway.serves(&tagged("length: Int!")).await;
    let log = &gateway.news.log;

    let mut texts = two_people(&gateway, &key, TEXTS).await;
    log.until_open(1).await;
    log.publish("one");
    for socket in &mut texts {
        let expected = json!({"data": {"messages": {"text": "one"}}});
        assert_eq!(socket.next_payload("1").await, expected);
    }
    assert_eq!(log.started(), 1);
    drop(texts);
    log.until_open(0).await;

    // The tagged field is asked for in another subgraph than the events.
    let _lengths = two_people(&gateway, &key, LENGTHS).await;
    log.until_open(2).await;
}

#[tokio::test]
async fn an_event_that_another_subgraph_completes_is_completed_once_for_all() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = start(&issuer, &["--viewer-tags=news,counts"]).await;
    let mut sockets = people(20, &gateway, &key, LENGTHS).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("one");
    for socket in &mut sockets {
        let expected = json!({"data": {"messages": {"text": "one", "length": 100}}});
        assert_eq!(socket.next_payload("1").await, expected);
    }
    assert_eq!(gateway.counts.asked(), 1);
    assert_eq!(gateway.news.log.started(), 1);
}

#[tokio::test]
async fn subgraphs_whose_tags_are_not_known_to_be_complete_may_depend_on_who_asks() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = start(&issuer, &["--viewer-tags=news"]).await;
    let log = &gateway.news.log;
    // Untagged, and in another subgraph.
    let lengths = two_people(&gateway, &key, LENGTHS).await;
    log.until_open(2).await;
    drop(lengths);
    log.until_open(0).await;
    let started = log.started();
    let _texts = two_people(&gateway, &key, TEXTS).await;
    log.until_open(1).await;
    assert_eq!(log.started(), started + 1);
}

#[tokio::test]
async fn what_is_shared_tells_no_subgraph_who_asks() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let picky = Picky::start();
    let gateway = start(&issuer, &["--viewer-tags=news", &picky.instead_of("news")]).await;
    let _sockets = two_people(&gateway, &key, TEXTS).await;
    eventually("it runs", || async { picky.running() == 1 }).await;
    assert_eq!(picky.sockets_of("messages").len(), 1);
    assert!(picky.sockets_of("claims").is_empty());
}

#[tokio::test]
async fn a_shared_subscription_ends_when_it_comes_to_depend_on_who_asks() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = start(&issuer, &["--viewer-tags=news,counts"]).await;
    let mut sockets = two_people(&gateway, &key, TEXTS).await;
    gateway.news.log.until_open(1).await;
    gateway.serves(&tagged("text: String! @join")).await;
    for socket in &mut sockets {
        let end = socket.next().await;
        assert_eq!(end["type"], "error", "{end}");
        let code = &end["payload"][0]["extensions"]["code"];
        assert_eq!(code, "SUBSCRIPTION_SCHEMA_CHANGED");
    }
    // They come back as two.
    let _sockets = two_people(&gateway, &key, TEXTS).await;
    gateway.news.log.until_open(2).await;
}
