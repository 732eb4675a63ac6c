//! Subscriptions spread over the addresses of a subgraph, and spread again after one was away.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    extract::ws::{CloseFrame, Message, WebSocketUpgrade},
    routing::get,
};
use serde_json::{Value, json};

use crate::support::{Socket, eventually, gateway::TestGateway, news::News, server::Server};

const TOPICS: usize = 51;
/// 1.3 times the mean.
const MOST: f64 = 22.0;
const CHANGES: &str =
    "subscription($topic: String) { changes(topic: $topic) { message { text } } }";
const MESSAGES: &str = "subscription($topic: String) { messages(topic: $topic) { text } }";

async fn subscribe(socket: &mut Socket, query: &str, count: usize) {
    for topic in 0..count {
        let payload = json!({"query": query, "variables": {"topic": topic.to_string()}});
        socket
            .send(json!({"id": topic.to_string(), "type": "subscribe", "payload": payload}))
            .await;
    }
}

/// The next event of each of so many subscriptions.
async fn each_gets(socket: &mut Socket, count: usize, expected: &Value) {
    let mut got = BTreeSet::new();
    while got.len() < count {
        let next = socket.next().await;
        assert_eq!(next["payload"], *expected, "{next}");
        assert!(got.insert(next["id"].to_string()), "twice: {next}");
    }
}

fn change(text: &str) -> Value {
    json!({"data": {"changes": {"message": {"text": text}}}})
}

struct Fleet {
    news: Vec<News>,
    gateway: TestGateway,
}

impl Fleet {
    async fn start(count: usize, more: &[&str]) -> Self {
        let first = News::start();
        let mut news: Vec<_> = (1..count).map(|_| first.another()).collect();
        news.push(first);
        let urls: Vec<_> = news.iter().map(|it| it.server.url()).collect();
        let list = format!("--subgraph-url=news={}", urls.join(", "));
        let gateway = TestGateway::with(&[&[&*list], more].concat()).await;
        Self { news, gateway }
    }

    /// How many subscriptions run at each address.
    async fn loads(&self) -> Vec<f64> {
        let mut loads = Vec::new();
        for news in &self.news {
            let address = news.server.address();
            let name = format!(
                "gateway_subgraph_address_subscriptions{{subgraph=\"news\",address=\"{address}\"}}"
            );
            loads.push(self.gateway.metric(&name).await);
        }
        loads
    }

    async fn until_spread(&self) {
        eventually("no address has much more than its share", || async {
            let loads = self.loads().await;
            let total: f64 = loads.iter().sum();
            total == TOPICS as f64 && loads.iter().all(|load| *load <= MOST)
        })
        .await;
    }
}

#[tokio::test]
async fn they_spread_again_after_each_restart_and_miss_nothing() {
    let mut fleet = Fleet::start(3, &["--subscription-rebalance-interval=100ms"]).await;
    let mut socket = fleet.gateway.socket().await;
    subscribe(&mut socket, CHANGES, TOPICS).await;
    fleet.until_spread().await;
    fleet.news[0].log.until_open(TOPICS as i64).await;
    // From the first event on, they have a cursor.
    fleet.news[0].log.publish("first");
    each_gets(&mut socket, TOPICS, &change("first")).await;
    for number in 0..3 {
        fleet.news[number].server.kill();
        let text = format!("without {number}");
        fleet.news[number].log.publish(&text);
        each_gets(&mut socket, TOPICS, &change(&text)).await;
        eventually("it has none", || async {
            let loads = fleet.loads().await;
            loads[number] == 0.0 && loads.iter().sum::<f64>() == TOPICS as f64
        })
        .await;
        fleet.news[number].server.restart().await;
        // While they move back.
        for event in 0..50 {
            let text = format!("{event} with {number}");
            fleet.news[number].log.publish(&text);
            each_gets(&mut socket, TOPICS, &change(&text)).await;
        }
        fleet.until_spread().await;
        fleet.news[number].log.publish("all");
        each_gets(&mut socket, TOPICS, &change("all")).await;
    }
    assert!(fleet.gateway.metric("gateway_upstream_moves_total").await > 0.0);
}

#[tokio::test]
async fn one_without_a_cursor_stays_until_its_address_fails() {
    let mut fleet = Fleet::start(2, &["--subscription-rebalance-interval=20ms"]).await;
    fleet.news[0].server.kill();
    let (mut stays, mut moves) = (fleet.gateway.socket().await, fleet.gateway.socket().await);
    subscribe(&mut stays, MESSAGES, 10).await;
    subscribe(&mut moves, CHANGES, 10).await;
    fleet.news[0].log.until_open(20).await;
    fleet.news[0].log.publish("first");
    each_gets(&mut moves, 10, &change("first")).await;
    let message = |text: &str| json!({"data": {"messages": {"text": text}}});
    each_gets(&mut stays, 10, &message("first")).await;
    fleet.news[0].server.restart().await;
    eventually("the others have moved", || async {
        fleet.gateway.metric("gateway_upstream_moves_total").await >= 8.0
    })
    .await;
    fleet.news[0].log.publish("second");
    each_gets(&mut moves, 10, &change("second")).await;
    each_gets(&mut stays, 10, &message("second")).await;
    fleet.news[1].server.kill();
    // They missed something, perhaps, and say so.
    for _ in 0..10 {
        let next = stays.next().await;
        let code = &next["payload"]["errors"][0]["extensions"]["code"];
        assert_eq!(code, "SUBSCRIPTION_INTERRUPTED", "{next}");
    }
}

#[tokio::test]
async fn one_that_accepts_connections_and_stays_silent_gets_no_subscriptions() {
    let news = News::start();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address");
    let urls = format!(
        "--subgraph-url=news=http://{address}/graphql, {}",
        news.server.url()
    );
    let gateway = TestGateway::with(&[&urls]).await;
    let mut socket = gateway.socket().await;
    subscribe(&mut socket, CHANGES, 20).await;
    news.log.until_open(20).await;
    news.log.publish("first");
    each_gets(&mut socket, 20, &change("first")).await;
    let up = format!("gateway_subgraph_address_up{{subgraph=\"news\",address=\"{address}\"}}");
    eventually("it is found to hang", || async {
        gateway.metric(&up).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn those_that_refuse_credentials_stay_up() {
    let opened = Arc::new(AtomicUsize::new(0));
    let refuse = |opened: Arc<AtomicUsize>| {
        let upgrade = async move |upgrade: WebSocketUpgrade| {
            let upgrade = upgrade.protocols(["graphql-transport-ws"]);
            upgrade.on_upgrade(async move |mut socket| {
                opened.fetch_add(1, SeqCst);
                let (code, reason) = (4403, "Forbidden".into());
                let close = Message::Close(Some(CloseFrame { code, reason }));
                // The gateway may be gone.
                let _ = socket.send(close).await;
            })
        };
        Server::start(Router::new().route("/graphql", get(upgrade)))
    };
    let servers = [refuse(Arc::clone(&opened)), refuse(Arc::clone(&opened))];
    let urls = servers.each_ref().map(Server::url).join(", ");
    let gateway = TestGateway::with(&[&format!("--subgraph-url=news={urls}")]).await;
    let mut socket = gateway.socket().await;
    subscribe(&mut socket, CHANGES, 20).await;
    eventually("many have been refused", || async {
        opened.load(SeqCst) >= 20
    })
    .await;
    for server in &servers {
        let address = server.address();
        let up = format!("gateway_subgraph_address_up{{subgraph=\"news\",address=\"{address}\"}}");
        assert_eq!(gateway.metric(&up).await, 1.0);
    }
}
