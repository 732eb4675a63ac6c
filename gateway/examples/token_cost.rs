//! What a token costs: verified for the first time, and known. Fails where a known one costs more than its goal.
//!
//! ```sh
//! cargo run --release -p gateway --example token_cost
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Parser;
use gateway::{
    config::Config,
    headers::HeaderRules,
    identity::{Identities, IdentityMetrics},
    request::ClientContext,
    subgraphs::Tls,
};
use http::{HeaderMap, HeaderValue, header};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const TOKENS: usize = 1_000;
const ROUNDS: usize = 500;
/// What a known token may cost, in microseconds.
const KNOWN_US_MAX: f64 = 2.0;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("a key");
    let encoded = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let point = pair.public_key().as_ref();
    let (x, y) = (encoded(&point[1..33]), encoded(&point[33..]));
    let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y}]});
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), set.to_string())?;

    let jwks = format!("--jwt-jwks={}", file.path().display());
    let config = Config::parse_from(["gateway", &jwks, "--subgraph-claims=sub,name,scope"]);
    let rules = Arc::new(HeaderRules::new(&config.headers)?);
    let identities = Identities::new(
        &config.identity,
        &rules,
        &Tls::default(),
        IdentityMetrics::default,
    )?;
    let identities = Arc::new(identities.expect("JWT_JWKS is set"));
    let reading = Arc::clone(&identities);
    let (_never, reloads) = tokio::sync::watch::channel(0);
    tokio::spawn(async move { reading.run(reloads, CancellationToken::new()).await });

    let expires = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 3_600;
    let part = |json: &Value| encoded(json.to_string().as_bytes());
    let clients = (0..TOKENS).map(|number| {
        let claims = json!({
            "iss": "https://issuer.example/", "aud": ["graph", "account"], "sub": number.to_string(),
            "exp": expires, "name": "A Reader", "scope": "openid profile email",
            "roles": (0..20).map(|role| format!("role-number-{role}")).collect::<Vec<_>>(),
        });
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "1"})), part(&claims));
        let signature = pair.sign(&random, signed.as_bytes()).expect("a signature");
        let value = format!("Bearer {signed}.{}", encoded(signature.as_ref()));
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::try_from(value).expect("a value"))])
    });
    let clients: Vec<HeaderMap> = clients.collect();
    let bytes = clients[0][header::AUTHORIZATION].len();
    let mut context = |headers: &HeaderMap| ClientContext {
        headers: Arc::new(headers.clone()),
        mutations_allowed: true,
        subscriptions_allowed: false,
        answers_deferred: false,
        key: Default::default(),
        socket: None,
        operation: None,
        event_stream: None,
    };
    // Reads the keys.
    identities.admit(&mut context(&clients[0])).await?;

    let first = spent(&identities, clients.iter().map(&mut context).collect()).await?;
    let mut known = Duration::ZERO;
    for _ in 0..ROUNDS {
        known += spent(&identities, clients.iter().map(&mut context).collect()).await?;
    }
    let each = |time: Duration, count: usize| time.as_secs_f64() * 1e6 / count as f64;
    println!("{TOKENS} tokens of {bytes} bytes");
    println!("verified (ES256): {:.2} us", each(first, TOKENS));
    let known_us = each(known, TOKENS * ROUNDS);
    println!("known: {known_us:.3} us (goal: at most {KNOWN_US_MAX})");
    anyhow::ensure!(known_us <= KNOWN_US_MAX, "the goal is missed");
    Ok(())
}

/// The time of admitting these clients.
async fn spent(
    identities: &Identities,
    mut clients: Vec<ClientContext>,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for client in &mut clients {
        let identity = identities.admit(client).await?;
        anyhow::ensure!(identity.is_some(), "the token is accepted");
    }
    Ok(began.elapsed())
}
