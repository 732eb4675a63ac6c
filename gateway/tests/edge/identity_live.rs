//! Tokens on WebSockets and streams: their end, their renewal, and who shares a subscription.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::{
    Socket, eventually,
    gateway::TestGateway,
    issuer::{Answer, Issuer, SigningKey, seconds},
    picky::Picky,
};

const CHANGES: &str =
    "subscription($after: String) { changes(after: $after) { cursor message { text } } }";

async fn gateway(issuer: &Issuer, more: &[&str]) -> TestGateway {
    let arguments = issuer.arguments();
    let arguments = arguments
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied());
    TestGateway::with(&arguments.collect::<Vec<_>>()).await
}

fn bearer(token: &str) -> Value {
    json!({ "Authorization": format!("Bearer {token}") })
}

/// Seconds that a token lives which ends in a test: what the test does before is done by then, also on a busy machine.
const SHORT: f64 = 4.0;

/// A token that ends after so many seconds.
fn short(key: &SigningKey, life: f64) -> String {
    key.token(json!({ "exp": seconds() + life }))
}

async fn signed_in(gateway: &TestGateway, token: &str) -> Socket {
    let mut socket = Socket::open(gateway.address, &[]).await;
    socket.init(bearer(token)).await;
    socket
}

/// The close that a `connection_init` with this payload gets.
async fn refused(gateway: &TestGateway, payload: Value) -> (u16, String) {
    let mut socket = Socket::open(gateway.address, &[]).await;
    socket
        .send(json!({"type": "connection_init", "payload": payload}))
        .await;
    socket.closed().await
}

#[tokio::test]
async fn a_socket_takes_its_token_from_connection_init() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let more = ["--jwt-required", "--forward-headers=authorization"];
    let gateway = gateway(&issuer, &more).await;
    let (good, expired) = (key.token(json!({})), short(&key, -1.0));
    for payload in [bearer(&good), json!({ "headers": bearer(&good) })] {
        let mut socket = Socket::open(gateway.address, &[]).await;
        socket.init(payload).await;
        socket
            .subscribe("1", "{ header(name: \"authorization\") }")
            .await;
        let expected = json!({"data": {"header": format!("Bearer {good}")}});
        assert_eq!(socket.next_payload("1").await, expected);
    }
    // The upgrade request may have it, too; `connection_init` wins.
    let upgrade = format!("Bearer {good}");
    let mut socket = Socket::open(gateway.address, &[("authorization", &upgrade)]).await;
    socket.init(json!({})).await;
    let mut socket = Socket::open(gateway.address, &[("authorization", &upgrade)]).await;
    socket
        .send(json!({"type": "connection_init", "payload": bearer(&expired)}))
        .await;
    assert_eq!(socket.closed().await.0, 4403);
    for (payload, reason) in [
        (json!({}), "required"),
        (bearer(&expired), "expired"),
        (json!({"authorization": "Basic a"}), "Bearer"),
        (
            json!({"authorization": format!("Bearer {good}"), "headers": bearer("other")}),
            "twice",
        ),
    ] {
        let (code, why) = refused(&gateway, payload).await;
        assert!(code == 4403 && why.contains(reason), "{code} {why}");
    }
}

#[tokio::test]
async fn a_socket_whose_token_cannot_be_checked_is_to_come_again() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=20ms"]).await;
    issuer.answer_with(Answer::Redirect);
    let unknown = SigningKey::new("2").token(json!({}));
    assert_eq!(refused(&gateway, bearer(&unknown)).await.0, 1013);
}

#[tokio::test]
async fn a_subscription_ends_with_its_token_and_tells_where_to_resume() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &[]).await;
    let mut socket = signed_in(&gateway, &short(&key, SHORT)).await;
    socket.subscribe("1", CHANGES).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("one");
    assert_eq!(
        socket.next_payload("1").await["data"]["changes"]["cursor"],
        "c0"
    );
    let end = socket.next().await;
    assert_eq!((&end["type"], &end["id"]), (&json!("error"), &json!("1")));
    let extensions = &end["payload"][0]["extensions"];
    assert_eq!(
        *extensions,
        json!({"code": "TOKEN_EXPIRED", "cursor": "c0"})
    );
    let refusals = "gateway_refusals_total{code=\"TOKEN_EXPIRED\"}";
    assert_eq!(gateway.metric(refusals).await, 1.0);
    // The upstream is not needed any more.
    gateway.news.log.until_open(0).await;
    // What a client subscribes now makes it connect again: graphql-ws does so after 4403.
    socket
        .subscribe_with("2", CHANGES, json!({"after": "c0"}))
        .await;
    let (code, reason) = socket.closed().await;
    assert!(
        code == 4403 && reason.contains("expired"),
        "{code} {reason}"
    );
    gateway.news.log.publish("two");
    let mut socket = signed_in(&gateway, &key.token(json!({}))).await;
    socket
        .subscribe_with("2", CHANGES, json!({"after": "c0"}))
        .await;
    assert_eq!(
        socket.next_payload("2").await["data"]["changes"]["message"]["text"],
        "two"
    );
}

#[tokio::test]
async fn what_was_asked_before_a_token_ended_is_delivered_before_the_close() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &[]).await;
    gateway.news.log.publish("zero");
    let mut socket = signed_in(&gateway, &short(&key, SHORT)).await;
    let ids = ["1", "2", "3", "4", "5"];
    for id in ids {
        // The same subscription, and its events, for all of them.
        socket
            .subscribe_with(id, CHANGES, json!({"after": "c0"}))
            .await;
    }
    socket
        .subscribe(
            "slow",
            "mutation { publishSlowly(milliseconds: 4500, text: \"one\") { text } }",
        )
        .await;
    let first = socket.next().await;
    let extensions = &first["payload"][0]["extensions"];
    assert_eq!(
        *extensions,
        json!({"code": "TOKEN_EXPIRED", "cursor": "c0"})
    );
    // A client that acts on the first error at once.
    socket
        .subscribe_with("again", CHANGES, json!({"after": "c0"}))
        .await;
    let mut ended = HashSet::from([first["id"].as_str().expect("an id").to_owned()]);
    let mut answered = false;
    loop {
        let message = socket.next().await;
        match message["type"].as_str() {
            Some("error") => {
                let extensions = &message["payload"][0]["extensions"];
                assert_eq!(extensions["cursor"], "c0", "{message}");
                ended.insert(message["id"].as_str().expect("an id").to_owned());
            }
            Some("next") => {
                assert_eq!(
                    message["payload"]["data"]["publishSlowly"]["text"], "one",
                    "{message}"
                );
                answered = true;
            }
            Some("complete") => assert_eq!(message["id"], "slow"),
            _ => {
                assert_eq!(message, json!({"close": 4403}));
                break;
            }
        }
    }
    assert_eq!(ended, ids.map(str::to_owned).into());
    assert!(answered, "the mutation ran to its end");
}

#[tokio::test]
async fn a_refused_renewal_aborts_no_mutation() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &[]).await;
    let mut socket = signed_in(&gateway, &key.token(json!({}))).await;
    socket
        .subscribe(
            "1",
            "mutation { publishSlowly(milliseconds: 1000, text: \"one\") { text } }",
        )
        .await;
    gateway.news.log.until_slow(1).await;
    let other = key.token(json!({"sub": "bob"}));
    socket
        .send(json!({"type": "ping", "payload": bearer(&other)}))
        .await;
    let payload = socket.next_payload("1").await;
    assert_eq!(payload["data"]["publishSlowly"]["text"], "one", "{payload}");
    assert_eq!(socket.next().await["type"], "complete");
    assert_eq!(socket.next().await, json!({"close": 4403}));
}

#[tokio::test]
async fn a_token_that_is_being_checked_stalls_nothing() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=1m"]).await;
    let mut socket = signed_in(&gateway, &key.token(json!({}))).await;
    socket.subscribe("1", CHANGES).await;
    gateway.news.log.until_open(1).await;
    // Its key is read in a minute at the earliest.
    let unknown = SigningKey::new("2").token(json!({}));
    let renewal = json!({"type": "ping", "payload": bearer(&unknown)});
    socket.send(renewal.clone()).await;
    gateway.news.log.publish("one");
    assert_eq!(
        socket.next_payload("1").await["data"]["changes"]["message"]["text"],
        "one"
    );
    // A second one at the same time is not checked.
    socket.send(renewal).await;
    let pong = socket.next().await;
    assert_eq!(pong["payload"]["renewed"], json!(false), "{pong}");
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await["type"], "pong");
    // The same before the acknowledgement.
    let init = json!({"type": "connection_init", "payload": bearer(&unknown)});
    let mut socket = Socket::open(gateway.address, &[]).await;
    socket.send(init.clone()).await;
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.next().await["type"], "pong");
    socket.send(init).await;
    assert_eq!(socket.closed().await.0, 4429);
}

#[tokio::test]
async fn a_subscription_that_had_no_event_tells_where_to_resume_too() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &[]).await;
    // One alone does not know where it began: its client has to read again.
    let mut socket = signed_in(&gateway, &short(&key, SHORT)).await;
    socket.subscribe("1", CHANGES).await;
    let end = socket.next().await;
    assert_eq!(
        end["payload"][0]["extensions"],
        json!({"code": "TOKEN_EXPIRED", "reason": "EVENTS_MAY_BE_MISSING"})
    );
    gateway.news.log.until_open(0).await;
    // One that joins others begins after their last event.
    let mut first = signed_in(&gateway, &key.token(json!({}))).await;
    first.subscribe("1", CHANGES).await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("one");
    first.next_payload("1").await;
    let mut joined = signed_in(&gateway, &short(&key, SHORT)).await;
    joined.subscribe("1", CHANGES).await;
    let end = joined.next().await;
    assert_eq!(
        end["payload"][0]["extensions"],
        json!({"code": "TOKEN_EXPIRED", "cursor": "c0"})
    );
}

#[tokio::test]
async fn event_streams_end_with_their_token_too() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &[]).await;
    let token = short(&key, SHORT);
    let mut streams = Vec::new();
    for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
        let body = json!({"query": CHANGES}).to_string();
        let request = gateway.post().header("accept", accept).body(body);
        let request = request.header("authorization", format!("Bearer {token}"));
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), 200);
        streams.push((accept, response));
    }
    eventually("both have joined", || async {
        gateway.metric("gateway_subscriptions").await == 2.0
    })
    .await;
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("one");
    for (accept, response) in streams {
        let text = response.text().await.expect("a whole stream");
        let (first, last) = text.split_once("TOKEN_EXPIRED").expect("the end");
        assert!(first.contains("\"one\""), "{accept}: {text}");
        let cursor = first.rsplit_once("\"cursor\":\"").expect("a cursor").1;
        let cursor = cursor.split('"').next().expect("a text");
        assert!(
            last.contains(&format!("\"cursor\":\"{cursor}\"")),
            "{accept}: {text}"
        );
    }
    gateway.news.log.until_open(0).await;
}

#[tokio::test]
async fn a_ping_renews_the_token_of_a_socket() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--subgraph-claims=sub"]).await;
    let ends = seconds() + SHORT;
    let mut socket = signed_in(&gateway, &key.token(json!({ "exp": ends }))).await;
    socket.subscribe("1", CHANGES).await;
    gateway.news.log.until_open(1).await;
    let long = key.token(json!({}));
    socket
        .send(json!({"type": "ping", "payload": bearer(&long)}))
        .await;
    let pong = socket.next().await;
    assert_eq!(
        (&pong["type"], &pong["payload"]["renewed"]),
        (&json!("pong"), &json!(true))
    );
    let left = pong["payload"]["validForMs"].as_u64().expect("a number");
    assert!((540_000..=600_000).contains(&left), "{left}");
    // Past the end of the first token.
    tokio::time::sleep(Duration::from_secs_f64(ends + 0.2 - seconds())).await;
    gateway.news.log.publish("one");
    assert_eq!(
        socket.next_payload("1").await["data"]["changes"]["message"]["text"],
        "one"
    );
    assert_eq!(gateway.news.log.started(), 1, "nothing was interrupted");
    // Other pings are answered as ever.
    socket
        .send(json!({"type": "ping", "payload": {"a": 1}}))
        .await;
    assert_eq!(
        socket.next().await,
        json!({"type": "pong", "payload": {"a": 1}})
    );
    // Keys that cannot be read leave the old token in place.
    issuer.answer_with(Answer::Redirect);
    let unknown = SigningKey::new("2").token(json!({}));
    socket
        .send(json!({"type": "ping", "payload": bearer(&unknown)}))
        .await;
    assert_eq!(socket.next().await["payload"]["renewed"], json!(false));
    let other = key.token(json!({"sub": "bob"}));
    socket
        .send(json!({"type": "ping", "payload": bearer(&other)}))
        .await;
    let (code, reason) = socket.closed().await;
    assert!(
        code == 4403 && reason.contains("another subject"),
        "{code} {reason}"
    );
}

#[tokio::test]
async fn a_renewal_with_other_rights_ends_the_subscription_in_time() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &[]).await;
    let token = key.token(json!({"scope": "read moderate", "exp": seconds() + SHORT}));
    let mut socket = signed_in(&gateway, &token).await;
    socket.subscribe("1", CHANGES).await;
    gateway.news.log.until_open(1).await;
    let lesser = key.token(json!({"scope": "read"}));
    socket
        .send(json!({"type": "ping", "payload": bearer(&lesser)}))
        .await;
    assert_eq!(socket.next().await["payload"]["renewed"], json!(true));
    let end = socket.next().await;
    assert_eq!(end["payload"][0]["extensions"]["code"], "TOKEN_EXPIRED");
    socket.subscribe("2", "{ greeting }").await;
    assert_eq!(
        socket.next_payload("2").await["data"]["greeting"],
        "hello you"
    );
}

#[tokio::test]
async fn who_asks_is_a_part_of_a_subscription_where_its_claims_are_sent() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let picky = Picky::start();
    let gateway = gateway(
        &issuer,
        &["--subgraph-claims=sub,name", &picky.instead_of("news")],
    )
    .await;
    let mut sockets = Vec::new();
    for name in ["Zoë", "Bo", "Zoë"] {
        // Two tokens of the same person are different texts.
        let token = key.token(json!({"name": name, "jti": sockets.len()}));
        let mut socket = signed_in(&gateway, &token).await;
        socket
            .subscribe("1", "subscription { messages { text } }")
            .await;
        sockets.push(socket);
    }
    eventually("two subscriptions run", || async { picky.running() == 2 }).await;
    eventually("all have joined", || async {
        gateway.metric("gateway_subscriptions").await == 3.0
    })
    .await;
    for name in ["Zoë", "Bo"] {
        let claims = json!({"sub": "alice", "name": name});
        let extensions = format!("\"extensions\":{{\"claims\":{claims},");
        assert_eq!(picky.sockets_of(&extensions).len(), 1, "{extensions}");
    }
    let used: HashSet<usize> = picky.sockets_of("messages").into_iter().collect();
    assert_eq!(used.len(), 1, "they share a WebSocket");
}

#[tokio::test]
async fn who_asks_does_not_matter_where_no_claims_are_sent() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &[]).await;
    let mut sockets = Vec::new();
    for subject in ["alice", "bob", "carol"] {
        let mut socket = signed_in(&gateway, &key.token(json!({ "sub": subject }))).await;
        socket
            .subscribe("1", "subscription { messages { text length } }")
            .await;
        sockets.push(socket);
    }
    eventually("all have joined", || async {
        gateway.metric("gateway_subscriptions").await == 3.0
    })
    .await;
    gateway.news.log.until_open(1).await;
    assert_eq!(gateway.news.log.started(), 1);
}

/// How many tokens a reader has used.
type Tokens = Arc<AtomicUsize>;

fn text_of(payload: &Value) -> Option<String> {
    let text = &payload["data"]["changes"]["message"]["text"];
    Some(text.as_str()?.to_owned())
}

/// Brings a new token by a ping, well before the old one ends. Returns the texts that it has received.
async fn renews(address: SocketAddr, key: Arc<SigningKey>, tokens: Tokens) -> Vec<String> {
    let mut socket = Socket::open(address, &[]).await;
    socket.init(bearer(&short(&key, SHORT))).await;
    tokens.fetch_add(1, Ordering::SeqCst);
    socket
        .subscribe_with("1", CHANGES, json!({"after": "c0"}))
        .await;
    let mut texts = Vec::new();
    let mut renewed = Instant::now();
    loop {
        if renewed.elapsed().as_secs_f64() > SHORT / 3.0 {
            renewed = Instant::now();
            tokens.fetch_add(1, Ordering::SeqCst);
            let payload = bearer(&short(&key, SHORT));
            socket
                .send(json!({"type": "ping", "payload": payload}))
                .await;
        }
        let message = socket.next().await;
        match message["type"].as_str() {
            Some("pong") => assert_eq!(message["payload"]["renewed"], json!(true)),
            _ => match text_of(&message["payload"]) {
                Some(text) if text == "end" => return texts,
                Some(text) => texts.push(text),
                None => panic!("the subscription was interrupted: {message}"),
            },
        }
    }
}

/// Lets its token end; then connects again and resumes where the error says.
async fn reconnects(address: SocketAddr, key: Arc<SigningKey>, tokens: Tokens) -> Vec<String> {
    let mut texts = Vec::new();
    let mut after = json!("c0");
    loop {
        let mut socket = Socket::open(address, &[]).await;
        socket.init(bearer(&short(&key, SHORT))).await;
        tokens.fetch_add(1, Ordering::SeqCst);
        socket
            .subscribe_with("1", CHANGES, json!({ "after": after }))
            .await;
        loop {
            let message = socket.next().await;
            if message["type"] == "error" {
                let extensions = &message["payload"][0]["extensions"];
                assert_eq!(extensions["code"], "TOKEN_EXPIRED");
                after = extensions["cursor"].clone();
                break;
            }
            match text_of(&message["payload"]) {
                Some(text) if text == "end" => return texts,
                Some(text) => texts.push(text),
                None => panic!("neither an event nor the end: {message}"),
            }
        }
    }
}

/// The same over server-sent events, with `Last-Event-ID` as EventSource has it.
async fn streams(
    http: reqwest::Client,
    url: String,
    key: Arc<SigningKey>,
    tokens: Tokens,
) -> Vec<String> {
    let mut texts = Vec::new();
    let mut after = "c0".to_owned();
    loop {
        tokens.fetch_add(1, Ordering::SeqCst);
        let request = http.post(&url).header("accept", "text/event-stream");
        let request = request.header("content-type", "application/json");
        let request = request
            .bearer_auth(short(&key, SHORT))
            .header("last-event-id", &after);
        let body = json!({"query": CHANGES}).to_string();
        let response = request.body(body).send().await.expect("a response");
        let (mut bytes, mut unread) = (response.bytes_stream(), Vec::new());
        'events: loop {
            let piece = bytes
                .next()
                .await
                .expect("more, or the end")
                .expect("bytes");
            unread.extend_from_slice(&piece);
            while let Some(end) = unread.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = unread.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("text");
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let Some(data) = data else {
                    continue;
                };
                let payload: Value = serde_json::from_str(data).expect("JSON");
                match text_of(&payload) {
                    Some(text) if text == "end" => return texts,
                    Some(text) => texts.push(text),
                    None => {
                        let extensions = &payload["errors"][0]["extensions"];
                        assert_eq!(extensions["code"], "TOKEN_EXPIRED");
                        after = extensions["cursor"].as_str().expect("a cursor").to_owned();
                        break 'events;
                    }
                }
            }
        }
    }
}

/// All readers outlive their first token. For longer: `IDENTITY_SECONDS=60 cargo test -p gateway --test edge short_tokens -- --nocapture`
#[tokio::test]
async fn short_tokens_lose_and_double_nothing() {
    let time: f64 =
        std::env::var("IDENTITY_SECONDS").map_or(0.0, |text| text.parse().expect("seconds"));
    let key = Arc::new(SigningKey::new("1"));
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--subgraph-claims=sub", "--jwt-required"]).await;
    let until = Instant::now() + Duration::from_secs_f64(time);
    gateway.news.log.publish("0");
    let url = gateway.url("/graphql");
    let tokens: [Tokens; 3] = Default::default();
    let [renewed, reconnected, streamed] = tokens.clone();
    let renewing = renews(gateway.address, Arc::clone(&key), renewed);
    let reconnecting = reconnects(gateway.address, Arc::clone(&key), reconnected);
    let streaming = streams(gateway.http.clone(), url, Arc::clone(&key), streamed);
    let [renewing, reconnecting, streaming] = [
        tokio::spawn(renewing),
        tokio::spawn(reconnecting),
        tokio::spawn(streaming),
    ];
    let used = || tokens.each_ref().map(|it| it.load(Ordering::SeqCst));
    let mut published = 1;
    let are_renewed = || {
        used()
            .iter()
            .zip([5, 2, 2])
            .all(|(used, most)| *used >= most)
    };
    while Instant::now() < until || !are_renewed() {
        gateway.news.log.publish(&published.to_string());
        published += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The last event tells the readers that they have all.
    gateway.news.log.publish("end");
    for (name, reader) in [
        ("renews", renewing),
        ("reconnects", reconnecting),
        ("streams", streaming),
    ] {
        let texts = reader.await.expect("no panic");
        let expected: Vec<String> = (1..published).map(|number| number.to_string()).collect();
        let received: HashSet<&String> = texts.iter().collect();
        let lost = expected
            .iter()
            .filter(|text| !received.contains(text))
            .count();
        let doubled = texts.len() - received.len();
        println!("{name}: {published} published, {lost} lost, {doubled} doubled");
        assert_eq!((lost, doubled, texts), (0, 0, expected), "{name}");
    }
    println!("tokens of {SHORT} s: {:?}", used());
}
