//! Directives of authorisation with real tokens, a real policy service, and live subscriptions.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

use crate::support::{
    Socket, eventually,
    gateway::{SUPERGRAPH, TestGateway},
    issuer::{Issuer, SigningKey, seconds},
    server::Server,
};

const LINKS: &str = "schema
  @link(url: \"https://specs.apollo.dev/authenticated/v0.1\", for: SECURITY)
  @link(url: \"https://specs.apollo.dev/requiresScopes/v0.1\", for: SECURITY)
  @link(url: \"https://specs.apollo.dev/policy/v0.1\", for: SECURITY)";

/// The supergraph with directives at the fields that begin with these texts.
fn protected(directives: &[(&str, &str)]) -> String {
    let mut sdl = SUPERGRAPH.replacen("schema", LINKS, 1);
    for (field, directive) in directives {
        let at = sdl.find(field).expect("the field");
        let end = at + sdl[at..].find('\n').expect("a line");
        sdl.insert_str(end, &format!(" {directive}"));
    }
    sdl
}

const FIELDS: [(&str, &str); 3] = [
    ("greeting(name", "@authenticated"),
    ("slow(milliseconds", "@requiresScopes(scopes: [[\"slow\"]])"),
    (
        "header(name",
        "@policy(policies: [[\"p\", \"q\"], [\"r\"]])",
    ),
];

async fn start(issuer: &Issuer, more: &[&str]) -> TestGateway {
    let arguments = issuer.arguments();
    let arguments = arguments.iter().map(String::as_str);
    let arguments: Vec<&str> = arguments.chain(more.iter().copied()).collect();
    let gateway = TestGateway::with(&arguments).await;
    gateway.serves(&protected(&FIELDS)).await;
    gateway
}

/// The response to a query with this token, and its status.
async fn asked(gateway: &TestGateway, query: &str, token: Option<&str>) -> (u16, Value) {
    let request = gateway.post().body(json!({ "query": query }).to_string());
    let request = match token {
        None => request,
        Some(token) => request.header("authorization", format!("Bearer {token}")),
    };
    let response = request.send().await.expect("a response");
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON"))
}

fn codes(response: &Value) -> Vec<&str> {
    let errors = response["errors"].as_array().into_iter().flatten();
    let codes = errors.filter_map(|error| error["extensions"]["code"].as_str());
    codes.collect()
}

const UNAUTHORIZED: &str = "UNAUTHORIZED_FIELD_OR_TYPE";

#[tokio::test]
async fn a_token_decides_what_its_client_sees() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = start(&issuer, &[]).await;
    let query = "{ header(name: \"x-none\") }";
    let slow = "{ slow(milliseconds: 0) }";
    let (_, response) = asked(&gateway, "{ greeting }", None).await;
    assert_eq!(codes(&response), [UNAUTHORIZED]);
    assert_eq!(response["data"], Value::Null);
    let plain = key.token(json!({}));
    let (_, response) = asked(&gateway, "{ greeting }", Some(&plain)).await;
    assert_eq!(response, json!({"data": {"greeting": "hello you"}}));
    for (claims, sees_slow, sees_header) in [
        (json!({}), false, false),
        (json!({"scope": "a slow b", "policies": ["q"]}), true, false),
        (json!({"scp": ["slow"], "policies": "q p"}), true, true),
        (json!({"scope": "slower", "policies": ["r"]}), false, true),
    ] {
        let token = key.token(claims);
        let (_, response) = asked(&gateway, slow, Some(&token)).await;
        assert_eq!(codes(&response).is_empty(), sees_slow, "{response}");
        let (_, response) = asked(&gateway, query, Some(&token)).await;
        assert_eq!(codes(&response).is_empty(), sees_header, "{response}");
    }
}

/// A policy service that the test controls.
#[derive(Default)]
struct Rules {
    requests: Mutex<Vec<Value>>,
    response: Mutex<(u16, &'static str, Value)>,
}

impl Rules {
    fn answer(&self, status: u16, cache: &'static str, body: Value) {
        *self.response.lock().expect("no panic") = (status, cache, body);
    }

    /// What was asked since the last call.
    fn take_requests(&self) -> Vec<Value> {
        std::mem::take(&mut *self.requests.lock().expect("no panic"))
    }

    fn serve(self: &Arc<Self>) -> Server {
        let app = Router::new()
            .route("/graphql", post(decide))
            .with_state(Arc::clone(self));
        Server::start(app)
    }
}

async fn decide(State(rules): State<Arc<Rules>>, Json(request): Json<Value>) -> Response {
    rules.requests.lock().expect("no panic").push(request);
    let (status, cache, body) = rules.response.lock().expect("no panic").clone();
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", cache.parse().expect("a value"));
    let status = axum::http::StatusCode::from_u16(status).expect("a status");
    (status, headers, Json(body)).into_response()
}

#[tokio::test]
async fn a_service_decides_about_the_policies_that_a_token_does_not_name() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let rules = Arc::new(Rules::default());
    let mut service = rules.serve();
    let url = format!("--policy-url={}", service.url());
    let gateway = start(&issuer, &[&url, "--policy-timeout=1m"]).await;
    let answers = |status, cache, body| rules.answer(status, cache, body);
    let requests = || rules.take_requests();
    let query = "{ header(name: \"x-none\") }";
    let has_p = key.token(json!({"policies": ["p"]}));
    answers(200, "max-age=60", json!({"policies": {"q": true}}));
    let (status, response) = asked(&gateway, query, Some(&has_p)).await;
    assert_eq!((status, codes(&response)), (200, vec![]), "{response}");
    let asked_for = requests();
    assert_eq!(asked_for.len(), 1);
    assert_eq!(asked_for[0]["policies"], json!(["q", "r"]));
    assert_eq!(asked_for[0]["claims"]["sub"], "alice");
    // Remembered for this token, and for no other.
    answers(
        200,
        "no-store",
        json!({"policies": {"p": true, "q": false}}),
    );
    let (_, response) = asked(&gateway, query, Some(&has_p)).await;
    assert_eq!((codes(&response), requests().len()), (vec![], 0));
    for _ in 0..2 {
        let (_, response) = asked(&gateway, query, None).await;
        assert_eq!(codes(&response), [UNAUTHORIZED]);
        let asked_for = requests();
        assert_eq!(asked_for.len(), 1, "it must not be remembered");
        assert_eq!(
            asked_for[0],
            json!({"policies": ["p", "q", "r"], "claims": null})
        );
    }
    // The service cannot change what the token meets by itself.
    answers(500, "no-store", json!({}));
    let has_r = key.token(json!({"policies": ["r"]}));
    let (status, response) = asked(&gateway, query, Some(&has_r)).await;
    assert_eq!((status, codes(&response)), (200, vec![]), "{response}");
    assert_eq!(requests().len(), 0);
    // What cannot be decided is refused; what touches no policy goes on.
    for (status, body) in [
        (500, json!({"policies": {"r": true}})),
        (200, json!({"r": true})),
        (200, json!({"policies": {"r": "yes"}})),
    ] {
        answers(status, "max-age=60", body);
        let (status, response) = asked(&gateway, query, None).await;
        assert_eq!(
            (status, codes(&response)),
            (503, vec!["POLICY_SERVICE_UNAVAILABLE"])
        );
    }
    service.kill();
    let (status, response) = asked(&gateway, query, None).await;
    assert_eq!(
        (status, codes(&response)),
        (503, vec!["POLICY_SERVICE_UNAVAILABLE"])
    );
    let (_, response) = asked(&gateway, "{ greeting }", Some(&has_p)).await;
    assert_eq!(response, json!({"data": {"greeting": "hello you"}}));
}

#[tokio::test]
async fn a_decision_is_asked_for_again_when_its_time_has_ended() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let rules = Arc::new(Rules::default());
    let service = rules.serve();
    let url = format!("--policy-url={}", service.url());
    let gateway = start(&issuer, &[&url]).await;
    let token = key.token(json!({"policies": ["p"]}));
    let is_refused = || async {
        let query = "{ header(name: \"x-none\") }";
        let (_, response) = asked(&gateway, query, Some(&token)).await;
        codes(&response) == [UNAUTHORIZED]
    };
    rules.answer(200, "max-age=1", json!({"policies": {"q": true}}));
    let began = Instant::now();
    assert!(!is_refused().await);
    assert_eq!(rules.take_requests().len(), 1);
    rules.answer(200, "max-age=60", json!({"policies": {"q": false}}));
    eventually("the service has decided again", is_refused).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "too early");
    // This decision is remembered, too.
    assert!(is_refused().await);
    assert_eq!(rules.take_requests().len(), 1);
}

#[tokio::test]
async fn introspection_shows_what_a_token_lets_its_client_see() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let sdl = protected(&FIELDS[..2]);
    let plain = key.token(json!({}));
    let slow = key.token(json!({"scope": "slow"}));
    let all = ["greeting", "header", "slow"];
    for (flags, for_guest, for_plain) in [
        (&[][..], &all[..], &all[..]),
        (&["--authorization-hides-schema"], &all[1..2], &all[..2]),
    ] {
        let more = [&["--development"], flags].concat();
        let gateway = start(&issuer, &more).await;
        gateway.serves(&sdl).await;
        let clients = [
            (None, for_guest),
            (Some(&plain), for_plain),
            (Some(&slow), &all[..]),
            // The response for one is not that for another.
            (None, for_guest),
        ];
        for (token, expected) in clients {
            let query = "{ __schema { queryType { fields { name } } } }";
            let (status, response) = asked(&gateway, query, token.map(String::as_str)).await;
            let fields = response["data"]["__schema"]["queryType"]["fields"].as_array();
            let names = fields.into_iter().flatten();
            let mut names: Vec<&str> = names.filter_map(|it| it["name"].as_str()).collect();
            names.sort_unstable();
            assert_eq!((status, &*names), (200, expected), "{flags:?} {response}");
        }
    }
}

#[tokio::test]
async fn a_subscription_shows_each_client_what_it_may_see() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = start(&issuer, &[]).await;
    gateway
        .serves(&protected(&[("length:", "@authenticated")]))
        .await;
    let subscription = "subscription { messages { text ... @include(if: true) { length } } }";
    let mut sockets = Vec::new();
    for token in [None, Some(key.token(json!({})))] {
        let mut socket = Socket::open(gateway.address, &[]).await;
        let payload = match &token {
            None => json!({}),
            Some(token) => json!({"authorization": format!("Bearer {token}")}),
        };
        socket.init(payload).await;
        socket.subscribe("1", subscription).await;
        sockets.push(socket);
    }
    gateway.news.log.until_open(2).await;
    gateway.news.log.publish("four");
    let (nobody, known) = {
        let [nobody, known] = &mut *sockets else {
            panic!("two sockets")
        };
        (
            nobody.next_payload("1").await,
            known.next_payload("1").await,
        )
    };
    assert_eq!(known["data"]["messages"]["text"], "four");
    assert!(known["data"]["messages"]["length"].is_number(), "{known}");
    assert_eq!(known.get("errors"), None);
    // The message is not null either.
    assert_eq!(nobody["data"], Value::Null);
    assert_eq!(codes(&nobody), [UNAUTHORIZED]);
    // A requirement that nothing was decided about ends what clients share.
    let more = [
        ("length:", "@authenticated"),
        ("text: String! @join", "@requiresScopes(scopes: [[\"t\"]])"),
    ];
    gateway.write_supergraph(&protected(&more));
    for mut socket in sockets {
        let end = socket.next().await;
        assert_eq!(end["type"], "error", "{end}");
        assert_eq!(
            end["payload"][0]["extensions"]["code"],
            "SUBSCRIPTION_SCHEMA_CHANGED"
        );
    }
}

/// The service may decide by claims that a new token has not. What the token itself decides goes on with the next one.
#[tokio::test]
async fn a_new_token_does_not_renew_what_the_policy_service_has_decided() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let rules = Arc::new(Rules::default());
    rules.answer(200, "max-age=60", json!({"policies": {"l": true}}));
    let service = rules.serve();
    let url = format!("--policy-url={}", service.url());
    let gateway = start(&issuer, &[&url]).await;
    let policy = "@policy(policies: [[\"l\"]])";
    gateway.serves(&protected(&[("length:", policy)])).await;
    let ends = seconds() + 1.5;
    let bearer = |token: String| json!({"authorization": format!("Bearer {token}")});
    let mut sockets = Vec::new();
    for policies in [json!([]), json!(["l"])] {
        let mut socket = Socket::open(gateway.address, &[]).await;
        let token = key.token(json!({"groups": ["staff"], "policies": policies, "exp": ends}));
        socket.init(bearer(token)).await;
        let subscription = "subscription { messages { length } }";
        socket.subscribe("1", subscription).await;
        let token = key.token(json!({"groups": [], "policies": policies}));
        let ping = json!({"type": "ping", "payload": bearer(token)});
        socket.send(ping).await;
        assert_eq!(socket.next().await["payload"]["renewed"], json!(true));
        sockets.push(socket);
    }
    let [by_service, by_token] = &mut *sockets else {
        panic!("two sockets")
    };
    let end = by_service.next().await;
    assert_eq!(
        end["payload"][0]["extensions"]["code"], "TOKEN_EXPIRED",
        "{end}"
    );
    gateway.news.log.until_open(1).await;
    gateway.news.log.publish("four");
    let payload = by_token.next_payload("1").await;
    assert!(
        payload["data"]["messages"]["length"].is_number(),
        "{payload}"
    );
}
