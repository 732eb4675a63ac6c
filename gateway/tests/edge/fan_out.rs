//! Events that are written straight to the sockets of all clients that can take them.

use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::support::{
    Socket, eventually,
    gateway::TestGateway,
    issuer::{Issuer, SigningKey, seconds},
};

pub const CHANGES: &str =
    "subscription($after: String) { changes(after: $after) { cursor message { text } } }";
pub const DIRECT: &str = "gateway_direct_subscriptions";

/// The number of an event, and its text.
pub fn numbered(payload: &Value) -> (usize, &str) {
    let change = &payload["data"]["changes"];
    let cursor = change["cursor"].as_str().expect("a cursor");
    let number = cursor.strip_prefix('c').expect("a number");
    let text = change["message"]["text"].as_str().expect("a text");
    (number.parse().expect("a number"), text)
}

/// The text of an event: some are short, some do not fit a socket's buffer at once.
pub fn text_of(number: usize) -> String {
    let length = [10, 200, 5_000, 30_000, 400][number % 5];
    format!("{number} {}", "é".repeat(length))
}

/// How a client behaves.
#[derive(Clone, Copy)]
enum Habit {
    Reads,
    /// Reads nothing until it may.
    Pauses,
    /// Sends pings and queries all the time.
    Talks,
    /// Completes its operation now and then, and subscribes again after its cursor.
    Restarts,
    /// Leaves now and then, and comes back with its cursor.
    Returns,
}

struct Client {
    habit: Habit,
    id: String,
    socket: Socket,
    /// The number of the next event.
    next: usize,
}

impl Client {
    async fn subscribed(gateway: &TestGateway, number: usize) -> Self {
        let habits = [
            Habit::Reads,
            Habit::Pauses,
            Habit::Talks,
            Habit::Restarts,
            Habit::Returns,
        ];
        let mut socket = gateway.socket().await;
        let id = "i".repeat(1 + number % 40);
        socket.subscribe_with(&id, CHANGES, json!({})).await;
        Self {
            habit: habits[number % habits.len()],
            id,
            socket,
            next: 0,
        }
    }

    async fn resume(&mut self) {
        let after = json!({ "after": format!("c{}", self.next - 1) });
        self.socket.subscribe_with(&self.id, CHANGES, after).await;
    }

    /// Reads up to the event before `end`, each event once and in order.
    async fn run(
        mut self,
        address: std::net::SocketAddr,
        mut may_read: watch::Receiver<bool>,
        end: usize,
    ) {
        if matches!(self.habit, Habit::Pauses) {
            may_read.wait_for(|may| *may).await.expect("it comes");
        }
        while self.next < end {
            let message = self.socket.next().await;
            match message["type"].as_str() {
                Some("next") if message["id"] == json!(self.id) => {
                    let (number, text) = numbered(&message["payload"]);
                    assert_eq!(number, self.next, "each once, in order");
                    assert_eq!(text, text_of(number));
                    self.next += 1;
                    if self.next < end {
                        self.act(address).await;
                    }
                }
                // It paused for too long.
                Some("error") => {
                    let code = &message["payload"][0]["extensions"]["code"];
                    assert_eq!(code, "SUBSCRIPTION_LAGGED", "{message}");
                    self.resume().await;
                }
                // An answer to what it said.
                _ => {
                    let id = message["id"].as_str().unwrap_or_default();
                    let is_answer = message["type"] == "pong" || id.starts_with("query");
                    assert!(is_answer && matches!(self.habit, Habit::Talks), "{message}");
                }
            }
        }
    }

    async fn act(&mut self, address: std::net::SocketAddr) {
        match self.habit {
            Habit::Reads | Habit::Pauses => {}
            Habit::Talks if self.next.is_multiple_of(5) => {
                let payload = json!({ "number": self.next });
                self.socket
                    .send(json!({ "type": "ping", "payload": payload }))
                    .await;
            }
            Habit::Talks if self.next.is_multiple_of(7) => {
                let id = format!("query {}", self.next);
                self.socket.subscribe(&id, "{ greeting }").await;
            }
            Habit::Restarts if self.next.is_multiple_of(30) => {
                let id = &self.id;
                self.socket
                    .send(json!({ "type": "complete", "id": id }))
                    .await;
                self.id = format!("{}-{}", &id[..1], self.next);
                self.resume().await;
                self.skip_the_old_operation().await;
            }
            Habit::Returns if self.next.is_multiple_of(40) => {
                self.socket = Socket::open(address, &[]).await;
                self.socket.init(json!({})).await;
                self.resume().await;
            }
            Habit::Talks | Habit::Restarts | Habit::Returns => {}
        }
    }

    /// Events of the operation that was completed may still be on their way.
    async fn skip_the_old_operation(&mut self) {
        loop {
            let message = self.socket.next().await;
            if message["id"] == json!(self.id) {
                let (number, text) = numbered(&message["payload"]);
                assert_eq!((number, text), (self.next, &*text_of(number)));
                self.next += 1;
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_clients_behave_each_gets_each_event_once_and_in_order() {
    const CLIENTS: usize = 60;
    const EVENTS: usize = 200;
    let gateway = TestGateway::start().await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(Client::subscribed(&gateway, number).await);
    }
    eventually("all have joined", || async {
        gateway.metric("gateway_subscriptions").await == CLIENTS as f64
    })
    .await;
    gateway.news.log.until_open(1).await;
    let (may_read, waits) = watch::channel(false);
    let mut running = JoinSet::new();
    for client in clients {
        running.spawn(client.run(gateway.address, waits.clone(), EVENTS));
    }
    for number in 0..EVENTS {
        gateway.news.log.publish(&text_of(number));
        if number % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    may_read.send_replace(true);
    running.join_all().await;
}

#[tokio::test]
async fn a_socket_that_is_full_leaves_its_group_and_comes_back() {
    let gateway = TestGateway::start().await;
    let (mut idle, mut quick) = (gateway.socket().await, gateway.socket().await);
    for socket in [&mut idle, &mut quick] {
        socket.subscribe_with("1", CHANGES, json!({})).await;
    }
    eventually("both have joined", || async {
        gateway.metric("gateway_subscriptions").await == 2.0
    })
    .await;
    gateway.news.log.until_open(1).await;
    let text = "x".repeat(100_000);
    gateway.news.log.publish(&text);
    assert_eq!(numbered(&quick.next_payload("1").await), (0, &*text));
    eventually("both are written to directly", || async {
        gateway.metric(DIRECT).await == 2.0
    })
    .await;
    // The idle one reads nothing, until its buffers are full.
    let mut published = 1;
    while gateway.metric(DIRECT).await == 2.0 {
        assert!(published < 1_000, "a socket's buffers have an end");
        gateway.news.log.publish(&text);
        assert_eq!(numbered(&quick.next_payload("1").await).0, published);
        published += 1;
    }
    for number in 0..published {
        assert_eq!(numbered(&idle.next_payload("1").await), (number, &*text));
    }
    for (number, text) in [(published, "first"), (published + 1, "second")] {
        gateway.news.log.publish(text);
        for socket in [&mut idle, &mut quick] {
            let event = socket.next_payload("1").await;
            assert_eq!(numbered(&event), (number, text));
        }
        eventually("it is written to directly again", || async {
            gateway.metric(DIRECT).await == 2.0
        })
        .await;
    }
    // Who leaves is gone from its group.
    drop((idle, quick));
    eventually("nobody is left", || async {
        gateway.metric(DIRECT).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_token_that_ends_names_the_last_event_that_was_written_directly() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let arguments = issuer.arguments();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let gateway = TestGateway::with(&arguments).await;
    let token = key.token(json!({ "exp": seconds() + 6.0 }));
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = Socket::open(gateway.address, &[]).await;
        socket
            .init(json!({ "Authorization": format!("Bearer {token}") }))
            .await;
        socket.subscribe_with("1", CHANGES, json!({})).await;
        sockets.push(socket);
    }
    eventually("both have joined", || async {
        gateway.metric("gateway_subscriptions").await == 2.0
    })
    .await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("first");
    for socket in &mut sockets {
        socket.next_payload("1").await;
    }
    eventually("both are written to directly", || async {
        gateway.metric(DIRECT).await == 2.0
    })
    .await;
    gateway.news.log.publish("second");
    for socket in &mut sockets {
        assert_eq!(numbered(&socket.next_payload("1").await), (1, "second"));
        let end = socket.next().await;
        let extensions = &end["payload"][0]["extensions"];
        assert_eq!(extensions["code"], "TOKEN_EXPIRED", "{end}");
        assert_eq!(extensions["cursor"], "c1", "{end}");
    }
    eventually("nobody is left", || async {
        gateway.metric(DIRECT).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_feed_reaches_all_of_a_group() {
    let mut gateway = TestGateway::with(&["--subscription-retry-time=100ms"]).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = gateway.socket().await;
        socket.subscribe_with("1", CHANGES, json!({})).await;
        sockets.push(socket);
    }
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("first");
    for socket in &mut sockets {
        socket.next_payload("1").await;
    }
    eventually("all are written to directly", || async {
        gateway.metric(DIRECT).await == 3.0
    })
    .await;
    gateway.news.server.kill();
    for socket in &mut sockets {
        let end = socket.next().await;
        let code = &end["payload"][0]["extensions"]["code"];
        assert_eq!(code, "SUBSCRIPTION_UPSTREAM_LOST", "{end}");
    }
}
