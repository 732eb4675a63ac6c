//! An OpenID provider, as far as a gateway sees it: a JWK set at an address, and tokens.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

use super::server::Server;

pub const ISSUER: &str = "https://issuer.example/";
pub const AUDIENCE: &str = "graph";

/// What the provider answers.
#[derive(Clone)]
pub enum Answer {
    Set(Value),
    Redirect,
    Huge,
    Stall,
    Text(&'static str),
}

pub struct Issuer {
    pub server: Server,
    state: Arc<Provider>,
}

struct Provider {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
}

/// A key of the provider.
pub struct SigningKey {
    pub id: &'static str,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    pub fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random);
        Self {
            id,
            pair: pair.expect("a key"),
        }
    }

    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (encoded(&point[1..33]), encoded(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "x": x, "y": y})
    }

    /// Signs a token with any header and claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = self.pair.sign(&random, signed.as_bytes());
        let signature = signature.expect("a signature");
        format!("{signed}.{}", encoded(signature.as_ref()))
    }

    /// A token that the tests' gateways accept, with these claims changed or added; null removes one.
    pub fn token(&self, changes: Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": seconds() + 600.0,
        });
        let members = claims.as_object_mut().expect("an object");
        for (claim, value) in changes.as_object().expect("an object") {
            match value {
                Value::Null => members.remove(claim),
                value => members.insert(claim.clone(), value.clone()),
            };
        }
        self.sign(
            &json!({"alg": "ES256", "kid": self.id, "typ": "JWT"}),
            &claims,
        )
    }
}

impl Issuer {
    pub fn start(keys: &[&SigningKey]) -> Self {
        let state = Arc::new(Provider {
            answer: Mutex::new(set(keys)),
            asked: AtomicUsize::new(0),
        });
        let app = Router::new()
            .route("/graphql", get(answer))
            .with_state(Arc::clone(&state));
        Self {
            server: Server::start(app),
            state,
        }
    }

    /// The arguments of a gateway that trusts it.
    pub fn arguments(&self) -> Vec<String> {
        vec![
            format!("--jwt-jwks={}", self.server.url()),
            format!("--jwt-issuer={ISSUER}"),
            format!("--jwt-audience={AUDIENCE}"),
            "--jwt-leeway=0s".to_owned(),
        ]
    }

    pub fn publish(&self, keys: &[&SigningKey]) {
        self.answer_with(set(keys));
    }

    pub fn answer_with(&self, answer: Answer) {
        *self.state.answer.lock().expect("not poisoned") = answer;
    }

    /// How often the set was read.
    pub fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }
}

async fn answer(State(provider): State<Arc<Provider>>) -> Response {
    provider.asked.fetch_add(1, Ordering::SeqCst);
    let answer = provider.answer.lock().expect("not poisoned").clone();
    match answer {
        Answer::Set(set) => axum::Json(set).into_response(),
        Answer::Redirect => (
            StatusCode::FOUND,
            [(header::LOCATION, "/elsewhere")],
            "{\"keys\":[]}",
        )
            .into_response(),
        Answer::Huge => Body::from(vec![b' '; 1 << 20]).into_response(),
        Answer::Stall => std::future::pending().await,
        Answer::Text(text) => text.into_response(),
    }
}

fn set(keys: &[&SigningKey]) -> Answer {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    Answer::Set(json!({ "keys": keys }))
}

pub fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub fn part(json: &Value) -> String {
    encoded(json.to_string().as_bytes())
}

/// Seconds since 1970.
pub fn seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_secs_f64()
}
