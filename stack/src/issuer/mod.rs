//! The development issuer: gives everybody who asks on this machine a token with the name that they choose. The
//! stack's gateway accepts these tokens, as it would a provider's.
//!
//! It checks no password, so it is for development only: it listens on a loopback address, answers to loopback names
//! alone, and refuses pages of other sites ([`access`]). Its key ([`key`]) is in memory, a new one at each start.

mod access;
mod key;
mod person;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::{Value, json};
use service::{
    ConnectionLimits, Lifecycle, MakeResponder, Metrics, ServeLimits, WriteLimits, telemetry,
};
use tokio::net::TcpListener;
use tower::Service;

use key::SigningKey;
use person::Person;

/// The largest request body, in bytes: a name has at most 100 characters.
const BODY_BYTES_MAX: usize = 4096;
const LIMITS: ServeLimits = ServeLimits {
    grace: Duration::from_secs(1),
    write: WriteLimits {
        time: Duration::from_secs(10),
        bytes_per_second_min: 1,
    },
    connections: ConnectionLimits {
        max: 256,
        per_address_max: 256,
        first_request: Duration::from_secs(10),
    },
    http2_streams_max: 16,
    request_head_bytes_max: 64 << 10,
};

/// A running issuer. It stops when it is dropped.
pub(crate) struct Issuer {
    url: String,
    lifecycle: Lifecycle,
}

struct Issuing {
    key: SigningKey,
    /// The claim `iss`.
    name: String,
    token_lifetime: Duration,
}

impl Issuer {
    /// Serves on `listener`.
    ///
    /// # Errors
    /// When others than this machine could reach it, or the system gives no random numbers.
    pub(crate) fn start(
        listener: std::net::TcpListener,
        token_lifetime: Duration,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        anyhow::ensure!(
            address.ip().is_loopback(),
            "the development issuer gives everybody tokens, so it listens on loopback addresses only, not on {address}"
        );
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let url = format!("http://{address}");
        let issuing = Issuing {
            key: SigningKey::generate()?,
            name: url.clone(),
            token_lifetime,
        };
        let router = routes(Arc::new(issuing));
        let make: MakeResponder = Box::new(move |_peer: SocketAddr| {
            let router = router.clone();
            Box::new(move |request| Box::pin(router.clone().call(request)))
        });
        let lifecycle = Lifecycle::new();
        let serving = lifecycle.clone();
        tokio::spawn(async move {
            let metrics = Metrics::new("issuer");
            if let Err(error) =
                service::serve_within(listener, make, &serving, LIMITS, &metrics).await
            {
                telemetry::tell(format_args!("the development issuer ended: {error:#}"));
            }
        });
        Ok(Self { url, lifecycle })
    }

    /// A URL of the issuer; `path` starts with a slash. Without a path it is the claim `iss`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.lifecycle.end();
    }
}

fn routes(issuing: Arc<Issuing>) -> Router {
    Router::new()
        .route("/jwks.json", get(keys))
        .route("/token", post(token))
        .route("/token.txt", post(bare_token))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(access::cors())
        .layer(middleware::from_fn(access::check))
        .with_state(issuing)
}

async fn keys(State(issuing): State<Arc<Issuing>>) -> Json<Value> {
    Json(json!({ "keys": [issuing.key.jwk()] }))
}

/// The response to a token request, as OAuth 2.0 has it (RFC 6749, section 5.1).
async fn token(State(issuing): State<Arc<Issuing>>, request: Request) -> Response {
    match Person::read(request).await {
        Ok(person) => not_stored(Json(json!({
            "access_token": issuing.token(&person),
            "token_type": "Bearer",
            "expires_in": issuing.token_lifetime.as_secs(),
        }))),
        Err(refused) => refused.into_response(),
    }
}

/// The token alone, for a shell: `TOKEN=$(curl -sd name=Ada .../token.txt)`.
async fn bare_token(State(issuing): State<Arc<Issuing>>, request: Request) -> Response {
    match Person::read(request).await {
        Ok(person) => not_stored(issuing.token(&person)),
        Err(refused) => refused.into_response(),
    }
}

fn not_stored(response: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], response).into_response()
}

impl Issuing {
    fn token(&self, person: &Person) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        self.key.sign(&json!({
            "iss": self.name,
            "sub": person.subject(),
            "name": person.name,
            "scope": if person.moderator { "moderate" } else { "" },
            "iat": now,
            "exp": now + self.token_lifetime.as_secs(),
        }))
    }
}

/// Why a request is refused, as OAuth 2.0 has it (RFC 6749, section 5.2).
struct Refused {
    status: StatusCode,
    reason: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({ "error": "invalid_request", "error_description": self.reason });
        (self.status, not_stored(Json(body))).into_response()
    }
}

#[cfg(test)]
mod tests;
