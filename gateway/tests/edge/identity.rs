//! Clients' tokens over HTTP: what is accepted, what is refused, and how keys are read.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Wire, eventually,
    gateway::{SUPERGRAPH, TestGateway},
    issuer::{AUDIENCE, Answer, ISSUER, Issuer, SigningKey, encoded, part, seconds},
};

const QUERY: &str = "{ greeting }";

async fn gateway(issuer: &Issuer, more: &[&str]) -> TestGateway {
    let arguments = issuer.arguments();
    let arguments: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    TestGateway::with(&arguments).await
}

/// Status, challenge and body of the response to a query with this token.
async fn asked(gateway: &TestGateway, token: &str) -> (u16, Option<String>, Value) {
    let request = gateway.post().body(json!({ "query": QUERY }).to_string());
    let request = match token {
        "" => request,
        token => request.header("authorization", format!("Bearer {token}")),
    };
    let response = request.send().await.expect("a response");
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().expect("text").to_owned());
    let status = response.status().as_u16();
    (status, challenge, response.json().await.expect("JSON"))
}

fn code(body: &Value) -> &str {
    body["errors"][0]["extensions"]["code"]
        .as_str()
        .unwrap_or_default()
}

#[tokio::test]
async fn only_valid_tokens_are_accepted() {
    let (key, other) = (SigningKey::new("1"), SigningKey::new("1"));
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-required", "--jwt-jwks-pause=20ms"]).await;
    for token in [
        key.token(json!({})),
        key.token(json!({"aud": ["other", "graph"], "nbf": seconds() - 1.0})),
    ] {
        // The second time it is known: it is verified once, as the count below shows.
        for _ in 0..2 {
            let (status, _, body) = asked(&gateway, &token).await;
            assert_eq!(
                (status, &body),
                (200, &json!({"data": {"greeting": "hello you"}}))
            );
        }
    }
    let good = key.token(json!({}));
    let claims = good.split('.').nth(1).expect("claims");
    let unsigned = format!("{}.{claims}.", part(&json!({"alg": "none"})));
    // The public key as the secret of an HMAC, for a gateway that believes the header.
    let header = part(&json!({"alg": "HS256", "kid": "1"}));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, key.jwk().to_string().as_bytes());
    let tag = hmac::sign(&secret, format!("{header}.{claims}").as_bytes());
    let confused = format!("{header}.{claims}.{}", encoded(tag.as_ref()));
    let tampered = {
        let mut parts: Vec<String> = good.split('.').map(ToOwned::to_owned).collect();
        parts[1] = key
            .token(json!({"sub": "mallory"}))
            .split('.')
            .nth(1)
            .expect("claims")
            .to_owned();
        parts.join(".")
    };
    let critical = key.sign(
        &json!({"alg": "ES256", "kid": "1", "crit": ["exp"]}),
        &json!({"sub": "alice", "exp": seconds() + 9.0}),
    );
    for (what, token, reason) in [
        (
            "expired",
            key.token(json!({"exp": seconds() - 1.0})),
            "has expired",
        ),
        (
            "not yet valid",
            key.token(json!({"nbf": seconds() + 60.0})),
            "not valid yet",
        ),
        (
            "without an end",
            key.token(json!({"exp": null})),
            "no expiry",
        ),
        (
            "for others",
            key.token(json!({"aud": "other"})),
            "another audience",
        ),
        (
            "for nobody",
            key.token(json!({"aud": null})),
            "another audience",
        ),
        (
            "another issuer's",
            key.token(json!({"iss": "https://other.example/"})),
            "issuer",
        ),
        (
            "without a subject",
            key.token(json!({"sub": null})),
            "no subject",
        ),
        ("signed by another key", other.token(json!({})), "signature"),
        ("unsigned", unsigned, "algorithm"),
        ("of a public key as a secret", confused, "algorithm"),
        ("tampered", tampered, "signature"),
        ("cut", good[..good.len() - 1].to_owned(), "not a signed"),
        ("with critical parameters", critical, "critical"),
        (
            "too large",
            key.token(json!({"a": "x".repeat(8 * 1024)})),
            "too large",
        ),
        ("no token", "x".to_owned(), "not a signed"),
    ] {
        let (status, challenge, body) = asked(&gateway, &token).await;
        assert_eq!(
            (status, code(&body)),
            (401, "UNAUTHENTICATED"),
            "{what}: {body}"
        );
        let challenge = challenge.expect("a challenge");
        assert!(
            challenge.starts_with("Bearer error=\"invalid_"),
            "{what}: {challenge}"
        );
        assert!(challenge.contains(reason), "{what}: {challenge}");
        assert!(!body.to_string().contains("alice"), "{what}: {body}");
    }
    let (status, challenge, body) = asked(&gateway, "").await;
    assert_eq!((status, code(&body)), (401, "UNAUTHENTICATED"));
    assert_eq!(challenge.as_deref(), Some("Bearer"));
    assert_eq!(gateway.metric("gateway_tokens_verified_total").await, 2.0);
    let metric = "gateway_tokens_refused_total{reason=\"signature\"}";
    assert_eq!(gateway.metric(metric).await, 2.0);
}

#[tokio::test]
async fn two_tokens_or_another_scheme_are_refused() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-cookie=session"]).await;
    let token = key.token(json!({}));
    let body = json!({ "query": QUERY }).to_string();
    for headers in [
        format!("authorization: Bearer {token}\r\nauthorization: Bearer {token}"),
        format!("authorization: Basic YTpi\r\ncookie: session={token}"),
        format!("cookie: session={token}; session={token}"),
        format!("authorization: Bearer {token}, Bearer {token}"),
    ] {
        let mut wire = Wire::open(gateway.address).await;
        let length = body.len();
        wire.send(&format!(
            "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             {headers}\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
        let (status, body) = wire.answer().await;
        assert_eq!((status, code(&body)), (401, "UNAUTHENTICATED"), "{headers}");
    }
}

#[tokio::test]
async fn a_token_that_names_no_key_is_tried_with_eight() {
    let keys: Vec<SigningKey> = (0..9).map(|_| SigningKey::new("1")).collect();
    let issuer = Issuer::start(&keys.iter().collect::<Vec<_>>());
    let more = ["--jwt-required", "--jwt-jwks-pause=20ms"];
    let gateway = gateway(&issuer, &more).await;
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": seconds() + 600.0,
    });
    let without_name = |key: &SigningKey| key.sign(&json!({"alg": "ES256"}), &claims);
    for (number, expected) in [(0, 200), (7, 200), (8, 401)] {
        let (status, _, body) = asked(&gateway, &without_name(&keys[number])).await;
        assert_eq!(status, expected, "{number}: {body}");
    }
}

#[tokio::test]
async fn a_cookie_counts_where_the_page_may_send_it() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let more = [
        "--jwt-cookie=session",
        "--jwt-required",
        "--forward-headers=authorization",
    ];
    let gateway = gateway(&issuer, &more).await;
    let query = "{ header(name: \"authorization\") }";
    let token = key.token(json!({}));
    let ask = |headers: &'static [(&'static str, &'static str)]| {
        let body = json!({ "query": query }).to_string();
        let mut request = gateway
            .post()
            .body(body)
            .header("cookie", format!("a=b; session={token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        async move { request.send().await.expect("a response") }
    };
    let own = ask(&[("sec-fetch-site", "same-origin")]).await;
    let expected = json!({"data": {"header": format!("Bearer {token}")}});
    assert_eq!(own.json::<Value>().await.expect("JSON"), expected);
    let foreign = ask(&[
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
    ])
    .await;
    assert_eq!(foreign.status(), 403);
}

#[tokio::test]
async fn streams_are_refused_by_their_status() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-required", "--jwt-jwks-pause=20ms"]).await;
    for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
        let body = json!({"query": "subscription { messages { text } }"}).to_string();
        let response = gateway
            .post()
            .header("accept", accept)
            .body(body)
            .send()
            .await;
        let response = response.expect("a response");
        assert_eq!(response.status(), 401, "{accept}");
        assert!(response.headers().contains_key("www-authenticate"));
    }
    issuer.answer_with(Answer::Redirect);
    let unknown = SigningKey::new("2").token(json!({}));
    for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
        let body = json!({"query": "subscription { messages { text } }"}).to_string();
        let request = gateway
            .post()
            .header("accept", accept)
            .bearer_auth(&unknown);
        let response = request.body(body).send().await.expect("a response");
        assert_eq!(response.status(), 503, "{accept}");
        assert!(response.headers().contains_key("retry-after"));
    }
}

#[tokio::test]
async fn a_key_that_is_rotated_under_load_refuses_nobody() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let issuer = Issuer::start(&[&old]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=200ms"]).await;
    assert_eq!(asked(&gateway, &old.token(json!({}))).await.0, 200);
    let before = issuer.asked();
    issuer.publish(&[&old, &new]);
    // Different tokens, so that each has to be verified.
    let tokens = (0..50).map(|number| (number, if number % 2 == 0 { &new } else { &old }));
    let tokens: Vec<String> = tokens
        .map(|(number, key)| key.token(json!({"jti": number})))
        .collect();
    let responses = join_all(tokens.iter().map(|token| asked(&gateway, token))).await;
    assert!(
        responses.iter().all(|(status, _, _)| *status == 200),
        "{responses:?}"
    );
    let readings = issuer.asked() - before;
    assert!(
        (1..=2).contains(&readings),
        "{readings} readings for all requests together"
    );
}

/// Tokens of keys that no set has, each of another one.
fn of_unknown_keys() -> impl Iterator<Item = String> {
    let unknown = SigningKey::new("unknown");
    (0..).map(move |number| {
        let id = format!("unknown-{number}");
        unknown.sign(&json!({"alg": "ES256", "kid": id}), &claims(number))
    })
}

#[tokio::test]
async fn a_flood_of_unknown_keys_reads_no_more_often() {
    const PAUSE: Duration = Duration::from_secs(1);
    const CLIENTS: usize = 100;
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=1s"]).await;
    let began = Instant::now();
    let before = issuer.asked();
    let tokens: Vec<String> = of_unknown_keys().take(3 * CLIENTS).collect();
    let flood = tokens.chunks(3).map(async |tokens| {
        for token in tokens {
            let (status, _, body) = asked(&gateway, token).await;
            assert_eq!((status, code(&body)), (401, "UNAUTHENTICATED"), "{body}");
        }
    });
    join_all(flood).await;
    let readings = issuer.asked() - before;
    let pauses = began.elapsed().as_secs() / PAUSE.as_secs();
    assert!(
        (1..=pauses as usize + 1).contains(&readings),
        "{readings} readings in {pauses} pauses"
    );
}

#[tokio::test]
async fn who_has_a_known_key_does_not_wait_for_the_readings_for_others() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=1h"]).await;
    let tokens: Vec<String> = of_unknown_keys().take(100).collect();
    let waiting = join_all(tokens.iter().map(|token| asked(&gateway, token)));
    // Each has a token that is not known yet, signed with a key that is.
    let others = async {
        for number in 0..10 {
            let token = key.token(json!({ "jti": number }));
            assert_eq!(asked(&gateway, &token).await.0, 200);
        }
    };
    tokio::select! {
        () = others => {}
        answers = waiting => panic!("no set is read in the pause: {answers:?}"),
    }
}

#[tokio::test]
async fn an_unknown_key_is_refused_after_one_reading() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=50ms"]).await;
    let unknown = SigningKey::new("unknown");
    let (status, _, body) = asked(&gateway, &unknown.token(json!({}))).await;
    assert_eq!((status, code(&body)), (401, "UNAUTHENTICATED"));
    // A token without a key's name is checked with the keys that there are.
    let claims = |key: &SigningKey| {
        let token = key.token(json!({}));
        let claims = token.split('.').nth(1).expect("claims").to_owned();
        let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims);
        serde_json::from_slice::<Value>(&claims.expect("base64url")).expect("JSON")
    };
    let nameless = |key: &SigningKey| key.sign(&json!({"alg": "ES256"}), &claims(key));
    assert_eq!(asked(&gateway, &nameless(&key)).await.0, 200);
    assert_eq!(asked(&gateway, &nameless(&unknown)).await.0, 401);
}

/// What a token needs to be checked again after its key has changed.
fn nameless(key: &SigningKey, number: usize) -> String {
    key.sign(&json!({"alg": "ES256"}), &claims(number))
}

/// Claims that the tests' gateways accept.
fn claims(number: usize) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": seconds() + 600.0, "jti": number,
    })
}

#[tokio::test]
async fn a_key_that_was_missing_a_moment_ago_is_found() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let issuer = Issuer::start(&[&old]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=300ms"]).await;
    // Somebody has asked for the key before the provider had it: that is not remembered.
    assert_eq!(asked(&gateway, &new.token(json!({}))).await.0, 401);
    issuer.publish(&[&old, &new]);
    assert_eq!(asked(&gateway, &new.token(json!({}))).await.0, 200);
}

#[tokio::test]
async fn a_key_is_rotated_without_another_name() {
    let (old, new) = (SigningKey::new("1"), SigningKey::new("1"));
    let issuer = Issuer::start(&[&old]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=300ms"]).await;
    assert_eq!(asked(&gateway, &nameless(&old, 1)).await.0, 200);
    // Other material under the same name.
    issuer.publish(&[&new]);
    assert_eq!(asked(&gateway, &new.token(json!({}))).await.0, 200);
    // Tokens without a name.
    issuer.publish(&[&old]);
    assert_eq!(asked(&gateway, &nameless(&old, 2)).await.0, 200);
}

/// Replaces a JWK set in a file at once, as careful writers do.
fn write_set(path: &Path, keys: &[&SigningKey]) {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    let draft = path.with_extension("draft");
    std::fs::write(&draft, json!({ "keys": keys }).to_string()).expect("written");
    std::fs::rename(draft, path).expect("renamed");
}

/// As docs/identity-providers.md says how a key is rotated.
#[tokio::test]
async fn a_file_that_is_rewritten_is_read_again() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("jwks.json");
    write_set(&path, &[&old]);
    let set = format!("--jwt-jwks={}", path.display());
    let issuer = format!("--jwt-issuer={ISSUER}");
    let start =
        async |more: &str| TestGateway::with(&[&set, &issuer, "--jwt-jwks-pause=20ms", more]).await;
    // One reads the file only when a token names a new key, the other every second.
    let on_demand = start("--jwt-jwks-refresh=1h").await;
    let often = start("--jwt-jwks-refresh=1s").await;
    let (of_old, of_new) = (old.token(json!({})), new.token(json!({})));
    for gateway in [&on_demand, &often] {
        assert_eq!(asked(gateway, &of_old).await.0, 200);
        assert_eq!(asked(gateway, &of_new).await.0, 401);
    }
    write_set(&path, &[&old, &new]);
    for gateway in [&on_demand, &often] {
        assert_eq!(asked(gateway, &of_new).await.0, 200);
        assert_eq!(asked(gateway, &of_old).await.0, 200);
    }
    // What is known of the old key's token ends as well.
    write_set(&path, &[&new]);
    eventually("the removed key is refused", || async {
        asked(&often, &of_old).await.0 == 401
    })
    .await;
    assert_eq!(asked(&on_demand, &of_old).await.0, 200, "nobody has asked");
    let unknown = SigningKey::new("unknown").token(json!({}));
    assert_eq!(asked(&on_demand, &unknown).await.0, 401);
    for gateway in [&on_demand, &often] {
        assert_eq!(asked(gateway, &of_old).await.0, 401);
        assert_eq!(asked(gateway, &of_new).await.0, 200);
    }
}

#[tokio::test]
async fn an_empty_set_takes_no_key_away() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=20ms", "--jwt-jwks-refresh=1s"]).await;
    issuer.answer_with(Answer::Text("{\"keys\":[]}"));
    let before = issuer.asked();
    eventually("it was read", || async { issuer.asked() > before + 1 }).await;
    assert_eq!(asked(&gateway, &key.token(json!({}))).await.0, 200);
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
}

#[tokio::test]
async fn a_provider_that_is_down_is_in_nobody_elses_way() {
    let (old, new) = (SigningKey::new("old"), SigningKey::new("new"));
    let (issuer, down) = (Issuer::start(&[&old]), Issuer::start(&[&old]));
    down.answer_with(Answer::Stall);
    let sets = format!(
        "--jwt-jwks={} {}, https://other.example/ {}",
        crate::support::issuer::ISSUER,
        issuer.server.url(),
        down.server.url()
    );
    let arguments = [
        sets.as_str(),
        "--jwt-jwks-timeout=1m",
        "--jwt-jwks-pause=100ms",
    ];
    let gateway = TestGateway::without_supergraph(&arguments).await;
    gateway.write_supergraph(SUPERGRAPH);
    eventually("the supergraph is loaded", || async {
        asked(&gateway, "").await.0 == 200
    })
    .await;
    assert_eq!(asked(&gateway, &old.token(json!({}))).await.0, 200);
    issuer.publish(&[&new]);
    assert_eq!(asked(&gateway, &new.token(json!({}))).await.0, 200);
    assert_eq!(asked(&gateway, &old.token(json!({}))).await.0, 401);
    // An issuer that no set is for is refused at once.
    let stranger = new.token(json!({"iss": "https://stranger.example/"}));
    let before = issuer.asked();
    assert_eq!(asked(&gateway, &stranger).await.0, 401);
    assert_eq!(issuer.asked(), before);
}

#[tokio::test]
async fn known_keys_go_on_while_the_provider_is_down() {
    let key = SigningKey::new("1");
    let mut issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--jwt-jwks-pause=20ms", "--jwt-jwks-refresh=1s"]).await;
    issuer.server.kill();
    let failed = "gateway_jwks_readings_total{result=\"failed\"}";
    eventually("a reading has failed", || async {
        gateway.metric(failed).await > 0.0
    })
    .await;
    assert_eq!(asked(&gateway, &key.token(json!({}))).await.0, 200);
    let new = SigningKey::new("new");
    let (status, challenge, body) = asked(&gateway, &new.token(json!({}))).await;
    assert_eq!((status, code(&body)), (503, "IDENTITY_UNAVAILABLE"));
    assert_eq!(challenge, None);
    issuer.publish(&[&new]);
    issuer.server.restart().await;
    eventually("the new key is read", || async {
        asked(&gateway, &new.token(json!({}))).await.0 == 200
    })
    .await;
    // What the old key signed is no longer valid, even if it was known.
    assert_eq!(asked(&gateway, &key.token(json!({}))).await.0, 401);
}

#[tokio::test]
async fn a_gateway_without_keys_starts_and_says_that_it_cannot_check() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    issuer.answer_with(Answer::Text("{}"));
    let arguments = issuer.arguments();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--jwt-jwks-pause=20ms", "--jwt-jwks-timeout=300ms"]);
    let gateway = TestGateway::without_supergraph(&arguments).await;
    gateway.write_supergraph(SUPERGRAPH);
    let token = key.token(json!({}));
    eventually("the supergraph is loaded", || async {
        asked(&gateway, "").await.0 == 200
    })
    .await;
    for answer in [
        Answer::Text("{}"),
        Answer::Text("{\"keys\":["),
        Answer::Text("{\"keys\":[]}"),
        Answer::Redirect,
        Answer::Huge,
        Answer::Stall,
    ] {
        issuer.answer_with(answer);
        let before = issuer.asked();
        eventually("it is read again", || async { issuer.asked() > before + 1 }).await;
        let (status, _, body) = asked(&gateway, &token).await;
        assert_eq!(
            (status, code(&body)),
            (503, "IDENTITY_UNAVAILABLE"),
            "{body}"
        );
        let ready = gateway.get("/health/ready").await;
        assert_eq!(ready.status(), 503);
        assert!(
            ready
                .text()
                .await
                .expect("text")
                .contains("no key has been read")
        );
    }
    issuer.publish(&[&key]);
    eventually("it is ready", || async {
        gateway.get("/health/ready").await.status() == 200
    })
    .await;
    assert_eq!(asked(&gateway, &token).await.0, 200);
}

#[tokio::test]
async fn without_keys_in_the_settings_nothing_changes() {
    let gateway = TestGateway::with(&["--forward-headers=authorization"]).await;
    let query = "{ header(name: \"authorization\") }";
    let request = gateway.post().body(json!({ "query": query }).to_string());
    let response = request
        .header("authorization", "Basic a")
        .send()
        .await
        .expect("a response");
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body, json!({"data": {"header": "Basic a"}}));
}

#[tokio::test]
async fn subgraphs_get_the_chosen_claims_and_no_forged_ones() {
    let key = SigningKey::new("1");
    let issuer = Issuer::start(&[&key]);
    let gateway = gateway(&issuer, &["--subgraph-claims=sub,name,email@counts"]).await;
    let query = "{ header(name: \"rejoinder-claims\") }";
    let ask = |authorization: Option<String>| {
        let mut request = gateway.post().body(json!({ "query": query }).to_string());
        // Names that a client could guess.
        for name in [
            "rejoinder-claims",
            "rejoinder-claims-0",
            "rejoinder-claims-1",
        ] {
            request = request.header(name, "forged");
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        async move {
            let response = request.send().await.expect("a response");
            response.json::<Value>().await.expect("JSON")["data"]["header"].clone()
        }
    };
    assert_eq!(ask(None).await, Value::Null);
    let token = key.token(json!({"name": "Zoë", "email": "z@example"}));
    let expected = part(&json!({"sub": "alice", "name": "Zoë"}));
    assert_eq!(ask(Some(format!("Bearer {token}"))).await, json!(expected));
}
