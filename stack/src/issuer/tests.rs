//! The issuer on a real socket.

use std::net::{Ipv4Addr, TcpListener};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reqwest::RequestBuilder;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::*;

const LIFETIME: Duration = Duration::from_secs(900);

fn issuer() -> Issuer {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    Issuer::start(listener, LIFETIME).expect("an issuer")
}

fn ask(issuer: &Issuer, path: &str) -> RequestBuilder {
    reqwest::Client::new().post(issuer.url(path))
}

async fn answered(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("a response");
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON"))
}

fn part(token: &str, index: usize) -> Vec<u8> {
    let part = token.split('.').nth(index).expect("three parts");
    BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url")
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&part(token, 1)).expect("JSON")
}

#[tokio::test]
async fn a_name_is_enough_for_a_token_that_the_published_key_verifies() {
    let issuer = issuer();
    let body = json!({ "name": "  Ada   Lovelace ", "moderator": true });
    let (status, answer) = answered(ask(&issuer, "/token").json(&body)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 900);
    let token = answer["access_token"].as_str().expect("a token");
    let claims = claims(token);
    assert_eq!(claims["iss"], issuer.url(""));
    assert_eq!(claims["sub"], "dev:ada lovelace");
    assert_eq!(claims["name"], "Ada Lovelace");
    assert_eq!(claims["scope"], "moderate");
    let (from, until) = (claims["iat"].as_u64(), claims["exp"].as_u64());
    assert_eq!(until, from.map(|from| from + 900));

    let set = reqwest::get(issuer.url("/jwks.json")).await;
    let set: Value = set.expect("a set").json().await.expect("JSON");
    let [key] = set["keys"].as_array().expect("keys").as_slice() else {
        panic!("one key: {set}");
    };
    let header: Value = serde_json::from_slice(&part(token, 0)).expect("JSON");
    assert_eq!(header["kid"], key["kid"]);
    assert_eq!(header["alg"], "ES256");
    assert!(key.get("d").is_none(), "the private key stays here");
    let coordinate = |name: &str| {
        let text = key[name].as_str().expect("a coordinate");
        BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url")
    };
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let (signed, _) = token.rsplit_once('.').expect("three parts");
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &part(token, 2))
        .expect("the signature is the key's");
}

#[tokio::test]
async fn a_form_gets_a_token_too_and_a_shell_the_token_alone() {
    let issuer = issuer();
    for (form, scope) in [
        ("name=Ada", ""),
        ("name=Ada&moderator=true", "moderate"),
        ("name=Ada&moderator=on", "moderate"),
        ("name=Ada&moderator=false", ""),
    ] {
        let request = ask(&issuer, "/token.txt")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), 200, "{form}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let token = response.text().await.expect("text");
        let claims = claims(&token);
        assert_eq!(
            (&claims["sub"], &claims["scope"]),
            (&json!("dev:ada"), &json!(scope))
        );
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_the_reason() {
    let issuer = issuer();
    let json = |body: &str| {
        ask(&issuer, "/token")
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    let form = |body: &str| {
        ask(&issuer, "/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned())
    };
    let long = format!(r#"{{"name": "{}"}}"#, "x".repeat(101));
    let wide = format!(r#"{{"name": "{}"}}"#, "\u{6c34}".repeat(100));
    let huge = format!(r#"{{"name": "{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    for (what, request, status) in [
        ("blank", json(r#"{"name": " "}"#), 400),
        ("long", json(&long), 400),
        ("long in bytes", json(&wide), 400),
        ("a control character", json(r#"{"name": "a\u0000"}"#), 400),
        ("no name", json("{}"), 422),
        ("another type", json(r#"{"name": 1}"#), 422),
        ("no JSON", json("{"), 400),
        ("moderator", form("name=Ada&moderator=perhaps"), 400),
        ("a form without a name", form("moderator=true"), 422),
        ("no type", ask(&issuer, "/token").body("name=Ada"), 415),
        ("nothing", ask(&issuer, "/token"), 415),
        ("huge", json(&huge), 413),
        ("a huge form", form(&"name=".repeat(BODY_BYTES_MAX)), 413),
    ] {
        let (got, answer) = answered(request).await;
        assert_eq!(got, status, "{what}: {answer}");
        assert_eq!(answer["error"], "invalid_request", "{what}");
        let reason = answer["error_description"].as_str().unwrap_or_default();
        assert!(!reason.is_empty(), "{what}");
    }
    let get = reqwest::get(issuer.url("/token?name=Ada")).await;
    assert_eq!(get.expect("a response").status(), 405);
}

#[tokio::test]
async fn other_hosts_and_pages_of_other_sites_get_nothing() {
    let issuer = issuer();
    let form = || {
        ask(&issuer, "/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body("name=Ada")
    };
    for (name, value, expected) in [
        ("host", "evil.example", 421),
        ("host", "evil.example:4003", 421),
        ("host", "localhost.evil.example", 421),
        ("host", "localhost:4003", 200),
        ("host", "[::1]:4003", 200),
        ("origin", "http://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://localhost.evil.example", 403),
        ("origin", "http://localhost:4000", 200),
        ("origin", "http://127.0.0.1:5173", 200),
    ] {
        let response = form().header(name, value).send().await;
        let response = response.expect("a response");
        assert_eq!(response.status(), expected, "{name}: {value}");
        let allowed = response.headers().get("access-control-allow-origin");
        match (name, expected) {
            ("origin", 200) => assert_eq!(allowed.expect("allowed"), value),
            _ => assert_eq!(allowed, None, "{name}: {value}"),
        }
    }
    for (origin, allowed) in [
        ("http://localhost:4000", true),
        ("http://evil.example", false),
    ] {
        let request = reqwest::Client::new()
            .request(reqwest::Method::OPTIONS, issuer.url("/token"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        let headers = request.send().await.expect("a response").headers().clone();
        assert_eq!(headers.contains_key("access-control-allow-origin"), allowed);
    }
}

#[tokio::test]
async fn it_listens_for_this_machine_only() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a listener");
    let error = Issuer::start(listener, LIFETIME).err().expect("refused");
    assert!(error.to_string().contains("loopback"), "{error}");
}

#[tokio::test]
async fn each_start_has_another_key() {
    let (one, other) = (issuer(), issuer());
    let mut keys = Vec::new();
    for issuer in [one, other] {
        let set = reqwest::get(issuer.url("/jwks.json")).await;
        let set: Value = set.expect("a set").json().await.expect("JSON");
        keys.push(set["keys"][0]["kid"].clone());
    }
    assert_ne!(keys[0], keys[1]);
}
