//! Who asks: verifies clients' JSON Web Tokens with the keys of JWK sets. Off without `JWT_JWKS`.
//!
//! | module | gives |
//! |---|---|
//! | `credentials` | the token in a request's headers |
//! | `token` | a token in its parts; everything about it but the signature |
//! | `algorithm`, `key` | the signature algorithms; checking a signature |
//! | `source` | one JWK set, in a file or at an address |
//! | `keys` | the keys of all sets, read again when a token needs it |
//! | `known` | the tokens that have been verified, until they end |
//! | `until_expiry` | ends a subscription with its token |
//! | `refused` | why a token is refused, and the response that says so |
//! | `metrics` | what is counted |
//!
//! `docs/decisions/identity.md` says why it is as it is.

mod algorithm;
mod credentials;
mod key;
mod keys;
mod known;
mod metrics;
mod refused;
mod source;
mod token;
pub(crate) mod until_expiry;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail, ensure};
use graphql_transport::{Admitted, ClientContext, ClientKey, NotAdmitted};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};
use tokio::{sync::watch::Receiver, time::Instant};
use tokio_util::sync::CancellationToken;

pub use algorithm::Algorithm;
pub use metrics::IdentityMetrics;
pub use refused::Refused;

use crate::{
    config::{IdentityConfig, listed},
    error::{Code, RequestError},
    headers::{HeaderRules, claims::ForwardedClaims},
    subgraphs::Tls,
};
use keys::{Keys, ReadingTimes};
use known::KnownTokens;
use source::Source;
use token::{Rules, Token};

/// The client that a token stands for.
#[derive(Debug)]
pub struct Identity {
    /// The claim `iss`, if there is one.
    pub issuer: Option<String>,
    /// The claim `sub`. Unique for its issuer.
    pub subject: String,
    /// The scopes of the claim `scope`, or else `scp`, sorted.
    pub scopes: Vec<String>,
    /// The policies that the claim `JWT_POLICIES_CLAIM` names, sorted.
    pub policies: Vec<String>,
    /// All claims of the token, those above included.
    pub claims: Map<String, Value>,
    /// When the token ends, the leeway included.
    ends: SystemTime,
    /// Distinguishes verified tokens, from 1.
    number: u64,
    /// Distinguishes subjects, of all issuers.
    key: Arc<str>,
    /// The scopes, the policies and the claims that subgraphs get: what the client may see depends on nothing else.
    rights: Arc<str>,
    forwarded: ForwardedClaims,
    /// The approximate size in memory, in bytes.
    bytes: usize,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            issuer: None,
            subject: String::new(),
            scopes: Vec::new(),
            policies: Vec::new(),
            claims: Map::new(),
            ends: SystemTime::UNIX_EPOCH,
            number: 0,
            key: "".into(),
            rights: "".into(),
            forwarded: ForwardedClaims::default(),
            bytes: 0,
        }
    }
}

impl Identity {
    /// A number that no other verified token has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// When the token ends on the clock of timers.
    pub(crate) fn valid_until(&self) -> Instant {
        let left = self.ends.duration_since(SystemTime::now());
        // A timer has no end of time; the token is looked at again by then.
        let left = left
            .unwrap_or_default()
            .min(Duration::from_secs(365 * 86_400));
        Instant::now() + left
    }

    /// The scopes and the claims that subgraphs get, as one text.
    pub(crate) fn rights(&self) -> &Arc<str> {
        &self.rights
    }
}

/// Verifies clients' tokens, and remembers those that it has verified.
pub struct Identities {
    rules: Rules,
    keys: Keys,
    known: KnownTokens,
    cookie: Option<String>,
    is_required: bool,
    policies_claim: String,
    /// How many tokens were verified.
    verified: AtomicU64,
    /// Which claims subgraphs get.
    headers: Arc<HeaderRules>,
    metrics: IdentityMetrics,
}

impl Identities {
    /// Reads the settings; `None` if `JWT_JWKS` is not set.
    ///
    /// # Errors
    /// If a setting is malformed, or needs another one; if a file has no key that can be used.
    pub fn new(
        config: &IdentityConfig,
        headers: &Arc<HeaderRules>,
        tls: &Tls,
        metrics: impl FnOnce() -> IdentityMetrics,
    ) -> anyhow::Result<Option<Self>> {
        if !config.is_on() {
            let mut mistakes = needing_keys(config, headers);
            return mistakes.next().map_or(Ok(None), |mistake| bail!(mistake));
        }
        let algorithms = allowed_algorithms(config)?;
        let sources = key_sources(config, &algorithms)?;
        let issuers = accepted_issuers(config, &sources)?;
        let metrics = metrics();
        let times = ReadingTimes {
            refresh: config.jwt_jwks_refresh,
            pause: config.jwt_jwks_pause,
            limit: config.jwt_jwks_timeout,
        };
        Ok(Some(Self {
            rules: Rules {
                algorithms,
                issuers,
                audiences: owned(&config.jwt_audience),
                leeway: config.jwt_leeway,
            },
            keys: Keys::new(sources, tls.clone(), times, metrics.clone()),
            known: KnownTokens::new(config.jwt_known_bytes_max),
            cookie: config.cookie().map(ToOwned::to_owned),
            is_required: config.jwt_required,
            policies_claim: config.jwt_policies_claim.clone(),
            verified: AtomicU64::new(0),
            headers: Arc::clone(headers),
            metrics,
        }))
    }

    /// Reads the JWK sets until shutdown.
    pub async fn run(&self, reloads: Receiver<u64>, shutdown: CancellationToken) {
        self.keys.run(reloads, shutdown).await;
    }

    /// Says which JWK sets could never be read.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), String> {
        self.keys.check()
    }

    /// Decides who a request's client is. Replaces the claims in the client's headers by those that subgraphs
    /// get; `None` if it has no token and needs none.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, or `IDENTITY_UNAVAILABLE` while the keys cannot be read. On a WebSocket,
    /// `TOKEN_EXPIRED`.
    pub async fn admit(
        &self,
        client: &mut ClientContext,
    ) -> Result<Option<Arc<Identity>>, RequestError> {
        let identity = self.identify(&client.headers, client.key).await;
        let identity = identity.map_err(|refused| {
            // The token was valid when the connection took it.
            if refused == Refused::Expired && client.socket.is_some() {
                return RequestError::new(Code::TokenExpired, refused.reason());
            }
            refused.into()
        })?;
        self.set_headers(&mut client.headers, identity.as_deref());
        Ok(identity)
    }

    /// Decides whether a WebSocket's client is served, and as whom.
    ///
    /// # Errors
    /// With the reason for the client.
    pub async fn admit_socket(
        &self,
        headers: &HeaderMap,
        client: ClientKey,
    ) -> Result<Admitted, NotAdmitted> {
        match self.identify(headers, client).await {
            Ok(None) => Ok(Admitted::default()),
            Ok(Some(identity)) => Ok(Admitted {
                subject: Some(Arc::clone(&identity.key)),
                rights: Some(Arc::clone(&identity.rights)),
                valid_until: Some(identity.valid_until()),
            }),
            Err(refused @ Refused::Unavailable) => {
                Err(NotAdmitted::Unavailable(refused.reason().to_owned()))
            }
            Err(refused) => Err(NotAdmitted::Forbidden(refused.reason().to_owned())),
        }
    }

    /// Who a request's client is, if its token has been verified before. Verifies nothing.
    pub fn known(&self, headers: &HeaderMap) -> Option<Arc<Identity>> {
        let found = credentials::find(headers, self.cookie.as_deref());
        let token = found.ok().flatten()?.token;
        self.known.get(token, self.keys.epoch(), SystemTime::now())
    }

    async fn identify(
        &self,
        headers: &HeaderMap,
        client: ClientKey,
    ) -> Result<Option<Arc<Identity>>, Refused> {
        let refused = match credentials::find(headers, self.cookie.as_deref()) {
            Ok(None) if !self.is_required => return Ok(None),
            Ok(None) => Refused::Missing,
            Err(refused) => refused,
            Ok(Some(found)) => {
                let (epoch, now) = (self.keys.epoch(), SystemTime::now());
                if let Some(identity) = self.known.get(found.token, epoch, now) {
                    return Ok(Some(identity));
                }
                // Boxed because it is rare: the futures of all other requests stay small.
                match Box::pin(self.verify(found.token, client)).await {
                    Ok(identity) => return Ok(Some(identity)),
                    Err(refused) => refused,
                }
            }
        };
        self.metrics.refused(refused);
        tracing::debug!(reason = refused.label(), "a token is refused");
        Err(refused)
    }

    /// Verifies a token, and remembers it.
    async fn verify(&self, text: &[u8], client: ClientKey) -> Result<Arc<Identity>, Refused> {
        let text = std::str::from_utf8(text).map_err(|_| Refused::Malformed)?;
        let token = Token::read(text, &self.rules)?;
        // Before the signature, because it costs less.
        let ends = token.check(&self.rules, SystemTime::now())?;
        let epoch = self.keys.verify(&token, client).await?;
        self.metrics.verified();
        let identity = Arc::new(self.identity(token.claims, ends, text.len()));
        self.known.insert(text, epoch, &identity);
        Ok(identity)
    }

    fn identity(
        &self,
        claims: Map<String, Value>,
        ends: SystemTime,
        text_bytes: usize,
    ) -> Identity {
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        let issuer = text("iss").map(ToOwned::to_owned);
        let subject = text("sub").unwrap_or_default().to_owned();
        let scopes = names(claims.get("scope").or_else(|| claims.get("scp")));
        let policies = names(claims.get(&self.policies_claim));
        let forwarded = self.headers.forwarded_claims(&claims);
        // Quoted, because a name from a list may have blanks.
        let mut rights = format!("{scopes:?}\n{policies:?}");
        for value in forwarded.values() {
            rights.push('\n');
            rights.push_str(value.to_str().unwrap_or_default());
        }
        let key = format!("{} {subject}", issuer.as_deref().unwrap_or_default());
        Identity {
            number: 1 + self.verified.fetch_add(1, Ordering::Relaxed),
            key: key.into(),
            // Values in memory take several times the bytes of their text.
            bytes: 4 * text_bytes + 2 * rights.len(),
            rights: rights.into(),
            forwarded,
            ends,
            issuer,
            subject,
            scopes,
            policies,
            claims,
        }
    }

    /// Replaces what a client may have sent under the names of claims. A token from a cookie goes to subgraphs
    /// as `Authorization`, if that is forwarded.
    fn set_headers(&self, headers: &mut Arc<HeaderMap>, identity: Option<&Identity>) {
        let from_cookie = identity.filter(|_| self.headers.forwards(&header::AUTHORIZATION));
        let from_cookie = from_cookie.and_then(|_| {
            let found = credentials::find(headers, self.cookie.as_deref())
                .ok()
                .flatten();
            let found = found.filter(|found| found.is_from_cookie)?;
            HeaderValue::try_from([&b"Bearer "[..], found.token].concat()).ok()
        });
        if let Some(mut authorization) = from_cookie {
            authorization.set_sensitive(true);
            Arc::make_mut(headers).insert(header::AUTHORIZATION, authorization);
        }
        self.headers
            .set_claims(headers, identity.map(|identity| &identity.forwarded));
    }
}

/// Without keys, the other settings of identity would have no effect.
/// All mistakes in the settings, where [`Identities::new`] ends at the first one.
pub(crate) fn mistakes(
    config: &IdentityConfig,
    headers: &Arc<HeaderRules>,
    tls: &Tls,
) -> Vec<String> {
    if !config.is_on() {
        return needing_keys(config, headers).collect();
    }
    let said = |error: anyhow::Error| format!("{error:#}");
    let mut mistakes = Vec::new();
    for name in listed(&config.jwt_algorithms) {
        mistakes.extend(allowed_algorithm(name).err().map(said));
    }
    let algorithms: Vec<Algorithm> = listed(&config.jwt_algorithms)
        .filter_map(|name| allowed_algorithm(name).ok())
        .collect();
    for item in listed(&config.jwt_jwks) {
        mistakes.extend(key_source(config, item, &algorithms).err().map(said));
    }
    // What does not go together.
    if mistakes.is_empty() {
        let identities = Identities::new(config, headers, tls, IdentityMetrics::default);
        mistakes.extend(identities.err().map(said));
    }
    mistakes
}

/// The settings that need verified tokens, of which there are none.
fn needing_keys<'c>(
    config: &'c IdentityConfig,
    headers: &HeaderRules,
) -> impl Iterator<Item = String> + use<'c> {
    let all = [
        ("JWT_REQUIRED", config.jwt_required),
        ("JWT_ISSUER", listed(&config.jwt_issuer).next().is_some()),
        (
            "JWT_AUDIENCE",
            listed(&config.jwt_audience).next().is_some(),
        ),
        ("JWT_COOKIE", config.cookie().is_some()),
        ("SUBGRAPH_CLAIMS", headers.forwards_claims()),
    ];
    let set = all.into_iter().filter(|(_, is_set)| *is_set);
    set.map(|(name, _)| format!("{name} needs JWT_JWKS: without keys, no token is verified"))
}

fn allowed_algorithms(config: &IdentityConfig) -> anyhow::Result<Vec<Algorithm>> {
    let algorithms = listed(&config.jwt_algorithms).map(allowed_algorithm);
    let algorithms = algorithms.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!algorithms.is_empty(), "JWT_ALGORITHMS lists no algorithm");
    Ok(algorithms)
}

fn allowed_algorithm(name: &str) -> anyhow::Result<Algorithm> {
    Algorithm::named(name).with_context(|| {
        format!("JWT_ALGORITHMS: {name:?} is not an algorithm that can be allowed")
    })
}

/// The JWK sets of `JWT_JWKS`. Those in files are read once, so that a wrong path fails at the start.
fn key_sources(config: &IdentityConfig, algorithms: &[Algorithm]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for item in listed(&config.jwt_jwks) {
        sources.push(key_source(config, item, algorithms)?);
    }
    let has_file = sources.iter().any(Source::is_file);
    ensure!(
        has_file || !algorithms.iter().any(|it| it.has_shared_secret()),
        "JWT_ALGORITHMS lists an algorithm with a shared secret: it needs a file in JWT_JWKS with the key"
    );
    Ok(sources)
}

fn key_source(
    config: &IdentityConfig,
    item: &str,
    algorithms: &[Algorithm],
) -> anyhow::Result<Source> {
    let source = Source::parse(item, algorithms, config.jwt_jwks_http).context("JWT_JWKS")?;
    source
        .check_file()
        .with_context(|| format!("JWT_JWKS: {}", source.shown()))?;
    Ok(source)
}

/// The issuers whose tokens are accepted: those of `JWT_ISSUER`, or those that `JWT_JWKS` names. With none, every
/// issuer is.
fn accepted_issuers(config: &IdentityConfig, sources: &[Source]) -> anyhow::Result<Vec<String>> {
    let issuers = owned(&config.jwt_issuer);
    let bound: Vec<&String> = sources.iter().filter_map(|it| it.issuer.as_ref()).collect();
    let are_bound = bound.len() == sources.len();
    // Otherwise the provider of one set could sign tokens of another's issuer.
    ensure!(
        sources.len() == 1 || are_bound || issuers.len() == 1,
        "JWT_JWKS: with several sets, say which set is whose: ISSUER ADDRESS, ... \
         (or set JWT_ISSUER to the one issuer of all of them)"
    );
    for issuer in &bound {
        ensure!(
            issuers.is_empty() || issuers.contains(issuer),
            "JWT_JWKS names the issuer {issuer}, which JWT_ISSUER does not list"
        );
    }
    if !are_bound {
        return Ok(issuers);
    }
    if let Some(issuer) = issuers.iter().find(|issuer| !bound.contains(issuer)) {
        bail!("JWT_ISSUER lists {issuer}, for which JWT_JWKS names no set");
    }
    // A token of another issuer has no key, and need not wait for one.
    Ok(bound.into_iter().cloned().collect())
}

fn owned(items: &[String]) -> Vec<String> {
    listed(items).map(ToOwned::to_owned).collect()
}

/// The names in a claim, sorted: a text with blanks between them, as `scope` is (RFC 8693), or a list.
fn names(claim: Option<&Value>) -> Vec<String> {
    let mut names: Vec<String> = match claim {
        Some(Value::String(text)) => text.split_whitespace().map(ToOwned::to_owned).collect(),
        Some(Value::Array(list)) => {
            let texts = list.iter().filter_map(Value::as_str);
            texts.map(ToOwned::to_owned).collect()
        }
        _ => Vec::new(),
    };
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
