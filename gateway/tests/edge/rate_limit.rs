//! The rate limit: who is refused on which transport, when a client may come again, and what is charged to whom.

use std::net::Ipv4Addr;

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    Socket, eventually,
    gateway::TestGateway,
    issuer::{Issuer, SigningKey},
    ways::{Answer, WAYS, Way, answered},
};

/// Gives back one unit a minute: nothing within a test.
const SLOW: &str = "--rate-limit=60/1h";
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const REFUSED: &str = "gateway_rate_limit_exceeded_total{reason=\"request\",result=\"refused\"}";

/// Costs 1.
fn cheap() -> Value {
    json!({"query": "{ greeting }"})
}

/// Costs 11: a mutation, and one object.
fn dear() -> Value {
    json!({"query": "mutation { publish(text: \"a\") { id } }"})
}

async fn limited(burst: u64, more: &[&str]) -> TestGateway {
    let burst = format!("--rate-limit-burst={burst}");
    TestGateway::with(&[&[SLOW, &burst], more].concat()).await
}

async fn post(gateway: &TestGateway, request: &Value) -> Answer {
    Way::Post.answer(gateway, request).await
}

/// The HTTP status of a request.
async fn status(request: RequestBuilder, body: &Value) -> StatusCode {
    let response = request.body(body.to_string()).send().await;
    response.expect("an answer").status()
}

#[tokio::test]
async fn every_transport_says_when_to_come_again() {
    let gateway = limited(5, &[]).await;
    for way in WAYS {
        let answer = way.answer(&gateway, &cheap()).await;
        assert_eq!(answer.body["data"]["greeting"], "hello you", "{way:?}");
    }
    for way in WAYS {
        let answer = way.answer(&gateway, &cheap()).await;
        let extensions = answer.extensions();
        assert_eq!(extensions["code"], "RATE_LIMITED", "{way:?}");
        let seconds = extensions["retryAfter"].as_u64().expect("whole seconds");
        assert!((1..=60).contains(&seconds), "{way:?}: {seconds}");
        if way != Way::WebSocket {
            assert_eq!(
                answer.status,
                Some(StatusCode::TOO_MANY_REQUESTS),
                "{way:?}"
            );
            assert_eq!(answer.retry_after, Some(seconds), "{way:?}");
        }
    }
    assert_eq!(gateway.metric(REFUSED).await, 5.0);
    assert_eq!(
        gateway.metric("gateway_rate_limit_allowed_total").await,
        5.0
    );
    let code = "gateway_refusals_total{code=\"RATE_LIMITED\"}";
    assert_eq!(gateway.metric(code).await, 5.0);
    let keys = || async { gateway.metric("gateway_rate_limit_keys").await == 1.0 };
    eventually("one client is counted", keys).await;
}

#[tokio::test]
async fn a_client_is_served_again_once_time_has_passed() {
    let gateway = TestGateway::with(&["--rate-limit=4/1s", "--rate-limit-burst=1"]).await;
    let is_served = || async { post(&gateway, &cheap()).await.extensions().is_null() };
    let is_refused = || async { !is_served().await };
    for _ in 0..2 {
        eventually("it is refused", is_refused).await;
        eventually("it is served", is_served).await;
    }
}

#[tokio::test]
async fn a_refused_operation_leaves_the_socket_open_and_many_sockets_give_no_more() {
    let gateway = limited(3, &[]).await;
    let mut sockets = [gateway.socket().await, gateway.socket().await];
    for (number, which) in [0, 1, 0].into_iter().enumerate() {
        let (id, socket) = (number.to_string(), &mut sockets[which]);
        socket.subscribe(&id, "{ greeting }").await;
        socket.next_payload(&id).await;
        assert_eq!(socket.next().await["type"], "complete");
    }
    for which in [0, 1, 0] {
        let socket = &mut sockets[which];
        socket.subscribe("again", "{ greeting }").await;
        let end = socket.next().await;
        assert_eq!(end["payload"][0]["extensions"]["code"], "RATE_LIMITED");
        socket.send(json!({"type": "ping"})).await;
        assert_eq!(socket.next().await["type"], "pong");
    }
    // It is the guest's address that counts.
    let mut elsewhere = gateway.socket_from(ELSEWHERE).await;
    elsewhere.subscribe("1", "{ greeting }").await;
    elsewhere.next_payload("1").await;
}

#[tokio::test]
async fn an_operation_is_charged_its_cost_and_waits_for_all_of_it() {
    let gateway = limited(20, &[]).await;
    assert_eq!(
        post(&gateway, &dear()).await.body["data"]["publish"]["id"],
        "0"
    );
    // 9 are left. Its arrival costs 1, and for 11 at once 3 are missing.
    let refused = post(&gateway, &dear()).await;
    assert_eq!(refused.extensions()["code"], "RATE_LIMITED");
    let wait = refused.retry_after.expect("a time");
    assert!((121..=180).contains(&wait), "{wait}");
    for _ in 0..8 {
        assert!(post(&gateway, &cheap()).await.extensions().is_null());
    }
    // Refused on arrival, each with the time after which all of its cost is there.
    let wait = post(&gateway, &cheap()).await.retry_after.expect("a time");
    assert!((1..=60).contains(&wait), "{wait}");
    let wait = post(&gateway, &dear()).await.retry_after.expect("a time");
    assert!((601..=660).contains(&wait), "{wait}");
    let reason = "gateway_rate_limit_exceeded_total{reason=\"cost\",result=\"refused\"}";
    assert_eq!(gateway.metric(reason).await, 1.0);
    assert_eq!(gateway.metric(REFUSED).await, 2.0);
}

#[tokio::test]
async fn an_operation_above_the_burst_is_told_that_it_never_passes() {
    let gateway = limited(10, &[]).await;
    let refused = post(&gateway, &dear()).await;
    let expected = json!({"code": "MAX_COST_EXCEEDED", "estimatedCost": 11, "maxCost": 10});
    assert_eq!(*refused.extensions(), expected);
    assert_eq!(refused.status, Some(StatusCode::OK));
    assert_eq!(refused.retry_after, None);
    let reason = "gateway_rate_limit_exceeded_total{reason=\"burst\",result=\"refused\"}";
    assert_eq!(gateway.metric(reason).await, 1.0);
    for _ in 0..9 {
        assert!(post(&gateway, &cheap()).await.extensions().is_null());
    }
    // Even on arrival: it was prepared before.
    let refused = post(&gateway, &dear()).await;
    assert_eq!(*refused.extensions(), expected);
    assert_eq!(gateway.news.asked(), 9);
}

#[tokio::test]
async fn what_is_refused_for_another_reason_costs_one() {
    let bad_json = |gateway: &TestGateway| gateway.post().body("{");
    let text = |gateway: &TestGateway| {
        let request = gateway.http.post(gateway.url("/graphql"));
        request.header("content-type", "text/plain").body("{}")
    };
    let batch = |gateway: &TestGateway| gateway.post().body(format!("[{}]", cheap()));
    let delete = |gateway: &TestGateway| gateway.http.delete(gateway.url("/graphql"));
    let document = |gateway: &TestGateway, text: &str| {
        let body = json!({ "query": text }).to_string();
        gateway.post().body(body)
    };
    let gateway = limited(8, &[]).await;
    let url = gateway.url("/graphql?query=mutation%7Brecount%7D");
    let garbage = [
        ("BAD_REQUEST", bad_json(&gateway)),
        ("UNSUPPORTED_MEDIA_TYPE", text(&gateway)),
        ("BAD_REQUEST", batch(&gateway)),
        ("METHOD_NOT_ALLOWED", delete(&gateway)),
        ("GRAPHQL_PARSE_FAILED", document(&gateway, "{")),
        (
            "GRAPHQL_VALIDATION_FAILED",
            document(&gateway, "{ nothing }"),
        ),
        ("MUTATION_FORBIDDEN", gateway.http.get(url)),
    ];
    for (code, request) in garbage {
        assert_eq!(answered(request, "{").await.extensions()["code"], code);
    }
    let mut socket = gateway.socket().await;
    socket.send_text("{").await;
    assert_eq!(socket.closed().await.0, 4400);
    for request in [
        bad_json(&gateway),
        text(&gateway),
        document(&gateway, "{"),
        document(&gateway, "{ greeting }"),
    ] {
        let answer = answered(request, "{").await;
        assert_eq!(answer.extensions()["code"], "RATE_LIMITED");
        assert_eq!(answer.status, Some(StatusCode::TOO_MANY_REQUESTS));
        assert!(answer.retry_after.is_some());
    }
}

#[tokio::test]
async fn what_other_sites_make_a_browser_send_is_not_charged() {
    let gateway = limited(1, &[]).await;
    for _ in 0..3 {
        let request = gateway.post().header("sec-fetch-site", "cross-site");
        let answer = answered(request.body(cheap().to_string()), "{").await;
        assert_eq!(answer.extensions()["code"], "CSRF_REFUSED");
    }
    // By any method, and for any fault.
    let url = || gateway.url("/graphql");
    for (request, expected) in [
        (gateway.http.head(url()), 405),
        (gateway.http.delete(url()), 405),
        (
            gateway.http.get(gateway.url("/graphql?query=a&query=b")),
            403,
        ),
    ] {
        let request = request.header("sec-fetch-site", "cross-site");
        assert_eq!(status(request, &json!("")).await, expected);
    }
    assert!(post(&gateway, &cheap()).await.extensions().is_null());
}

async fn with_tokens(issuer: &Issuer, arguments: &[&str]) -> TestGateway {
    let tokens = issuer.arguments();
    let tokens = tokens.iter().map(String::as_str);
    TestGateway::with(&tokens.chain(arguments.iter().copied()).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn the_subject_of_a_token_counts_wherever_it_is() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = with_tokens(&issuer, &[SLOW, "--rate-limit-burst=2"]).await;
    // Each token is another one: the subject counts.
    let send = async |subject: Value, address: Ipv4Addr| {
        let token = key.token(json!({ "sub": subject, "jti": fastrand::u64(..) }));
        status(gateway.post_from(address).bearer_auth(token), &cheap()).await
    };
    assert_eq!(send(json!("alice"), HERE).await, 200);
    assert_eq!(send(json!("alice"), ELSEWHERE).await, 200);
    for address in [HERE, ELSEWHERE] {
        assert_eq!(send(json!("alice"), address).await, 429);
    }
    assert_eq!(send(json!("bob"), HERE).await, 200);
    // A socket of hers, too.
    let mut socket = Socket::open(gateway.address, &[]).await;
    let token = key.token(json!({}));
    socket
        .init(json!({"authorization": format!("Bearer {token}")}))
        .await;
    socket.subscribe("1", "{ greeting }").await;
    let end = socket.next().await;
    assert_eq!(end["payload"][0]["extensions"]["code"], "RATE_LIMITED");
    // Guests of the address have a bucket of their own; refused tokens take from it.
    assert_eq!(status(gateway.post(), &cheap()).await, 200);
    // What is wrong with a token is said even when the address has nothing left.
    let expired = key.token(json!({"exp": 1}));
    for _ in 0..3 {
        let refused = gateway.post().bearer_auth(&expired);
        assert_eq!(status(refused, &cheap()).await, 401);
    }
    assert_eq!(status(gateway.post(), &cheap()).await, 429);
    assert_eq!(send(json!("bob"), HERE).await, 200);
    // What is no GraphQL is charged to a token that is known.
    let carol = key.token(json!({"sub": "carol"}));
    let of_carol = || gateway.post().bearer_auth(&carol);
    assert_eq!(status(of_carol(), &cheap()).await, 200);
    assert_eq!(status(of_carol(), &json!(1)).await, 400);
    assert_eq!(status(of_carol(), &cheap()).await, 429);
}

#[tokio::test]
async fn a_scope_may_allow_more() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let scopes = "--rate-limit-scopes=bulk=3/1m,less=1/1h";
    let gateway = with_tokens(&issuer, &["--rate-limit=1/1m", scopes]).await;
    for (scope, served) in [("", 1), ("less", 1), ("less bulk", 3)] {
        let token = key.token(json!({"sub": format!("of {scope}"), "scope": scope}));
        let send = async || status(gateway.post().bearer_auth(&token), &cheap()).await;
        for _ in 0..served {
            assert_eq!(send().await, 200, "{scope}");
        }
        assert_eq!(send().await, 429, "{scope}");
    }
}

#[tokio::test]
async fn what_was_used_at_one_rate_takes_nothing_from_another() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let scopes = "--rate-limit-scopes=partner=2/1h";
    let gateway = with_tokens(&issuer, &["--rate-limit=1/1d", scopes]).await;
    let send = async |scope: &str| {
        let token = key.token(json!({"sub": "alice", "scope": scope}));
        status(gateway.post().bearer_auth(&token), &cheap()).await
    };
    for (scope, expected) in [
        ("", 200),
        ("", 429),
        ("partner", 200),
        ("partner", 200),
        ("other partner", 429),
        ("", 429),
    ] {
        assert_eq!(send(scope).await, expected, "{scope}");
    }
}

#[tokio::test]
async fn an_operation_that_finds_no_place_costs_one() {
    let gateway = limited(13, &["--ws-answers-max=1"]).await;
    let mut socket = gateway.socket().await;
    let slow = "mutation { publishSlowly(milliseconds: 3600000, text: \"a\") { id } }";
    socket.subscribe("slow", slow).await;
    gateway.news.log.until_slow(1).await;
    socket
        .subscribe("dear", dear()["query"].as_str().expect("a document"))
        .await;
    let end = socket.next().await;
    assert_eq!(end["id"], "dear");
    assert_eq!(end["payload"][0]["extensions"]["code"], "OVERLOADED");
    // One is left.
    assert!(post(&gateway, &cheap()).await.extensions().is_null());
    let refused = post(&gateway, &cheap()).await;
    assert_eq!(refused.extensions()["code"], "RATE_LIMITED");
}

#[tokio::test]
async fn an_operation_that_is_refused_anyway_is_not_waited_for() {
    let gateway = limited(2, &["--cost-max=5"]).await;
    for _ in 0..2 {
        let refused = post(&gateway, &dear()).await;
        assert_eq!(refused.extensions()["maxCost"], 5);
    }
    let wait = post(&gateway, &dear()).await.retry_after.expect("a time");
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_closed_socket_costs_one() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let more = [SLOW, "--rate-limit-burst=100", "--ws-init-timeout=3s"];
    let gateway = with_tokens(&issuer, &more).await;
    let charged = || gateway.metric("gateway_rate_limit_allowed_total");
    // Nobody offers the subprotocol.
    let handshake = gateway.http.get(gateway.url("/graphql"));
    let handshake = handshake
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(handshake.send().await.expect("an answer").status(), 101);
    let is_charged = || async { charged().await == 1.0 };
    eventually("the close is charged", is_charged).await;
    let init = |token: &str| {
        let payload = json!({"authorization": format!("Bearer {token}")});
        json!({"type": "connection_init", "payload": payload})
    };
    let expired = key.token(json!({"exp": 1}));
    for (message, code) in [
        (None, 4408),
        (Some(init("a\nb")), 4403),
        (Some(init(&expired)), 4403),
    ] {
        let before = charged().await;
        let mut socket = Socket::open(gateway.address, &[]).await;
        if let Some(message) = message {
            socket.send(message).await;
        }
        assert_eq!(socket.closed().await.0, code);
        assert_eq!(charged().await - before, 1.0, "{code}");
    }
}

#[tokio::test]
async fn measuring_refuses_nothing() {
    let gateway = limited(12, &["--rate-limit-mode=measure"]).await;
    for _ in 0..3 {
        assert!(post(&gateway, &dear()).await.extensions().is_null());
    }
    let exceeded = async |reason: &str, result: &str| {
        let labels = format!("{{reason=\"{reason}\",result=\"{result}\"}}");
        let name = format!("gateway_rate_limit_exceeded_total{labels}");
        gateway.metric(&name).await
    };
    // The second had 1 on arrival, and not the other 10; the third had nothing.
    assert_eq!(exceeded("cost", "measured").await, 1.0);
    assert_eq!(exceeded("request", "measured").await, 1.0);
    assert_eq!(exceeded("request", "refused").await, 0.0);
    let bad = gateway.post().body("{").send().await.expect("an answer");
    assert_eq!(bad.status(), 400);
}

#[tokio::test]
async fn a_full_table_serves_newcomers_and_keeps_who_has_used_the_most() {
    // Room for 32 clients.
    let gateway = limited(2, &["--rate-limit-keys-max=1"]).await;
    for _ in 0..2 {
        assert_eq!(status(gateway.post_from(HERE), &cheap()).await, 200);
    }
    for last in 2..=50 {
        let address = Ipv4Addr::new(127, 0, 0, last);
        assert_eq!(status(gateway.post_from(address), &cheap()).await, 200);
    }
    assert_eq!(status(gateway.post_from(HERE), &cheap()).await, 429);
    assert_eq!(
        gateway.metric("gateway_rate_limit_forgotten_total").await,
        18.0
    );
    let is_full = || async { gateway.metric("gateway_rate_limit_keys").await == 32.0 };
    eventually("32 clients are counted", is_full).await;
}

#[tokio::test]
async fn without_a_limit_nothing_is_counted() {
    let gateway = TestGateway::start().await;
    assert!(post(&gateway, &cheap()).await.extensions().is_null());
    let metrics = gateway.get("/metrics").await.text().await.expect("text");
    assert!(!metrics.contains("gateway_rate_limit"));
}
